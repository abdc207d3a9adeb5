"""A Sparkplug host that follows births, data and deaths, and records each violation of the rules."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from support.mosquitto import read_output
from support.sparkplug_payloads import SeenMetric, SeenPayload, command, decode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.model import Scalar

GROUP, NODE = "hq", "edge-1"
_MARK = "support/mark"
_KINDS = {"DOUBLE": float, "INT64": int, "BOOLEAN": bool, "STRING": str}


@dataclass(frozen=True)
class SeenMessage:
    """One message; `device` is "" for those of the node."""

    verb: str
    device: str
    payload: SeenPayload
    qos: int
    retained: bool

    @property
    def line(self) -> str:
        """Verb and device, for comparing orders."""
        return f"{self.verb} {self.device}".strip()


@dataclass
class SparkplugHost:
    """What a host application has of the one node, from when it subscribed.

    `tags` are by device and metric, those of the node itself under "". `stale` are devices that are dead.
    """

    port: int
    seen: list[SeenMessage] = field(default_factory=list)
    tags: dict[str, dict[str, SeenMetric]] = field(default_factory=dict)
    history: list[tuple[str, SeenMetric]] = field(default_factory=list)
    stale: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    is_online: bool = False
    bd_seq: Scalar = None
    _seq: int = 0
    _marks: set[str] = field(default_factory=set)
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def order(self) -> list[str]:
        """Verbs and devices in the order received."""
        return [message.line for message in self.seen]

    def value(self, device: str, metric: str) -> Scalar:
        """Return the value of a tag; None also if the device is dead."""
        return None if self.is_dead(device) else self.tags[device][metric].value

    def is_dead(self, device: str) -> bool:
        """Return whether a device is dead."""
        return not self.is_online or device in self.stale or device not in self.tags

    def clear(self) -> None:
        """Clear the received messages, and keep the tags."""
        self.seen.clear()
        self.history.clear()

    async def request_rebirth(self, payload: bytes | None = None) -> None:
        """Send the rebirth command, or another one."""
        payload = command(**{"Node Control/Rebirth": True}) if payload is None else payload
        await self.publish(f"spBv1.0/{GROUP}/NCMD/{NODE}", payload)

    async def publish_state(self, text: str, *, name: str = "scada") -> None:
        """Publish a retained STATE message of a host application."""
        await self.publish(f"spBv1.0/STATE/{name}", text.encode(), "-r", "-q", "1")

    async def publish(self, topic: str, payload: bytes, *arguments: str) -> None:
        """Publish bytes."""
        source = "-s" if payload else "-n"  # standard input, or nothing
        process = await asyncio.create_subprocess_exec(
            *("mosquitto_pub", "-h", "127.0.0.1", "-p", str(self.port), "-t", topic, source, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await process.communicate(payload)

    async def until(self, condition: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
        """Return once `condition` holds; it is checked after every message."""
        async with asyncio.timeout(timeout_s), self._more:
            await self._more.wait_for(condition)

    async def catch_up(self) -> None:
        """Return once everything that the broker has now was received."""
        mark = uuid.uuid4().hex
        async with asyncio.timeout(60):
            while mark not in self._marks:
                await self.publish(_MARK, mark.encode(), "-q", "1")
                with contextlib.suppress(TimeoutError):
                    await self.until(lambda: mark in self._marks, timeout_s=0.2)

    async def replay(self, read_output: Callable[[], str]) -> Self:
        """Follow the output of a `subscription`, up to everything that the broker has now."""
        mark = uuid.uuid4().hex
        async with asyncio.timeout(60):
            while mark.encode().hex() not in (text := read_output()).lower():
                await self.publish(_MARK, mark.encode(), "-q", "1")
                await asyncio.sleep(0.05)
        for line in text[: text.rindex("\n")].splitlines():
            self.apply_line(line)
        assert self.faults == [], self.faults
        return self

    async def read(self, stream: asyncio.StreamReader) -> None:
        """Read messages until the subscriber ends."""
        async for line in stream:
            async with self._more:
                self.apply_line(line.decode())
                self._more.notify_all()
            await asyncio.sleep(0)  # what waits looks at it before the next line comes

    def apply_line(self, line: str) -> None:
        """Apply a line that `subscription` prints."""
        qos, retained, topic, payload = line.rstrip("\n").split("|")
        if topic == _MARK:
            self._marks.add(bytes.fromhex(payload).decode())
        else:
            self.apply(topic, bytes.fromhex(payload), qos=int(qos), retained=retained == "1")

    def apply(self, topic: str, payload: bytes, *, qos: int = 0, retained: bool = False) -> None:
        """Apply one message."""
        verb, device = topic.split("/")[2], topic.partition(f"/{NODE}")[2].removeprefix("/")
        if "STATE" in topic or verb == "NCMD":
            return
        message = SeenMessage(verb, device, decode(payload), qos, retained)
        self.seen.append(message)
        if retained or (qos != 0 and verb != "NDEATH"):
            self.faults.append(f"{message.line} with QoS {qos}, retained: {retained}")
        if verb != "NDEATH":
            self._follow(message)
        elif message.payload["bdSeq"].value == self.bd_seq:  # otherwise of an earlier connection
            self.is_online = False

    def _follow(self, message: SeenMessage) -> None:
        payload, device = message.payload, message.device
        if message.verb == "NBIRTH":
            self.is_online, self.bd_seq, self._seq = True, payload["bdSeq"].value, 0
            self.stale.update(self.tags)
        elif not self.is_online:
            self.faults.append(f"{message.line} of a node that is not born")
        if payload.seq != self._seq or payload.time_ms is None:
            self.faults.append(f"{message.line} has seq {payload.seq}, expected was {self._seq}")
        self._seq = (self._seq + 1) % 256
        match message.verb:
            case "NBIRTH" | "DBIRTH":
                self.tags[device] = {metric.name: metric for metric in payload}
                self.stale.discard(device)
            case "NDATA" | "DDATA":
                self._apply_data(message)
            case "DDEATH":
                self.stale.add(device)

    def _apply_data(self, message: SeenMessage) -> None:
        device = message.device
        if self.is_dead(device):
            self.faults.append(f"{message.line} of a device that is not born")
            return
        for metric in message.payload:
            born = self.tags[device].get(metric.name)
            if born is None:
                self.faults.append(f"{message.line} has {metric.name}, which its birth has not")
            elif not metric.is_null and type(metric.value) is not _KINDS[born.type]:
                self.faults.append(f"{message.line} has {metric.value!r} for {metric.name}, a {born.type}")
            elif metric.is_historical:
                self.history.append((device, metric))
            else:
                self.tags[device][metric.name] = replace(metric, type=born.type)


def subscription(port: int) -> tuple[str, ...]:
    """Return the command that prints a line for every message."""
    broker = ("-h", "127.0.0.1", "-p", str(port), "-V", "5", "-q", "1")
    return ("mosquitto_sub", *broker, "-t", "spBv1.0/#", "-t", _MARK, "-F", "%q|%r|%t|%x")


@contextlib.asynccontextmanager
async def listen(port: int) -> AsyncIterator[SparkplugHost]:
    """Run `mosquitto_sub` for a host; on leaving, check that there was no fault."""
    host = SparkplugHost(port)
    async with read_output(*subscription(port), read=host.read):
        await host.catch_up()
        yield host
    assert host.faults == [], host.faults
