"""What both MQTT sinks share: one session with the broker after the other, and the deadband."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeGuard

from gateway.errors import TransientError
from gateway.model import Quality, is_within_deadband
from gateway.sinks.broker.mqtt_connection import connect
from gateway.sinks.broker.skipped_topics import SkippedTopics
from gateway.sinks.connecting import SessionSink

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.model import Cov, Scalar, Update
    from gateway.sinks.broker.config import BrokerConfig
    from gateway.sinks.broker.mqtt_connection import MqttConnection
    from gateway.sinks.broker.paho_client import Message
    from gateway.status import SinkStatus


class BrokerSink(SessionSink["MqttConnection"]):
    """Base of sinks on an MQTT broker: stays connected, and reports whether the broker is up or away."""

    def __init__(self, *, name: str, broker: BrokerConfig, gateway: str, status: SinkStatus) -> None:
        """`gateway` is this gateway's name."""
        super().__init__(name=name, status=status, kind="mqtt", address={"broker": str(broker.url)})
        self._broker = broker
        self._client_id = broker.client_id or f"gateway-{gateway}-{name}"
        self.skipped_topics = SkippedTopics()
        self._alone_count = 0  # of the topics that were published alone
        self.publishing = asyncio.Lock()
        """A connection publishes for one caller at a time."""

    async def connect(self, will: Message) -> MqttConnection:
        """Return a new connection; raise `GatewayError` if there is none to be had."""
        return await connect(
            self._broker, client_id=self._client_id, will=will, skipped_topics=self.skipped_topics
        )

    def retries_soon(self) -> bool:
        """Return whether a topic is being narrowed down."""
        before, self._alone_count = self._alone_count, self.skipped_topics.alone_count
        return self._alone_count > before

    async def run_until(
        self, ends: set[asyncio.Future[str]], publishers: dict[str, Coroutine[None, None, None]]
    ) -> str:
        """Run publishers until one of `ends` is done; return its result. The next connection starts anew."""
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(_until_lost(each), name=f"mqtt {what} {self.name}")
                for what, each in publishers.items()
            ]
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                task.cancel()
        return done.pop().result()


async def _until_lost(publisher: Coroutine[None, None, None]) -> None:
    with suppress(TransientError):
        await publisher


def is_small_change(cov: Cov | None, last: Update, update: Update) -> bool:
    """Return whether `update` is within the deadband around the last published one, and within its time."""
    if cov is None or update.quality is not last.quality:
        return False
    if abs(update.time_ms - last.time_ms) >= cov.every_ms:  # the clock may have been set back
        return False
    if update.quality is Quality.GOOD and _is_number(update.value) and _is_number(last.value):
        return is_within_deadband(update.value, last.value, cov.delta)
    return update.value == last.value


def _is_number(value: Scalar) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
