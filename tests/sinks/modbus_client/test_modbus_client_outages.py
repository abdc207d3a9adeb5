"""Controllers that die, come back empty, are cut off or frozen: afterwards they hold the whole state."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
from contextlib import contextmanager
from itertools import pairwise
from signal import SIGCONT, SIGSTOP
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from support.libmodbus_controller import LibmodbusController
from support.modbus_client_parts import ClientRig, coil, held_point, holding, persist, values_of
from support.ports import free_port
from support.sockets import tcp_timer

from gateway.errors import RefusedError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator

POINTS = (
    held_point("T", holding(0, "float32")),
    held_point("H", holding(10)),
    held_point("U", holding(0, unit=2)),
    held_point("C", coil(3)),
)


def shown(controller: LibmodbusController) -> list[float]:
    """Return what the controller holds of POINTS."""
    words = [*controller.registers(10), *controller.registers(0, unit=2)]
    return [*controller.floats(0), *words, *controller.coils(3)]


async def test_a_controller_that_comes_back_empty_is_given_everything() -> None:
    """Killed and started again: all that it held before is written, without a new value of any point."""
    with LibmodbusController() as controller, capture_logs() as logs:
        rig = ClientRig(controller.port, *POINTS)
        async with rig.sink:
            await rig.show(21.5, 7, 8, 1)
            assert shown(controller) == [21.5, 7, 8, 1]
            controller.kill()
            await rig.until(lambda: rig.status.state == "away")
            controller.start()
            await rig.until(lambda: shown(controller) == [21.5, 7, 8, 1])
            await rig.until(lambda: rig.status.state == "up")
        assert rig.status.reconnects == 1
        assert rig.status.last_error in {"the controller ended the connection", "Connection refused"}
    assert [line["event"] for line in logs] == ["sink.up", "sink.away", "sink.up"]


async def test_nothing_is_lost_while_the_controller_is_away() -> None:
    """A write says that it is away, and why; once it is there it has the newest values of all points."""
    controller = LibmodbusController()
    rig = ClientRig(controller.port, *POINTS)
    async with rig.sink:
        with pytest.raises(TransientError, match=r"^Connection refused$"):
            await rig.show(1.5, 1, 1, 1)
        writing = asyncio.create_task(persist(rig, 21.5, 7, 8, 0))
        rig.latest.take(values_of(POINTS[1:2], [9]))
        with controller:
            await writing
            assert shown(controller)[0] == 21.5
            await rig.until(lambda: shown(controller) in ([21.5, 9, 8, 0], [21.5, 7, 8, 0]))


async def test_values_in_mid_outage_arrive_in_the_end() -> None:
    """Killed in the middle of a stream of writes, again and again: the last value of each point is there."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *POINTS)
        async with rig.sink:
            for outage in range(3):
                for value in range(10):
                    if value == 5:
                        controller.kill()
                        controller.start()
                    await persist(rig, value + 0.5, value, outage, value % 2)
                assert shown(controller) == [9.5, 9, outage, 1]


@contextmanager
def forwarded(port: int, *, to: int) -> Iterator[None]:
    """Have a listener pass connections on, until the context ends: then it and all of them are dropped."""
    command = ["socat", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr", f"TCP:127.0.0.1:{to}"]
    forwarder = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        forwarder.kill()
        forwarder.wait()


async def test_a_dropped_listener() -> None:
    """The network goes away under a controller that runs on: everything is written again when it is back."""
    with LibmodbusController() as controller:
        port = free_port()
        rig = ClientRig(port, *POINTS)
        async with rig.sink:
            with forwarded(port, to=controller.port):
                await persist(rig, 21.5, 7, 8, 1)
            await rig.until(lambda: rig.status.state == "away")
            controller.fill(10, 0)
            controller.requests()
            with forwarded(port, to=controller.port):
                await persist(rig, 22.5, 7, 8, 1)
                assert shown(controller) == [22.5, 7, 8, 1]
                assert len(controller.requests()) == 4


async def test_a_frozen_controller_is_away_and_its_late_answers_count_for_nothing() -> None:
    """No answer in time: the connection is closed. What comes later is on no connection of ours."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, POINTS[0], timeout="200ms")
        async with rig.sink:
            await rig.show(1.5)
            controller.signal(SIGSTOP)
            with pytest.raises(TransientError, match="no answer within 200ms from unit 1, holding 0-1"):
                await rig.show(2.5)
            await rig.until(lambda: rig.status.state == "away")
            controller.signal(SIGCONT)
            await persist(rig, 3.5)
            assert controller.floats(0) == [3.5]
            assert rig.status.state == "up"


async def test_a_controller_that_hangs_up_after_each_answer() -> None:
    """Each connection writes what the one before did not get to, so that all is written in the end."""
    points = [held_point(f"P{n}", holding(2 * n)) for n in range(5)]
    with LibmodbusController() as controller:
        controller.rule(hangs_up=True)
        rig = ClientRig(controller.port, *points)
        rig.latest.take(values_of(points, [1, 2, 3, 4, 5]))
        async with rig.sink:
            await rig.until(lambda: controller.registers(0, 9)[::2] == [1, 2, 3, 4, 5], within_s=15)


@pytest.mark.parametrize("rule", [{"is_mute": True, "hangs_up": True}, {"is_mute": True}])
async def test_registers_that_end_each_connection_keep_no_other_waiting(rule: dict[str, bool]) -> None:
    """Two of them, be it that the controller hangs up or that it says nothing: all others are written."""
    points = [held_point(f"P{n}", holding(2 * n)) for n in range(6)]
    with LibmodbusController() as controller:
        for address in (2, 6):
            controller.rule(addresses=[address, address], **rule)
        rig = ClientRig(controller.port, *points, timeout="100ms")
        rig.latest.take(values_of(points, [1, 2, 3, 4, 5, 6]))
        async with rig.sink:
            await rig.until(lambda: controller.registers(0, 11)[::2] == [1, 0, 3, 0, 5, 6], within_s=15)


@contextmanager
def listening(*, answers: bytes = b"") -> Iterator[tuple[int, list[float]]]:
    """Listen, and end each connection at once; yield the port and the times of connections."""
    loop, times = asyncio.get_running_loop(), list[float]()
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0)

    def accept() -> None:
        connection, _ = server.accept()
        times.append(loop.time())
        connection.sendall(answers)
        connection.close()

    loop.add_reader(server, accept)
    try:
        yield server.getsockname()[1], times
    finally:
        loop.remove_reader(server)
        server.close()


async def test_no_storm_of_connections() -> None:
    """Whatever takes connections and ends them at once is asked more and more rarely."""
    with listening() as (port, times), capture_logs() as logs:
        rig = ClientRig(port, *POINTS)
        rig.latest.take(values_of(POINTS, [1.5, 1, 1, True]))
        async with rig.sink:
            await rig.until(lambda: len(times) == 4)
    gaps = [after - before for before, after in pairwise(times)]
    assert [gap >= least for gap, least in zip(gaps, [0.25, 0.5, 1.0], strict=True)] == [True] * 3
    assert [line["event"] for line in logs] == ["sink.away"]


@pytest.mark.parametrize(
    ("pdu", "transactions_on"),
    [
        ("7f0102", 0),
        ("1000", 0),
        ("03021234", 0),
        ("06000a0001", 0),
        ("1000000002", 0),
        ("90", 0),
        ("", 0),
        ("1000000001", 1),
        ("9002", 1),
    ],
)
async def test_answers_that_are_none(
    pdu: str, transactions_on: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What does not answer the request is taken for silence: nothing counts as written, nothing is logged."""
    point = held_point("A", holding(0))
    with LibmodbusController() as controller, caplog.at_level(logging.WARNING):
        rig = ClientRig(controller.port, point, timeout="100ms")
        controller.rule(pdu=pdu, transactions_on=transactions_on)
        async with rig.sink:
            with pytest.raises(TransientError, match="unit 1, holding 0"):
                await rig.show(5)
            controller.no_rules()
            await persist(rig, 6)
            assert controller.registers(0) == [6]
    assert caplog.messages == []


async def test_something_else_that_listens_there(caplog: pytest.LogCaptureFixture) -> None:
    """A web server, say: it is away as a controller, and nothing of its words is logged."""
    with (
        listening(answers=b"HTTP/1.1 400 Bad Request\r\n\r\n") as (port, _),
        caplog.at_level(logging.WARNING),
    ):
        rig = ClientRig(port, *POINTS)
        async with rig.sink:
            with pytest.raises(TransientError, match=r"^the controller ended the connection$"):
                await rig.show(1.5, 1, 1, 1)
    assert caplog.messages == []


async def test_leaving_does_not_wait_for_a_frozen_controller() -> None:
    """Within moments, with a request under way."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *POINTS, timeout="30s")
        async with asyncio.timeout(5):
            async with rig.sink:
                await rig.show(1, 2, 3, 1)
                controller.signal(SIGSTOP)
                writing = asyncio.create_task(rig.show(2, 3, 4, 0))
                for _ in range(20):
                    await asyncio.sleep(0)
                writing.cancel()
        controller.signal(SIGCONT)
        await rig.until(lambda: controller.connections() == (0, 1))


async def test_a_host_that_is_not_allowed_is_not_even_connected_to() -> None:
    """The address that a name leads to is looked at before anything is sent."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *POINTS, host="localhost", allow=("10.0.0.0/8", "192.0.2.0/24"))
        async with rig.sink:
            with pytest.raises(TransientError, match=r"127\.0\.0\.1.* is not in `allow`"):
                await rig.show(1.5, 1, 1, 1)
        assert controller.connections() == (0, 0)


async def test_of_several_addresses_the_allowed_one_is_taken() -> None:
    """`localhost` may be ::1 as well, where nobody listens."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *POINTS, host="localhost", allow=("127.0.0.0/8",))
        async with rig.sink:
            await persist(rig, 1.5, 1, 1, 1)
        assert shown(controller) == [1.5, 1, 1, 1]


async def test_a_name_that_nobody_knows() -> None:
    """The resolver's words reach the user."""
    rig = ClientRig(502, *POINTS, host="controller.invalid")
    async with rig.sink:
        with pytest.raises(TransientError, match=r"(known|resolution)"):
            await rig.show(1.5, 1, 1, 1)


async def test_a_controller_that_vanishes_is_found_out() -> None:
    """The system probes a connection on which nothing is written: one that loses power says no goodbye."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *POINTS)
        async with rig.sink:
            await rig.show(21.5, 7, 8, 1)
            timer, due_s = tcp_timer(remote_port=controller.port)
            assert timer == "keepalive"
            assert 25 < due_s <= 30


async def test_what_a_controller_has_lost_unnoticed_is_written_again() -> None:
    """It came back empty on the same connection, as on a serial line: no later than after `refresh`."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *POINTS, refresh="300ms")
        async with rig.sink:
            await rig.show(21.5, 7, 8, 1)
            controller.fill(10, 0)
            controller.fill(0, 0, unit=2)
            await rig.until(lambda: shown(controller) == [21.5, 7, 8, 1])
            assert rig.status.reconnects == 0


async def test_a_register_that_was_refused_is_tried_again_with_the_rest() -> None:
    """Its controller may have been set up by now, and a value that does not change comes by no other way."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *POINTS, refresh="300ms")
        controller.rule(addresses=[10, 10], exception=2)
        async with rig.sink:
            with pytest.raises(RefusedError):
                await rig.show(21.5, 7, 8, 1)
            controller.no_rules()
            await rig.until(lambda: shown(controller) == [21.5, 7, 8, 1])


async def test_without_refresh_only_what_changes_is_written() -> None:
    """`never` spares memories that wear out."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *POINTS, refresh="never")
        async with rig.sink:
            await rig.show(21.5, 7, 8, 1)
            controller.requests()
            await rig.show(21.5, 9, 8, 1)
            assert [request[1:] for request in controller.requests()] == [(16, 10, 1)]


async def test_a_connection_that_is_closed_while_idle_is_no_outage() -> None:
    """Many controllers close one on which nothing happens: another one is opened, and nobody is told."""
    with LibmodbusController() as controller, capture_logs() as logs:
        rig = ClientRig(controller.port, *POINTS)
        async with rig.sink:
            for number in (1, 2, 3):
                await rig.show(21.5, number, 8, 1)  # returns when nothing is being written
                controller.hang_up()
                await rig.until(lambda: controller.connections() == (1, number + 1))  # noqa: B023 - called in this turn
                assert rig.status.state == "up"
            await rig.show(21.5, 9, 8, 1)
            assert shown(controller) == [21.5, 9, 8, 1]
    assert [line["event"] for line in logs] == ["sink.up"]
