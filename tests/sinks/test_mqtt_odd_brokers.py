"""Brokers that do not keep to MQTT end a connection, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.mqtt_parts import MqttRig, make_point
from support.odd_broker import odd_broker
from support.sparkplug_parts import SparkplugRig
from support.waiting import until

_GARBAGE = {
    "SUBACK of nothing": b"\x90\x00",
    "SUBACK for nobody": b"\x90\x04\xff\xf0\x00\x00",
    "UNSUBACK for nobody": b"\xb0\x04\xff\xf0\x00\x00",
    "PUBACK with half a property": b"\x40\x05\x00\x01\x00\x02\x1f",
    "PUBLISH without a topic": b"\x30\x00",
    "properties that are none": b"\x30\x06\x00\x01T\x02\xee\xee",
    "a type that is none": b"\x00\x00",
}


def note_unhandled() -> list[dict[str, Any]]:
    """Return what callbacks of this event loop will raise."""
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    return unhandled


async def test_an_answer_to_what_nobody_asked_ends_the_connection() -> None:
    """SUBACK and UNSUBACK with unknown numbers: the sink is away, says why, and tries again with pauses."""
    unhandled = note_unhandled()
    async with odd_broker(wrong_ids=True) as broker:
        rig = SparkplugRig(broker.url, [make_point()])
        async with rig.sink:
            await until(lambda: broker.connections >= 2)
            assert rig.status.state == "away"
            assert "does not keep to MQTT" in str(rig.status.last_error)
    assert not unhandled


@pytest.mark.parametrize("garbage", _GARBAGE.values(), ids=_GARBAGE)
async def test_what_is_no_mqtt_ends_the_connection(garbage: bytes) -> None:
    """Whatever comes: one line says that the broker is away and why, and nothing spins."""
    unhandled = note_unhandled()
    async with odd_broker(garbage=garbage) as broker:
        rig = MqttRig(broker.url, [make_point()])
        async with rig.sink:
            await until(lambda: broker.connections >= 2)
            assert "does not keep to MQTT" in str(rig.status.last_error)
    assert not unhandled
