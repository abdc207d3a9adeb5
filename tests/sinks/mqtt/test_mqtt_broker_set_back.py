"""A broker that comes back with an older state, as mosquitto does after a power cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.mosquitto import Mosquitto
from support.mqtt_parts import MqttRig, make_update
from support.mqtt_rooms import ROOM, room, until_retained

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEPT = (f"{ROOM}/A", f"{ROOM}/A/$meta")
GONE = (f"{ROOM}/B", f"{ROOM}/B/$meta")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """Return a mosquitto that restarts with the state of its last clean stop."""
    with Mosquitto(tmp_path, is_persistent=True) as mosquitto:
        yield mosquitto


async def test_a_cleared_topic_is_cleared_again(broker: Mosquitto) -> None:
    """The value of a removed point is cleared after each restart of the broker."""
    kept, gone = room("A", "B")
    rig = MqttRig(broker.url, [kept, gone])
    async with rig.sink:
        await rig.deliver(make_update(kept, 1), make_update(gone, 2))
        await until_retained(broker, *KEPT, *GONE)
        broker.stop()
        broker.start()
        rig.swap(kept)
        await until_retained(broker, *KEPT)
        for _ in range(2):
            broker.kill()
            broker.start()
            await until_retained(broker, *KEPT)


async def test_a_cleared_topic_is_cleared_again_after_a_restart_of_the_gateway(broker: Mosquitto) -> None:
    """The gateway stores which topics it has cleared."""
    kept, gone = room("A", "B")
    retained: dict[str, bool] = {}
    rig = MqttRig(broker.url, [kept, gone], retained=retained)
    async with rig.sink:
        await rig.deliver(make_update(kept, 1), make_update(gone, 2))
        await until_retained(broker, *KEPT, *GONE)
        broker.stop()
        broker.start()
        rig.swap(kept)
        await until_retained(broker, *KEPT)
    broker.kill()
    broker.start()
    rig = MqttRig(broker.url, [kept], retained=retained)
    async with rig.sink:
        await rig.deliver(make_update(kept, 1))
        await until_retained(broker, *KEPT)
