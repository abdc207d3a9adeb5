"""A reload of the point tables: new and changed values are written, nothing else."""

from __future__ import annotations

import asyncio
from signal import SIGCONT, SIGSTOP

from support.libmodbus_controller import LibmodbusController, Request
from support.modbus_client_parts import ClientRig, held_point, holding, values_of


def all_requests(controller: LibmodbusController, asked: list[Request]) -> list[Request]:
    """Add the requests since the last call, and return all."""
    asked.extend(controller.requests())
    return asked


async def test_only_what_is_new_or_changed_is_written(controller: LibmodbusController) -> None:
    """Registers of removed points keep their values; the connection stays."""
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


async def test_a_swap_during_a_request(controller: LibmodbusController) -> None:
    """The value that it writes is overwritten by that of the new table."""
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
        await rig.until(lambda: len(all_requests(controller, asked)) == 2)
        assert controller.registers(0) == [10]


async def test_updates_of_the_old_table_are_ignored(controller: LibmodbusController) -> None:
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
    """When the controller is back, it gets all values of the new table."""
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


async def test_a_refused_register_stays_isolated(controller: LibmodbusController) -> None:
    """It is not joined with others after the reload."""
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
