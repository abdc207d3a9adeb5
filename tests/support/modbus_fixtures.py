"""Points, latest values and a running Modbus server sink for tests, and clients for it."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.config.value_types import HostPort
from gateway.model import (
    ByteOrder,
    Mqtt,
    OnStale,
    Point,
    Quality,
    Register,
    RegisterTable,
    Scalar,
    StalePolicy,
    Update,
)
from gateway.sinks.modbus_server.sink import ModbusServerConfig, ModbusServerSink
from gateway.status import SinkStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from gateway.ports import PointSource

SINK = "regs"


def register(
    address: int,
    type: str,  # noqa: A002 - the name the point tables use
    *,
    words: int = 1,
    table: RegisterTable = RegisterTable.INPUT,
    unit: int = 1,
    sink: str = SINK,
    order: ByteOrder = ByteOrder.ABCD,
    scale: float = 1.0,
    bit: int | None = None,
) -> Register:
    """Return a register of the sink under test."""
    return Register(sink, unit, table, address, type, words, order, scale, bit)


def point(name: str, *registers: Register) -> Point:
    """Return a point that only has registers."""
    return Point(
        site="hq",
        tag="L03",
        point=name,
        asset="ast-1",
        source=name.lower(),
        unit_of_measure=None,
        stale_after_ms=None,
        on_stale=OnStale(StalePolicy.SENTINEL),
        mqtt=Mqtt(),
        registers=registers,
    )


def update(of: Point, plain: Scalar, *, time_ms: int = 1_000, value: Scalar = None) -> Update:
    """Return an update whose registers show `plain`."""
    quality = Quality.GOOD if plain is not None else Quality.BAD
    return Update(of, plain if value is None else value, plain, quality, time_ms, seq=1, event_id="evt_1")


@dataclass
class Points:
    """A PointSource."""

    points: tuple[Point, ...]


@dataclass
class Latest:
    """LatestValues over a dict."""

    updates: dict[Point, Update] = field(default_factory=dict)

    def keep(self, updates: Iterable[Update]) -> None:
        """Keep each update that is not older than the known one."""
        self.updates.update({each.point: each for each in updates if self.is_newest(each)})

    def latest(self, of: Point) -> Update | None:
        """Return the newest update."""
        return self.updates.get(of)

    def all_latest(self) -> Iterable[Update]:
        """Return all of the newest updates."""
        return tuple(self.updates.values())

    def last_good(self, of: Point) -> Scalar:
        """Return the value of the newest update."""
        known = self.updates.get(of)
        return None if known is None else known.value

    def is_newest(self, of: Update) -> bool:
        """Return whether nothing newer is known."""
        known = self.updates.get(of.point)
        return known is None or known.time_ms <= of.time_ms

    def age_ms(self, _: Update) -> int:
        """Return no age."""
        return 0


def make_sink(
    *points: Point,
    source: PointSource | None = None,
    latest: Latest | None = None,
    status: SinkStatus | None = None,
    **settings: Any,
) -> ModbusServerSink:
    """Return a sink that is not entered yet, on a free loopback port unless `listen` is given."""
    settings = {"listen": HostPort("127.0.0.1", 0), **settings}
    return ModbusServerSink(
        name=SINK,
        config=ModbusServerConfig(type="modbus_server", **settings),
        gateway="edge-1",
        points=source or Points(points),
        latest=latest or Latest(),
        status=status or SinkStatus(type="modbus_server"),
    )


@dataclass
class Client:
    """A client on a raw socket, with just enough Modbus TCP to frame requests."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *frames: bytes) -> None:
        """Send frames in one segment."""
        self.writer.write(b"".join(frames))
        await self.writer.drain()

    async def receive(self) -> tuple[int, int, bytes]:
        """Return transaction, unit and PDU of the next answer."""
        head = await self.reader.readexactly(7)
        transaction, protocol, length, unit = struct.unpack(">HHHB", head)
        assert protocol == 0
        return transaction, unit, await self.reader.readexactly(length - 1)

    async def ask(self, pdu: bytes, *, unit: int = 1, transaction: int = 7) -> bytes:
        """Return the PDU that answers a PDU."""
        await self.send(frame(pdu, unit=unit, transaction=transaction))
        answered = await self.receive()
        assert answered[:2] == (transaction, unit)
        return answered[2]

    async def read(self, function: int, address: int, count: int, *, unit: int = 1) -> bytes:
        """Return the data bytes of a read, or the whole exception PDU."""
        answer = await self.ask(struct.pack(">BHH", function, address, count), unit=unit)
        return answer if answer[0] & 0x80 else answer[2:]

    async def is_dropped(self, *, within_s: float = 60.0) -> bool:
        """Return whether the server ends the connection in time."""
        try:
            async with asyncio.timeout(within_s):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False


def frame(pdu: bytes, *, unit: int = 1, transaction: int = 7) -> bytes:
    """Return a PDU with its Modbus TCP header."""
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


@asynccontextmanager
async def connect(sink: ModbusServerSink | int, *, source: str = "127.0.0.1") -> AsyncIterator[Client]:
    """Connect to a sink, or to a daemon's port, which opens a moment after it is ready."""
    async with asyncio.timeout(60):
        reader, writer = await _open(sink if isinstance(sink, int) else sink.port, source)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def _open(port: int, source: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)


async def until(look: Callable[[], Any], expected: Any, *, within_s: float = 60.0) -> None:
    """Wait, while the loop runs, until a value is as expected."""
    deadline_s = asyncio.get_running_loop().time() + within_s
    while (seen := look()) != expected:
        assert asyncio.get_running_loop().time() < deadline_s, f"{seen!r} is seen, {expected!r} expected"
        await asyncio.sleep(0.01)


async def mbpoll(sink: ModbusServerSink, *arguments: str) -> str:
    """Poll once with mbpoll and PDU addresses; return the values, or the printed error."""
    process = await asyncio.create_subprocess_exec(
        "mbpoll", "-0", "-1", "-o", "10", "-p", str(sink.port), "127.0.0.1", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    text = output.decode("utf-8", "replace")
    values = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("[")]
    return " ".join(values) if process.returncode == 0 else text.splitlines()[0]
