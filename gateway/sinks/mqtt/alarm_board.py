"""What needs a person, on one retained topic beside the gateway's status."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson

from gateway.errors import TransientError
from gateway.sinks.broker.message import Message
from gateway.sinks.mqtt.announcer import log_rejected
from gateway.text import second_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gateway.alarms import Alarms
    from gateway.records import Alarm
    from gateway.sinks.broker.message import Rejection


class AlarmBoard:
    """Publishes the alarms that hold, at each connection and whenever they change; all of them at a time."""

    def __init__(self, alarms: Alarms, *, sink: str, topic: str, retained: dict[str, bool]) -> None:
        """`retained`: see `Announcer`; `topic` is noted there, for whoever has to clear it one day."""
        self._alarms = alarms
        self._sink = sink
        self._topic = topic
        self._retained = retained

    async def run(self, publish: Callable[[Iterable[Message]], Awaitable[list[Rejection]]]) -> None:
        """Publish until the connection is lost."""
        news = asyncio.Event()
        self._alarms.subscribe(news.set)
        try:
            told = None
            while True:
                news.clear()
                payload = alarms_json(self._alarms.current())
                if payload != told:
                    if self._topic not in self._retained:
                        self._retained[self._topic] = False
                    log_rejected(await publish([Message(self._topic, payload, retain=True)]), sink=self._sink)
                    told = payload
                await news.wait()
        except TransientError:
            return  # the next connection begins with all of it
        finally:
            self._alarms.unsubscribe(news.set)


def alarms_json(alarms: Iterable[Alarm]) -> bytes:
    """Return the message; times are UTC, to the second."""
    return orjson.dumps({"alarms": [_document(alarm) for alarm in alarms]})


def _document(alarm: Alarm) -> dict[str, str]:
    document = {"alarm": alarm.name, "since": second_text(alarm.since_ms), "reason": alarm.reason}
    if alarm.acknowledged_ms is not None:
        document["acknowledged"] = second_text(alarm.acknowledged_ms)
    return document
