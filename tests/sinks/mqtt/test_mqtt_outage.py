"""A broker that is killed while thousands of messages are in flight."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.mosquitto import Mosquitto, subscribe
from support.mqtt_parts import MqttRig, make_point, make_update, now_ms
from support.mqtt_tap import Tap
from support.waiting import until, until_delivered

if TYPE_CHECKING:
    from pathlib import Path

    from support.mqtt_tap import Published

    from gateway.model import Update

POINTS = [make_point(f"R{number % 3}/P{number}") for number in range(6)]
EVENTS = 600
AT_ONCE = 60  # updates in a batch, of which ten are of one point


def all_updates() -> list[Update]:
    """Return a reading of every point in each event; its value is the event's number."""
    began_ms = now_ms() - EVENTS
    return [
        make_update(point, number, time_ms=began_ms + number, seq=number)
        for number in range(1, EVENTS + 1)
        for point in POINTS
    ]


async def deliver_in_batches(rig: MqttRig, updates: list[Update], *, kill: asyncio.Event) -> None:
    """Write each batch until it succeeds, as the delivery loop does; request the kill half-way."""
    for begin in range(0, len(updates), AT_ONCE):
        if begin >= len(updates) // 2:
            kill.set()
        await until_delivered(partial(rig.deliver, *updates[begin : begin + AT_ONCE]))


def readings(message: Published) -> dict[str, int]:
    """Return the readings in a message of a point or an asset, by the point's name."""
    document = json.loads(message.payload)
    if "points" in document:
        return {name: point["value"] for name, point in document["points"].items()}
    return {message.topic.removesuffix("/$history").rpartition("/")[2]: document["value"]}


def in_order(values: list[int]) -> bool:
    """Return whether readings are in order, apart from repetitions."""
    first = list(dict.fromkeys(values))
    return first == sorted(first)


@pytest.mark.parametrize("layout", ["point", "both"])
async def test_nothing_is_lost_and_order_is_kept_when_the_broker_is_killed(
    tmp_path: Path, layout: str
) -> None:
    """Live topics and `$history` together have every reading; live topics only move forward."""
    kill = asyncio.Event()
    with Mosquitto(tmp_path) as broker:
        async with Tap(broker.port) as tap:
            url = f"mqtt://127.0.0.1:{tap.port}"
            rig = MqttRig(url, POINTS, layout=layout, protocol="3.1.1")

            async def outage() -> None:
                await kill.wait()
                before = len(tap.acknowledged)
                await until(lambda: len(tap.acknowledged) >= before + 30, look_every_s=0)
                broker.kill()
                await rig.until("away")
                await asyncio.to_thread(broker.start)

            async with rig.sink, asyncio.TaskGroup() as tasks:
                tasks.create_task(outage())
                await deliver_in_batches(rig, all_updates(), kill=kill)
            assert rig.status.reconnects == 1
        values = [message for message in tap.acknowledged if message.topic.startswith("gw/v1/hq/R")]
        values = [message for message in values if not message.topic.endswith("/$meta")]
        for point in POINTS:
            live, past = (
                [
                    readings(message)[point.point]
                    for message in values
                    if message.retained is is_live and point.point in readings(message)
                ]
                for is_live in (True, False)
            )
            assert {*live, *past} == set(range(1, EVENTS + 1))
            assert live == sorted(live)
            assert in_order(past)
        async with subscribe(broker.port) as late:
            topics = [message for message in late.seen if message.topic.startswith("gw/v1/hq/R")]
            assert {value for one in topics for value in readings_of(one.payload)} == {EVENTS}


def readings_of(payload: str) -> list[int]:
    """Return the values in a retained message."""
    document = json.loads(payload)
    return [one["value"] for one in document.get("points", {"": document}).values()]
