"""Input that is not HTTP, at the admin port and the control socket: counted, answered, not logged."""

from __future__ import annotations

import socket
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

import pytest
from support.daemon import Daemon
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = b"a" * 20_000
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
GARBAGE = {
    "a long header": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: " + LONG + b"\r\n\r\n",
    "a long line": b"GET /" + LONG + b" HTTP/1.1\r\n\r\n",
    "many cookies": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"Cookie: a=b\r\n" * 5000 + b"\r\n",
    "a TLS hello": bytes.fromhex("16030100a5010000a10303") + bytes(range(160)),
    "no words": b"\x00\xff\xfe\r\n\r\n",
    "no version": b"GET / FTP/9\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
    "a length in words": b"POST /forced HTTP/1.1\r\nHost: localhost\r\nContent-Length: five\r\n\r\n",
    "two lengths": b"POST /force HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "chunks of no size": b"POST /force HTTP/1.1\r\nHost: localhost\r\n" + CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n",
    "chunks of no size with a token": b"POST /api/actions/force HTTP/1.1\r\nHost: localhost\r\n"
    b"Authorization: Bearer made-up-admin-token-1\r\n" + CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n",
    "a body that is no gzip": b"POST /force HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\n"
    b"Content-Length: 4\r\n\r\nabcd",
    "a body that ends early": b"POST /force HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n{",
    "half an address": b"GET http://[::1/ HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "a port of words": b"GET / HTTP/1.1\r\nHost: localhost:http\r\n\r\n",
    "a query of odd bytes": b"GET /api/recent?point=%ff%00%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another protocol": b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\n\r\n",
    "an odd etag": b'GET / HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: W/",,"\r\n\r\n',
    "a range of nothing": b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: ;q=x,,/\r\n\r\n",
    "an odd expectation": b"POST /force HTTP/1.1\r\nHost: localhost\r\nExpect: miracles\r\n"
    b"Content-Length: 2\r\n\r\n{}",
}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Run a daemon with a token, and no broker."""
    folder = tmp_path_factory.mktemp("gw")
    (folder / "mappings").mkdir()
    (folder / "mappings" / "a.yaml").write_text(
        "schema: gateway.points/1\nsite: hq\npoints:\n  - {tag: A, point: T, asset: a, from: t}\n"
    )
    daemon = Daemon(folder, free_port(), tables=folder / "mappings")
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text("made-up-admin-token-1")
    settings = daemon.config.read_text().replace("admin: {", "admin: {token: {file: token}, ")
    sinks, _, rest = settings.partition("sinks:")
    daemon.config.write_text(sinks + "mappings:" + rest.partition("mappings:")[2])
    daemon.start()
    yield daemon
    daemon.kill()


def throw(daemon: Daemon, listener: str, data: bytes) -> bytes:
    """Send bytes and hang up; return the beginning of the answer."""
    if listener == "admin":
        connection = socket.create_connection(("127.0.0.1", daemon.admin_port), timeout=60)
    else:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(daemon.folder / "control.sock"))
    with connection, suppress(OSError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(1000)
    return b""


def lines_since(daemon: Daemon, length: int) -> list[str]:
    """Return the lines logged since then, once the daemon has answered another request."""
    assert daemon.status()["ready"]
    return daemon.log[length:].splitlines()


@pytest.mark.parametrize("listener", ["admin", "control"])
@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_answered_and_not_logged(quiet: Daemon, listener: str, data: bytes) -> None:
    """No input causes an error of the gateway's own."""
    before = len(quiet.log)
    answer = throw(quiet, listener, data)
    assert b" 500 " not in answer.partition(b"\r\n")[0]
    assert lines_since(quiet, before) == []


@pytest.mark.parametrize("listener", ["admin", "control"])
def test_requests_that_are_not_http_are_counted(quiet: Daemon, listener: str) -> None:
    """They are counted by listener, in status and metrics."""
    before = quiet.status()["no_http"].get(listener, 0)
    for _ in range(5):
        throw(quiet, listener, GARBAGE["a long header"])
        throw(quiet, listener, GARBAGE["no words"])
    assert quiet.status()["no_http"][listener] == before + 10


@pytest.mark.parametrize("listener", ["admin", "control"])
def test_hundreds_of_odd_requests_leave_no_line(quiet: Daemon, listener: str) -> None:
    """Requests with changed, missing or additional bytes cause no log line."""
    chance = Random(7)
    before = len(quiet.log)
    for _ in range(400):
        data = bytearray(chance.choice([*GARBAGE.values()])[:600])
        for _ in range(chance.randrange(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        assert b" 500 " not in throw(quiet, listener, bytes(data)).partition(b"\r\n")[0], bytes(data)
    assert lines_since(quiet, before) == []
