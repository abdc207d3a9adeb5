"""MQTT: one retained topic per point, which only moves forward in event time, and `$history` for the rest."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass as plain_dataclass
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Literal, Self
from urllib.parse import urlsplit

import structlog
from paho.mqtt.enums import MQTTProtocolVersion
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic.dataclasses import dataclass

from gateway.backoff import Backoff
from gateway.config.decode import STRICT, FieldError, RelativePath
from gateway.config.scalars import Duration
from gateway.config.secrets import SecretReference
from gateway.errors import GatewayError, RefusedError, TransientError
from gateway.model import STAND_INS, Refusal
from gateway.sinks._mqtt_connection import Message, connect
from gateway.sinks._mqtt_dial import Dial, Tls
from gateway.sinks._mqtt_outlet import Outlet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    from gateway.model import Point, Update
    from gateway.ports import LatestValues, PointSource
    from gateway.sinks._mqtt_connection import Connection, Rejection
    from gateway.status import SinkStatus

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_SETTLED_S = 30.0  # a connection that held so long is followed by the shortest pause again
_PATIENCE_S = 3.0  # how long a write waits for a connection that is away
_FAREWELL_S = 2.0
# PUBACK failures that say "not now": packet identifier in use, quota exceeded. All others are about
# this message ("does not accept the publish", "not willing to accept it", in the standard's words):
# sent again they would fail again, and hold up every other point.
_NOT_NOW = frozenset({0x91, 0x97})

_log = structlog.get_logger()


@plain_dataclass(frozen=True, slots=True)
class BrokerUrl:
    """Where the broker listens, and whether it speaks TLS there."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


def parse_broker_url(text: object) -> BrokerUrl:
    """Return the parts of `mqtt://host:1883` or `mqtts://host:8883`; the port may be left out."""
    try:
        url = urlsplit(text if isinstance(text, str) else "")
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
    if not host or url.scheme not in _PORTS:
        raise ValueError("a broker is mqtt://host:1883, or mqtts://host:8883 for TLS")
    if url.username is not None or url.password is not None:
        raise FieldError("no user or password here: they have their own keys", secret=True)
    if url.path.strip("/") or url.query or url.fragment:
        raise ValueError("a broker's address ends after the port; topics begin with `prefix`")
    return BrokerUrl(host=host, port=port or _PORTS[url.scheme], tls=url.scheme == "mqtts")


def _check_prefix(prefix: str) -> str:
    if any(mark in prefix for mark in "+#\0"):
        raise ValueError("a topic prefix has no wildcards")
    if prefix.startswith("$") or not all(prefix.split("/")):
        raise ValueError(
            'a topic prefix looks like gw/v1: no "$" at the start, no "/" at either end or twice'
        )
    return prefix


def _unquoted_five(value: object) -> object:
    return (
        "5" if type(value) is int and str(value) == "5" else value
    )  # YAML reads 5 as a number, 3.1.1 as text


_URL = WithJsonSchema({"type": "string", "pattern": "^mqtts?://[^/@?#]+/?$"})
_PREFIX = WithJsonSchema({"type": "string", "pattern": "^(?![$])[^/+#]+(/[^/+#]+)*$"})
_PROTOCOL = WithJsonSchema({"enum": [5, "5", "3.1.1"]})


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class MqttConfig:
    """One broker. `history`: whether readings that are not the newest go to `<topic>/$history`."""

    type: Literal["mqtt"]
    """An MQTT broker."""
    url: Annotated[BrokerUrl, BeforeValidator(parse_broker_url), _URL]
    """The broker: mqtt://host:1883, or mqtts://host:8883 for TLS."""
    prefix: Annotated[str, AfterValidator(_check_prefix), _PREFIX] = "gw/v1"
    """What every topic begins with."""
    protocol: Annotated[Literal["5", "3.1.1"], BeforeValidator(_unquoted_five), _PROTOCOL] = "5"
    """Version of MQTT."""
    payload: Literal["json", "value"] = "json"
    """json: value, unit, quality and time; value: the bare value."""
    history: bool = True
    """Whether readings that are not the newest go to <topic>/$history."""
    client_id: Annotated[str, Field(min_length=1)] | None = None
    """How the broker knows this gateway; made from its name if not written."""
    user: str | None = None
    """The user that the broker knows."""
    password: SecretReference | None = None
    """Where the user's password is."""
    ca: RelativePath | None = None
    """PEM file with the certificates to trust; the system's if not written."""
    certificate: RelativePath | None = None
    """PEM file with the client certificate."""
    key: RelativePath | None = None
    """PEM file with the client certificate's key."""
    keepalive: Annotated[Duration, Field(ge=1, le=65535)] = 30.0
    """How often a sign of life is sent; 1s to 65535s."""
    in_flight: Annotated[int, Field(ge=1, le=1000)] = 20
    """How many messages may wait for the broker's acknowledgement."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("`certificate` and `key` belong together")
        if self.password is not None and self.user is None:
            raise ValueError("a `password` needs its `user`")
        if not self.url.tls and (self.ca or self.certificate):
            raise ValueError("`ca`, `certificate` and `key` are for TLS: write the url with mqtts://")
        return self


class MqttSink:
    """The points of one gateway on one broker, connected and connected again for as long as it lives."""

    def __init__(
        self,
        *,
        name: str,
        config: MqttConfig,
        gateway: str,
        points: PointSource,
        latest: LatestValues,
        status: SinkStatus,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Prepare the topics. `gateway` is this gateway's name, `clock` gives Unix milliseconds."""
        self._name = name
        self._config = config
        self._gateway = gateway
        self._points = points
        self._latest = latest
        self._status = status
        self._clock = clock
        self._status_topic = f"{config.prefix}/$gateway/{gateway}/status"
        self._prepared: tuple[Point, ...] = ()
        self._outlets: dict[str, Outlet] = {}
        self._connection: Connection | None = None  # None until all retained state is published again
        self._up = asyncio.Event()
        self._away = "not connected yet"  # why it is, in words
        self._connected_before = False
        self._prepare()

    async def __aenter__(self) -> Self:
        """Begin to connect."""
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._keeper = self._tasks.create_task(self._stay_connected(), name=f"mqtt sink {self._name}")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Publish `offline` and disconnect."""
        self._keeper.cancel()
        if exc_type is not None and issubclass(exc_type, asyncio.CancelledError):
            # Perhaps the group's own, because the keeper failed: the group knows.
            await self._tasks.__aexit__(exc_type, exc, traceback)
        else:
            await self._tasks.__aexit__(None, None, None)  # what the caller raised stays as it is

    async def write(self, updates: Sequence[Update]) -> None:
        """Publish each update, live or as history, and return when the broker has acknowledged all."""
        connection = await self._connected()
        self._prepare()
        refusals: list[Refusal] = []
        rejections = await connection.publish(self._messages(updates, refusals))
        refusals += self._judge(rejections)
        if refusals:
            raise RefusedError(refusals)

    async def _connected(self) -> Connection:
        if self._connection is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    await self._up.wait()
        if self._connection is None:
            raise TransientError(f"{self._config.url} is away: {self._away}")
        return self._connection

    def _prepare(self) -> None:
        """Make the outlets anew where the point table is another one than last time."""
        if self._points.points is self._prepared:
            return
        self._prepared = self._points.points
        self._outlets = {
            point.name: Outlet.of(point, prefix=self._config.prefix, plain=self._config.payload == "value")
            for point in self._prepared
            if point.mqtt is not None and (point.mqtt.sinks is None or self._name in point.mqtt.sinks)
        }

    def _messages(self, updates: Iterable[Update], refusals: list[Refusal]) -> Iterator[Message]:
        """Make the messages one by one: whether an update is its point's newest is decided as it is sent."""
        for update in updates:
            outlet = self._outlets.get(update.point.name)
            if outlet is None:
                continue  # not on this sink
            try:
                message = self._message(outlet, update)
            except (TypeError, ValueError, OverflowError) as error:
                refusals.append(Refusal(update, f"cannot be written to {outlet.topic}: {error}"))
                continue
            if message is not None:
                yield message

    def _message(self, outlet: Outlet, update: Update) -> Message | None:
        if not self._latest.is_newest(update):
            # History is what was measured: not pseudo-readings, nor what stood in for a reading.
            is_measured = not update.point.is_pseudo and update.quality not in STAND_INS
            return outlet.history(update) if self._config.history and is_measured else None
        if outlet.within_deadband(update):
            return None
        message = outlet.live(update, now_ms=self._clock())
        outlet.published = update
        return message

    def _judge(self, rejections: Iterable[Rejection]) -> list[Refusal]:
        """Return what was refused for good; raise `TransientError` where the broker may take it later."""
        refusals: list[Refusal] = []
        not_now: str | None = None
        for message, code, reason in rejections:
            if message.update is None:
                continue
            outlet = self._outlets.get(message.update.point.name)
            if outlet is not None:
                outlet.published = None  # or its repetition would fall into the deadband
            words = f"the broker refuses {message.topic}: {reason}"
            if code in _NOT_NOW:
                not_now = words
            else:
                refusals.append(Refusal(message.update, words))
        if not_now is not None:
            raise TransientError(not_now)
        return refusals

    async def _stay_connected(self) -> None:
        backoff = Backoff()
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                reason = await self._session()
            except GatewayError as error:
                reason = str(error)
            self._note_away(reason)
            if loop.time() - began_s > _SETTLED_S:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())

    async def _session(self) -> str:
        """Hold one connection until it is lost, and return why it was."""
        connection = await connect(self._dial())
        try:
            await self._restore(connection)
            self._connection = connection
            self._note_up()
            return await connection.ended()
        finally:
            self._connection = None
            self._up.clear()
            await connection.close(
                Message(self._status_topic, b"offline", retain=True), timeout_s=_FAREWELL_S
            )

    def _dial(self) -> Dial:
        config = self._config
        return Dial(
            host=config.url.host,
            port=config.url.port,
            version=MQTTProtocolVersion.MQTTv5 if config.protocol == "5" else MQTTProtocolVersion.MQTTv311,
            client_id=config.client_id or f"gateway-{self._gateway}-{self._name}",
            keepalive_s=round(config.keepalive),
            window=config.in_flight,
            will_topic=self._status_topic,
            will_payload=b"offline",
            user=config.user,
            password=config.password,
            tls=Tls(config.ca, config.certificate, config.key) if config.url.tls else None,
        )

    async def _restore(self, connection: Connection) -> None:
        """Say `online` and publish all retained state again: the broker may have lost it."""
        self._prepare()
        for outlet in self._outlets.values():
            outlet.published = None
        online = Message(self._status_topic, b"online", retain=True)
        rejections = await connection.publish(chain([online], self._messages(self._newest(), [])))
        self._judge(rejections)
        if rejections:
            topic, reason = rejections[0].message.topic, rejections[0].reason
            _log.warning("sink.refused", sink=self._name, topics=len(rejections), first=topic, reason=reason)

    def _newest(self) -> Iterator[Update]:
        for outlet in list(self._outlets.values()):
            update = self._latest.latest(outlet.point)
            if update is not None:
                yield update

    def _note_up(self) -> None:
        if self._connected_before:
            self._status.reconnects += 1
        self._connected_before = True
        if self._status.state != "up":
            _log.info("sink.up", sink=self._name, was=self._status.state, broker=str(self._config.url))
        self._status.state = "up"
        self._up.set()

    def _note_away(self, reason: str) -> None:
        if self._status.state != "away":  # once down, once up; a failed write may have told it first
            _log.warning("sink.away", sink=self._name, reason=reason, broker=str(self._config.url))
        self._status.state = "away"
        self._status.last_error = self._away = reason
