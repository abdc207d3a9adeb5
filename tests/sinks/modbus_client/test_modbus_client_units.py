"""Several units behind one connection: one in trouble delays no other."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import pairwise

import pytest
from structlog.testing import capture_logs
from support.libmodbus_controller import LibmodbusController
from support.modbus_client_parts import ClientRig, held_point, holding, values_of

from gateway.errors import RefusedError, TransientError

POINTS = tuple(held_point(f"U{unit}", holding(5, unit=unit)) for unit in (1, 2, 3))


def shown(controller: LibmodbusController) -> list[int]:
    """Return the register of each unit."""
    return [controller.registers(5, unit=unit)[0] for unit in (1, 2, 3)]


def requested_units(controller: LibmodbusController, asked: set[int]) -> set[int]:
    """Add the units of the requests since the last call, and return all."""
    asked.update(request.unit for request in controller.requests())
    return asked


@pytest.mark.parametrize("code", [4, 5, 6, 10, 11])
async def test_a_busy_unit_is_tried_again(code: int) -> None:
    """After exceptions 4, 5, 6, 10 and 11 the unit is tried again; the others are written at once."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *POINTS)
        controller.rule(units=[2], exception=code)
        async with rig.sink:
            await rig.show(1, 2, 3)
            assert shown(controller) == [1, 0, 3]
            assert rig.status.state == "up"
            assert f"exception {code} (" in (rig.status.last_error or "")
            assert "unit 2, holding 5" in (rig.status.last_error or "")
            await rig.show(11, 12, 13)
            assert shown(controller) == [11, 0, 13]
            controller.requests()
            controller.no_rules()
            await rig.until(lambda: shown(controller) == [11, 12, 13])
            assert {request.unit for request in controller.requests()} == {2}


async def test_a_silent_unit_delays_no_other() -> None:
    """After its time-out the others go on; it is tried with pauses and gets its newest value in the end."""
    with LibmodbusController() as controller, capture_logs() as logs:
        rig = ClientRig(controller.port, *POINTS, timeout="500ms")
        controller.rule(units=[2], is_mute=True)
        async with rig.sink:
            for value in range(1, 30):
                await rig.show(value, 100 + value, value)
                assert shown(controller) == [value, 0, value]
            assert rig.status.last_error == "no answer within 500ms from unit 2, holding 5"
            assert rig.status.state == "up"
            assert 1 <= sum(request.unit == 2 for request in controller.requests()) <= 8
            rig.latest.take(values_of(POINTS[1:2], [500]))
            controller.no_rules()
            await rig.until(lambda: shown(controller) == [29, 500, 29])
            written = [request for request in controller.requests() if request.unit == 2]
            assert len(written) <= 2
    assert [line["event"] for line in logs] == ["sink.up"]


async def test_without_any_answer_the_controller_is_away() -> None:
    """Writes raise, connections are tried with pauses, and everything is written afterwards."""
    with LibmodbusController() as controller, capture_logs() as logs:
        rig = ClientRig(controller.port, *POINTS, timeout="300ms")
        controller.rule(is_mute=True)
        async with rig.sink:
            with pytest.raises(TransientError, match="no answer within 300ms from unit 1"):
                await rig.show(1, 2, 3)
            await rig.until(lambda: rig.status.state == "away")
            asked: set[int] = set()
            for _ in range(3):
                with pytest.raises(TransientError):
                    await rig.show(4, 5, 6)
            await rig.until(lambda: {1, 2, 3}.issubset(requested_units(controller, asked)))
            controller.no_rules()
            await rig.until(lambda: shown(controller) == [4, 5, 6])
            await rig.until(lambda: rig.status.state == "up")
            await rig.show(7, 8, 9)
            assert shown(controller) == [7, 8, 9]
    assert [line["event"] for line in logs if line["event"] != "sink.up"] == ["sink.away"]


async def test_a_dead_line_of_many_units_is_seen_at_once() -> None:
    """The controller is away after one connection without any answer, not after a time-out of each unit."""
    points = [held_point(f"U{unit}", holding(0, unit=unit)) for unit in range(1, 30)]
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *points, timeout="300ms")
        controller.rule(is_mute=True)
        async with rig.sink:
            with pytest.raises(TransientError, match="no answer within 300ms"):
                await rig.show(*range(1, 30))
            assert rig.status.state == "away"
            assert len(controller.requests()) < 10
            controller.no_rules()
            await rig.until(
                lambda: all(controller.registers(0, unit=unit) == [unit] for unit in range(1, 30))
            )


async def test_units_in_trouble_leave_the_line_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """While no unit gets along, they are tried one after the other with their own pauses only."""
    monkeypatch.setattr("gateway.sinks.modbus_client.sink._TRIAL_PAUSE", 1_000_000)
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *POINTS)
        controller.rule(exception=11)
        async with rig.sink:
            with pytest.raises(TransientError, match="exception 11"):
                await rig.show(1, 2, 3)
            controller.requests()
            asked: set[int] = set()
            await rig.until(lambda: requested_units(controller, asked) == {1, 2, 3})
            controller.requests()
            asked.clear()
            await rig.until(lambda: requested_units(controller, asked) == {1, 2, 3})


async def test_a_busy_register_delays_no_other() -> None:
    """A controller answers exception 4 for one register for good; the others are written."""
    points = [held_point(f"P{n}", holding(n)) for n in range(6)]
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *points)
        controller.rule(addresses=[0, 0], exception=4)
        async with rig.sink:
            for start in (10, 20, 30):
                await rig.show(*range(start, start + 6))
                await rig.until(lambda: controller.registers(1, 5) == list(range(start + 1, start + 6)))  # noqa: B023 - called in this turn
            assert controller.registers(0) == [0]
            assert rig.status.last_error == "exception 4 (server device failure) for unit 1, holding 0"
            controller.no_rules()
            await rig.until(lambda: controller.registers(0) == [30])


async def test_pauses_of_a_busy_unit_grow() -> None:
    """They grow, and begin anew after an accepted request."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, POINTS[0])
        controller.rule(exception=6, times=4)
        async with rig.sink:
            await rig.show(5)
            await rig.until(lambda: shown(controller)[0] == 5)
            times = [time_s for _, time_s in controller.timed_requests()]
    gaps = [after - before for before, after in pairwise(times)]
    assert len(gaps) == 4
    assert all(gap >= least for gap, least in zip(gaps, [0.25, 0.5, 1.0, 2.0], strict=True))


async def test_a_long_write_continues_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """It returns before the watchdog acts, and the rest is written afterwards."""
    monkeypatch.setattr("gateway.sinks.modbus_client.sink._LONGEST_WRITE_S", 0.3)
    points = [held_point(f"P{n}", holding(2 * n)) for n in range(20)]
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *points, min_interval="200ms")
        async with rig.sink:
            await rig.deliver(*values_of(points, range(1, 21)))
            assert len(controller.requests()) < 20
            await rig.until(lambda: controller.registers(0, 39)[::2] == list(range(1, 21)))


async def test_pauses_grow_for_a_busy_unit_that_refuses_a_register(controller: LibmodbusController) -> None:
    """A refusal does not shorten the pauses."""
    controller.rule(addresses=[0, 0], exception=6)
    controller.rule(addresses=[5, 5], exception=2)
    busy, refused = held_point("BUSY", holding(0)), held_point("REFUSED", holding(5))
    rig = ClientRig(controller.port, busy, refused)
    tries: list[float] = []
    async with rig.sink, asyncio.timeout(60):
        ends_s = asyncio.get_running_loop().time() + 4
        number = 0
        while asyncio.get_running_loop().time() < ends_s:
            number += 1
            with suppress(RefusedError, TransientError):
                await rig.deliver(*values_of([busy, refused], [number, number]))
            await asyncio.sleep(0.05)
            tries += [moment_s for request, moment_s in controller.timed_requests() if request.address == 0]
    assert len(tries) <= 6
