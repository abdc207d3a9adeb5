"""Publishes the current alarms on one retained topic beside the gateway's status."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson

from gateway.errors import TransientError
from gateway.sinks.broker.message import Message
from gateway.sinks.mqtt.metadata import log_rejected
from gateway.text import second_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.alarms import Alarms
    from gateway.records import Alarm
    from gateway.sinks.mqtt.metadata import Publish


class AlarmPublisher:
    """Publishes all current alarms in one message, at each connection and whenever they change."""

    def __init__(self, alarms: Alarms, *, sink: str, topic: str, retained: dict[str, bool]) -> None:
        """`retained`: see `MetadataPublisher`."""
        self._alarms = alarms
        self._sink = sink
        self._topic = topic
        self._retained = retained

    async def run(self, publish: Publish) -> None:
        """Publish until the connection is lost."""
        changed = asyncio.Event()
        self._alarms.subscribe(changed.set)
        try:
            published = None
            while True:
                changed.clear()
                payload = alarms_json(self._alarms.current())
                if payload != published:
                    if self._topic not in self._retained:
                        self._retained[self._topic] = False
                    log_rejected(await publish([Message(self._topic, payload, retain=True)]), sink=self._sink)
                    published = payload
                await changed.wait()
        except TransientError:
            return  # the next connection publishes them again
        finally:
            self._alarms.unsubscribe(changed.set)


def alarms_json(alarms: Iterable[Alarm]) -> bytes:
    """Return the message; times are UTC, to the second."""
    return orjson.dumps({"alarms": [_document(alarm) for alarm in alarms]})


def _document(alarm: Alarm) -> dict[str, str]:
    document = {"alarm": alarm.name, "since": second_text(alarm.since_ms), "reason": alarm.reason}
    if alarm.acknowledged_ms is not None:
        document["acknowledged"] = second_text(alarm.acknowledged_ms)
    return document
