"""Turns on a slow line: no unit waits until all others are done."""

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
    """A write to a good unit comes before all but a few tries of twelve others."""
    points = [held_point(f"U{unit}", holding(5, unit=unit)) for unit in range(1, 14)]
    controller.rule(units=list(range(2, 14)), exception=11, delay_s=0.3)
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        await rig.show(*range(1, 14))
        for value in range(20, 25):
            controller.requests()
            await rig.deliver(*values_of(points[:1], [value]))
            assert controller.registers(5) == [value]
            assert len(controller.requests()) < 5


async def test_busy_registers_do_not_delay_each_other(
    controller: LibmodbusController,
) -> None:
    """A register that is ready again is written while another one is still busy."""
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
async def test_changes_come_between_a_full_write(controller: LibmodbusController, units: list[int]) -> None:
    """A new value is written within a few requests, while writing everything takes four seconds."""
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
    """The heartbeat is written while the delivery loop waits for a long batch."""
    beat = replace(held_point("BEAT", holding(0)), source="$heartbeat")
    rest = [held_point(f"P{n}", holding(10 + 2 * n)) for n in range(200)]
    controller.rule(delay_s=0.03)
    rig = ClientRig(controller.port, beat, *rest)
    async with rig.sink:
        await rig.deliver(*values_of([beat], [1]))
        writing = asyncio.create_task(rig.deliver(*values_of(rest, range(200))))
        for number in (2, 3, 4):
            rig.latest.take(values_of([beat], [number]))  # as the image has it; nobody else can write it now
            await rig.until(lambda: controller.registers(0) == [number])  # noqa: B023 - called in this turn
        assert not writing.done()
        await writing
