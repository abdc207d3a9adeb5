"""Modbus TCP: framing, pipelining, exceptions, unit ids."""

from __future__ import annotations

import asyncio
import struct
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from support.modbus_fixtures import connect, frame, make_sink, mbpoll, point, register, update

from gateway.model import RegisterTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sinks.modbus_server.sink import ModbusServerSink

LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop]
HOLDING, COIL = RegisterTable.HOLDING, RegisterTable.COIL

WRITES = {
    "FC5 coil": "05 0000 FF00",
    "FC6 register": "06 0000 0001",
    "FC15 coils": "0F 0000 0001 01 01",
    "FC16 registers": "10 0000 0001 02 0001",
    "FC21 file record": "15 07 06 0001 0000 0001 0001",
    "FC22 mask": "16 0000 00F2 0025",
    "FC23 read and write": "17 0000 0001 0000 0001 02 0001",
}
OTHERS = {"FC7 status": "07", "FC8 diagnostics": "08 0000 1234", "FC0": "00", "FC99": "63 01", "FC128": "80"}


def read_pdu(address: int, count: int, *, function: int = 4) -> bytes:
    """Return the PDU of a read."""
    return struct.pack(">BHH", function, address, count)


@pytest.mark.parametrize("pdu", [*WRITES.values(), *OTHERS.values()], ids=[*WRITES, *OTHERS])
async def test_everything_but_reads_is_refused(pdu: str) -> None:
    """Writes and unknown functions get exception 1 and change nothing; the connection stays."""
    word, coil = point("W", register(0, "uint16", table=HOLDING)), point("C", register(0, "bit", table=COIL))
    request = bytes.fromhex(pdu)
    async with make_sink(word, coil) as sink, connect(sink) as client:
        await sink.write([update(word, 4), update(coil, 0)])
        assert await client.ask(request) == bytes([request[0] | 0x80, 1])
        assert await client.read(3, 0, 1) == b"\x00\x04"
        assert await client.read(1, 0, 1) == b"\x00"


async def test_mbpoll_cannot_write() -> None:
    """The client mbpoll reports an illegal function for a write."""
    target = point("T", register(0, "uint16", table=HOLDING))
    async with make_sink(target) as sink:
        assert "Illegal function" in await mbpoll(sink, "-t", "4", "-r", "0", "1")
        assert "Illegal function" in await mbpoll(sink, "-t", "0", "-r", "0", "1")


@pytest.mark.parametrize(
    ("function", "count", "answer"),
    [
        (3, 125, 250),
        (3, 0, b"\x83\x03"),
        (3, 126, b"\x83\x03"),
        (3, 65535, b"\x83\x03"),
        (1, 2000, 250),
        (1, 1, 1),
        (1, 9, 2),
        (1, 0, b"\x81\x03"),
        (1, 2001, b"\x81\x03"),
        (2, 1, b"\x82\x02"),  # nothing is mapped there
        (2, 2001, b"\x82\x03"),
        (4, 1, b"\x84\x02"),
        (4, 126, b"\x84\x03"),
    ],
)
async def test_bounds_of_one_read(function: int, count: int, answer: int | bytes) -> None:
    """One read has up to 125 registers or 2000 bits; beyond that it gets exception 3."""
    words = [point(f"W{i}", register(i, "float64", words=4, table=HOLDING)) for i in range(0, 200, 4)]
    coils = [point(f"C{i}", register(i, "bit", table=COIL)) for i in range(2100)]
    async with make_sink(*words, *coils) as sink, connect(sink) as client:
        got = await client.read(function, 0, count)
        assert (len(got) if isinstance(answer, int) else got) == answer


@pytest.mark.parametrize(
    "pdu", ["03", "03 00", "03 0000", "03 0000 00", "03 0000 0001 00", "01" + 252 * "00"]
)
async def test_read_of_a_wrong_length(pdu: str) -> None:
    """A read of a wrong length gets exception 3; the next one is answered."""
    request = bytes.fromhex(pdu)
    async with make_sink(point("T", register(0, "uint16", table=HOLDING))) as sink, connect(sink) as client:
        assert await client.ask(request) == bytes([request[0] | 0x80, 3])
        assert await client.read(3, 0, 1) == b"\xff\xff"


@settings(max_examples=40, deadline=None)
@given(
    mapped=st.sets(st.integers(0, 20) | st.integers(65525, 65535), min_size=1),
    reads=st.lists(st.tuples(st.integers(0, 22) | st.integers(65520, 65535), st.integers(1, 8)), min_size=1),
    table=st.sampled_from(RegisterTable),
)
def test_only_mapped_registers_can_be_read(
    mapped: set[int], reads: list[tuple[int, int]], table: RegisterTable
) -> None:
    """A read of mapped registers is answered; one with a gap, or past the end, gets exception 2."""
    is_bits = table in {RegisterTable.COIL, RegisterTable.DISCRETE}
    kind, function = ("bit", [1, 2]) if is_bits else ("uint16", [3, 4])
    code = function[table in {RegisterTable.DISCRETE, RegisterTable.INPUT}]
    points = {each: point(f"P{each}", register(each, kind, table=table)) for each in mapped}

    async def check() -> None:
        async with make_sink(*points.values()) as sink, connect(sink) as client:
            await sink.write([update(each, address % 2) for address, each in points.items()])
            for address, count in reads:
                values = [each % 2 for each in range(address, address + count)]
                expected = struct.pack(f">{count}H", *values)
                if is_bits:
                    expected = bytes([sum(bit << i for i, bit in enumerate(values))])
                if not mapped.issuperset(range(address, address + count)):
                    expected = bytes([code | 0x80, 2])
                assert await client.read(code, address, count) == expected

    asyncio.run(check())


@pytest.mark.parametrize("new_loop", LOOPS)
def test_pipelined_requests_are_all_answered(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """All requests of a TCP segment are answered in order by their transaction ids, also refused ones."""
    points = [point(f"P{i}", register(i, "uint16")) for i in range(100)]

    async def check() -> None:
        async with make_sink(*points) as sink, connect(sink) as client:
            await sink.write([update(each, i) for i, each in enumerate(points)])
            requests = [read_pdu(i % 101, 1) if i % 7 else bytes([6, 0, 0, 0, 1]) for i in range(2000)]
            await client.send(*(frame(pdu, transaction=60_000 + i) for i, pdu in enumerate(requests)))
            for i, pdu in enumerate(requests):
                value = b"\x84\x02" if i % 101 == 100 else b"\x04\x02" + (i % 101).to_bytes(2, "big")
                expected = value if pdu[0] == 4 else b"\x86\x01"
                assert await client.receive() == (60_000 + i, 1, expected)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(check())


REQUESTS = st.one_of(
    st.builds(read_pdu, st.integers(0, 130), st.integers(0, 130), function=st.sampled_from([1, 2, 3, 4])),
    st.builds(lambda: read_pdu(0, 125)),
    st.sampled_from([bytes.fromhex(pdu) for pdu in (*WRITES.values(), *OTHERS.values())]),
    st.sampled_from([b"\x2b\x0e\x02\x00", b"\x2b\x0e\x04\x09", b"\x2b"]),
    st.binary(min_size=1, max_size=253),
)


@settings(max_examples=60)
@given(
    requests=st.lists(st.tuples(REQUESTS, st.integers(0, 3)), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 10_000), max_size=40),
    end=st.sampled_from([b"", frame(read_pdu(0, 1))[:-1]]),
)
def test_segmentation_does_not_matter(requests: list[tuple[bytes, int]], cuts: list[int], end: bytes) -> None:
    """Any mix of right and wrong requests gets the same answers, in one segment or in any pieces."""
    frames = [frame(pdu, unit=unit, transaction=i) for i, (pdu, unit) in enumerate(requests)]
    stream = b"".join(frames) + end
    edges = [0, *sorted({at % len(stream) for at in cuts} - {0}), len(stream)]
    points = [point(f"P{i}", register(i, "uint16")) for i in range(125)]

    async def answers_to(sink: ModbusServerSink, *pieces: bytes, count: int) -> list[tuple[int, int, bytes]]:
        async with connect(sink) as client:
            for piece in pieces:
                await client.send(piece)
                await asyncio.sleep(0)  # most times, the server sees it by itself
            return [await client.receive() for _ in range(count)]

    async def check() -> None:
        async with make_sink(*points) as sink:
            by_themselves = [answer for each in frames for answer in await answers_to(sink, each, count=1)]
            assert await answers_to(sink, stream, count=len(frames)) == by_themselves
            pieces = [stream[start:stop] for start, stop in pairwise(edges)]
            assert await answers_to(sink, *pieces, count=len(frames)) == by_themselves
            assert [transaction for transaction, _, _ in by_themselves] == list(range(len(frames)))

    asyncio.run(check())


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client
        struct.pack(">HHHBB", 1, 1, 6, 1, 3),  # another protocol id
        struct.pack(">HHHBB", 1, 0, 0, 1, 3),
        struct.pack(">HHHBB", 1, 0, 1, 1, 3),
        struct.pack(">HHHBB", 1, 0, 255, 1, 3),
        struct.pack(">HHHBB", 1, 0, 65535, 1, 3),
        bytes(range(256)) * 64,
    ],
)
async def test_garbage_ends_the_connection(garbage: bytes) -> None:
    """Requests before the garbage are answered, then that connection is closed; others stay."""
    target = point("T", register(0, "uint16"))
    async with make_sink(target) as sink, connect(sink) as other, connect(sink) as client:
        await client.send(frame(read_pdu(0, 1), transaction=3), garbage)
        assert await client.receive() == (3, 1, b"\x04\x02\xff\xff")
        assert await client.is_dropped()
        assert await other.read(4, 0, 1) == b"\xff\xff"


async def test_device_itself_where_one_unit_is_mapped() -> None:
    """With one mapped unit, 0 and 255 mean it too; the answer has the requested id."""
    async with make_sink(point("T", register(0, "uint16", unit=17))) as sink, connect(sink) as client:
        for unit in (17, 0, 255):
            assert await client.read(4, 0, 1, unit=unit) == b"\xff\xff"
        for unit in (1, 16, 254):
            assert await client.read(4, 0, 1, unit=unit) == b"\x84\x0b"


async def test_device_itself_where_several_units_are_mapped() -> None:
    """With several mapped units, 0 and 255 have no registers."""
    points = [point(f"U{unit}", register(0, "uint16", unit=unit)) for unit in (1, 2)]
    async with make_sink(*points) as sink, connect(sink) as client:
        for unit, answer in ((1, b"\xff\xff"), (2, b"\xff\xff"), (0, b"\x84\x02"), (255, b"\x84\x02")):
            assert await client.read(4, 0, 1, unit=unit) == answer
        assert await client.read(4, 0, 1, unit=3) == b"\x84\x0b"


@pytest.mark.parametrize("itself", [0, 255])
async def test_device_itself_where_it_is_mapped(itself: int) -> None:
    """With 0 or 255 mapped beside others, both mean that unit; with both mapped, each means itself."""
    points = [point(f"U{unit}", register(unit, "uint16", unit=unit)) for unit in (1, itself)]
    async with make_sink(*points) as sink, connect(sink) as client:
        for unit in (0, 255):
            assert await client.read(4, itself, 1, unit=unit) == b"\xff\xff"
    both = [point(f"U{unit}", register(unit, "uint16", unit=unit)) for unit in (0, 255)]
    async with make_sink(*both) as sink, connect(sink) as client:
        assert await client.read(4, itself, 1, unit=itself) == b"\xff\xff"
        assert await client.read(4, itself, 1, unit=255 - itself) == b"\x84\x02"


async def test_nothing_mapped() -> None:
    """A sink without points opens its port and answers for no unit."""
    async with make_sink() as sink, connect(sink) as client:
        assert await client.read(4, 0, 1) == b"\x84\x0b"
