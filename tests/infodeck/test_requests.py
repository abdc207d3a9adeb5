"""Single requests over HTTP, to servers with every kind of fault."""

from __future__ import annotations

import asyncio
import gc
import gzip
import tracemalloc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest
from aiolimiter import AsyncLimiter
from support.asset_lists import API_KEY, ORGANIZATION
from support.authority import Authority
from support.ports import free_port
from support.raw_server import http, raw_server
from support.waiting import until

from gateway.config.secrets import Secret
from gateway.errors import ApiRefusalError, GatewayError, TransientError
from gateway.infodeck.api_client import ApiAccess, InfodeckApi, request_limiter
from gateway.tls import client_context, server_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from pathlib import Path

GOOD = http("200 OK", b'{"data": []}')


@asynccontextmanager
async def connected_to(
    api: str | int,
    *,
    attempts: int = 1,
    answer_within_s: float = 5,
    limiter: AsyncLimiter | None = None,
    tls: ssl.SSLContext | None = None,
    first_pause_s: float = 0.01,
) -> AsyncIterator[InfodeckApi]:
    """Open the API at an address or port, with short pauses."""
    url = f"http://127.0.0.1:{api}/api/v2" if isinstance(api, int) else api
    connector = aiohttp.TCPConnector(ssl=tls) if tls is not None else None
    async with aiohttp.ClientSession(connector=connector) as session:
        yield InfodeckApi(
            session,
            access=ApiAccess(api=url, organization=ORGANIZATION, api_key=Secret(API_KEY.encode())),
            limiter=limiter or request_limiter(1, per_minute=1_000_000),
            attempts=attempts,
            first_pause_s=first_pause_s,
            answer_within_s=answer_within_s,
        )


@pytest.mark.parametrize(("share", "callers"), [(1.0, 1), (0.5, 8), (0.01, 30)])
async def test_no_minute_sees_more_requests_than_the_share(share: float, callers: int) -> None:
    """No window of a minute, here a second, has more requests than the share allows.

    Where the machine stands still for a moment, what was sent before it arrives with what comes after it.
    """
    budget = 20
    for _ in range(5):
        arrived_s = await arrivals(share, callers, budget)
        most = max(sum(0 <= other - begin < 1 for other in arrived_s) for begin in arrived_s)
        if most <= budget:
            break
    assert most <= budget
    assert arrived_s[2 * budget - 1] - arrived_s[0] < 10  # and the share is made use of


async def arrivals(share: float, callers: int, budget: int) -> list[float]:
    """Return when requests of as many callers arrived, of more than two budgets."""
    limiter = request_limiter(share, per_minute=budget / share, minute_s=1.2)
    async with raw_server([], default=GOOD) as server, connected_to(server.port, limiter=limiter) as infodeck:

        async def call() -> None:
            while True:
                await infodeck.request("GET", "/assets")

        async with asyncio.TaskGroup() as tasks:
            calling = [tasks.create_task(call()) for _ in range(callers)]
            await until(lambda: len(server.arrived_s) >= 2 * budget)
            for task in calling:
                task.cancel()
    return server.arrived_s


async def test_only_the_failed_page_is_requested_again() -> None:
    """A failed page is requested again without the pages before it."""
    pages = [orjson.dumps({"data": [{"id": f"ast-{n}"}], "nextToken": str(n)}) for n in range(3)]
    replies = [http("200 OK", pages[0]), http("500 Oops"), http("200 OK", pages[1])]
    replies += [http("429 Slow down", b"", "Retry-After: 0"), http("200 OK", b'{"data": []}')]
    async with raw_server(replies) as server, connected_to(server.port, attempts=3) as infodeck:
        found = [item["id"] async for page in infodeck.assets() for item in page]
    assert found == ["ast-0", "ast-1"]
    cursors = ["limit=100 ", "nextToken=0", "nextToken=0", "nextToken=1", "nextToken=1"]
    assert len(server.heads) == len(cursors)
    assert all(cursor in head for cursor, head in zip(cursors, server.heads, strict=True))


async def test_attempts_end() -> None:
    """A failing server is requested four times."""
    async with (
        raw_server([], default=http("503 Away")) as server,
        connected_to(server.port, attempts=4, first_pause_s=0.05) as infodeck,
    ):
        with pytest.raises(TransientError, match="the API answered 503"):
            await infodeck.request("GET", "/assets")
    assert len(server.arrived_s) == 4


@pytest.mark.parametrize("ask", ["1", "Wed, 21 Oct 2026 07:28:01 GMT"])
async def test_a_requested_pause_holds_for_all_requests(ask: str) -> None:
    """Retry-After, in seconds or as a date, pauses all requests."""
    refusal = http("429 Slow down", b"", f"Retry-After: {ask}", "Date: Wed, 21 Oct 2026 07:28:00 GMT")
    async with (
        raw_server([refusal], default=GOOD) as server,
        connected_to(server.port, attempts=2) as infodeck,
    ):
        telling = asyncio.create_task(infodeck.request("GET", "/assets"))
        while not server.arrived_s:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        await asyncio.gather(telling, infodeck.request("GET", "/locations"))
    first, *others = server.arrived_s
    assert len(others) == 2
    assert min(others) - first > 0.95


async def test_a_redirect_is_quoted_without_the_key_and_in_one_short_line() -> None:
    """The key is removed from a redirect target."""
    target = f"Location: https://proxy.example/login?key={API_KEY}\u202e&" + "x" * 500
    async with raw_server([http("302 Found", b"", target)]) as server, connected_to(server.port) as infodeck:
        with pytest.raises(ApiRefusalError, match=r"a redirect to https://proxy.example/login") as raised:
            await infodeck.request("GET", "/assets")
    assert API_KEY not in str(raised.value)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 400


async def test_a_request_leaves_no_garbage_behind() -> None:
    """Requests leave nothing to the garbage collector."""
    async with raw_server([], default=GOOD) as server, connected_to(server.port, attempts=4) as infodeck:
        await infodeck.request("GET", "/assets")
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                await infodeck.request("GET", "/assets")
            assert gc.collect() < 50 * 20  # aiohttp leaves 16 of each on Python 3.11
        finally:
            gc.enable()


async def test_a_pause_holds_for_waiting_requests() -> None:
    """A request that waits for the limiter keeps a pause that began meanwhile."""
    refusal = http("429 Slow down", b"", "Retry-After: 4")
    limiter = AsyncLimiter(1, 2)  # the second one has its turn while the pause lasts
    async with (
        raw_server([refusal], default=GOOD) as server,
        connected_to(server.port, limiter=limiter) as infodeck,
    ):
        waiting = asyncio.create_task(infodeck.request("GET", "/locations"))
        with pytest.raises(TransientError, match="answered 429"):
            await infodeck.request("GET", "/assets")
        assert await waiting == {"data": []}
    assert server.arrived_s[1] - server.arrived_s[0] > 3.9


@pytest.mark.parametrize(
    "ask",
    ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Mon, 99 Foo 2026", "-5", "nan", "9" * 400, "\u0661"],
)
async def test_an_unreadable_pause_is_ignored(ask: str) -> None:
    """An unreadable Retry-After is ignored, or capped."""
    refusal = http("503 Away", b"", f"Retry-After: {ask}", "Date: Wed, 21 Oct 2026 07:28:00 GMT")
    async with raw_server([refusal]) as server, connected_to(server.port) as infodeck:
        with pytest.raises(TransientError, match="answered 503") as raised:
            await infodeck.request("GET", "/assets")
    assert raised.value.retry_after_s in {None, 3600.0}


async def test_a_long_pause_is_raised_at_once() -> None:
    """A pause of more than a minute is raised, and nothing is requested meanwhile."""
    refusal = http("429 Slow down", b"", "Retry-After: 600")
    async with (
        raw_server([refusal], default=GOOD) as server,
        connected_to(server.port, attempts=4) as infodeck,
    ):
        with pytest.raises(TransientError, match="answered 429") as first:
            await infodeck.request("GET", "/assets")
        with pytest.raises(TransientError, match="asked for a pause") as second:
            await infodeck.request("GET", "/assets")
    assert first.value.retry_after_s == 600
    assert 590 < (second.value.retry_after_s or 0) <= 600
    assert len(server.arrived_s) == 1


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close the connection without an answer."""
    writer.close()


async def reset(writer: asyncio.StreamWriter) -> None:
    """Abort the connection."""
    writer.transport.abort()


async def drip(writer: asyncio.StreamWriter) -> None:
    """Send a byte now and then without end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def say_nothing(writer: asyncio.StreamWriter) -> None:
    """Keep the connection open without an answer."""
    while not writer.is_closing():  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (hang_up, r"127\.0\.0\.1 can't be reached: it hung up without an answer"),
        (reset, r"127\.0\.0\.1 can't be reached: (Connection reset by peer|it hung up)"),
        (drip, r"127\.0\.0\.1 did not answer within 0\.3 s"),
        (say_nothing, r"127\.0\.0\.1 did not answer within 0\.3 s"),
        (http("200 OK", b'{"data": []}', length=5000), "broke off in the middle of an answer"),
        (http("200 OK", b'{"data": []}', "Transfer-Encoding: chunked"), "not HTTP|broke off"),
        (http("200 OK", b"not gzip", "Content-Encoding: gzip"), "broke off"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "something that is not HTTP: check infodeck.api"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n{}", "not HTTP"),
    ],
)
async def test_a_broken_answer_is_transient_and_tried_again(reply: Any, message: str) -> None:
    """Each fault has a plain message within the time limit."""
    within_s = 0.3 if reply in (drip, say_nothing) else 60
    async with raw_server([reply], default=GOOD) as server:
        async with connected_to(server.port, answer_within_s=within_s) as infodeck:
            with pytest.raises(TransientError, match=message):
                await infodeck.request("GET", "/assets")
        async with connected_to(server.port, attempts=2) as infodeck:
            assert await infodeck.request("GET", "/assets") == {"data": []}


async def test_excess_bytes_are_not_the_next_answer() -> None:
    """A body that is longer than announced spoils no other request."""
    long = http("200 OK", b'{"data": [] }HTTP/1.1 200 OK\r\n\r\n', length=12)
    async with raw_server([long], default=GOOD) as server, connected_to(server.port) as infodeck:
        with pytest.raises(GatewayError, match=r"not JSON|not HTTP"):
            await infodeck.request("GET", "/assets")
        assert await infodeck.request("GET", "/assets") == {"data": []}


@pytest.mark.parametrize("length", [None, 10])
async def test_a_decompression_bomb_is_refused(length: int | None) -> None:
    """Decompression ends at the size limit."""
    bomb = gzip.compress(bytes(64 << 20), compresslevel=9)
    status = "200 OK" if length is None else "503 Away"
    async with (
        raw_server([http(status, bomb, "Content-Encoding: gzip")]) as server,
        connected_to(server.port) as infodeck,
    ):
        tracemalloc.start()
        with pytest.raises(GatewayError, match="larger than 4 MiB" if length is None else "503"):
            await infodeck.request("GET", "/assets")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 40 << 20


async def test_a_redirect_is_not_followed() -> None:
    """Neither request nor key reach another host."""
    async with raw_server([], default=GOOD) as elsewhere:
        target = f"Location: http://127.0.0.1:{elsewhere.port}/api/v2/organizations/{ORGANIZATION}/assets"
        for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"):
            async with (
                raw_server([http(status, b"", target)]) as server,
                connected_to(server.port) as infodeck,
            ):
                with pytest.raises(
                    ApiRefusalError, match=r"a redirect to http://127\.0\.0\.1:.*must be the address"
                ):
                    await infodeck.request("GET", "/assets")
    assert elsewhere.heads == []


async def test_a_redirect_without_a_target_is_refused() -> None:
    """A redirect without Location is a refusal."""
    async with raw_server([http("304 Not Modified")]) as server, connected_to(server.port) as infodeck:
        with pytest.raises(ApiRefusalError, match="304, a redirect to nowhere"):
            await infodeck.request("GET", "/assets")


async def test_a_redirect_in_another_encoding_can_be_shown() -> None:
    """A target that is not UTF-8 can be shown."""
    answer = http("302 Found", b"", "Location: http://cafX/").replace(b"X", b"\xe9")
    async with raw_server([answer]) as server, connected_to(server.port) as infodeck:
        with pytest.raises(ApiRefusalError, match="a redirect to http://caf /: ") as caught:
            await infodeck.request("GET", "/assets")
    assert orjson.dumps(str(caught.value))


def deep(levels: int) -> bytes:
    """Return JSON of this depth."""
    return b'{"data":' + b"[" * levels + b"]" * levels + b"}"


@pytest.mark.parametrize(
    "body", [deep(100_000), b'{"data": [NaN]}', b"\xff\xfe{}", b'{"data": ["\xed\xa0\x80"]}']
)
async def test_invalid_json_is_refused(body: bytes) -> None:
    """Too deep, wrongly encoded and non-standard JSON is refused."""
    async with raw_server([http("200 OK", body)]) as server, connected_to(server.port) as infodeck:
        with pytest.raises(GatewayError, match="not JSON"):
            await infodeck.request("GET", "/assets")


async def test_an_endless_list_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list ends with an error after the most pages."""
    monkeypatch.setattr("gateway.infodeck.api_client._MOST_PAGES", 50)

    async def page(writer: asyncio.StreamWriter) -> None:
        writer.write(http("200 OK", b'{"data": [], "nextToken": "%d"}' % len(server.heads)))

    async with (
        raw_server(iter(lambda: page, None)) as server,
        connected_to(server.port) as infodeck,
    ):
        with pytest.raises(GatewayError, match="does not end after 50 pages"):
            async for _ in infodeck.assets():
                pass
    assert len(server.heads) == 50


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Make a certificate authority."""
    return Authority(tmp_path)


async def test_a_certificate_that_is_not_accepted_is_explained(authority: Authority) -> None:
    """Unknown issuer, other name and expiry have their advice; no key is sent."""
    good, key = authority.issue("api")
    trusting = client_context("x", authority=authority.certificate, certificate=None, key=None)
    expired = authority.issue_expired(good)
    for certificate, client, host, message in (
        (good, None, "127.0.0.1", "of an authority that is not known here.*looks into TLS, its authority"),
        (expired, trusting, "127.0.0.1", "that has expired: check this machine's clock"),
        (good, trusting, "localhost", "for other names: check infodeck.api"),
    ):
        tls = server_context("x", certificate, key)
        async with (
            raw_server([], default=GOOD, tls=tls) as server,
            connected_to(f"https://{host}:{server.port}", tls=client, attempts=3) as infodeck,
        ):
            with pytest.raises(GatewayError, match=message) as refused:
                await infodeck.request("GET", "/assets")
        assert not isinstance(refused.value, TransientError)
        assert str(refused.value).startswith(f"{host} shows a certificate ")
        assert server.heads == []
    async with (
        raw_server([GOOD], tls=server_context("x", good, key)) as server,
        connected_to(f"https://127.0.0.1:{server.port}", tls=trusting) as infodeck,
    ):
        assert await infodeck.request("GET", "/assets") == {"data": []}


async def test_a_server_without_tls_is_a_lasting_error() -> None:
    """Plain HTTP behind an https address is a lasting error."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(http("400 Bad Request"))
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with connected_to(f"https://127.0.0.1:{port}") as infodeck:
        with pytest.raises(GatewayError, match=r"^127\.0\.0\.1 does not speak TLS: check infodeck\.api$"):
            await infodeck.request("GET", "/assets")
    listening.close()


async def test_an_unreachable_host_is_named() -> None:
    """A closed port and an unknown name are named."""
    async with connected_to(free_port()) as infodeck:
        with pytest.raises(TransientError, match=r"^127\.0\.0\.1 can't be reached: Connection refused$"):
            await infodeck.request("GET", "/assets")
    async with connected_to("http://no-such-host.invalid/api") as infodeck:
        with pytest.raises(
            TransientError, match=r"its name is not found .*check infodeck\.api and the DNS here"
        ):
            await infodeck.request("GET", "/assets")


async def test_a_redirect_is_sanitised() -> None:
    """Control characters of a target are removed."""
    redirect = b"HTTP/1.1 302 Found\r\nLocation: /caf\xe9\x1b[2J\x9bA\r\nContent-Length: 0\r\n\r\n"
    async with raw_server([redirect]) as server, connected_to(server.port) as infodeck:
        with pytest.raises(
            ApiRefusalError, match=r"302, a redirect to /caf +\[2J A: infodeck.api"
        ) as refused:
            await infodeck.request("GET", "/assets")
    assert orjson.loads(orjson.dumps(str(refused.value))) == str(refused.value)
