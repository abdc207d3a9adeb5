"""Who may connect, how many and for how long; slow readers; opening and closing the port."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import AsyncExitStack
from ipaddress import ip_network
from typing import TYPE_CHECKING, cast

import pytest
import uvloop
from structlog.testing import capture_logs
from support.modbus_fixtures import Client, connect, frame, make_sink, point, register, until
from support.sockets import tcp_timer

from gateway.config.value_types import HostPort
from gateway.errors import GatewayError
from gateway.status import ClientsStatus, SinkStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sinks.modbus_server.sink import ModbusServerSink

TARGET = point("T", *(register(i, "uint16") for i in range(125)))
READ_ALL = struct.pack(">BHH", 4, 0, 125)
ANSWER_BYTES = 9 + 250


async def test_only_allowed_networks() -> None:
    """A client outside of `allow` is dropped without an answer, and logged once with its address."""
    with capture_logs() as logs:
        async with make_sink(TARGET, allow=(ip_network("127.0.0.1"),)) as sink:
            for _ in range(3):
                async with connect(sink, source="127.0.0.2") as refused:
                    await refused.send(frame(READ_ALL))
                    assert await refused.is_dropped()
            async with connect(sink, source="127.0.0.1") as client:
                assert await client.read(4, 0, 1) == b"\xff\xff"
    assert [(log["log_level"], log["client"], log["sink"]) for log in logs] == [
        ("warning", "127.0.0.2", "regs")
    ]


async def test_a_full_server_drops_the_newcomer() -> None:
    """Active connections keep their places; a free place can be used again; one warning is logged."""
    with capture_logs() as logs:
        async with make_sink(TARGET, max_connections=2) as sink, connect(sink) as first:
            async with connect(sink) as second:
                for client in (first, second):
                    assert await client.read(4, 0, 1) == b"\xff\xff"
                for _ in range(3):
                    async with connect(sink) as third:
                        assert await third.is_dropped()
                for client in (first, second):
                    assert await client.read(4, 0, 1) == b"\xff\xff"
            await first.read(4, 0, 1)  # by then the server has seen the second one leave
            async with connect(sink) as late:
                assert await late.read(4, 0, 1) == b"\xff\xff"
    assert [log["log_level"] for log in logs] == ["warning"]


async def test_a_connection_without_a_request_gives_its_place() -> None:
    """A controller connects although connections without a request hold all places; an active one stays."""
    async with AsyncExitStack() as held, make_sink(TARGET, max_connections=4) as sink:
        working = await held.enter_async_context(connect(sink))
        assert await working.read(4, 0, 1) == b"\xff\xff"
        dead = [await held.enter_async_context(connect(sink)) for _ in range(20)]
        for _ in range(3):
            async with connect(sink) as restarted:
                assert await restarted.read(4, 0, 1) == b"\xff\xff"
        assert all([await client.is_dropped() for client in dead[:17]])
        assert await working.read(4, 0, 1) == b"\xff\xff"


async def test_counts_in_status() -> None:
    """The status shows connected clients, answered requests and refused clients."""
    status = SinkStatus(type="modbus_server")
    allow = (ip_network("127.0.0.1"),)
    sink = make_sink(TARGET, status=status, max_connections=2, allow=allow)
    async with sink, connect(sink) as first:
        async with connect(sink) as second:
            await first.send(*(frame(READ_ALL) for _ in range(4)), frame(b"\x06\0\0\0\1"))
            await second.read(4, 0, 1)
            for _ in range(5):
                await first.receive()
            for source in ("127.0.0.1", "127.0.0.2"):
                async with connect(sink, source=source) as refused:
                    assert await refused.is_dropped()
            assert status.clients == ClientsStatus(connected=2, requests=6, refused=2)
        await until(lambda: status.clients, ClientsStatus(connected=1, requests=6, refused=2))
    assert status.clients == ClientsStatus(connected=0, requests=6, refused=2)


async def test_incomplete_requests_do_not_count_as_activity() -> None:
    """`idle_timeout` counts complete requests only."""
    async with make_sink(TARGET, idle_timeout="1s") as sink, connect(sink) as slow:
        assert await slow.read(4, 0, 1) == b"\xff\xff"
        dropped = asyncio.create_task(slow.is_dropped(), name="watch the slow client")
        unsent = list(frame(READ_ALL)[:-1] * 10)
        while unsent and not dropped.done():
            slow.writer.write(bytes([unsent.pop(0)]))
            await asyncio.sleep(0.1)
        assert await dropped
        assert unsent


async def test_keepalive_is_on() -> None:
    """TCP keep-alive probes an idle connection, so that a vanished peer does not keep its place."""
    async with make_sink(TARGET) as sink, connect(sink) as client:
        await client.read(4, 0, 1)
        ours, theirs = sink.port, client.writer.get_extra_info("sockname")[1]
        timer, due_s = await asyncio.to_thread(tcp_timer, local_port=ours, remote_port=theirs)
        assert timer == "keepalive"
        assert 0 < due_s <= 30


async def test_idle_connections_are_closed() -> None:
    """A client without requests is dropped after `idle_timeout`; an active one stays."""
    sink = make_sink(TARGET, idle_timeout="3s")
    async with sink, connect(sink) as silent, connect(sink) as busy:
        dropped = asyncio.create_task(silent.is_dropped(), name="watch the silent client")
        while not dropped.done():
            await asyncio.sleep(0.1)
            assert await busy.read(4, 0, 1) == b"\xff\xff"
        assert await dropped


async def _flood(sink: ModbusServerSink, *, stuck_for_s: float = 0.5) -> tuple[socket.socket, int]:
    """Send reads without reading answers until nothing can be sent for a while; count the whole ones."""
    loop = asyncio.get_running_loop()
    flooding = socket.socket()
    flooding.settimeout(0)
    assert sink._server is not None
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        flooding.setsockopt(socket.SOL_SOCKET, option, 16_384)
        # Its connections inherit that: else the system may keep megabytes for a server that does not listen.
        sink._server.sockets[0].setsockopt(socket.SOL_SOCKET, option, 16_384)
    await loop.sock_connect(flooding, ("127.0.0.1", sink.port))
    stream = b"".join(frame(READ_ALL, transaction=i) for i in range(65_536)) * 4  # sockets hold up to 1 MB
    sent, stuck = 0, 0
    while 0.05 * stuck < stuck_for_s and sent < len(stream):
        try:
            sent += flooding.send(stream[sent : sent + 8192])
            stuck = 0
        except BlockingIOError:
            stuck += 1
        await asyncio.sleep(0.05 if stuck else 0)
    if not stuck:
        flooding.close()
    assert stuck, f"the server took {sent} bytes of requests from a client that reads no answer"
    return flooding, sent // 12


@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_slow_reader_is_paused(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """While a client does not read its answers, nothing is read from it; no answer is lost."""

    async def check() -> None:
        loop = asyncio.get_running_loop()
        async with make_sink(TARGET) as sink:
            slow, requests = await _flood(sink)
            async with connect(sink) as other:
                assert len(await other.read(4, 0, 125)) == 250
            received = bytearray()
            while len(received) < requests * ANSWER_BYTES:
                received += await asyncio.wait_for(loop.sock_recv(slow, 1 << 20), timeout=60)
            slow.close()
        transactions = [
            int.from_bytes(received[i : i + 2], "big")
            for i in range(0, requests * ANSWER_BYTES, ANSWER_BYTES)
        ]
        assert transactions == [number % 65_536 for number in range(requests)]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(check())


async def test_slow_reader_is_dropped_when_idle() -> None:
    """A client that never reads its answers is dropped after `idle_timeout`."""
    clients = ClientsStatus()
    status = SinkStatus(type="modbus_server", clients=clients)
    async with make_sink(TARGET, status=status, idle_timeout="1s", max_connections=1) as sink:
        slow, _ = await _flood(sink, stuck_for_s=0.05)
        await until(lambda: clients.connected, 0)
        async with connect(sink) as next_one:
            assert await next_one.read(4, 0, 1) == b"\xff\xff"
        slow.close()


async def test_leaving_closes_port_and_connections_at_once() -> None:
    """Leaving the sink closes every connection at once, also a slow reader's."""
    async with AsyncExitStack() as clients:
        async with make_sink(TARGET) as sink:
            client = await clients.enter_async_context(connect(sink))
            await client.read(4, 0, 1)
            slow, _ = await _flood(sink)
            leaving_s = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - leaving_s < 20
        assert await client.is_dropped()
        slow.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", sink.port)


async def test_a_client_that_connects_during_shutdown_is_dropped() -> None:
    """A connection that the sink has not seen yet when it stops is not served."""
    async with make_sink(TARGET) as sink:
        arriving = socket.create_connection(("127.0.0.1", sink.port))  # blocks the loop, so nobody saw it
        for _ in range(3):  # turns of the loop after which its transport exists, but no more
            await asyncio.sleep(0)
    reader, writer = await asyncio.open_connection(sock=arriving)
    assert await Client(reader, writer).is_dropped()
    writer.transport.abort()


async def test_half_closed_client_gets_its_answers() -> None:
    """A client that closes its side after a request gets the answer, then the connection ends."""
    async with make_sink(TARGET) as sink, connect(sink) as client:
        await client.send(frame(READ_ALL))
        client.writer.write_eof()
        assert len((await client.receive())[2]) == 252
        assert await client.is_dropped()


async def test_a_port_in_use() -> None:
    """A port in use is a GatewayError with sink, address and reason."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = cast("int", other.getsockname()[1])
        with pytest.raises(GatewayError) as failed:
            async with make_sink(TARGET, listen=HostPort("127.0.0.1", port)):
                pass
    assert str(failed.value) == (
        f"sink regs: cannot listen on 127.0.0.1:{port}: Address already in use; "
        "free that port, or change `listen`"
    )


async def test_unknown_host() -> None:
    """A host name that cannot be resolved is a GatewayError."""
    with pytest.raises(GatewayError, match=r"cannot listen on nowhere\.invalid:5020: "):
        async with make_sink(TARGET, listen=HostPort("nowhere.invalid", 5020)):
            pass


async def test_can_be_entered_again_on_the_same_port() -> None:
    """A restarted sink gets its port again, although connections to it were open."""
    async with make_sink(TARGET) as sink, connect(sink) as client:
        await client.read(4, 0, 1)
        port = sink.port
        await sink.__aexit__(None, None, None)
        again = make_sink(TARGET, listen=HostPort("127.0.0.1", port))
        async with again, connect(again) as client_again:
            assert again.port == port
            assert await client_again.read(4, 0, 1) == b"\xff\xff"


async def test_ipv6() -> None:
    """The server listens on IPv6 and lets ::1 in by default."""
    async with make_sink(TARGET, listen=HostPort("::1", 0)) as sink:
        reader, writer = await asyncio.open_connection("::1", sink.port)
        writer.write(frame(READ_ALL))
        assert len(await reader.readexactly(ANSWER_BYTES)) == ANSWER_BYTES
        writer.transport.abort()


async def test_state_is_up_once_listening() -> None:
    """The status says `up` once controllers can poll, not before."""
    status = SinkStatus(type="modbus_server")
    sink = make_sink(TARGET, status=status)
    assert status.state == "starting"
    async with sink:
        assert status.state == "up"
