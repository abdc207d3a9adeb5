"""The webhook server: verifies the raw bytes, parses them once, journals the event, then answers 200.

Built on aiohttp's low-level server, since one path and one method need no router.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import InitVar, dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING

import orjson
import structlog
from aiohttp import web
from aiohttp.http import HttpVersion11
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from gateway.errors import EventError, JournalError, SignatureError, TransientError
from gateway.events import keep_apart, parse_event
from gateway.http_server import ConnectionLimit, ConnectionLog, connection_of, listen
from gateway.intake.signature import FOREIGN, HEADER, MISMATCH, parse_header
from gateway.text import sanitise_line

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Sequence

    from aiohttp import StreamReader
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http import RawRequestMessage

    from gateway.config.value_types import HostPort, Network
    from gateway.intake.event_filter import EventFilter
    from gateway.intake.forwarding import Forwarding
    from gateway.intake.signature import Verifier
    from gateway.intake.signing_secrets import SigningSecrets
    from gateway.model import Event
    from gateway.ports import EventLog
    from gateway.status import IntakeStatus

log = structlog.get_logger()

_MOST_CONNECTIONS = 512
_REQUEST_WITHIN_S = 10.0  # from the start of a connection to its first request
_CLOSE_WITHIN_S = 5.0
_LINGER_S = 2.0  # after an early answer, reading goes on so that the sender gets to see it
_STOPPING_RETRY_AFTER_S = 5
_NO_MEMORY_RETRY_AFTER_S = 10
_READ_BYTES = 1 << 16  # of a request's body that aiohttp buffers before it is read
_LONGEST_REQUEST_ID = 100
_FREE_CHUNKS = 1000
_LEAST_BYTES_PER_CHUNK = 64

_RECEIVED_BODY = b'{"received":true}'


class _Received(web.StreamResponse):
    """The 200 that nearly every request gets: bytes made once, not header by header.

    One instance without state answers all HTTP/1.1 requests that keep their connection.
    """

    _BYTES = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(_RECEIVED_BODY),
        _RECEIVED_BODY,
    )

    @property
    def keep_alive(self) -> bool:
        """Return True: the connection stays open."""
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write the whole answer."""
        if request.transport is None:
            raise ConnectionResetError("the sender has gone")
        request.transport.write(self._BYTES)

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing more."""


_RECEIVED = _Received()


@dataclass(kw_only=True, eq=False)
class IntakeServer:
    """Answers webhooks, one request at a time per connection; all connections share the journal's commits.

    Senders outside loopback and `trusted_proxies` are refused; None: anyone may send (over TLS).
    With `forwarding`, answers also wait for a sink. A body may take `body_within_s`, and all that are under
    way `bodies_bytes` of memory.
    """

    path: str
    max_body_bytes: int
    verifier: Verifier | SigningSecrets
    event_filter: EventFilter
    event_log: EventLog
    status: IntakeStatus
    clock_ms: Callable[[], int]
    trusted_proxies: Sequence[Network] | None = None
    body_within_s: InitVar[float] = 20.0
    bodies_bytes: InitVar[int] = 32 << 20
    forwarding: Forwarding | None = None

    def __post_init__(self, body_within_s: float, bodies_bytes: int) -> None:
        self._stopping = False
        self._organization_named = f'"{self.event_filter.organization}"'.encode()
        self._bodies = BodyReader(most_bytes=bodies_bytes, within_s=body_within_s)
        self._is_trusted = lru_cache(maxsize=1024)(self._may_send)

    @asynccontextmanager
    async def listening(self, address: HostPort, *, tls: ssl.SSLContext | None) -> AsyncIterator[None]:
        """Serve webhooks on `address` within the context; requests under way are finished on leaving."""
        server = self.server()
        limit = ConnectionLimit("intake.listen", _MOST_CONNECTIONS, status=self.status.connections)
        try:
            async with listen(
                "intake.listen", address, server, limit=limit, tls=tls, request_within_s=_REQUEST_WITHIN_S
            ):
                yield
        finally:
            if self.forwarding is not None:
                self.forwarding.stop()
            server.pre_shutdown()  # connections without a request end at once
            await server.shutdown(_CLOSE_WITHIN_S)

    def server(self) -> web.Server:
        """Return the server to be started on a socket; bodies stay as received, never decompressed."""
        return web.Server(
            self.handle,
            request_factory=self._make_request,
            auto_decompress=False,
            access_log=None,
            logger=ConnectionLog("intake", on_garbage=lambda: self.status.answers.update([400])),
            keepalive_timeout=75,
            lingering_time=_LINGER_S,
            read_bufsize=_READ_BYTES,
        )

    def stop(self) -> None:
        """Answer 503 from now on; requests under way are finished."""
        self._stopping = True

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request and count the answer; a bug ends this request and nothing else."""
        try:
            response = await self._answer(request)
        except Exception:
            log.exception("intake.failed", request_id=_request_id(request), sender=request.remote)
            response = _closing(_refusal(500, "an error of the gateway itself; its log says more"))
        self.status.answers[response.status] += 1
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.rel_url.raw_path != self.path:
            return _refusal(404, "no such path")
        if request.method != "POST":
            return _refusal(405, "only POST", Allow="POST")
        if not self._is_trusted(request.remote):
            return _closing(_refusal(403, "plain HTTP is accepted from trusted proxies only"))
        return await self._receive(request)

    def _may_send(self, remote: str | None) -> bool:
        """Return whether plain HTTP may come from `remote`."""
        if self.trusted_proxies is None or remote is None:
            return True
        address = ip_address(remote)
        return address.is_loopback or any(address in network for network in self.trusted_proxies)

    async def _receive(self, request: web.BaseRequest) -> web.StreamResponse:  # noqa: PLR0911 - one per error
        try:
            event = await self._verified(request)
            if self.event_filter.admits(event):
                await self._journal(event)
        except SignatureError as error:
            self.status.count_refusal(str(error), age_s=error.age_s)
            return _refusal(401, "the signature is missing, malformed, wrong or outside the tolerance")
        except EventError as error:
            return _refusal(400, str(error))
        except (JournalError, TransientError) as error:
            return _refusal(503, str(error), **{"Retry-After": str(error.retry_after_s)})
        except BodyMemoryError:
            headers = {"Retry-After": str(_NO_MEMORY_RETRY_AFTER_S)}
            return _closing(_refusal(503, "too many requests have large bodies just now", **headers))
        except TinyChunksError:
            return await _ended(_closing(_refusal(400, "the chunks of the body are too small")), request)
        except web.HTTPRequestEntityTooLarge:
            return _closing(_refusal(413, "the body is too large"))
        except (TimeoutError, RequestPayloadError, ConnectionError):
            return _closing(_refusal(400, "the body is incomplete"))
        is_usual = request.keep_alive and request.version >= HttpVersion11
        return _RECEIVED if is_usual else _json(200, _RECEIVED_BODY)

    async def _verified(self, request: web.BaseRequest) -> Event:
        headers = request.headers.getall(HEADER, None)
        # A header that came twice is judged as one text, and refused for its second `t`.
        signature = ",".join(headers) if headers else None
        raw = await self._read(request, signature)
        received_ms = self.clock_ms()
        try:
            self.verifier.verify(raw, signature, now_s=received_ms / 1000)
        except SignatureError as error:
            if str(error) == MISMATCH and self._organization_named not in raw:
                raise SignatureError(FOREIGN) from None
            raise
        if (connection := connection_of(request.transport)) is not None:
            connection.mark_verified()
        return parse_event(raw, received_ms=received_ms)

    async def _journal(self, event: Event) -> None:
        if self._stopping:
            raise JournalError("the gateway is stopping", retry_after_s=_STOPPING_RETRY_AFTER_S)
        keep_apart(event)
        await self.event_log.append(event)
        if self.forwarding is not None:
            await self.forwarding.wait()

    async def _read(self, request: web.BaseRequest, signature: str | None) -> bytes:
        """Return the whole body; what is refused in any case is refused before it is read.

        aiohttp's own `read` would keep the body until the next request comes on the connection.
        """
        content, length, longest = request.content, request.content_length, self.max_body_bytes
        if length is not None and length > longest:
            raise web.HTTPRequestEntityTooLarge(longest, length)
        if content.is_eof() and (length is not None or not content.total_bytes):  # all here, not in chunks
            return content.read_nowait()
        parse_header(signature)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return await self._bodies.read(content, longest=longest)

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        """Return the request as aiohttp's own factory does; a whole request head has come."""
        if (connection := connection_of(protocol.transport)) is not None:
            connection.request_received()
        return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())


class BodyMemoryError(Exception):
    """The memory for bodies is used up, and this body has been under way for longest."""


class TinyChunksError(Exception):
    """The body comes in chunks so small that reading them costs many times its worth."""


class BodyReader:
    """Reads the bodies of one server, which may take `most_bytes` of memory together, each within `within_s`.

    When they take more, the body that has been under way for longest is given up; its sender repeats it.
    """

    def __init__(self, *, most_bytes: int, within_s: float) -> None:
        self._most_bytes = most_bytes
        self._within_s = within_s
        self._bytes = 0
        self._under_way: dict[asyncio.Timeout, int] = {}  # bytes by body, the oldest first

    async def read(self, content: StreamReader, *, longest: int) -> bytes:
        """Return a whole body; raise one of the errors above, TimeoutError or 413."""
        body = asyncio.timeout(self._within_s)
        try:
            async with body:
                self._under_way[body] = 0
                return await self._read(content, body, longest)
        except TimeoutError:
            if body not in self._under_way:
                raise BodyMemoryError from None
            raise
        finally:
            self._bytes -= self._under_way.pop(body, 0)

    async def _read(self, content: StreamReader, body: asyncio.Timeout, longest: int) -> bytes:
        parts: list[bytes] = []
        size = chunks = 0
        while True:
            part, ends_chunk = await content.readchunk()
            if not part and not ends_chunk:
                return b"".join(parts)
            parts.append(part)
            size += len(part)
            chunks += ends_chunk
            if size > longest:
                raise web.HTTPRequestEntityTooLarge(longest, size)
            if chunks > _FREE_CHUNKS + size // _LEAST_BYTES_PER_CHUNK:
                raise TinyChunksError
            self._account(body, len(part))

    def _account(self, body: asyncio.Timeout, size: int) -> None:
        """Count `size` more bytes, and give up the oldest bodies until all fit."""
        if body not in self._under_way:  # given up a moment ago
            raise BodyMemoryError
        self._under_way[body] += size
        self._bytes += size
        while self._bytes > self._most_bytes:
            oldest = next(iter(self._under_way))
            self._bytes -= self._under_way.pop(oldest)
            if oldest is body:
                raise BodyMemoryError
            if not oldest.expired():
                oldest.reschedule(asyncio.get_running_loop().time())


def _request_id(request: web.BaseRequest) -> str | None:
    """Return the request's id in the log of a proxy in front, so that both logs can be compared."""
    given = request.headers.get("X-Request-Id")
    return None if given is None else sanitise_line(given, longest=_LONGEST_REQUEST_ID)


def _json(code: int, body: bytes, **headers: str) -> web.Response:
    return web.Response(status=code, body=body, content_type="application/json", headers=headers or None)


def _refusal(code: int, reason: str, **headers: str) -> web.Response:
    return _json(code, orjson.dumps({"error": reason}), **headers)


def _closing(response: web.Response) -> web.Response:
    """Return the response; the connection ends after it, since the rest of the body was not read."""
    response.force_close()
    return response


async def _ended(response: web.Response, request: web.BaseRequest) -> web.Response:
    """Send the answer and end the connection at once: the rest of the body would cost too much to read."""
    await response.prepare(request)
    await response.write_eof()
    request.protocol.force_close()
    return response
