"""What a Modbus client writes into a controller: values, joined requests, no needless request."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from itertools import pairwise
from signal import SIGCONT, SIGSTOP

import pytest
from support.libmodbus_controller import LibmodbusController, Request
from support.modbus_client_parts import ClientRig, coil, held_point, holding, values_of
from support.mqtt_parts import make_update

from gateway.errors import RefusedError
from gateway.model import ByteOrder, Quality, RegisterTable


async def test_every_type_arrives_as_the_table_says(controller: LibmodbusController) -> None:
    """Type, byte order, scale and unit are those of the point table."""
    points = (
        held_point("T", holding(0, "int16", scale=10)),
        held_point("F", holding(10, "float32", order=ByteOrder.CDAB)),
        held_point("E", holding(20, "uint32")),
        held_point("S", holding(30, "string", words=4)),
        held_point("U", holding(0, unit=7)),
        held_point("C", coil(3)),
        held_point("D", coil(4)),
    )
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        await rig.show(-5.3, 21.5, 70000, "ok", 9, 1, 0)
    assert controller.registers(0) == [0x10000 - 53]
    assert controller.registers(10, 2) == [0x0000, 0x41AC]
    assert controller.registers(20, 2) == [1, 4464]
    assert controller.registers(30, 4) == [0x6F6B, 0, 0, 0]
    assert controller.registers(0, unit=7) == [9]
    assert controller.coils(2, 4) == [0, 1, 0, 0]


async def test_neighbours_share_a_request_and_only_changes_are_written(
    controller: LibmodbusController,
) -> None:
    """250 registers take three requests, two changed values two, no change none."""
    points = [held_point(f"P{n}", holding(n)) for n in range(250)]
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        await rig.show(*range(250))
        assert controller.requests() == [
            Request(1, 16, 0, 123),
            Request(1, 16, 123, 123),
            Request(1, 16, 246, 4),
        ]
        await rig.deliver(*values_of([points[7], points[9], points[100]], [7, 1009, 1100]))
        assert controller.requests() == [Request(1, 16, 9, 1), Request(1, 16, 100, 1)]
        await rig.deliver(*values_of([points[7], points[9]], [7, 1009]))
        assert controller.requests() == []
    assert controller.registers(0, 12) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 1009, 10, 11]


async def test_a_value_is_never_half_written(controller: LibmodbusController) -> None:
    """Each float is in a single request, wherever the limit of 123 registers falls."""
    points = [held_point(f"P{n}", holding(2 * n + 1, "float32")) for n in range(200)]
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        await rig.show(*(n + 0.5 for n in range(200)))
        requests = controller.requests()
    assert [request.size for request in requests] == [122, 122, 122, 34]
    assert all(request.address % 2 == 1 for request in requests)
    assert controller.floats(1, 200) == [n + 0.5 for n in range(200)]


async def test_a_quality_beside_its_value_is_in_the_same_request(controller: LibmodbusController) -> None:
    """A controller never has a new value with an old quality; without a reading, neither is written."""
    target = held_point("P", holding(0, "float32"), replace(holding(2), shows_quality=True))
    waiting = held_point("Q", holding(9), replace(holding(10), shows_quality=True))
    rig = ClientRig(controller.port, target, waiting)
    async with rig.sink:
        await rig.deliver(make_update(target, 21.5))
        assert controller.requests() == [Request(1, 16, 0, 3)]
        assert (controller.floats(0, 1), controller.registers(2)) == ([21.5], [0])
        await rig.deliver(make_update(target, 22.5, quality=Quality.HELD, seq=2))
        assert controller.requests() == [Request(1, 16, 0, 3)]
        assert (controller.floats(0, 1), controller.registers(2)) == ([22.5], [1])
        await rig.deliver(make_update(target, 22.5, quality=Quality.FORCED, seq=3))
        assert controller.registers(2) == [4]
    assert controller.registers(9, 2) == [0, 0]


async def test_coils_are_joined_too(controller: LibmodbusController) -> None:
    """2,000 coils take two requests; a gap is not written."""
    points = [held_point(f"C{n}", coil(n)) for n in range(2000)]
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        await rig.show(*(n % 3 == 0 for n in range(2000)))
    assert controller.requests() == [Request(1, 15, 0, 1968), Request(1, 15, 1968, 32)]
    assert controller.coils(0, 2001) == [*(int(n % 3 == 0) for n in range(2000)), 0]


@pytest.mark.parametrize(
    ("functions", "expected"),
    [
        ((15, 16), [(15, 0, 2), (16, 0, 3), (16, 9, 1)]),
        ((5, 6), [(5, 0, 1), (5, 1, 1), (6, 0, 1), (6, 9, 1)]),
        ((6, 15, 16), [(15, 0, 2), (16, 0, 3), (6, 9, 1)]),
    ],
)
async def test_only_functions_that_the_controller_understands_are_used(
    controller: LibmodbusController, functions: tuple[int, ...], expected: list[tuple[int, int, int]]
) -> None:
    """Only `functions` are used; without 16, a pair of registers is not written."""
    points = (
        held_point("A", holding(0)),
        held_point("B", holding(1, "float32")),
        held_point("C", holding(9)),
        held_point("D", coil(0)),
        held_point("E", coil(1)),
    )
    rig = ClientRig(controller.port, *points, functions=functions)
    async with rig.sink:
        await rig.show(5, 1.5, 7, 1, 1)
    assert [request[1:] for request in controller.requests()] == expected
    assert controller.registers(9) == [7]
    assert controller.coils(0, 2) == [1, 1]


async def test_nothing_but_mapped_registers_is_written(controller: LibmodbusController) -> None:
    """A controller's own registers between mapped ones keep their values."""
    controller.fill(0, 1, 2, 3, 4, 5)
    rig = ClientRig(controller.port, held_point("A", holding(1)), held_point("B", holding(3)))
    async with rig.sink:
        await rig.show(100, 300)
    assert controller.registers(0, 5) == [1, 100, 3, 300, 5]


async def test_units_that_are_not_listed_are_never_written(controller: LibmodbusController) -> None:
    """`units` limits what tables can write; input registers are never written as holding ones."""
    points = (
        held_point("A", holding(0, unit=1)),
        held_point("B", holding(0, unit=2)),
        held_point("C", holding(5, table=RegisterTable.INPUT)),
    )
    rig = ClientRig(controller.port, *points, units=(1,))
    async with rig.sink:
        await rig.show(5, 6, 7)
    assert controller.requests() == [Request(1, 16, 0, 1)]


async def test_bits_of_a_word_go_together(controller: LibmodbusController) -> None:
    """One changed bit writes its word with one request and leaves the other bits."""
    points = [held_point(f"B{bit}", holding(4, "bit", bit=bit)) for bit in (0, 3, 15)]
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        await rig.show(1, 0, 1)
        assert controller.registers(4) == [0x8001]
        await rig.deliver(*values_of(points[1:2], [True]))
        assert controller.registers(4) == [0x8009]
        await rig.deliver(*values_of(points[:1], [False]))
        assert controller.registers(4) == [0x8008]
        assert [request[1:] for request in controller.requests()] == [(16, 4, 1)] * 3


async def test_a_point_without_a_reading_is_left_alone(controller: LibmodbusController) -> None:
    """The controller keeps its value until the first reading; without a usable one it gets the sentinel."""
    points = (
        held_point("A", holding(0)),
        held_point("F", holding(1, "float32")),
        held_point("B", holding(3)),
        held_point("C", coil(0)),
    )
    controller.fill(0, 11, 22, 33, 44)
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        await rig.deliver(*values_of(points[2:3], [5]))
        assert controller.registers(0, 4) == [11, 22, 33, 5]
        await rig.show(None, None, None, None)
    assert controller.registers(0) == [0xFFFF]
    assert math.isnan(controller.floats(1)[0])
    assert controller.registers(3) == [0xFFFF]
    assert controller.coils(0) == [0]


async def test_only_the_newest_value_is_written(controller: LibmodbusController) -> None:
    """A late reading changes nothing; of several in a batch, only the last is written."""
    point = held_point("A", holding(0))
    rig = ClientRig(controller.port, point)
    async with rig.sink:
        await rig.deliver(*(make_update(point, value, time_ms=1000 * value) for value in (1, 2, 3)))
        await rig.deliver(make_update(point, 9, time_ms=1500))
    assert controller.registers(0) == [3]
    assert len(controller.requests()) == 1


@pytest.mark.parametrize("quality", [Quality.GOOD, Quality.FORCED, Quality.STALE, Quality.HELD])
async def test_a_value_outside_of_its_range_is_never_sent(
    controller: LibmodbusController, quality: Quality
) -> None:
    """It is refused, measured or forced, and the sentinel is written."""
    points = (held_point("SP", holding(0, "int16", scale=10), limits=(5, 30)), held_point("B", holding(1)))
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        await rig.show(21.5, 1)
        outside = replace(make_update(points[0], 30.1), quality=quality)
        with pytest.raises(RefusedError) as refused:
            await rig.deliver(outside, *values_of(points[1:], [2]))
        (refusal,) = refused.value.refusals
        assert refusal.update is outside
        assert refusal.reason == "30.1 is outside of the point's range, 5 to 30"
        assert controller.registers(0, 2) == [0x8000, 2]
        await rig.show(30, 2)
    assert controller.registers(0) == [300]


async def test_a_value_that_its_register_cannot_hold_is_refused(controller: LibmodbusController) -> None:
    """The reason names the place; the point's other register gets the value."""
    point = held_point("A", holding(0), holding(4, "float32"))
    rig = ClientRig(controller.port, point)
    async with rig.sink:
        with pytest.raises(RefusedError) as refused:
            await rig.show(70000)
    (refusal,) = refused.value.refusals
    assert refusal.reason.startswith("unit 1, holding 0: 70000 is beyond uint16")
    assert controller.registers(0) == [0xFFFF]
    assert controller.floats(4) == [70000]


async def test_what_is_bad_because_of_a_register_is_refused(controller: LibmodbusController) -> None:
    """All registers get what `on_stale` says; the reason names the register."""
    point = held_point("A", holding(0), holding(4, "float32"))
    rig = ClientRig(controller.port, point)
    bad = replace(make_update(point, 70000), safe_value=7, quality=Quality.BAD)
    async with rig.sink:
        with pytest.raises(RefusedError) as refused:
            await rig.deliver(bad)
    (refusal,) = refused.value.refusals
    assert refusal.update is bad
    assert refusal.reason.startswith("unit 1, holding 0: 70000 is beyond uint16")
    assert (controller.registers(0), controller.floats(4)) == ([7], [7])


async def test_requests_are_paced(controller: LibmodbusController) -> None:
    """`min_interval` passes between each answer and the next request."""
    points = [held_point(f"P{n}", holding(2 * n)) for n in range(6)]
    rig = ClientRig(controller.port, *points, min_interval="50ms")
    async with rig.sink:
        await rig.show(*range(6))
        times = [time_s for _, time_s in controller.timed_requests()]
    assert len(times) == 6
    assert min(after - before for before, after in pairwise(times)) > 0.045


async def test_a_slow_controller_gets_the_newest_values_only(controller: LibmodbusController) -> None:
    """Changes during a request are written after it, each as it is then."""
    point = held_point("A", holding(0))
    rig = ClientRig(controller.port, point)
    async with rig.sink:
        await rig.show(1)
        controller.requests()
        controller.signal(SIGSTOP)
        writes = []
        for value in (2, 3, 4, 5, 6):
            writes.append(asyncio.create_task(rig.show(value)))
            for _ in range(20):  # turns of the event loop, in which the first request is sent
                await asyncio.sleep(0)
        controller.signal(SIGCONT)
        await asyncio.gather(*writes)
        assert len(controller.requests()) == 2
    assert controller.registers(0) == [6]
