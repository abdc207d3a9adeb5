"""A broker that loses its last minutes, as mosquitto does at a power cut: what was cleared is there again."""

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
    """Return a mosquitto that comes back as it was when it was last ended in order."""
    with Mosquitto(tmp_path, is_persistent=True) as mosquitto:
        yield mosquitto


async def test_what_was_cleared_is_cleared_again(broker: Mosquitto) -> None:
    """A value of a point that is gone stays gone, however often the broker is set back."""
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


async def test_also_after_a_restart_of_the_gateway(broker: Mosquitto) -> None:
    """The broker is set back while the gateway is down: that remembers what it had cleared."""
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
