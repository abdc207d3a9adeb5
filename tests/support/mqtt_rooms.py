"""Rooms with several points on MQTT, and their messages."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from support.mosquitto import subscribe
from support.mqtt_parts import make_point

if TYPE_CHECKING:
    from gateway.model import Point
    from support.mosquitto import Mosquitto, Seen, Subscriber

ROOM = "gw/v1/hq/R1"


def room(*names: str, tag: str = "R1", lasting: bool = False) -> list[Point]:
    """Return points of one room. `lasting`: their values never expire on the broker."""
    points = [make_point(f"{tag}/{name}") for name in names]
    return [replace(point, stale_after_ms=None) for point in points] if lasting else points


def on(subscriber: Subscriber, topic: str) -> list[Seen]:
    """Return the messages on one topic."""
    return [message for message in subscriber.seen if message.topic == topic]


def values(message: Seen) -> dict[str, object]:
    """Return the values in an asset's message, by point."""
    return {name: point["value"] for name, point in message.json["points"].items()}


async def retained(broker: Mosquitto) -> dict[str, Seen]:
    """Return the retained messages by topic, without the gateway's status."""
    async with subscribe(broker.port) as late:
        found = {message.topic: message for message in (*late.seen, *late.meta)}
    return {topic: seen for topic, seen in found.items() if "$gateway" not in topic}


async def until_retained(broker: Mosquitto, *expected: str) -> dict[str, Seen]:
    """Wait until exactly these topics are retained."""
    async with asyncio.timeout(60):
        while set(found := await retained(broker)) != set(expected):
            pass
        return found
