"""The real intake on a free loopback port, with a real journal and pipeline behind it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import orjson

from gateway.config.value_types import HostPort
from gateway.delivery.event_copies import EventCopies
from gateway.delivery.pipeline import Pipeline
from gateway.events import EventPatterns
from gateway.http_server import ConnectionLimit, listen
from gateway.intake.event_filter import EventFilter
from gateway.intake.forwarding import Forwarding
from gateway.intake.server import IntakeServer
from gateway.intake.signature import HEADER, Verifier, sign
from gateway.journal.lookup import newest_events
from gateway.journal.sqlite import SqliteJournal
from gateway.mapping.plan import PointMap
from gateway.state.building_state import BuildingState
from gateway.status import IntakeStatus, JournalStatus, MappingStatus

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

SECRET = b"whsec-made-up-for-tests"
PATH = "/webhooks/infodeck"
ORGANIZATION = "o-test"
NOW_S = 1_771_911_526
SINK = "bms"
MAX_BODY_BYTES = 1 << 20
_ANSWER_WITHIN_S = 60.0


def now_ms() -> int:
    """Return the moment at which all tests happen, in Unix milliseconds."""
    return NOW_S * 1000


def event(event_id: str = "evt_1", **envelope: Any) -> bytes:
    """Return the body of a telemetry event; `envelope` replaces fields."""
    return orjson.dumps(
        {
            "id": event_id,
            "type": "asset.telemetry.updated",
            "organizationId": ORGANIZATION,
            "created": NOW_S,
            "data": {"object": {"assetId": "ast-1", "telemetry": {"temperature": 21.5}}},
            **envelope,
        }
    )


def signature(body: bytes, *, secret: bytes = SECRET, timestamp_s: int = NOW_S) -> str:
    """Return the header line that signs `body`."""
    return f"{HEADER}: {sign(body, secret, timestamp_s)}"


def request(
    body: bytes,
    *headers: str,
    signed: bool = True,
    length: bool = True,
    method: str = "POST",
    target: str = PATH,
    version: str = "1.1",
) -> bytes:
    """Return the bytes of a whole request, by default signed and with its length."""
    lines = [f"{method} {target} HTTP/{version}", "Host: gateway", "Content-Type: application/json", *headers]
    if signed:
        lines.append(signature(body))
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def chunked(body: bytes, size: int) -> bytes:
    """Return `body` in HTTP chunks of `size` bytes."""
    parts = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names in lower case."""

    version: str
    code: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One TCP connection that sends bytes as given and reads answers. An async context manager."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def send(self, data: bytes) -> None:
        """Send; a server that has closed already is no error."""
        with contextlib.suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def answer(self) -> Answer:
        """Return the next answer."""
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
            }
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        version, code, *_ = status.split()
        return Answer(version, int(code), headers, body)

    async def is_closed(self) -> bool:
        """Wait until the server closes; return whether it sent nothing more."""
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            try:
                return await self._reader.read() == b""
            except ConnectionError:
                return True

    def abort(self) -> None:
        """Reset the connection, as a killed sender's machine does."""
        self._writer.transport.abort()


@dataclass(slots=True)
class RunningIntake:
    """A listening intake with its journal and status."""

    port: int
    intake: IntakeServer
    journal: SqliteJournal
    status: IntakeStatus
    kept: JournalStatus
    file: Path

    def connect(self) -> Connection:
        """Return a new connection, to be entered."""
        return Connection(self.port)

    async def ask(self, data: bytes) -> Answer:
        """Return the answer to one request on a connection of its own."""
        async with self.connect() as connection:
            await connection.send(data)
            return await connection.answer()

    def stored(self) -> dict[str, bytes]:
        """Return the durable events' bodies by id, read from the file by a second connection."""
        newest_first = list(newest_events(self.file, limit=10_000))
        return {event.event_id: event.body for event in reversed(newest_first)}


@contextlib.asynccontextmanager
async def running_intake(
    folder: Path,
    *,
    max_journal_bytes: int = 64 << 20,
    clock_ms: Callable[[], int] = now_ms,
    body_within_s: float = 20.0,
    bodies_bytes: int = 32 << 20,
    most_connections: int = 512,
    request_within_s: float = 10.0,
    tls: ssl.SSLContext | None = None,
    on_assets_changed: Callable[[], None] = lambda: None,
    published: Iterable[str] = (),
    forwarded_within_s: float | None = None,
) -> AsyncIterator[RunningIntake]:
    """Serve within the context, with one sink that has delivered nothing yet.

    With `forwarded_within_s`, answers wait so long until the sink's cursor has passed their event.
    """
    file = folder / "journal.db"
    status, kept = IntakeStatus(), JournalStatus()
    points = PointMap(points=(), by_asset={})
    journal = SqliteJournal(
        file,
        sinks=[SINK],
        retention_s=3600,
        max_bytes=max_journal_bytes,
        clock_ms=now_ms,
        status=kept,
    )
    async with journal:
        pipeline = Pipeline(
            event_log=journal,
            state_store=journal,
            state=BuildingState(points),
            status=MappingStatus(),
            clock_ms=now_ms,
            steady_ms=now_ms,
            copies=EventCopies({}),
        )
        await pipeline.start([SINK])
        intake = IntakeServer(
            path=PATH,
            max_body_bytes=MAX_BODY_BYTES,
            verifier=Verifier([SECRET], tolerance_s=300),
            event_filter=EventFilter(
                organization=ORGANIZATION,
                published=EventPatterns(published),
                status=status,
                on_assets_changed=on_assets_changed,
            ),
            event_log=journal,
            status=status,
            clock_ms=clock_ms,
            body_within_s=body_within_s,
            bodies_bytes=bodies_bytes,
            forwarding=None
            if forwarded_within_s is None
            else Forwarding(event_log=journal, sink=SINK, within_s=forwarded_within_s),
        )
        server = intake.server()
        listening = listen(
            "intake.listen",
            HostPort("127.0.0.1", 0),
            server,
            limit=ConnectionLimit("intake.listen", most_connections, status=status.connections),
            tls=tls,
            request_within_s=request_within_s,
        )
        async with listening as listener:
            try:
                yield RunningIntake(listener.sockets[0].getsockname()[1], intake, journal, status, kept, file)
            finally:
                await server.shutdown(1.0)
