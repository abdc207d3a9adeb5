"""Modbus RTU on a serial line and over TCP: a pair of pseudo terminals with libmodbus at the other end."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice
from support.building import eventually
from support.libmodbus_controller import LibmodbusController
from support.modbus_client_parts import ClientRig, coil, held_point, holding, persist, values_of
from support.ports import free_port

from gateway.errors import RefusedError, TransientError
from gateway.sinks.modbus_client.config import Serial

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

POINTS = (held_point("T", holding(0, "float32")), held_point("H", holding(2)), held_point("C", coil(3)))


@contextmanager
def cable(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Return the two ends of a serial cable."""
    ends = folder / "gateway", folder / "controller"
    command = ["socat", *(f"pty,raw,echo=0,link={end}" for end in ends)]
    with subprocess.Popen(command) as process:
        try:
            eventually(lambda: all(end.exists() for end in ends), expected=True)
            yield ends
        finally:
            process.kill()


def shown(controller: LibmodbusController) -> list[float]:
    """Return the controller's values of POINTS."""
    return [*controller.floats(0), *controller.registers(2), *controller.coils(3)]


async def test_a_controller_on_a_serial_line(tmp_path: Path) -> None:
    """Registers and coils are written by RTU, joined, verified; refusals are found."""
    with cable(tmp_path) as (ours, theirs), LibmodbusController(serial_port=theirs) as controller:
        rig = ClientRig(0, *POINTS, serial=Serial(port=ours, parity="none"), verify=True)
        async with rig.sink:
            await persist(rig, 21.5, 7, 1)
            assert shown(controller) == [21.5, 7, 1]
            assert [request[1:] for request in controller.requests()] == [
                (15, 3, 1),
                (1, 3, 1),
                (16, 0, 3),
                (3, 0, 3),
            ]
            controller.rule(addresses=[2, 2], exception=2)
            with pytest.raises(RefusedError) as refused:
                await rig.show(22.5, 8, 0)
            assert [refusal.reason for refusal in refused.value.refusals] == [
                "exception 2 (illegal data address) for unit 1, holding 2"
            ]
            assert shown(controller) == [22.5, 7, 0]


async def test_a_controller_on_a_serial_line_that_restarts_empty(tmp_path: Path) -> None:
    """A restart shows only by silence; afterwards everything is written."""
    with cable(tmp_path) as (ours, theirs), LibmodbusController(serial_port=theirs) as controller:
        rig = ClientRig(0, *POINTS, serial=Serial(port=ours, parity="none"), timeout="200ms")
        async with rig.sink:
            await persist(rig, 21.5, 7, 1)
            controller.kill()
            with pytest.raises(TransientError, match=r"^no answer within 200ms from unit 1"):
                await rig.show(21.5, 8, 1)
            controller.start()
            await rig.until(lambda: shown(controller) == [21.5, 8, 1])
            await rig.until(lambda: rig.status.state == "up")


async def test_a_serial_port_that_comes_and_goes(tmp_path: Path) -> None:
    """After an adapter is plugged in again, everything is written."""
    ours = tmp_path / "gateway"
    rig = ClientRig(0, *POINTS, serial=Serial(port=ours, parity="none"))
    async with rig.sink:
        with pytest.raises(TransientError, match=r"^No such file or directory$"):
            await rig.show(1.5, 1, 1)
        for value in (21.5, 22.5):
            with cable(tmp_path) as (_, theirs), LibmodbusController(serial_port=theirs) as controller:
                await persist(rig, value, 7, 1)
                assert shown(controller) == [value, 7, 1]
            await rig.until(lambda: rig.status.state == "away")
            assert rig.status.last_error in {"the serial port is gone", "No such file or directory"}


async def test_a_request_that_is_lost_on_the_line_is_no_outage(tmp_path: Path) -> None:
    """It is sent once more on the same connection: nothing is logged or written again."""
    with cable(tmp_path) as (ours, theirs), LibmodbusController(serial_port=theirs) as controller:
        rig = ClientRig(0, *POINTS, serial=Serial(port=ours, parity="none"), timeout="1s")
        async with rig.sink:
            await persist(rig, 21.5, 7, 1)
            controller.requests()
            controller.rule(is_mute=True, times=1)
            await rig.show(21.5, 8, 1)
            assert shown(controller) == [21.5, 8, 1]
            assert [request[:3] for request in controller.requests()] == [(1, 16, 2)] * 2
            assert (rig.status.reconnects, rig.status.last_error) == (0, None)


async def test_a_unit_beside_a_silent_one(tmp_path: Path) -> None:
    """A unit is written beside a silent one; libmodbus needs 0.5 s after a request to another unit."""
    points = [held_point("SILENT", holding(0, unit=2)), *POINTS]
    with cable(tmp_path) as (ours, theirs), LibmodbusController(serial_port=theirs) as controller:
        rig = ClientRig(0, *points, serial=Serial(port=ours, parity="none"), timeout="700ms")
        async with rig.sink:
            await persist(rig, 5, 21.5, 7, 1)
            assert shown(controller) == [21.5, 7, 1]
            await rig.until(lambda: rig.status.state == "up")


class Asked(list[tuple[int, int]]):
    """Unit and address of each answered request; `tried` has those of all requests."""

    def __init__(self) -> None:
        super().__init__()
        self.tried: list[tuple[int, int]] = []


@asynccontextmanager
async def controllers(line: Path, *units: int) -> AsyncIterator[Asked]:
    """Serve several units on one line with pymodbus."""
    asked = Asked()

    def note(is_answer: bool, frame: bytes) -> bytes:  # noqa: FBT001 - called by pymodbus
        if is_answer and frame[0] not in units:
            return b""
        (asked if is_answer else asked.tried).append((frame[0], int.from_bytes(frame[2:4])))
        return frame

    registers = SimData(0, count=100, values=0, datatype=DataType.REGISTERS)
    server = ModbusSerialServer(
        [SimDevice(unit, simdata=[registers]) for unit in units], port=str(line), trace_packet=note
    )
    await server.serve_forever(background=True)
    try:
        yield asked
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


async def test_a_silent_unit_does_not_have_all_others_written_again(tmp_path: Path) -> None:
    """The port stays open and the other units are not rewritten, which would wear out their memories."""
    points = [held_point(f"P{n}", holding(2 * n, unit=1 + n % 3)) for n in range(30)]
    with cable(tmp_path) as (ours, theirs):
        rig = ClientRig(0, *points, serial=Serial(port=ours, parity="none"), timeout="300ms")
        async with rig.sink:
            async with controllers(theirs, 1, 3) as asked:
                await persist(rig, *range(30))
                asked.clear()
                asked.tried.clear()
                await rig.until(lambda: len(asked.tried) >= 3)
                assert {unit for unit, _ in asked.tried} == {2}
                assert (asked, rig.status.state, rig.status.reconnects) == ([], "up", 0)
            with pytest.raises(TransientError, match="no answer within 300ms from unit"):
                await rig.show(*range(100, 130))
            await rig.until(lambda: rig.status.state == "away")
            async with controllers(theirs, 1, 3) as asked:
                everything = {(1 + n % 3, 2 * n) for n in range(30) if n % 3 != 1}
                await rig.until(lambda: everything.issubset(asked))


@pytest.mark.parametrize("noise", ["00", "ff", "0110", "01", "0190", "011000000003"])
async def test_noise_before_an_answer(tmp_path: Path, noise: str) -> None:
    """Noise before an answer, as from a driver that is switched on, is skipped without a time-out."""
    with cable(tmp_path) as (ours, theirs), LibmodbusController(serial_port=theirs) as controller:
        rig = ClientRig(0, *POINTS, serial=Serial(port=ours, parity="none"), timeout="100s", verify=True)
        async with rig.sink, asyncio.timeout(60):
            await rig.until(lambda: rig.status.state == "up")
            controller.rule(addresses=[2, 2], exception=2, times=2, noise=noise)
            controller.rule(noise=noise)
            with pytest.raises(RefusedError, match="exception 2"):
                await rig.show(21.5, 7, 1)
            await rig.show(21.5, 8, 1)
            assert shown(controller) == [21.5, 8, 1]


@contextmanager
def converter(port: int, line: Path) -> Iterator[None]:
    """Forward TCP to a serial line and back."""
    listen = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork"
    with subprocess.Popen(["socat", listen, f"{line},raw,echo=0"]) as process:
        try:
            yield
        finally:
            process.kill()


async def test_rtu_over_tcp(tmp_path: Path) -> None:
    """A converter forwards RTU frames unchanged."""
    port = free_port()
    with (
        cable(tmp_path) as (ours, theirs),
        LibmodbusController(serial_port=theirs) as controller,
        converter(port, ours),
    ):
        rig = ClientRig(port, *POINTS, transport="rtu_over_tcp")
        async with rig.sink:
            await persist(rig, 21.5, 7, 1)
            assert shown(controller) == [21.5, 7, 1]


async def test_silent_units_leave_the_line_to_those_that_answer(tmp_path: Path) -> None:
    """Tries of four silent units take a part of the time; the one that answers is written."""
    points = [held_point(f"P{unit}", holding(0, unit=unit)) for unit in range(1, 6)]
    timeout_s = 0.3
    with cable(tmp_path) as (ours, theirs):
        rig = ClientRig(0, *points, serial=Serial(port=ours, parity="none"), timeout="300ms")
        async with controllers(theirs, 1) as asked, rig.sink:
            await persist(rig, *range(5))
            await rig.until(lambda: {unit for unit, _ in asked.tried} == {1, 2, 3, 4, 5})
            asked.tried.clear()
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            for number in range(10, 60):
                with suppress(TransientError):
                    await rig.deliver(*values_of(points[:1], [number]))
                await asyncio.sleep(0.1)
            lasted_s = loop.time() - began_s
            silent = [unit for unit, _ in asked.tried if unit != 1]
            assert silent
            assert len(silent) * timeout_s < 0.4 * lasted_s
