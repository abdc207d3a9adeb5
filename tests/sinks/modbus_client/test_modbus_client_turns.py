"""Who is next on a line that is too slow for everything at once: nobody waits until all others are done."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.libmodbus_controller import LibmodbusController
from support.modbus_client_parts import ClientRig, held_point, holding, values_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.libmodbus_controller import Request


@pytest.fixture
def controller() -> Iterator[LibmodbusController]:
    """Return a running controller."""
    with LibmodbusController() as running:
        yield running


async def test_units_in_trouble_keep_no_write_waiting(controller: LibmodbusController) -> None:
    """Some of twelve are always due for another try, of 0.3 s each: a write of the other one returns."""
    points = [held_point(f"U{unit}", holding(5, unit=unit)) for unit in range(1, 14)]
    controller.rule(units=list(range(2, 14)), exception=11, delay_s=0.3)
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        async with asyncio.timeout(8):
            await rig.show(*range(1, 14))
        for value in range(20, 25):
            async with asyncio.timeout(2):
                await rig.deliver(*values_of(points[:1], [value]))
            assert controller.registers(5) == [value]


async def test_registers_that_are_never_ready_do_not_keep_each_other_waiting(
    controller: LibmodbusController,
) -> None:
    """One that is ready again is written, while another one still is not."""
    points = [held_point(f"P{n}", holding(n)) for n in range(6)]
    for address in (0, 3):
        controller.rule(addresses=[address, address], exception=4)
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        for start in (10, 20):
            await rig.show(*range(start, start + 6))
            await rig.until(lambda: controller.registers(1, 2) == [start + 1, start + 2])  # noqa: B023 - called in this turn
            await rig.until(lambda: controller.registers(4, 2) == [start + 4, start + 5])  # noqa: B023 - likewise
        controller.no_rules()
        controller.rule(addresses=[0, 0], exception=4)
        await rig.until(lambda: controller.registers(3) == [23])
        assert controller.registers(0) == [0]


@pytest.mark.parametrize("units", [[1], [1, 2, 3, 4]])
async def test_what_changes_while_the_whole_state_is_written_comes_in_between(
    controller: LibmodbusController, units: list[int]
) -> None:
    """A heartbeat, say, on a line where everything takes four seconds; its write waits for nothing else."""
    rest = [held_point(f"P{n}", holding(10 + 2 * n, unit=units[n % len(units)])) for n in range(80)]
    beat = held_point("BEAT", holding(0))
    controller.rule(delay_s=0.05)
    rig = ClientRig(controller.port, beat, *rest)
    rig.latest.take(values_of([beat, *rest], [0, *range(1, 81)]))
    asked: list[Request] = []

    def turns() -> tuple[int, int]:
        asked.extend(controller.requests())
        beats = [index for index, request in enumerate(asked) if request[:3] == (1, 16, 0)]
        return len(beats), beats[-1] if beats else 0

    async with rig.sink:
        await rig.until(lambda: turns()[0] == 1)
        for number in (2, 3, 4):
            before = len(asked)
            await rig.deliver(*values_of([beat], [number]))
            assert controller.registers(0) == [number]
            assert turns()[0] == number
            assert turns()[1] - before <= 4 + 2 * len(units)
        await rig.until(lambda: turns()[0] == 4 and len({(each.unit, each.address) for each in asked}) == 81)


async def test_the_heartbeat_beats_while_much_is_written(controller: LibmodbusController) -> None:
    """The delivery loop waits for a batch that takes long; no program may call the gateway dead for it."""
    beat = replace(held_point("BEAT", holding(0)), source="$heartbeat")
    rest = [held_point(f"P{n}", holding(10 + 2 * n)) for n in range(200)]
    controller.rule(delay_s=0.03)
    rig = ClientRig(controller.port, beat, *rest)
    async with rig.sink:
        await rig.deliver(*values_of([beat], [1]))
        writing = asyncio.create_task(rig.deliver(*values_of(rest, range(200))))
        for number in (2, 3, 4):
            rig.latest.take(values_of([beat], [number]))  # as the image has it; nobody else can write it now
            await rig.until(lambda: controller.registers(0) == [number], within_s=3)  # noqa: B023 - called in this turn
        assert not writing.done()
        await writing
