"""Read Device Identification: what a controller or a network scan reads."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from pymodbus.client import AsyncModbusTcpClient
from support.modbus_fixtures import connect, make_sink, point, register

from gateway.sinks.modbus_server.answers import ModbusIdentity

if TYPE_CHECKING:
    from gateway.sinks.modbus_server.sink import ModbusServerSink

TARGET = point("T", register(0, "uint16"))
VERSION = version("building-gateway").encode()
BASIC = {0: b"Building gateway", 1: b"building-gateway", 2: VERSION}
REGULAR = BASIC | {4: b"Building telemetry gateway", 5: b"Modbus TCP server", 6: b"edge-1/regs"}


async def identify(sink: ModbusServerSink, code: int, first: int = 0, *, unit: int = 1) -> dict[int, bytes]:
    """Read with pymodbus's client until no more objects follow; return all."""
    found: dict[int, bytes] = {}
    async with AsyncModbusTcpClient("127.0.0.1", port=sink.port) as client:
        while True:
            answer: Any = await client.read_device_information(
                read_code=code, object_id=first, device_id=unit
            )
            assert not answer.isError(), answer
            assert answer.conformity == 0x82
            found |= answer.information
            if not answer.more_follows:
                return found
            assert answer.next_object_id > first
            first = answer.next_object_id


@pytest.mark.parametrize(
    ("code", "first", "expected"),
    [
        (1, 0, BASIC),
        (2, 0, REGULAR),
        (3, 0, REGULAR),  # extended is more than there is: answered by what there is
        (2, 4, {number: REGULAR[number] for number in (4, 5, 6)}),
        (1, 2, {2: VERSION}),
        (2, 3, REGULAR),  # no such object: from the beginning
        (1, 4, BASIC),
        (3, 0x80, REGULAR),
        (4, 0, {0: REGULAR[0]}),
        (4, 6, {6: REGULAR[6]}),
    ],
)
async def test_streams_and_single_objects(code: int, first: int, expected: dict[int, bytes]) -> None:
    """Another vendor's client reads vendor, product and version, and the names of product and gateway."""
    async with make_sink(TARGET) as sink:
        assert await identify(sink, code, first) == expected


async def test_bytes_as_the_specification_has_them() -> None:
    """The answers have the bytes of V1.1b3, 6.21, for the basic stream and for a single object."""
    identity = ModbusIdentity(vendor="Company", product_code="P-1", vendor_url="https://a.b")
    async with make_sink(TARGET, identity=identity) as sink, connect(sink) as client:
        expected = b"\x2b\x0e\x01\x82\x00\x00\x03" + b"\x00\x07Company" + b"\x01\x03P-1"
        expected += b"\x02" + bytes([len(VERSION)]) + VERSION
        assert await client.ask(b"\x2b\x0e\x01\x00") == expected
        assert await client.ask(b"\x2b\x0e\x04\x03") == b"\x2b\x0e\x04\x82\x00\x00\x01\x03\x0bhttps://a.b"


async def test_objects_that_do_not_fit_follow() -> None:
    """Objects that are too long for one answer follow in the next; none is cut or lost."""
    fields = ("vendor", "product_code", "vendor_url", "product_name", "model", "application")
    texts = {field: field[0] * 64 for field in fields}
    numbers = dict(zip(fields, (0, 1, 3, 4, 5, 6), strict=True))
    async with make_sink(TARGET, identity=ModbusIdentity(**texts)) as sink:
        expected = {number: texts[field].encode() for field, number in numbers.items()} | {2: VERSION}
        assert await identify(sink, 2) == expected
        async with connect(sink) as client:
            first = await client.ask(b"\x2b\x0e\x02\x00")
            assert (first[4], first[5], first[6]) == (0xFF, 4, 4)  # more follows, from object 4, after four
            assert len(first) <= 253
            last = await client.ask(b"\x2b\x0e\x02\x04")
            assert (last[4], last[5], last[6]) == (0, 0, 3)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("0E 00 00", 3),  # no such kind of access
        ("0E 05 00", 3),
        ("0E 04 03", 2),  # no vendor's URL is written
        ("0E 04 07", 2),
        ("0E 04 80", 2),
        ("0D 01 00", 1),  # CANopen
        ("0E 01", 3),
        ("0E 01 00 00", 3),
        ("", 1),
    ],
)
async def test_refused_requests(asked: str, code: int) -> None:
    """Unknown objects get exception 2, unknown access and wrong lengths 3, other transports 1."""
    async with make_sink(TARGET) as sink, connect(sink) as client:
        assert await client.ask(b"\x2b" + bytes.fromhex(asked)) == bytes([0xAB, code])
        assert await client.read(4, 0, 1) == b"\xff\xff"


async def test_units() -> None:
    """Each mapped unit and the device itself can be identified; other units get exception 11."""
    points = [point(f"U{unit}", register(0, "uint16", unit=unit)) for unit in (1, 2)]
    async with make_sink(*points) as sink:
        for unit in (1, 2, 0, 255):
            assert await identify(sink, 1, unit=unit) == BASIC
        async with connect(sink) as client:
            assert await client.ask(b"\x2b\x0e\x01\x00", unit=3) == b"\xab\x0b"
