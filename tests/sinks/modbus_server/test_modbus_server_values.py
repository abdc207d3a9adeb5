"""The values in the registers: every type, bits, sentinels, restored and refused values."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from pymodbus.client import AsyncModbusTcpClient
from support.modbus_fixtures import Latest, connect, make_sink, mbpoll, point, register, update
from support.ports import free_port

from gateway.config.value_types import HostPort
from gateway.errors import RefusedError
from gateway.model import ByteOrder, Quality, RegisterTable

if TYPE_CHECKING:
    from gateway.model import Register, Scalar

HOLDING, COIL, DISCRETE = RegisterTable.HOLDING, RegisterTable.COIL, RegisterTable.DISCRETE


@pytest.mark.parametrize(
    ("mapped", "value", "arguments", "shown"),
    [
        (register(0, "int16"), -5, "-t 3:int16 -r 0", "-5"),
        (register(1, "uint16", scale=10), 45.5, "-t 3 -r 1", "455"),
        (register(1, "uint16"), 65534, "-t 3:hex -r 1", "0xFFFE"),
        (register(2, "int32", words=2), -70_000, "-t 3:int -B -r 2", "-70000"),
        (register(2, "int32", words=2, order=ByteOrder.CDAB), -70_000, "-t 3:int -r 2", "-70000"),
        (register(8, "uint32", words=2, table=HOLDING), 70_000, "-t 4:int -B -r 8", "70000"),
        (register(8, "float32", words=2, table=HOLDING), 21.5, "-t 4:float -B -r 8", "21.5"),
        (register(8, "float32", words=2, order=ByteOrder.CDAB), 21.5, "-t 3:float -r 8", "21.5"),
        (register(8, "float32", words=2, order=ByteOrder.DCBA), 21.5, "-t 3:hex -r 8 -c 2", "0x0000 0xAC41"),
        (register(8, "int64", words=4), -2, "-t 3:hex -r 8 -c 4", "0xFFFF 0xFFFF 0xFFFF 0xFFFE"),
        (register(8, "uint64", words=4), 1 << 32, "-t 3:hex -r 8 -c 4", "0x0000 0x0001 0x0000 0x0000"),
        (register(8, "float64", words=4), 1.0, "-t 3:hex -r 8 -c 4", "0x3FF0 0x0000 0x0000 0x0000"),
        (register(8, "string", words=2), "AHU", "-t 3:hex -r 8 -c 2", "0x4148 0x5500"),
        (register(8, "bit", bit=3), True, "-t 3 -r 8", "8"),
        (register(8, "bit", table=COIL), 1, "-t 0 -r 8", "1"),
        (register(65535, "bit", table=DISCRETE), True, "-t 1 -r 65535", "1"),
        (register(65535, "uint16", unit=247), 7, "-t 3 -r 65535 -a 247", "7"),
    ],
)
async def test_mbpoll_reads_each_type(mapped: Register, value: Scalar, arguments: str, shown: str) -> None:
    """The client mbpoll reads each type, order, table and unit as it was written."""
    target = point("VALUE", mapped)
    async with make_sink(target) as sink:
        await sink.write([update(target, value)])
        assert await mbpoll(sink, *arguments.split()) == shown


async def test_mbpoll_reads_the_quality_beside_the_value() -> None:
    """Before the first value it is no value; then the number of each quality, whatever the value is."""
    target = point("P", register(0, "uint16"), replace(register(1, "uint16"), shows_quality=True))
    async with make_sink(target) as sink:
        both = ("-t", "3:hex", "-r", "0", "-c", "2")
        assert await mbpoll(sink, *both) == "0xFFFF 0xFFFF"
        for quality in Quality:
            await sink.write([replace(update(target, 7), quality=quality)])
            assert await mbpoll(sink, *both) == f"0x0007 0x000{quality.value}"


async def test_pymodbus_reads_the_same() -> None:
    """Pymodbus's client decodes the same doubles and strings, and packs coils in the same order."""
    double = point("DOUBLE", register(10, "float64", words=4, table=HOLDING))
    text = point("TEXT", register(14, "string", words=5, table=HOLDING))
    coils = [point(f"COIL-{i}", register(i, "bit", table=COIL)) for i in range(11)]
    pattern = [i % 3 == 0 for i in range(11)]
    async with make_sink(double, text, *coils) as sink:
        await sink.write([update(double, -273.15), update(text, "L03-RM312")])
        await sink.write([update(each, bit) for each, bit in zip(coils, pattern, strict=True)])
        async with AsyncModbusTcpClient("127.0.0.1", port=sink.port) as client:
            words = (await client.read_holding_registers(10, count=9)).registers
            assert client.convert_from_registers(words[:4], client.DATATYPE.FLOAT64) == -273.15
            assert client.convert_from_registers(words[4:], client.DATATYPE.STRING) == "L03-RM312"
            assert (await client.read_coils(0, count=11)).bits[:11] == pattern


async def test_sentinel_before_the_first_reading_and_without_value() -> None:
    """A register shows its sentinel, a bit 0, before the first value and when there is none."""
    names = {"int16": 1, "uint16": 1, "float32": 2, "bit": 1}
    registers = {
        name: register(10 * i, name, words=words, bit=0 if name == "bit" else None)
        for i, (name, words) in enumerate(names.items())
    }
    points = [point(name, each) for name, each in registers.items()]
    coil = point("COIL", register(0, "bit", table=COIL))
    async with make_sink(*points, coil) as sink, connect(sink) as client:

        async def shown() -> list[Any]:
            words = [await client.read(4, 10 * i, count) for i, count in enumerate(names.values())]
            raw = b"".join(words) + await client.read(1, 0, 1)
            return [*struct.unpack(">HHfHB", raw)]

        def are_sentinels(values: list[Any]) -> bool:
            return values[:2] == [0x8000, 0xFFFF] and math.isnan(values[2]) and values[3:] == [0, 0]

        assert are_sentinels(await shown())
        await sink.write([update(each, 1) for each in (*points, coil)])
        assert await shown() == [1, 1, 1.0, 1, 1]
        await sink.write([update(each, None, value=1) for each in (*points, coil)])
        assert are_sentinels(await shown())


async def test_the_safe_value_is_shown() -> None:
    """A register shows the safe value, not the measured one."""
    target = point("T", register(0, "uint16"))
    async with make_sink(target) as sink, connect(sink) as client:
        await sink.write([update(target, 99, value=21)])
        assert await client.read(4, 0, 1) == b"\x00\x63"


async def test_bits_share_a_word() -> None:
    """Setting and clearing a bit leaves the other bits of its word."""
    low, high = (point(f"BIT-{bit}", register(4, "bit", bit=bit)) for bit in (0, 15))
    async with make_sink(low, high) as sink, connect(sink) as client:
        for written, word in (((low, True), 1), ((high, True), 0x8001), ((low, False), 0x8000)):
            await sink.write([update(*written)])
            assert await client.read(4, 4, 1) == word.to_bytes(2, "big")


async def test_older_updates_do_not_replace_newer_ones() -> None:
    """An update that is not its point's newest is skipped, however late it is written."""
    target, latest = point("T", register(0, "uint16")), Latest()
    newest = update(target, 2, time_ms=2_000)
    latest.keep([newest])
    async with make_sink(target, latest=latest) as sink, connect(sink) as client:
        await sink.write([newest, update(target, 1, time_ms=1_000)])
        assert await client.read(4, 0, 1) == b"\x00\x02"


async def test_answers_follow_every_change() -> None:
    """A repeated read shows what was written last."""
    targets = [point(f"P{i}", register(i, "uint16")) for i in range(60)]
    async with make_sink(*targets) as sink, connect(sink) as client:
        for value in range(3):
            await sink.write([update(each, value) for each in targets])
            for address in range(60):
                for count in range(1, 61 - address):
                    assert await client.read(4, address, count) == value.to_bytes(2, "big") * count
        assert len(sink._answers._known) <= 1024  # of the 1,830 different reads: memory has a bound


async def test_all_registers_of_a_point_and_only_this_sinks() -> None:
    """A point is shown in each of its registers of this sink; those of other sinks do not exist here."""
    here, there = [register(0, "uint16"), register(9, "uint16", unit=2)], register(1, "uint16", sink="other")
    target = point("T", *here, there)
    foreign = point("FOREIGN", register(2, "uint16", sink="other"))
    async with make_sink(target, foreign) as sink, connect(sink) as client:
        await sink.write([update(target, 5), update(foreign, 6), update(point("UNKNOWN"), 7)])
        assert await client.read(4, 0, 1) == b"\x00\x05"
        assert await client.read(4, 9, 1, unit=2) == b"\x00\x05"
        assert await client.read(4, 1, 1) == b"\x84\x02"
        assert await client.read(4, 2, 1) == b"\x84\x02"


async def test_value_that_does_not_fit_is_refused_and_shown_as_sentinel() -> None:
    """A value beyond its type is refused with place and type and shows as sentinel; others are written."""
    small = point("SMALL", register(0, "int16"), register(1, "float32", words=2))
    text, after = point("TEXT", register(5, "uint16", unit=2)), point("AFTER", register(3, "uint16"))
    async with make_sink(small, text, after) as sink, connect(sink) as client:
        await sink.write([update(small, 1), update(text, 1)])
        updates = [update(small, 40_000), update(text, "open"), update(after, 3)]
        with pytest.raises(RefusedError) as refused:
            await sink.write(updates)
        refusals = refused.value.refusals
        assert [refusal.update for refusal in refusals] == updates[:2]
        assert refusals[0].reason.startswith("unit 1, input 0: 40000 is beyond int16")
        assert refusals[1].reason == "unit 2, input 5: uint16 holds numbers, not the text 'open'"
        assert await client.read(4, 0, 4) == struct.pack(">HfH", 0x8000, 40_000.0, 3)
        assert await client.read(4, 5, 1, unit=2) == b"\xff\xff"


async def test_restored_before_the_port_opens() -> None:
    """The first answer after a start already shows the last values."""
    port = free_port()
    target, latest = point("T", register(0, "uint16")), Latest()
    latest.keep([update(target, 4711)])
    answers: list[bytes] = []

    def poll_until_answered() -> None:
        while not answers:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
                    client.sendall(bytes.fromhex("0001 0000 0006 01 04 0000 0001"))
                    answers.append(client.recv(260))
            except ConnectionError:
                continue

    poller = threading.Thread(target=poll_until_answered)
    poller.start()
    async with make_sink(target, latest=latest, listen=HostPort("127.0.0.1", port)):
        await asyncio.to_thread(poller.join)
    assert answers == [bytes.fromhex("0001 0000 0005 01 04 02 1267")]


async def test_restoring_a_value_that_does_not_fit_does_not_stop_the_start() -> None:
    """A stored value that its register cannot hold shows as sentinel."""
    target, latest = point("T", register(0, "int16")), Latest()
    latest.keep([update(target, 1e9)])
    async with make_sink(target, latest=latest) as sink, connect(sink) as client:
        assert await client.read(4, 0, 1) == b"\x80\x00"


async def test_values_are_never_torn() -> None:
    """Pollers on several connections read whole values only, while these change all the time."""
    wide = point("WIDE", register(0, "float64", words=4))
    narrow = point("NARROW", register(4, "float32", words=2))
    wholes = {struct.pack(">df", number, number) for number in (1.5, -3.1e7)}
    async with make_sink(wide, narrow) as sink:
        await sink.write([update(each, 1.5) for each in (wide, narrow)])
        seen: set[bytes] = set()

        async def poll() -> None:
            async with connect(sink) as client:
                for _ in range(300):
                    seen.add(await client.read(4, 0, 6))

        async with asyncio.TaskGroup() as pollers:
            tasks = [pollers.create_task(poll(), name=f"poll-{i}") for i in range(4)]
            while not all(task.done() for task in tasks):
                for number in (-3.1e7, 1.5):
                    await sink.write([update(each, number) for each in (wide, narrow)])
                    await asyncio.sleep(0)
    assert seen == wholes
