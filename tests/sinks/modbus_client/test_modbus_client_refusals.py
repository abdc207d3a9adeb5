"""Values that a controller refuses for good become dead letters; all others are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.modbus_client_parts import ClientRig, coil, held_point, holding, values_of

from gateway.errors import RefusedError

if TYPE_CHECKING:
    from support.libmodbus_controller import LibmodbusController, Request


def all_requests(controller: LibmodbusController, asked: list[Request]) -> list[Request]:
    """Add the requests since the last call, and return all."""
    asked.extend(controller.requests())
    return asked


@pytest.mark.parametrize(
    ("code", "words"),
    [(1, "illegal function"), (2, "illegal data address"), (3, "illegal data value")],
)
async def test_the_refused_value_of_a_block_is_found(
    controller: LibmodbusController, code: int, words: str
) -> None:
    """A refused request is split: the bad value is refused with its reason, its neighbours are written."""
    controller.rule(units=[3], addresses=[41, 41], exception=code)
    points = [held_point(f"P{n}", holding(36 + 2 * n, "float32", unit=3)) for n in range(5)]
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        with pytest.raises(RefusedError) as refused:
            await rig.show(1, 2, 3, 4, 5)
        (refusal,) = refused.value.refusals
        assert refusal.update.point is points[2]
        assert refusal.reason == f"exception {code} ({words}) for unit 3, holding 40-41"
        assert controller.floats(36, 5, unit=3) == [1, 2, 0, 4, 5]
        assert rig.status.state == "up"


async def test_a_refused_value_is_isolated(controller: LibmodbusController) -> None:
    """It is written by itself from then on, its neighbours are joined on both sides."""
    controller.rule(addresses=[4, 4], exception=2)
    points = [held_point(f"P{n}", holding(n)) for n in range(10)]
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        with pytest.raises(RefusedError):
            await rig.show(*range(1, 11))
        controller.requests()
        with pytest.raises(RefusedError) as refused:
            await rig.show(*range(11, 21))
        assert [refusal.update.point for refusal in refused.value.refusals] == [points[4]]
        asked = sorted((request.address, request.size) for request in controller.requests())
        assert asked == [(0, 4), (4, 1), (5, 5)]
        controller.no_rules()
        await rig.show(*range(21, 31))
    assert controller.registers(0, 10) == list(range(21, 31))


async def test_only_the_refused_values_of_a_batch_are_dead_letters(controller: LibmodbusController) -> None:
    """One refusal for each update, however many of its registers are refused; bits of a word share it."""
    controller.rule(addresses=[0, 9], exception=2)
    points = (
        held_point("TWICE", holding(0), holding(5), holding(20)),
        held_point("B0", holding(8, "bit", bit=0)),
        held_point("B1", holding(8, "bit", bit=1)),
        held_point("FINE", holding(30)),
        held_point("C", coil(15)),
    )
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        with pytest.raises(RefusedError) as refused:
            await rig.show(5, 1, 0, 7, 1)
        reasons = {refusal.update.point.point: refusal.reason for refusal in refused.value.refusals}
        await rig.deliver(*values_of(points[3:], [8, False]))
    text = "exception 2 (illegal data address) for unit 1, holding"
    assert reasons == {"TWICE": f"{text} 0; {text} 5", "B0": f"{text} 8", "B1": f"{text} 8"}
    assert controller.registers(20) == [5]
    assert controller.registers(30) == [8]


async def test_a_later_refusal_is_reported(controller: LibmodbusController) -> None:
    """A value that was busy at first and is refused later is reported once, by the next write."""
    points = [held_point(f"P{n}", holding(2 * n, unit=n)) for n in (1, 2)]
    rig = ClientRig(controller.port, *points)
    controller.rule(units=[2], exception=6, times=1)
    controller.rule(units=[2], exception=2)
    async with rig.sink:
        late = values_of(points, [1, 2])
        await rig.deliver(*late)
        asked: list[Request] = []
        await rig.until(lambda: sum(each.unit == 2 for each in all_requests(controller, asked)) == 2)
        with pytest.raises(RefusedError) as refused:
            await rig.deliver(*values_of(points[:1], [3]))
        assert [refusal.update for refusal in refused.value.refusals] == late[1:]
        assert refused.value.refusals[0].reason == "exception 2 (illegal data address) for unit 2, holding 4"
        await rig.deliver(*values_of(points[:1], [4]))
    assert controller.registers(2) == [4]


async def test_a_busy_value_that_is_accepted_later(controller: LibmodbusController) -> None:
    """It is not reported, not even when a newer value of its point is refused."""
    points = [held_point(f"P{n}", holding(2 * n, unit=n)) for n in (1, 2)]
    rig = ClientRig(controller.port, *points)
    controller.rule(units=[2], exception=6, times=1)
    async with rig.sink:
        await rig.show(1, 2)
        await rig.until(lambda: controller.registers(4, unit=2) == [2])
        controller.rule(units=[2], exception=2)
        await rig.deliver(*values_of(points[:1], [3]))
        with pytest.raises(RefusedError) as refused:
            await rig.show(4, 5)
        assert [refusal.update.safe_value for refusal in refused.value.refusals] == [5]


async def test_an_address_beyond_the_controllers_end(controller: LibmodbusController) -> None:
    """Registers beyond the last one are refused; those before, of the same request, are written."""
    points = [held_point(f"P{n}", holding(9996 + n)) for n in range(8)]
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        with pytest.raises(RefusedError) as refused:
            await rig.show(*range(1, 9))
    assert [refusal.update.point for refusal in refused.value.refusals] == points[4:]
    assert controller.registers(9996, 4) == [1, 2, 3, 4]


async def test_a_controller_without_joined_requests(controller: LibmodbusController) -> None:
    """If it accepts each value by itself, nothing is refused, and nothing is joined again."""
    controller.rule(from_count=3, exception=3)
    points = [held_point(f"P{n}", holding(2 * n, "float32")) for n in range(4)]
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        await rig.show(1, 2, 3, 4)
        controller.requests()
        await rig.show(5, 6, 7, 8)
        assert [request.size for request in controller.requests()] == [2, 2, 2, 2]
    assert controller.floats(0, 4) == [5, 6, 7, 8]


async def test_a_controller_that_refuses_everything(
    controller: LibmodbusController,
) -> None:
    """If every value is refused, as while it boots, neighbours are still joined later."""
    controller.rule(exception=1)
    points = [held_point(f"P{n}", holding(n)) for n in range(5)]
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        with pytest.raises(RefusedError) as refused:
            await rig.show(1, 2, 3, 4, 5)
        assert len(refused.value.refusals) == 5
        controller.no_rules()
        controller.requests()
        await rig.show(1, 2, 3, 4, 5)
        assert [request.size for request in controller.requests()] == [5]
    assert controller.registers(0, 5) == [1, 2, 3, 4, 5]


async def test_verify_finds_a_lost_value(controller: LibmodbusController) -> None:
    """It is written once more, then refused with both values; matching values are delivered."""
    points = (held_point("A", holding(0)), held_point("F", holding(1, "float32")), held_point("C", coil(2)))
    rig = ClientRig(controller.port, *points, verify=True)
    async with rig.sink:
        await rig.show(5, 1.5, 1)
        assert [request.function for request in controller.requests()] == [15, 1, 16, 3]
        controller.rule(functions=[16], forgets=True)
        with pytest.raises(RefusedError) as refused:
            await rig.deliver(*values_of(points[:1], [0xD7]))
        assert [request[1:] for request in controller.requests()] == [(16, 0, 1), (3, 0, 1)] * 2
        assert [refusal.reason for refusal in refused.value.refusals] == [
            "unit 1, holding 0 reads back 0x0000 after 0x00D7 was written"
        ]


async def test_verify_repeats_once(controller: LibmodbusController) -> None:
    """A value that reads back after the second write is delivered, and so are its neighbours."""
    points = [held_point(f"P{n}", holding(2 * n, "float32")) for n in range(3)]
    rig = ClientRig(controller.port, *points, verify=True)
    async with rig.sink:
        controller.rule(functions=[16], forgets=True, times=1)
        await rig.show(1.5, 2.5, 3.5)
    assert controller.floats(0, 3) == [1.5, 2.5, 3.5]


async def test_verify_of_a_write_only_register(controller: LibmodbusController) -> None:
    """It is refused; the others of its request are delivered."""
    controller.rule(functions=[3], addresses=[1, 1], exception=2)
    points = [held_point(f"P{n}", holding(n)) for n in range(3)]
    rig = ClientRig(controller.port, *points, verify=True)
    async with rig.sink:
        with pytest.raises(RefusedError) as refused:
            await rig.show(7, 8, 9)
    (refusal,) = refused.value.refusals
    assert refusal.update.point is points[1]
    assert refusal.reason == "exception 2 (illegal data address) when reading back unit 1, holding 1"
    assert controller.registers(0, 3) == [7, 8, 9]


@pytest.mark.parametrize("most", [100, 50, 16, 3])
async def test_a_controller_with_a_lower_limit(controller: LibmodbusController, most: int) -> None:
    """The number of registers that it accepts at once is learnt; none is isolated for it."""
    controller.rule(from_count=most + 1, exception=3)
    points = [held_point(f"P{n}", holding(n)) for n in range(120)]
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        await rig.show(*range(1, 121))
        assert controller.registers(0, 120) == list(range(1, 121))
        controller.requests()
        await rig.show(*range(201, 321))
        assert controller.registers(0, 120) == list(range(201, 321))
        asked = [request for request in controller.requests() if request.size <= most]
    assert len(asked) <= 2 * -(-120 // most)


async def test_a_refused_register_is_found_among_many_in_few_requests(
    controller: LibmodbusController,
) -> None:
    """A block is split in halves, so 120 registers take fewer than 20 requests."""
    controller.rule(addresses=[77, 77], exception=2)
    points = [held_point(f"P{n}", holding(n)) for n in range(120)]
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        with pytest.raises(RefusedError) as refused:
            await rig.show(*range(1, 121))
        assert [refusal.update.point for refusal in refused.value.refusals] == [points[77]]
        assert len(controller.requests()) < 20


async def test_a_controller_without_function_16(controller: LibmodbusController) -> None:
    """The reason names the setting that helps."""
    controller.rule(functions=[16], exception=1)
    rig = ClientRig(controller.port, held_point("P", holding(4)))
    async with rig.sink:
        with pytest.raises(RefusedError) as refused:
            await rig.show(1)
    (refusal,) = refused.value.refusals
    assert refusal.reason == (
        "exception 1 (illegal function) for unit 1, holding 4; perhaps it has no function 16: set"
        " `functions: [5, 6]`"
    )
