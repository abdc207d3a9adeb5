"""The intake's answers over real HTTP, compared with the journal's file."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import sqlite3
import time
from typing import TYPE_CHECKING

import orjson
import pytest
from structlog.testing import capture_logs
from support.intake_server import (
    MAX_BODY_BYTES,
    NOW_S,
    PATH,
    SECRET,
    SINK,
    RunningIntake,
    chunked,
    event,
    request,
    running_intake,
    signature,
)
from support.waiting import until

from gateway.intake.signature import HEADER, sign
from gateway.journal import sqlite
from gateway.records import StateChanges

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

RECEIVED = b'{"received":true}'
BODY = event()
DIGEST = sign(BODY, SECRET, NOW_S).partition("v1=")[2]


@pytest.fixture
async def intake(tmp_path: Path) -> AsyncIterator[RunningIntake]:
    """Serve an intake with the usual settings."""
    async with running_intake(tmp_path) as running:
        yield running


async def test_received_means_durable(intake: RunningIntake) -> None:
    """After the 200, the event can be read from the file, byte for byte."""
    async with intake.connect() as connection:
        for number in range(20):
            body = event(f"evt_{number}", note="ü \u2028")
            await connection.send(request(body))
            answer = await connection.answer()
            assert intake.stored()[f"evt_{number}"] == body
            assert (answer.code, answer.body) == (200, RECEIVED)
            assert answer.headers["content-type"] == "application/json"
    assert intake.kept.accepted == 20


async def test_duplicates_are_received_and_stored_once(intake: RunningIntake) -> None:
    """Repeated deliveries get 200 and are counted; the first body is kept."""
    for body in (BODY, BODY, event(created=NOW_S - 1)):
        assert (await intake.ask(request(body))).body == RECEIVED
    assert intake.stored() == {"evt_1": BODY}
    assert (intake.kept.accepted, intake.kept.duplicates) == (1, 2)


REFUSED = {
    "missing": ("missing", ()),
    "empty": ("malformed", (f"{HEADER}:",)),
    "garbage": ("malformed", (f"{HEADER}: garbage",)),
    "no time": ("malformed", (f"{HEADER}: v1={DIGEST}",)),
    "not hexadecimal": ("malformed", (f"{HEADER}: t={NOW_S},v1={'z' * 64}",)),
    "not ASCII": ("malformed", (f"{HEADER}: t={NOW_S},v1=\xff\xfe",)),
    "long": ("malformed", (f"{HEADER}: t={NOW_S},v1={DIGEST}{',' * 5000}",)),
    "repeated": ("malformed", (signature(BODY), signature(BODY))),
    "repeated, one wrong": ("malformed", (signature(BODY, secret=b"other"), signature(BODY))),
    "other secret": ("mismatch", (signature(BODY, secret=b"other"),)),
    "other body": ("mismatch", (signature(BODY + b" "),)),
    "old": ("outside tolerance", (signature(BODY, timestamp_s=NOW_S - 301),)),
    "future": ("outside tolerance", (signature(BODY, timestamp_s=NOW_S + 301),)),
}


@pytest.mark.parametrize(("reason", "headers"), REFUSED.values(), ids=REFUSED)
async def test_unsigned_is_401(intake: RunningIntake, reason: str, headers: tuple[str, ...]) -> None:
    """Every wrong signature gets the same answer; the reason is counted; nothing is stored or logged."""
    with capture_logs() as logs:
        answer = await intake.ask(request(BODY, *headers, signed=False))
    assert answer.code == 401
    assert answer.body == b'{"error":"the signature is missing, malformed, wrong or outside the tolerance"}'
    assert SECRET not in str(answer).encode()
    assert DIGEST not in str(answer)
    assert (intake.status.refused, intake.status.answers) == ({reason: 1}, {401: 1})
    assert (intake.stored(), logs) == ({}, [])


@pytest.mark.parametrize("age_s", [-300, 300])
async def test_tolerance_includes_its_bounds(intake: RunningIntake, age_s: int) -> None:
    """Exactly five minutes old or early is still received."""
    header = signature(BODY, timestamp_s=NOW_S - age_s)
    assert (await intake.ask(request(BODY, header, signed=False))).code == 200


NO_EVENTS = {
    "empty": b"",
    "not JSON": b"not json",
    "list": b"[]",
    "NaN": b'{"id":"evt_1","type":"x","v":NaN}',
    "deep": b'{"id":"evt_1","type":"x","v":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "not UTF-8": b'{"id":"\xff\xfe","type":"x"}',
    "half a surrogate": b'{"id":"evt_\\ud800","type":"asset.telemetry.updated","data":{"object":{}}}',
    "no id": b'{"type":"asset.telemetry.updated","data":{"object":{}}}',
    "no object": b'{"id":"evt_1","type":"asset.telemetry.updated"}',
}


@pytest.mark.parametrize("body", NO_EVENTS.values(), ids=NO_EVENTS)
async def test_signed_but_no_event_is_400(intake: RunningIntake, body: bytes) -> None:
    """A signed body that is no event gets 400 with the reason, is not stored, and keeps the connection."""
    async with intake.connect() as connection:
        await connection.send(request(body))
        answer = await connection.answer()
        assert answer.code == 400
        assert list(orjson.loads(answer.body)) == ["error"]
        await connection.send(request(BODY))
        assert (await connection.answer()).code == 200
    assert list(intake.stored()) == ["evt_1"]


@pytest.mark.parametrize("body", NO_EVENTS.values(), ids=NO_EVENTS)
async def test_signature_is_judged_before_parsing(intake: RunningIntake, body: bytes) -> None:
    """An unsigned body gets 401 before it is parsed, never 400."""
    assert (await intake.ask(request(body, signed=False))).code == 401


@pytest.mark.parametrize("target", ["/", "/webhooks", f"{PATH}/", f"{PATH}x", f"/x?{PATH}", "/%00"])
async def test_other_paths_are_404(intake: RunningIntake, target: str) -> None:
    """Only the configured path exists."""
    assert (await intake.ask(request(BODY, target=target))).code == 404
    assert intake.stored() == {}


@pytest.mark.parametrize("target", [f"{PATH}?a=1&b", f"{PATH}?", f"http://gateway{PATH}"])
async def test_path_alone_decides(intake: RunningIntake, target: str) -> None:
    """A query string or an absolute target changes nothing."""
    assert (await intake.ask(request(BODY, target=target))).code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods_are_405(intake: RunningIntake, method: str) -> None:
    """The answer names the method that is allowed."""
    answer = await intake.ask(request(BODY, method=method))
    assert (answer.code, answer.headers["allow"]) == (405, "POST")


async def test_body_of_exactly_the_limit_is_received(intake: RunningIntake) -> None:
    """The limit itself is allowed, with a length and in chunks."""
    for number, way in enumerate(("length", "chunks")):
        body = event(f"evt_{number}", pad="")
        body = event(f"evt_{number}", pad="x" * (MAX_BODY_BYTES - len(body)))
        assert len(body) == MAX_BODY_BYTES
        data = request(body)
        if way == "chunks":
            head = request(body, "Transfer-Encoding: chunked", length=False).removesuffix(body)
            data = head + chunked(body, 60_000)
        assert (await intake.ask(data)).code == 200
    assert len(intake.stored()) == 2


async def test_length_over_the_limit_is_413_before_the_body(intake: RunningIntake) -> None:
    """A Content-Length over the limit gets 413 at once, and the connection closes."""
    body = event(pad="x" * (2 << 20))
    async with intake.connect() as connection:
        await connection.send(request(body).removesuffix(body))
        answer = await connection.answer()
        assert (answer.code, answer.headers["connection"]) == (413, "close")
        await connection.send(body)
        assert await connection.is_closed()
    assert intake.stored() == {}


async def test_chunks_over_the_limit_are_413(intake: RunningIntake) -> None:
    """A chunked body gets 413 once it passes the limit, and the connection closes."""
    body = event(pad="x" * (2 << 20))
    head = request(body, "Transfer-Encoding: chunked", length=False).removesuffix(body)
    async with intake.connect() as connection:
        await connection.send(head + chunked(body, 60_000))
        answer = await connection.answer()
        assert (answer.code, answer.headers["connection"]) == (413, "close")
        assert await connection.is_closed()
    assert intake.stored() == {}


async def test_full_journal_is_503_until_there_is_room(tmp_path: Path) -> None:
    """A full journal gets 503 with `Retry-After` until the sinks have delivered."""
    async with (
        running_intake(tmp_path, max_journal_bytes=256 << 10) as intake,
        intake.connect() as connection,
    ):
        code = number = 0
        while code != 503:
            before = set(intake.stored())
            number += 1
            await connection.send(request(event(f"evt_{number}", pad="x" * 20_000)))
            answer = await connection.answer()
            code = answer.code
        assert answer.headers["retry-after"] == "60"
        assert orjson.loads(answer.body) == {"error": "the journal is full"}
        assert set(intake.stored()) == before
        assert intake.kept.accepted == len(before)
        head = intake.journal.head
        intake.journal.save(StateChanges(values_through=head))
        intake.journal.move_cursor(SINK, head)
        await connection.send(request(event(f"evt_{number}")))
        assert (await connection.answer()).code == 200
        assert f"evt_{number}" in intake.stored()


async def test_journal_that_cannot_commit_is_503(intake: RunningIntake) -> None:
    """While the journal can't be written, senders get 503; later the same event is received."""

    def rename(old: str, new: str) -> None:
        with contextlib.closing(sqlite3.connect(intake.file)) as database:
            database.execute(f"ALTER TABLE {old} RENAME TO {new}")

    rename("events", "away")
    answer = await intake.ask(request(BODY))
    assert (answer.code, answer.headers["retry-after"]) == (503, "10")
    rename("away", "events")
    assert (await intake.ask(request(BODY))).code == 200
    assert intake.stored() == {"evt_1": BODY}


async def test_a_disk_that_hangs_is_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All requests waiting for a slow commit get 503; when the disk answers, events are received again."""
    monkeypatch.setattr(sqlite, "COMMIT_WITHIN_S", 0.2)
    async with running_intake(tmp_path) as intake:
        with contextlib.closing(sqlite3.connect(intake.file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # for the writer, it is as if the disk did not answer
            began_s = time.monotonic()
            answers = await asyncio.gather(*(intake.ask(request(event(f"evt_{n}"))) for n in range(5)))
            answers.append(await intake.ask(request(event("evt_late"))))
            assert {(answer.code, answer.headers["retry-after"]) for answer in answers} == {(503, "10")}
            assert time.monotonic() - began_s < 8  # COMMIT_WITHIN_S by default
            assert intake.kept.state == "the disk has not answered for 0.2 s"
            monkeypatch.setattr(sqlite, "COMMIT_WITHIN_S", 60)
            other.execute("ROLLBACK")
        await until(lambda: intake.kept.state == "ok")
        for number in range(5):
            assert (await intake.ask(request(event(f"evt_{number}")))).code == 200
        assert sorted(intake.stored()) == [f"evt_{number}" for number in range(5)]


async def test_stopping_is_503(intake: RunningIntake) -> None:
    """A stopping gateway answers 503 with `Retry-After`, and still checks signatures first."""
    intake.intake.stop()
    answer = await intake.ask(request(BODY))
    assert (answer.code, answer.headers["retry-after"]) == (503, "5")
    assert (await intake.ask(request(BODY, signed=False))).code == 401
    assert intake.stored() == {}


async def test_test_events_go_nowhere(intake: RunningIntake) -> None:
    """Test events by any of their three marks are acknowledged, counted and logged, never stored."""
    bodies = [event(type="webhook.test"), event(isTest=True), event(livemode=False)]
    with capture_logs() as logs:
        for body in bodies:
            assert (await intake.ask(request(body))).body == RECEIVED
    assert [line["event"] for line in logs] == ["intake.test_event"] * 3
    assert (intake.stored(), intake.status.test_events, intake.kept.accepted) == ({}, 3, 0)


async def test_foreign_events_go_nowhere(intake: RunningIntake) -> None:
    """Events of other organizations and types are acknowledged and counted; the types are limited."""
    assert (await intake.ask(request(event(organizationId="o-other")))).body == RECEIVED
    async with intake.connect() as connection:
        for number in range(105):
            await connection.send(request(event(type=f"unknown.{number}")))
            assert (await connection.answer()).code == 200
    assert (intake.stored(), intake.status.other_organization) == ({}, 1)
    assert (len(intake.status.ignored_types), intake.status.ignored_types["other"]) == (101, 5)


@pytest.mark.parametrize(("published", "stored"), [([], 1), (["asset.*"], 3), (["*"], 4)])
async def test_asset_events_request_a_reconciliation(
    tmp_path: Path, published: list[str], stored: int
) -> None:
    """Events about created, deleted or updated assets do, whether a sink publishes them or not."""
    calls: list[str] = []
    async with running_intake(
        tmp_path, on_assets_changed=lambda: calls.append("now"), published=published
    ) as intake:
        for kind in ("asset.created", "asset.deleted", "workorder.created", "asset.status.changed"):
            assert (await intake.ask(request(event(type=kind, id=kind)))).code == 200
        assert len(intake.stored()) == stored
    assert len(calls) == 2


async def test_an_id_of_the_gateways_own_kind_collides_with_nothing(intake: RunningIntake) -> None:
    """A webhook with an id like those of the gateway's own events gets another id."""
    body = event("reconcile_0123")
    for _ in range(2):
        assert (await intake.ask(request(body))).body == RECEIVED
    assert intake.stored() == {"webhook_reconcile_0123": body}


async def test_status_events_are_journaled(intake: RunningIntake) -> None:
    """A status event is journaled once, like telemetry."""
    bodies = [
        event(type="asset.status.changed", id="evt_1"),
        event(type="asset.status.changed", id="evt_2", data=1),
    ]
    for body in (*bodies, bodies[0]):
        assert (await intake.ask(request(body))).body == RECEIVED
    assert intake.stored() == {"evt_1": bodies[0], "evt_2": bodies[1]}
    assert (intake.kept.accepted, intake.kept.duplicates, intake.status.ignored_types) == (2, 1, {})


async def test_gzip_is_not_decompressed(intake: RunningIntake) -> None:
    """A gzip body is not decompressed, so it is signed but no event."""
    packed = gzip.compress(BODY)
    assert (await intake.ask(request(packed, "Content-Encoding: gzip"))).code == 400
    header = signature(BODY)
    assert (await intake.ask(request(packed, "Content-Encoding: gzip", header, signed=False))).code == 401
    assert (await intake.ask(request(BODY, "Content-Encoding: gzip"))).code == 200


async def test_answers_are_counted(intake: RunningIntake) -> None:
    """Every answer is counted under its status."""
    for data in (
        request(BODY),
        request(BODY),
        request(BODY, signed=False),
        request(b"[]"),
        request(BODY, target="/"),
        request(BODY, method="GET"),
        b"no HTTP at all\r\n\r\n",
    ):
        await intake.ask(data)
    assert intake.status.answers == {200: 2, 401: 1, 400: 2, 404: 1, 405: 1}


async def test_own_bug_is_500_without_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A bug gets a plain 500, is logged with its traceback, and counted."""

    def broken_clock() -> int:
        raise RuntimeError("the clock has stopped")

    async with running_intake(tmp_path, clock_ms=broken_clock) as intake:
        with caplog.at_level(logging.DEBUG), capture_logs() as logs:
            for headers in (("X-Request-Id: proxy-17",), ("Expect: 100-continue",)):
                async with intake.connect() as connection:
                    await connection.send(request(BODY, *headers))
                    answer = await connection.answer()
                    answer = await connection.answer() if answer.code == 100 else answer
                    assert answer.code == 500
                    assert list(orjson.loads(answer.body)) == ["error"]
                    assert b"clock" not in answer.body
        assert [(line["event"], line["log_level"]) for line in logs] == [("intake.failed", "error")] * 2
        assert all(line["exc_info"] for line in logs)
        assert [line["request_id"] for line in logs] == ["proxy-17", None]  # as a proxy's log names it
        assert {line["sender"] for line in logs} == {"127.0.0.1"}
        assert "Traceback" not in caplog.text
        assert intake.status.answers == {500: 2}
