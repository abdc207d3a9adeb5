"""Unverified connections: which are dropped, and how much memory bodies may take."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import orjson
import pytest
from support.intake_server import (
    NOW_S,
    PATH,
    RunningIntake,
    chunked,
    event,
    request,
    running_intake,
    signature,
)

from gateway.infodeck.missing_webhooks import RefusedDeliveries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BODY = event()
LIMIT = 8
UNVERIFIED = 5 * LIMIT
FALSE_SIGNATURE = f"x-infodeck-signature: t=1771911526,v1={'0' * 64}"
LARGE = 100_000
ROOM_BYTES = 4 * LARGE


@pytest.fixture
async def intake(tmp_path: Path) -> AsyncIterator[RunningIntake]:
    """Serve an intake with few connections and little memory for bodies."""
    async with running_intake(tmp_path, most_connections=LIMIT, bodies_bytes=ROOM_BYTES) as running:
        yield running


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Make a certificate, and its key beside it."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x"
    files = ["-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run([*command.split(), *files], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path / "certificate.pem"


async def silent(stack: AsyncExitStack, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a silent connection from another host than the sender's."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
    stack.callback(writer.close)
    return reader, writer


async def test_the_oldest_unverified_connection_is_dropped(intake: RunningIntake) -> None:
    """A delivery is received however many connections are silent; the oldest ones are dropped."""
    async with AsyncExitStack() as stack:
        others = [await silent(stack, intake.port) for _ in range(UNVERIFIED)]
        async with asyncio.timeout(60):
            assert await others[0][0].read() == b""
        for number in range(3):
            assert (await intake.ask(request(event(f"evt_{number}")))).code == 200
        assert intake.status.connections.open <= LIMIT
        assert intake.status.connections.dropped >= UNVERIFIED - LIMIT


async def test_a_connection_that_has_delivered_is_kept(intake: RunningIntake) -> None:
    """A verified sender's connections outlast any number of unverified ones."""
    async with AsyncExitStack() as stack, intake.connect() as sender, intake.connect() as other:
        for number, connection in enumerate((sender, other)):
            await connection.send(request(event(f"evt_{number}")))
            assert (await connection.answer()).code == 200
        for _ in range(UNVERIFIED):
            _, writer = await silent(stack, intake.port)
            writer.write(request(BODY, signed=False))
            assert intake.status.connections.open <= LIMIT
        for number, connection in enumerate((sender, other)):
            await connection.send(request(event(f"evt_again_{number}")))
            assert (await connection.answer()).code == 200


async def test_silence_before_tls_is_dropped(tmp_path: Path, certificate: Path) -> None:
    """Connections without a TLS handshake count and are dropped like others."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, tmp_path / "key.pem")
    trusting = ssl.create_default_context(cafile=certificate)
    trusting.check_hostname = False
    async with (
        running_intake(tmp_path, most_connections=LIMIT, tls=tls) as intake,
        AsyncExitStack() as stack,
    ):
        for number in range(UNVERIFIED):
            _, writer = await silent(stack, intake.port)
            writer.write(b"" if number % 2 else b"no TLS at all")
            if number % LIMIT:
                continue
            reader, sender = await asyncio.open_connection("127.0.0.1", intake.port, ssl=trusting)
            stack.callback(sender.close)
            sender.write(request(event(f"evt_{number}")))
            async with asyncio.timeout(60):
                assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        assert intake.status.connections.dropped > 0
        assert intake.status.connections.open <= LIMIT
    assert intake.status.connections.open == 0


async def test_a_whole_head_must_come_within_seconds(tmp_path: Path) -> None:
    """A connection without a whole request head is closed; one with a request stays open."""
    async with (
        running_intake(tmp_path, request_within_s=3) as intake,
        intake.connect() as asking,
        intake.connect() as silent,
        intake.connect() as half,
    ):
        await asking.send(request(BODY))
        assert (await asking.answer()).code == 200
        await half.send(request(BODY)[:40])
        assert await silent.is_closed()
        assert await half.is_closed()
        await asking.send(request(event("evt_2")))
        assert (await asking.answer()).code == 200


async def test_the_oldest_body_is_refused(intake: RunningIntake) -> None:
    """When bodies exceed their memory, the oldest gets 503 and a delivery is received."""
    head = request(bytes(LARGE), FALSE_SIGNATURE, signed=False)[:-1]
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(intake.connect()) for _ in range(LIMIT - 1)]
        for other in others:
            await other.send(head)
        answer = await others[0].answer()
        assert (answer.code, answer.headers["retry-after"], answer.headers["connection"]) == (
            503,
            "10",
            "close",
        )
        assert list(orjson.loads(answer.body)) == ["error"]
        async with intake.connect() as sender:
            body = event(pad="x" * LARGE)
            for at in range(0, len(data := request(body)), 20_000):
                await sender.send(data[at : at + 20_000])
                await asyncio.sleep(0.01)
            assert (await sender.answer()).code == 200
    assert list(intake.stored()) == ["evt_1"]


@pytest.mark.parametrize("headers", [(), ("x-infodeck-signature: t=1,v1=0",)], ids=["missing", "malformed"])
async def test_unsigned_requests_are_refused_before_their_body(
    intake: RunningIntake, headers: tuple[str, ...]
) -> None:
    """A request without a signature gets 401 before its body is read."""
    head = request(BODY, *headers, "Expect: 100-continue", signed=False).removesuffix(BODY)
    assert (await intake.ask(head)).code == 401
    assert intake.status.refused == {"malformed" if headers else "missing": 1}


async def test_foreign_bodies_are_counted_apart(intake: RunningIntake) -> None:
    """An unsigned body without our organization counts as `foreign`, and with it as `mismatch`."""
    refused = RefusedDeliveries(intake.status)
    for _ in range(5):
        assert (await intake.ask(request(b'{"id":"evt_1"}', FALSE_SIGNATURE, signed=False))).code == 401
    assert refused.judge(NOW_S * 1000) is None
    for _ in range(3):
        assert (await intake.ask(request(BODY, signature(BODY, secret=b"former"), signed=False))).code == 401
    assert "none of intake.signing_secrets is this webhook's" in (refused.judge(NOW_S * 1000) or "")
    assert intake.status.refused == {"foreign": 5, "mismatch": 3}


async def test_tiny_chunks_end_the_connection_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What else comes of such a body is not read, as it costs the intake seconds."""
    monkeypatch.setattr("gateway.intake.server._LINGER_S", 120)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{FALSE_SIGNATURE}\r\n\r\n"
    async with running_intake(tmp_path) as intake, intake.connect() as connection:
        await connection.send(head.encode())

        async def send_on() -> None:
            while True:
                await connection.send(b"1\r\nx\r\n" * 1_000)
                await asyncio.sleep(0)

        sending = asyncio.create_task(send_on())
        assert (await connection.answer()).code == 400
        assert await connection.is_closed()
        sending.cancel()


async def test_tiny_chunks_are_refused(intake: RunningIntake) -> None:
    """A large body in tiny chunks gets 400 early; a small one is read."""
    for number, (length, size, code) in enumerate(
        [(500, 1, 200), (LARGE, 1, 400), (LARGE, 32, 400), (LARGE, 100, 200)]
    ):
        body = event(f"evt_{number}", pad="x" * length)
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{signature(body)}\r\n\r\n"
        async with intake.connect() as connection:
            await connection.send(head.encode())
            sending = asyncio.create_task(connection.send(chunked(body, size)))
            answer = await connection.answer()
            assert (answer.code, answer.headers.get("connection")) == (code, "close" if code == 400 else None)
            if code == 400:
                assert await connection.is_closed()
            await sending
    assert list(intake.stored()) == ["evt_0", "evt_3"]
