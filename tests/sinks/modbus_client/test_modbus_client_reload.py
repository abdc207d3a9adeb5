"""Another point table for a Modbus client: what is new or changed is written, and nothing else."""

from __future__ import annotations

import asyncio
from signal import SIGCONT, SIGSTOP

from support.libmodbus_controller import LibmodbusController, Request
from support.modbus_client_parts import ClientRig, held_point, holding, values_of


def asked_in_all(controller: LibmodbusController, asked: list[Request]) -> list[Request]:
    """Add what was asked since this was called last, and return all."""
    asked.extend(controller.requests())
    return asked


async def test_only_what_is_new_or_changed_is_written(controller: LibmodbusController) -> None:
    """Registers of points that are gone keep what they hold; the connection stays."""
    points = [held_point(f"P{n}", holding(n)) for n in range(4)]
    rig = ClientRig(controller.port, *points)
    async with rig.sink:
        await rig.show(10, 11, 12, 13)
        controller.requests()
        rig.swap(
            held_point("P0", holding(0)),  # as before
            held_point("P1", holding(1, scale=10)),
            held_point("P2", holding(20)),  # moved; P3 is gone
        )
        await rig.until(lambda: controller.registers(20) == [12])
        assert controller.registers(0, 4) == [10, 110, 12, 13]
        assert controller.requests() == [Request(1, 16, 1, 1), Request(1, 16, 20, 1)]
        await rig.show(10, 5, 6)
        assert controller.registers(1) == [50]
    assert controller.connections()[1] == 1


async def test_a_request_under_way_while_tables_are_swapped(controller: LibmodbusController) -> None:
    """What it writes is not forgotten: what the new table wants is written after it, be it as before."""
    before, after = held_point("P", holding(0)), held_point("P", holding(0))
    rig = ClientRig(controller.port, before)
    async with rig.sink:
        await rig.show(10)
        controller.requests()
        controller.signal(SIGSTOP)
        writing = asyncio.create_task(rig.show(11))
        for _ in range(20):  # turns of the event loop, in which the request is sent
            await asyncio.sleep(0)
        rig.swap(after, news=values_of([after], [10]))
        await writing
        controller.signal(SIGCONT)
        asked: list[Request] = []
        await rig.until(lambda: len(asked_in_all(controller, asked)) == 2)
        assert controller.registers(0) == [10]


async def test_updates_of_the_former_table_are_passed_over(controller: LibmodbusController) -> None:
    """They were made for other registers."""
    before, after = held_point("P", holding(0)), held_point("P", holding(1))
    rig = ClientRig(controller.port, before)
    async with rig.sink:
        await rig.show(10)
        rig.swap(after)
        await rig.sink.write(values_of([before], [99]))
        await rig.show(11)
    assert controller.registers(0, 2) == [10, 11]


async def test_a_reload_while_the_controller_is_away() -> None:
    """The new table's whole state is there once the controller is."""
    controller = LibmodbusController()
    points = [held_point(f"P{n}", holding(n)) for n in range(2)]
    rig = ClientRig(controller.port, *points)
    rig.latest.take(values_of(points, [10, 11]))
    async with rig.sink:
        await rig.until(lambda: rig.status.state == "away")
        rig.swap(held_point("P0", holding(5)), held_point("P1", holding(6)))
        with controller:
            await rig.until(lambda: controller.registers(5, 2) == [10, 11])
            assert controller.registers(0, 2) == [0, 0]


async def test_a_refused_register_is_known_to_the_next_table(controller: LibmodbusController) -> None:
    """It is not joined with others again."""
    points = [held_point(f"P{n}", holding(n)) for n in range(5)]
    controller.rule(addresses=[2, 2], exception=2)
    rig = ClientRig(controller.port, *points)
    rig.latest.take(values_of(points, [1, 2, 3, 4, 5]))
    async with rig.sink:
        await rig.until(lambda: controller.registers(0, 5) == [1, 2, 0, 4, 5])
        await rig.until(lambda: rig.status.state == "up")  # the last answer has arrived, too
        rig.swap(*(held_point(f"P{n}", holding(n, scale=10)) for n in range(5)))
        controller.requests()
        await rig.until(lambda: controller.registers(0, 5) == [10, 20, 0, 40, 50])
        assert {(request.address, request.size) for request in controller.requests()} == {
            (0, 2),
            (2, 1),
            (3, 2),
        }
