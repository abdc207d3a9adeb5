"""Modbus/TCP Security: who is served, what is logged of others, and unusable files."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTlsClient
from structlog.testing import capture_logs
from support.authority import ROLE, Authority
from support.cipher_suites import FORWARD_SECRET, spoken_at
from support.modbus_fixtures import Client, connect, frame, make_sink, point, register, until, update

from gateway.errors import GatewayError
from gateway.sinks.modbus_server.security import ModbusTls, certificate_role
from gateway.status import ClientsStatus, SinkStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gateway.sinks.modbus_server.sink import ModbusServerSink

    Certificate = tuple[Path, Path]

TARGET = point("T", *(register(i, "uint16") for i in range(125)))
READ = struct.pack(">BHH", 4, 0, 2)
VALUES = b"\x04\x04" + 2 * (4711).to_bytes(2, "big")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the building's certificate authority."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def controller(authority: Authority) -> Certificate:
    """Return certificate and key of a controller, without a role."""
    return authority.issue("controller")


@pytest.fixture(scope="module")
def tls(authority: Authority) -> ModbusTls:
    """Return the server's settings."""
    certificate, key = authority.issue("gateway")
    return ModbusTls(certificate=certificate, key=key, client_ca=authority.certificate)


def client_context(authority: Authority, certificate: Certificate | None) -> ssl.SSLContext:
    """Return a client's context, which verifies the server."""
    context = ssl.create_default_context(cafile=authority.certificate)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


@asynccontextmanager
async def connect_tls(sink: ModbusServerSink, context: ssl.SSLContext) -> AsyncIterator[Client]:
    """Connect over TLS."""
    reader, writer = await asyncio.open_connection("127.0.0.1", sink.port, ssl=context)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def is_served(sink: ModbusServerSink, context: ssl.SSLContext) -> bool:
    """Return whether a client gets an answer."""
    try:
        async with connect_tls(sink, context) as client:
            return await client.ask(READ) == VALUES
    except (OSError, asyncio.IncompleteReadError):
        return False


async def test_pymodbus_tls_client(tls: ModbusTls, authority: Authority, controller: Certificate) -> None:
    """Pymodbus's TLS client with a certificate of the authority reads as over plain TCP."""
    async with make_sink(TARGET, tls=tls) as sink:
        await sink.write([update(TARGET, 4711)])
        context = client_context(authority, controller)
        async with AsyncModbusTlsClient("127.0.0.1", port=sink.port, sslctx=context) as client:
            answer: Any = await client.read_input_registers(0, count=125)
            assert answer.registers == [4711] * 125
            assert (await client.read_holding_registers(0, count=1)).exception_code == 2


@pytest.mark.parametrize("kind", FORWARD_SECRET)
async def test_forward_secret_suites_only(authority: Authority, controller: Certificate, kind: str) -> None:
    """Of TLS 1.2, only suites with ephemeral keys and authenticated encryption are accepted."""
    certificate, key = authority.issue(f"gateway-{kind}", kind=kind)
    settings = ModbusTls(certificate=certificate, key=key, client_ca=authority.certificate)
    async with make_sink(TARGET, tls=settings) as sink:
        assert await asyncio.to_thread(spoken_at, sink.port, controller) == FORWARD_SECRET[kind]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_pipelined_over_tls(
    version: ssl.TLSVersion,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    tls: ModbusTls,
    authority: Authority,
    controller: Certificate,
) -> None:
    """Thousands of requests at once are all answered, in TLS 1.2 and 1.3, and garbage ends the connection."""
    context = client_context(authority, controller)
    context.minimum_version = context.maximum_version = version

    async def check() -> None:
        async with make_sink(TARGET, tls=tls) as sink, connect_tls(sink, context) as client:
            await sink.write([update(TARGET, 4711)])
            requests = [frame(READ, transaction=i) for i in range(5000)]
            sending = asyncio.create_task(client.send(*requests), name="send")
            for i in range(5000):
                assert await client.receive() == (i, 1, VALUES)
            await sending
            await client.send(frame(READ), b"GET / HTTP/1.1\r\n\r\n")
            assert (await client.receive())[2] == VALUES
            assert await client.is_dropped()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(check())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_a_client_that_closes_tls(
    version: ssl.TLSVersion,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    tls: ModbusTls,
    authority: Authority,
    controller: Certificate,
) -> None:
    """A client that sends a request and closes TLS gets the answer and the closing alert."""
    context = client_context(authority, controller)
    context.minimum_version = context.maximum_version = version
    status = SinkStatus(type="modbus_server")

    async def check() -> None:
        async with make_sink(TARGET, tls=tls, status=status) as sink:
            await sink.write([update(TARGET, 4711)])
            async with asyncio.timeout(60):
                assert await asyncio.to_thread(ask_and_close_tls, sink.port, context) == frame(VALUES)
            await until(lambda: status.clients, ClientsStatus(connected=0, requests=1, refused=0))
            assert await is_served(sink, context)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(check())


def ask_and_close_tls(port: int, context: ssl.SSLContext) -> bytes:
    """Send a request and the end of TLS at once; return what comes until the server has closed, too."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:

        def go_on(step: Callable[[], object]) -> None:
            while True:
                try:
                    step()
                except ssl.SSLWantReadError:
                    raw.sendall(outgoing.read())
                    incoming.write(raw.recv(1 << 16))
                else:
                    return

        go_on(tls.do_handshake)
        tls.write(frame(READ))
        with suppress(ssl.SSLWantReadError):  # until the answer is read
            tls.unwrap()
        received = bytearray()
        go_on(lambda: received.extend(tls.read()))
        go_on(tls.unwrap)
        assert raw.recv(1) == b""
    return bytes(received)


async def test_openssl_client(tls: ModbusTls, authority: Authority, controller: Certificate) -> None:
    """`openssl s_client` accepts the server's certificate, sends its own, and gets an answer."""
    certificate, key = controller
    async with make_sink(TARGET, tls=tls) as sink:
        await sink.write([update(TARGET, 4711)])
        process = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-connect", f"127.0.0.1:{sink.port}", "-quiet", "-verify_return_error"),
            *("-CAfile", authority.certificate, "-cert", certificate, "-key", key),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(frame(READ))
        async with asyncio.timeout(60):
            assert await process.stdout.readexactly(13) == frame(VALUES)
        process.kill()
        await process.wait()


async def test_who_is_not_served(
    tls: ModbusTls, authority: Authority, controller: Certificate, tmp_path: Path
) -> None:
    """No certificate, one of another authority, an old TLS, no TLS: dropped, counted, each logged once."""
    foreign = Authority(tmp_path, "other").issue("controller")
    old = client_context(authority, controller)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    status = SinkStatus(type="modbus_server")
    with capture_logs() as logs:
        async with make_sink(TARGET, tls=tls, status=status) as sink:
            await sink.write([update(TARGET, 4711)])
            for _ in range(2):
                assert not await is_served(sink, client_context(authority, None))
                assert not await is_served(sink, client_context(authority, foreign))
                assert not await is_served(sink, old)
                async with connect(sink) as plain:
                    await plain.send(frame(READ))
                    assert await plain.is_dropped()
            assert await is_served(sink, client_context(authority, controller))
            await until(lambda: status.clients, ClientsStatus(connected=0, requests=1, refused=8))
    assert [log["log_level"] for log in logs] == ["warning"] * 4
    logged = " ".join(log["event"] for log in logs)
    for reason in ("did not return a certificate", "unable to get local issuer", "unsupported protocol"):
        assert reason in logged
    assert {log["client"] for log in logs} == {"127.0.0.1"}


CLOSE_NOTIFY = b"\x15\x03\x03\x00\x02\x01\x00"


def hello(context: ssl.SSLContext) -> bytes:
    """Return a client's first bytes."""
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1").do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_clients_that_give_up(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    tls: ModbusTls,
    authority: Authority,
    controller: Certificate,
    tmp_path: Path,
) -> None:
    """A client that ends TLS early is counted and logged; a TCP probe without a byte is not."""
    mistrusting = client_context(Authority(tmp_path, "other"), controller)
    begin = hello(client_context(authority, controller))

    def say_why(raw: socket.socket) -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            mistrusting.wrap_socket(raw, server_hostname="127.0.0.1")

    def say_goodbye(raw: socket.socket) -> None:
        raw.sendall(begin + CLOSE_NOTIFY)
        raw.recv(1 << 16)

    def hang_up(raw: socket.socket) -> None:
        raw.sendall(begin)
        raw.recv(1 << 16)

    def reset(raw: socket.socket) -> None:
        hang_up(raw)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def probe(_: socket.socket) -> None:
        """Begin nothing."""

    status = SinkStatus(type="modbus_server")

    async def check() -> None:
        async with make_sink(TARGET, tls=tls, status=status) as sink:
            for number, way in enumerate((say_why, say_goodbye, hang_up, reset), start=1):
                for do in (probe, way):
                    with socket.create_connection(("127.0.0.1", sink.port), timeout=60) as raw:
                        await asyncio.to_thread(do, raw)
                await until(lambda: status.clients, ClientsStatus(refused=number))

    with capture_logs() as logs, asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(check())
    gave_up = "Modbus client refused: no TLS with it: it gave up, perhaps over the gateway's certificate"
    assert [log["event"] for log in logs] == [f"{gave_up}: unknown ca", gave_up]


async def test_allow_comes_before_tls(tls: ModbusTls, authority: Authority, controller: Certificate) -> None:
    """A client outside of `allow` is dropped before any TLS, also with a good certificate."""
    async with make_sink(TARGET, tls=tls, allow=()) as sink, connect(sink) as raw:
        assert await raw.is_dropped()
        assert not await is_served(sink, client_context(authority, controller))


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # and no more of it


@pytest.mark.parametrize("hello", [b"", HELLO])
async def test_an_unfinished_handshake_gives_way(
    hello: bytes, tls: ModbusTls, authority: Authority, controller: Certificate
) -> None:
    """An unfinished handshake does not keep a client out."""
    async with make_sink(TARGET, tls=tls, max_connections=1) as sink, connect(sink) as stuck:
        await sink.write([update(TARGET, 4711)])
        await stuck.send(hello)
        assert await is_served(sink, client_context(authority, controller))
        assert await stuck.is_dropped()


async def test_a_handshake_that_never_ends(tls: ModbusTls, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handshake byte by byte is dropped after its time-out, whatever `idle_timeout` is."""
    monkeypatch.setattr("gateway.sinks.modbus_server.security._HANDSHAKE_WITHIN_S", 1.0)
    loop = asyncio.get_running_loop()
    async with make_sink(TARGET, tls=tls) as sink, connect(sink) as slow:
        began_s = loop.time()
        unsent = list(HELLO + bytes(100))
        dropped = asyncio.create_task(slow.is_dropped(), name="watch the slow client")
        while unsent and not dropped.done():
            slow.writer.write(bytes([unsent.pop(0)]))
            await asyncio.sleep(0.1)
        assert await dropped
        assert unsent
        assert loop.time() - began_s > 0.9


async def test_slow_reader_over_tls(tls: ModbusTls, authority: Authority, controller: Certificate) -> None:
    """Nothing is read from a TLS client that reads no answers; others are served, and it is dropped."""
    context = client_context(authority, controller)
    sink = make_sink(TARGET, tls=tls, idle_timeout="1s")
    async with sink, connect_tls(sink, context) as slow:
        await sink.write([update(TARGET, 4711)])
        cast("asyncio.Transport", slow.writer.transport).pause_reading()
        flood = asyncio.create_task(_send_on(slow), name="flood")
        await asyncio.sleep(0.5)
        assert not flood.done()
        assert await is_served(sink, context)
        async with asyncio.timeout(60):
            with pytest.raises(ConnectionError):
                await flood


async def _send_on(client: Client) -> None:
    while True:
        await client.send(frame(struct.pack(">BHH", 4, 0, 125)) * 1000)


async def test_roles(authority: Authority, controller: Certificate, tls: ModbusTls) -> None:
    """With `roles`, certificates with one of them read; others get exception 1, logged once."""
    settings = ModbusTls(
        certificate=tls.certificate, key=tls.key, client_ca=tls.client_ca, roles=("Operator", "Betreiber Süd")
    )
    operator = authority.issue("operator", f"{ROLE} = ASN1:UTF8String:Operator")
    south = authority.issue("south", f"{ROLE} = ASN1:FORMAT:UTF8,UTF8String:Betreiber Süd")
    guest = authority.issue("guest", f"{ROLE} = ASN1:UTF8String:Guest")
    other_kind = authority.issue("kind", f"{ROLE} = ASN1:IA5STRING:Operator")
    named = authority.issue("Operator")
    with capture_logs() as logs:
        async with make_sink(TARGET, tls=settings) as sink:
            await sink.write([update(TARGET, 4711)])
            for certificate in (operator, south):
                assert await is_served(sink, client_context(authority, certificate))
            for certificate in (controller, guest, other_kind, named):
                async with connect_tls(sink, client_context(authority, certificate)) as client:
                    assert await client.ask(READ) == b"\x84\x01"
                    assert await client.ask(b"\x2b\x0e\x01\x00") == b"\xab\x01"
    assert [log["event"] for log in logs] == [
        "Modbus client refused: its certificate has none of the roles in `tls.roles`"
    ]


@given(certificate=st.binary(max_size=400))
def test_no_role_in_garbage(certificate: bytes) -> None:
    """Bytes that are no certificate have no role and raise nothing."""
    assert certificate_role(certificate) is None


async def test_files_that_cannot_be_used(tls: ModbusTls, authority: Authority, tmp_path: Path) -> None:
    """A file that is missing, broken or does not match is reported with name and reason."""
    broken, missing, locked = tmp_path / "broken.pem", tmp_path / "missing.pem", tmp_path / "locked.key"
    broken.write_text("no certificate")
    authority.lock(tls.key, locked)
    _, other_key = authority.issue("other")
    for change, reason in (
        ({"certificate": missing}, f"{missing} can't be read: No such file or directory"),
        ({"key": missing}, f"{missing} can't be read: No such file or directory"),
        ({"client_ca": missing}, f"{missing} can't be read: No such file or directory"),
        ({"certificate": broken}, f"{broken} and {tls.key} can't be used: "),
        ({"key": broken}, f"{tls.certificate} and {broken} can't be used: "),
        ({"key": other_key}, f"{tls.certificate} and {other_key} can't be used: key values mismatch"),
        ({"key": locked}, f"{tls.certificate} and {locked} can't be used: "),
        ({"client_ca": broken}, f"{broken} can't be used: no certificate or crl found"),
    ):
        files = {name: getattr(tls, name) for name in ("certificate", "key", "client_ca")}
        with pytest.raises(GatewayError) as failed:
            async with make_sink(TARGET, tls=ModbusTls(**(files | change))):
                pass
        assert str(failed.value).startswith(f"sinks.regs.tls: {reason}")


async def test_a_renewed_certificate(tmp_path: Path, authority: Authority, controller: Certificate) -> None:
    """New connections get it without a restart; open connections stay."""
    files = tmp_path / "server.pem", tmp_path / "server.key"

    def install(holder: str) -> bytes:
        for issued, file in zip(authority.issue(holder), files, strict=True):
            shutil.copy(issued, file)
        return ssl.PEM_cert_to_DER_cert(files[0].read_text())

    async def shown() -> bytes:
        async with connect_tls(sink, context) as client:
            return bytes(client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True))

    first = install("first")
    tls = ModbusTls(certificate=files[0], key=files[1], client_ca=authority.certificate)
    context = client_context(authority, controller)
    async with make_sink(TARGET, tls=tls) as sink, connect_tls(sink, context) as connected:
        await sink.write([update(TARGET, 4711)])
        assert await shown() == first
        second = install("second")
        async with asyncio.timeout(60):
            while await shown() != second:  # noqa: ASYNC110 - no event shows it
                await asyncio.sleep(0.1)
        assert await connected.ask(READ) == VALUES
