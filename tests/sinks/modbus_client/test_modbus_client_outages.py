"""Controllers that stop, lose their values, are cut off or hang: afterwards they have all values."""

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
    """Return the controller's values of POINTS."""
    words = [*controller.registers(10), *controller.registers(0, unit=2)]
    return [*controller.floats(0), *words, *controller.coils(3)]


async def test_everything_is_written_to_a_restarted_controller() -> None:
    """All values are written after its restart, without new readings."""
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
    """A write reports why the controller is away; after it is back, it has the newest values."""
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


async def test_values_sent_during_outages_arrive() -> None:
    """After repeated kills in a stream of writes, the last value of each point is there."""
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
    """Forward connections until the context ends, then drop the listener and all of them."""
    command = ["socat", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr", f"TCP:127.0.0.1:{to}"]
    forwarder = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        forwarder.kill()
        forwarder.wait()


async def test_a_network_outage() -> None:
    """When the network is back, everything is written again to the controller that kept running."""
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


async def test_late_answers_of_a_frozen_controller_are_ignored() -> None:
    """A request without an answer closes the connection; later answers arrive on none of ours."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, POINTS[0], timeout="1s")
        async with rig.sink:
            await rig.show(1.5)
            controller.signal(SIGSTOP)
            with pytest.raises(TransientError, match="no answer within 1s from unit 1, holding 0-1"):
                await rig.show(2.5)
            await rig.until(lambda: rig.status.state == "away")
            controller.signal(SIGCONT)
            await persist(rig, 3.5)
            assert controller.floats(0) == [3.5]
            assert rig.status.state == "up"


async def test_a_frozen_controller_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new connection to it is no answer: no write counts as done there, also with a long timeout."""
    monkeypatch.setattr("gateway.sinks.modbus_client.sink._LONGEST_WRITE_S", 0.1)
    with LibmodbusController() as controller, capture_logs() as logs:
        rig = ClientRig(controller.port, POINTS[0], timeout="1s")
        async with rig.sink:
            await rig.show(1.5)
            controller.signal(SIGSTOP)
            await rig.show(2.5)  # in the background
            await rig.until(lambda: rig.status.state == "away")
            while rig.status.reconnects < 2:
                with pytest.raises(TransientError, match="no answer within 1s from unit 1, holding 0-1"):
                    await rig.show(3.5)
                await asyncio.sleep(0.05)
            controller.signal(SIGCONT)
            await persist(rig, 3.5)
            assert controller.floats(0) == [3.5]
            await rig.until(lambda: rig.status.state == "up")
    assert [line["event"] for line in logs] == ["sink.up", "sink.away", "sink.up"]


async def test_a_controller_that_closes_after_each_answer() -> None:
    """Each connection continues where the one before ended, until everything is written."""
    points = [held_point(f"P{n}", holding(2 * n)) for n in range(5)]
    with LibmodbusController() as controller:
        controller.rule(hangs_up=True)
        rig = ClientRig(controller.port, *points)
        rig.latest.take(values_of(points, [1, 2, 3, 4, 5]))
        async with rig.sink:
            await rig.until(lambda: controller.registers(0, 9)[::2] == [1, 2, 3, 4, 5])


@pytest.mark.parametrize("rule", [{"is_mute": True, "hangs_up": True}, {"is_mute": True}])
async def test_registers_that_end_connections_delay_no_other(rule: dict[str, bool]) -> None:
    """Two registers close the connection or stay unanswered; all others are written."""
    points = [held_point(f"P{n}", holding(2 * n)) for n in range(6)]
    with LibmodbusController() as controller:
        for address in (2, 6):
            controller.rule(addresses=[address, address], **rule)
        rig = ClientRig(controller.port, *points, timeout="100ms")
        rig.latest.take(values_of(points, [1, 2, 3, 4, 5, 6]))
        async with rig.sink:
            await rig.until(lambda: controller.registers(0, 11)[::2] == [1, 0, 3, 0, 5, 6])


@contextmanager
def listening(*, answers: bytes = b"") -> Iterator[tuple[int, list[float]]]:
    """Accept connections and close each at once; yield the port and the times of connections."""
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
    """The pauses between connections that end at once grow."""
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
async def test_wrong_answers(pdu: str, transactions_on: int, caplog: pytest.LogCaptureFixture) -> None:
    """An answer to something else counts as no answer: nothing is acknowledged or logged."""
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


async def test_another_server_on_the_port(caplog: pytest.LogCaptureFixture) -> None:
    """If a web server answers, the controller is away, and nothing of the answer is logged."""
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
    """The sink stops within moments while a request is unanswered."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *POINTS, timeout="30s")
        async with asyncio.timeout(25):
            async with rig.sink:
                await rig.show(1, 2, 3, 1)
                controller.signal(SIGSTOP)
                writing = asyncio.create_task(rig.show(2, 3, 4, 0))
                for _ in range(20):
                    await asyncio.sleep(0)
                writing.cancel()
        controller.signal(SIGCONT)
        await rig.until(lambda: controller.connections() == (0, 1))


async def test_no_connection_to_an_address_outside_of_allow() -> None:
    """A name's address is checked before anything is sent."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *POINTS, host="localhost", allow=("10.0.0.0/8", "192.0.2.0/24"))
        async with rig.sink:
            with pytest.raises(TransientError, match=r"127\.0\.0\.1.* is not in `allow`"):
                await rig.show(1.5, 1, 1, 1)
        assert controller.connections() == (0, 0)


async def test_an_allowed_address_is_chosen() -> None:
    """Of the addresses of `localhost`, the allowed one is used."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *POINTS, host="localhost", allow=("127.0.0.0/8",))
        async with rig.sink:
            await persist(rig, 1.5, 1, 1, 1)
        assert shown(controller) == [1.5, 1, 1, 1]


async def test_an_unknown_host_name() -> None:
    """The resolver's error is reported."""
    rig = ClientRig(502, *POINTS, host="controller.invalid")
    async with rig.sink:
        with pytest.raises(TransientError, match=r"(known|resolution)"):
            await rig.show(1.5, 1, 1, 1)


async def test_keepalive_is_on() -> None:
    """TCP keep-alive probes an idle connection: a controller that loses power does not close it."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *POINTS)
        async with rig.sink:
            await rig.show(21.5, 7, 8, 1)
            timer, due_s = tcp_timer(remote_port=controller.port)
            assert timer == "keepalive"
            assert 0 < due_s <= 30


async def test_refresh_writes_everything_again() -> None:
    """Values that a controller lost on an open connection are written after `refresh` at the latest."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *POINTS, refresh="300ms")
        async with rig.sink:
            await rig.show(21.5, 7, 8, 1)
            controller.fill(10, 0)
            controller.fill(0, 0, unit=2)
            await rig.until(lambda: shown(controller) == [21.5, 7, 8, 1])
            assert rig.status.reconnects == 0


async def test_refresh_writes_refused_registers_again() -> None:
    """The controller may have been set up meanwhile, and an unchanged value is not written otherwise."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *POINTS, refresh="300ms")
        controller.rule(addresses=[10, 10], exception=2)
        async with rig.sink:
            with pytest.raises(RefusedError):
                await rig.show(21.5, 7, 8, 1)
            controller.no_rules()
            await rig.until(lambda: shown(controller) == [21.5, 7, 8, 1])


async def test_without_refresh_only_what_changes_is_written() -> None:
    """With `refresh: never`, only changes are written."""
    with LibmodbusController() as controller:
        rig = ClientRig(controller.port, *POINTS, refresh="never")
        async with rig.sink:
            await rig.show(21.5, 7, 8, 1)
            controller.requests()
            await rig.show(21.5, 9, 8, 1)
            assert [request[1:] for request in controller.requests()] == [(16, 10, 1)]


async def test_a_connection_that_is_closed_while_idle_is_no_outage() -> None:
    """Another connection is opened, and nothing is logged."""
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
