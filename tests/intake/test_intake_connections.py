"""Connections to the intake: kept, shared, pipelined, slow, broken and hostile."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from support.intake_server import (
    MAX_BODY_BYTES,
    PATH,
    SECRET,
    RunningIntake,
    chunked,
    event,
    request,
    running_intake,
    signature,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, MutableMapping
    from pathlib import Path
    from typing import Any

    Line = MutableMapping[str, Any]

BODY = event()


@pytest.fixture
async def intake(tmp_path: Path) -> AsyncIterator[RunningIntake]:
    """Serve an intake with the usual settings."""
    async with running_intake(tmp_path) as running:
        yield running


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> Iterator[list[Line]]:
    """Collect structlog's lines, and assert that libraries log nothing."""
    with caplog.at_level(logging.DEBUG), capture_logs() as lines:
        yield lines
        noise = [line for line in caplog.records if line.name != "asyncio" or line.levelno > logging.INFO]
        assert noise == []
        assert "Traceback" not in caplog.text


async def test_one_connection_serves_many_requests(intake: RunningIntake) -> None:
    """A connection stays usable after each answer that does not close it."""
    async with intake.connect() as connection:
        for number in range(50):
            for data, code in (
                (request(event(f"evt_{number}")), 200),
                (request(BODY, signed=False), 401),
                (request(b"{}"), 400),
                (request(BODY, target="/"), 404),
                (request(BODY, method="PUT"), 405),
            ):
                await connection.send(data)
                assert (await connection.answer()).code == code
    assert len(intake.stored()) == 50


async def test_pipelined_requests_are_answered_in_order(intake: RunningIntake) -> None:
    """All requests of one segment are answered, each in its place, however many."""
    kinds = (
        (lambda number: request(event(f"evt_{number}")), 200),
        (lambda _: request(BODY, signed=False), 401),
        (lambda _: request(BODY, target="/"), 404),
    )
    async with intake.connect() as connection:
        await connection.send(b"".join(kinds[number % 3][0](number) for number in range(150)))
        codes = [(await connection.answer()).code for _ in range(150)]
    assert codes == [kinds[number % 3][1] for number in range(150)]
    assert list(intake.stored()) == [f"evt_{number}" for number in range(0, 150, 3)]


async def test_many_connections_at_once(intake: RunningIntake) -> None:
    """200 senders at once all get their 200, and every event is stored exactly once."""

    async def send(sender: int) -> None:
        async with intake.connect() as connection:
            for number in range(3):
                await connection.send(request(event(f"evt_{sender}_{number}")))
                assert (await connection.answer()).code == 200

    await asyncio.gather(*(send(sender) for sender in range(200)))
    assert set(intake.stored()) == {f"evt_{sender}_{number}" for sender in range(200) for number in range(3)}
    assert (intake.kept.accepted, intake.kept.duplicates) == (600, 0)


async def test_the_same_event_on_many_connections(intake: RunningIntake) -> None:
    """Copies that arrive together are one event; every sender gets its 200."""
    answers = await asyncio.gather(*(intake.ask(request(BODY)) for _ in range(50)))
    assert {answer.code for answer in answers} == {200}
    assert intake.stored() == {"evt_1": BODY}
    assert (intake.kept.accepted, intake.kept.duplicates) == (1, 49)


async def test_body_in_many_small_segments(intake: RunningIntake) -> None:
    """A request in many small segments is read as one."""
    data = request(BODY, "Transfer-Encoding: chunked", length=False).removesuffix(BODY) + chunked(BODY, 7)
    for whole in (request(BODY), data):
        async with intake.connect() as connection:
            for at in range(0, len(whole), 5):
                await connection.send(whole[at : at + 5])
                await asyncio.sleep(0)
            assert (await connection.answer()).code == 200


@pytest.mark.parametrize("expect", ["100-continue", "100-Continue"])
async def test_expect_continue(intake: RunningIntake, expect: str) -> None:
    """`Expect: 100-continue` gets its 100, then the answer."""
    async with intake.connect() as connection:
        for body in (BODY, event("evt_2")):
            await connection.send(request(body, f"Expect: {expect}").removesuffix(body))
            assert (await connection.answer()).code == 100
            await connection.send(body)
            assert (await connection.answer()).code == 200
    assert list(intake.stored()) == ["evt_1", "evt_2"]


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (request(BODY, "Expect: 100-continue", target="/").removesuffix(BODY), 404),
        (request(b"x" * (2 << 20), "Expect: 100-continue").removesuffix(b"x" * (2 << 20)), 413),
    ],
)
async def test_expect_continue_of_what_is_refused(intake: RunningIntake, head: bytes, code: int) -> None:
    """A refused request gets no 100."""
    assert (await intake.ask(head)).code == code


@pytest.mark.parametrize(
    "options",
    [
        ("--http1.1", "-H", "Expect: 100-continue"),
        ("--http1.0",),
        ("--http1.1", "-H", "Transfer-Encoding: chunked"),
        ("--http2",),
    ],
)
async def test_curl(intake: RunningIntake, options: tuple[str, ...]) -> None:
    """An answer reaches curl at once, with 100-continue, chunks and an h2c upgrade, too."""
    body = event(pad="x" * 900_000)
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "--max-time", "60", "-w", "%{http_code}", "--data-binary", "@-", *options),
        *("-H", signature(body), f"http://127.0.0.1:{intake.port}{PATH}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(body)
    assert output == b'{"received":true}200'
    assert intake.stored() == {"evt_1": body}


@pytest.mark.parametrize(
    "data",
    [request(BODY, version="1.0"), request(BODY, "Connection: close"), request(BODY, "Connection: Close")],
)
async def test_connection_closes_where_the_sender_wants_it(intake: RunningIntake, data: bytes) -> None:
    """HTTP/1.0 and `Connection: close` get a whole answer, then the connection closes."""
    async with intake.connect() as connection:
        await connection.send(data)
        answer = await connection.answer()
        assert (answer.code, answer.body) == (200, b'{"received":true}')
        assert await connection.is_closed()


async def test_old_client_may_keep_its_connection(intake: RunningIntake) -> None:
    """An HTTP/1.0 client that asks for it gets `Connection: keep-alive`."""
    async with intake.connect() as connection:
        for _ in range(2):
            await connection.send(request(BODY, "Connection: keep-alive", version="1.0"))
            answer = await connection.answer()
            assert (answer.code, answer.headers["connection"].lower()) == (200, "keep-alive")


async def test_slow_body_is_cut_off(tmp_path: Path, logs: list[Line]) -> None:
    """A sender that trickles its body gets 400, and the connection closes."""
    async with running_intake(tmp_path, body_within_s=0.1) as intake, intake.connect() as connection:
        await connection.send(request(BODY)[:-10])
        answer = await connection.answer()
        assert (answer.code, answer.headers["connection"]) == (400, "close")
        assert await connection.is_closed()
        assert (await intake.ask(request(BODY))).code == 200
    assert logs == []


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_disconnect_in_mid_body(intake: RunningIntake, logs: list[Line], how: str) -> None:
    """A vanished sender leaves no log line, and the others are served."""
    for _ in range(5):
        async with intake.connect() as connection:
            await connection.send(request(BODY)[:-10])
            await asyncio.sleep(0.01)
            if how == "abort":
                connection.abort()
    assert (await intake.ask(request(BODY))).code == 200
    assert logs == []


async def test_disconnect_before_the_answer(intake: RunningIntake, logs: list[Line]) -> None:
    """The event of a sender that does not wait for its answer is stored."""
    for number in range(20):
        async with intake.connect() as connection:
            await connection.send(request(event(f"evt_{number}")))
            if number % 2:
                connection.abort()
    assert (await intake.ask(request(BODY))).code == 200
    assert len(intake.stored()) >= 10
    assert logs == []


HOSTILE = {
    "text": b"hello there\r\n\r\n",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),
    "zeros": b"\0" * 1000,
    "no colon": b"POST / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
    "bad length": b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n" % PATH.encode(),
    "two lengths": request(BODY, "Content-Length: 1"),
    "length and chunks": request(BODY, "Transfer-Encoding: chunked"),
    "NUL in a header": request(BODY, "X-Odd: a\0b"),
    "huge header": request(BODY, "X-Huge: " + "x" * 100_000),
    "huge signature": request(BODY, "x-infodeck-signature: t=1," + "x" * 100_000, signed=False),
    "huge target": request(BODY, target=PATH + "?" + "x" * 100_000),
    "many headers": request(BODY, *(f"X-{number}: y" for number in range(2000))),
    "odd version": request(BODY, version="9.9"),
    "bad chunk": request(BODY, "Transfer-Encoding: chunked", length=False).removesuffix(BODY) + b"zz\r\n\r\n",
    "bad later chunk": request(BODY, "Transfer-Encoding: chunked", length=False).removesuffix(BODY)
    + b"3\r\nabc\r\n-5\r\nabc\r\n",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_bytes(intake: RunningIntake, logs: list[Line], data: bytes) -> None:
    """Malformed HTTP gets 400 and a closed connection, at most one debug line and no traceback."""
    async with intake.connect() as connection:
        await connection.send(data)
        answer = await connection.answer()
        assert answer.code == 400
        assert await connection.is_closed()
    assert (await intake.ask(request(BODY))).code == 200
    assert [line["log_level"] for line in logs] in ([], ["debug"])
    assert not any("exc_info" in line for line in logs)
    assert "v1=" not in str(logs)
    assert SECRET.decode() not in str(logs)
    assert intake.status.answers == {400: 1, 200: 1}


async def test_garbage_behind_a_request(intake: RunningIntake, logs: list[Line]) -> None:
    """Garbage after a request does not change its answer; in the same segment, the request is refused."""
    garbage = b"\x00\x01\x02 garbage\r\n\r\n"
    async with intake.connect() as connection:
        await connection.send(request(BODY))
        assert (await connection.answer()).code == 200
        await connection.send(garbage)
        assert (await connection.answer()).code == 400
        assert await connection.is_closed()
    async with intake.connect() as connection:
        await connection.send(request(event("evt_2")) + garbage)
        assert (await connection.answer()).code == 400
        assert await connection.is_closed()
    assert list(intake.stored()) == ["evt_1"]
    assert [line["log_level"] for line in logs] == ["debug", "debug"]


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
async def test_upgrade_is_ignored(intake: RunningIntake, upgrade: str) -> None:
    """An upgrade offer is ignored."""
    data = request(BODY, "Connection: Upgrade", f"Upgrade: {upgrade}")
    async with intake.connect() as connection:
        for whole in (data, request(event("evt_2"))):
            await connection.send(whole)
            assert (await connection.answer()).code == 200
    assert list(intake.stored()) == ["evt_1", "evt_2"]


async def test_idle_connection_does_no_harm(intake: RunningIntake, logs: list[Line]) -> None:
    """Idle connections, and those with half a header, do not block others."""
    async with intake.connect(), intake.connect() as half:
        await half.send(request(BODY)[:40])
        assert (await intake.ask(request(event("evt_2", pad="x" * (MAX_BODY_BYTES // 2))))).code == 200
        await half.send(request(BODY)[40:])
        assert (await half.answer()).code == 200
    assert logs == []
