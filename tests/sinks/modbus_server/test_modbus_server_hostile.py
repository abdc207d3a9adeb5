"""Hostile, broken and too many clients: the event loop stays responsive, and controllers are served."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import structlog
import support.hostile_modbus
import uvloop
from structlog.testing import capture_logs
from support.modbus_fixtures import connect, make_sink, point, register

from gateway.sinks.modbus_server.connection import Clients
from gateway.status import ClientsStatus, SinkStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.sinks.modbus_server.connection import Connection

TARGET = point("T", *(register(i, "uint16") for i in range(125)))
ATTACK_S = 3.0
LONGEST_TURN_S = 0.5  # of this thread's CPU, which other programs do not take; 0.01 to 0.03 is usual
SLOWEST_ANSWER_S = 1.0  # likewise


@asynccontextmanager
async def hostile_clients(port: int) -> AsyncIterator[None]:
    """Run them within the context."""
    program = Path(support.hostile_modbus.__file__)
    process = await asyncio.create_subprocess_exec(sys.executable, program, str(port))
    try:
        yield
        assert process.returncode is None
    finally:
        process.kill()
        await process.wait()


async def longest_turn_s(is_over: asyncio.Event) -> float:
    """Return the longest time between two turns of the event loop."""
    longest_s, last_s = 0.0, time.thread_time()
    while not is_over.is_set():
        await asyncio.sleep(0)
        longest_s, last_s = max(longest_s, time.thread_time() - last_s), time.thread_time()
    return longest_s


@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_sixty_hostile_clients_do_not_hold_the_loop(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """While sixty clients flood, hang and send garbage, the loop turns and a controller is answered."""

    async def check() -> None:
        loop = asyncio.get_running_loop()
        clients, is_over = ClientsStatus(), asyncio.Event()
        status = SinkStatus(type="modbus_server", clients=clients)
        async with make_sink(TARGET, status=status) as sink, connect(sink) as controller:
            await controller.read(4, 0, 125)
            async with hostile_clients(sink.port), asyncio.timeout(120):
                least_s = loop.time() + ATTACK_S
                turn = asyncio.create_task(longest_turn_s(is_over), name="watch the loop")
                while loop.time() < least_s or clients.requests <= 1000:  # until they did get through
                    asked_s = time.thread_time()
                    assert len(await controller.read(4, 0, 125)) == 250
                    assert time.thread_time() - asked_s < SLOWEST_ANSWER_S
                is_over.set()
                assert await turn < LONGEST_TURN_S

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(check())


@dataclass(eq=False)
class Quiet:
    """A client with the time of its last request, or of its connection."""

    quiet_since_s: float
    has_asked: bool = True
    dropped: bool = False

    def abort(self) -> None:
        """Be dropped."""
        self.dropped = True


def connection(client: Quiet) -> Connection:
    """Return it as a connection of the server."""
    return cast("Connection", client)


def admitting(most: int) -> Clients:
    """Return open clients with this many places."""
    allow = [ip_network("127.0.0.1")]
    return Clients(
        allow=allow, most=most, status=ClientsStatus(), bound_log=structlog.get_logger(), is_open=True
    )


def test_the_quietest_gives_way_after_ten_seconds() -> None:
    """The client without a request for longest gives its place, but not within ten seconds."""
    clients = admitting(2)
    busy, quiet = Quiet(99.0), Quiet(90.0)
    assert clients.admit(connection(busy), "127.0.0.1", now_s=90.0)
    assert clients.admit(connection(quiet), "127.0.0.1", now_s=90.0)
    assert not clients.admit(connection(Quiet(99.9)), "127.0.0.1", now_s=99.9)
    assert clients.admit(connection(Quiet(100.0)), "127.0.0.1", now_s=100.0)
    assert (busy.dropped, quiet.dropped) == (False, True)


def test_a_client_without_a_request_gives_its_place_first() -> None:
    """It gives its place at once, before a client that has been quiet for much longer."""
    clients = admitting(2)
    slow, new = Quiet(0.0), Quiet(100.0, has_asked=False)
    assert clients.admit(connection(slow), "127.0.0.1", now_s=0.0)
    assert clients.admit(connection(new), "127.0.0.1", now_s=100.0)
    assert clients.admit(connection(Quiet(100.1)), "127.0.0.1", now_s=100.1)
    assert (slow.dropped, new.dropped) == (False, True)


def test_a_flood_is_logged_once() -> None:
    """Begin and end of a flood are one line each, however many clients come and go."""
    clients = admitting(8)
    with capture_logs() as logs:
        for now_s in range(1000):
            newcomer = Quiet(now_s, has_asked=False)
            assert clients.admit(connection(newcomer), "127.0.0.1", now_s=now_s)
            if now_s % 20 > 8:
                clients.remove(connection(newcomer), now_s=now_s)
        assert len(logs) == 1
        clients.remove(connection(newcomer), now_s=1060.0)
        assert clients.admit(connection(Quiet(1061.0)), "127.0.0.1", now_s=1061.0)
    assert [log["log_level"] for log in logs] == ["warning", "info"]


def test_refused_hosts_are_logged_once() -> None:
    """Each host outside of `allow` is logged once, at most a hundred; all are counted."""
    status = ClientsStatus()
    clients = Clients(allow=[], most=8, status=status, bound_log=structlog.get_logger(), is_open=True)
    with capture_logs() as logs:
        for number in range(1000):
            assert not clients.admit(connection(Quiet(0.0)), f"10.0.{number % 4}.{number % 250}", now_s=0.0)
    assert len(logs) == 100
    assert status.refused == 1000
