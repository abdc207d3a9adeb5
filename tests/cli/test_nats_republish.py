"""`gateway nats republish` into real streams: what is in them afterwards, and how it stops."""

from __future__ import annotations

import asyncio
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.daemon import ORGANIZATION, REPOSITORY, telemetry
from support.nats_commands import STREAM, NatsFiles
from support.nats_servers import NatsServer, add_stream, client_of, read_stream, stream_holds

from gateway.events import parse_event
from gateway.journal.sqlite import SqliteJournal
from gateway.status import JournalStatus
from gateway.text import second_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW_MS = time.time_ns() // 1_000_000 // 1000 * 1000
HOUR_MS = 3_600_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """Run one server."""
    with NatsServer(tmp_path) as running:
        yield running


@pytest.fixture
def slow_server(tmp_path: Path) -> Iterator[NatsServer]:
    """Run a server that writes each event to disk, so that a batch takes a while."""
    with NatsServer(tmp_path, sync_always=True) as running:
        yield running


def body_of(number: int) -> bytes:
    """Return an event of one of a hundred assets, of which the tables name one."""
    return telemetry(f"evt_{number}", f"ast-{number % 100}", {"temperature": number})


def fill(folder: Path, count: int, *, every_ms: int = 1000) -> None:
    """Journal events that were received one after the other, the last one a moment ago."""

    async def append() -> None:
        journal = SqliteJournal(
            folder / "intake.db",
            sinks=["fan"],
            retention_s=1e6,
            max_bytes=1 << 30,
            clock_ms=lambda: NOW_MS,
            status=JournalStatus(),
        )
        async with journal:
            for first in range(0, count, 1000):
                numbers = range(first, min(count, first + 1000))
                await asyncio.gather(
                    *{
                        journal.append(parse_event(body_of(n), received_ms=NOW_MS - (count - n) * every_ms))
                        for n in numbers
                    }
                )

    asyncio.run(append())


def test_a_lost_stream_is_filled_again(tmp_path: Path, server: NatsServer) -> None:
    """Every event since then is in the stream, as it was published first, and each asset's are in order.

    --dry-run counts and publishes nothing.
    """
    files = NatsFiles(tmp_path, [server.url])
    fill(tmp_path, 2500)
    asyncio.run(add_stream(server.url))
    since = second_text(NOW_MS - 2400 * 1000)
    counted = files.run("intake", "nats", "republish", "--since", since, "--dry-run")
    assert (counted.returncode, asyncio.run(read_stream(server.url))) == (0, [])
    assert f"intake.db: 2,400 events since {since}" in counted.stdout
    done = files.run("intake", "nats", "republish", "--since", since)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2,400 events published to INFODECK"
    messages = asyncio.run(read_stream(server.url))
    assert {message.json["id"] for message in messages} == {f"evt_{number}" for number in range(100, 2500)}
    for asset in range(100):
        ours = [each for each in messages if each.subject.endswith(f".ast-{asset}")]
        assert [each.json["id"] for each in ours] == [f"evt_{n}" for n in range(100 + asset, 2500, 100)]
    first = next(message for message in messages if message.json["id"] == "evt_100")
    assert first.body == body_of(100).replace(*_created(first.body))
    assert first.subject == f"infodeck.{ORGANIZATION}.hq.ast-0"
    assert first.headers["Nats-Msg-Id"] == "evt_100"
    assert first.headers["Gateway-Verified-By"] == "intake-1"
    assert first.headers["Gateway-Received"] == str(NOW_MS - 2400 * 1000)


def test_what_a_purged_stream_still_recognises_is_said(tmp_path: Path, server: NatsServer) -> None:
    """A purge deletes events and not their ids: for two minutes, they are acknowledged and not stored."""

    async def purge() -> None:
        async with client_of(server.url) as client:
            await client.jetstream().purge_stream("INFODECK")

    files = NatsFiles(tmp_path, [server.url])
    fill(tmp_path, 10)
    asyncio.run(add_stream(server.url))
    files.run("intake", "nats", "republish", "--since", "1h")
    asyncio.run(purge())
    done = files.run("intake", "nats", "republish", "--since", "1h")
    assert "10 of them it had got in the last two minutes, and did not store again" in done.stdout
    assert asyncio.run(read_stream(server.url)) == []


def _created(body: bytes) -> tuple[bytes, bytes]:
    """Return the time of creation in a body made now, and in the one that was journalled."""
    pattern = re.compile(rb'"created": \d+')
    return pattern.findall(body_of(100))[0], pattern.findall(body)[0]


def started(folder: Path, server: NatsServer) -> subprocess.Popen[str]:
    """Start the command in a process of its own; return once its second batch is on its way."""
    command = [sys.executable, "-m", "gateway", "nats", "republish", "-c", str(folder / "intake.yaml")]
    process = subprocess.Popen(
        [*command, "--since", "24h"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    asyncio.run(stream_holds(server.url, 1_100))
    return process


def test_it_stops_between_batches(tmp_path: Path, slow_server: NatsServer) -> None:
    """Ctrl-C finishes the batch, and says where to go on; from there, everything is in the stream."""
    files = NatsFiles(tmp_path, [slow_server.url])
    fill(tmp_path, 3_000)
    asyncio.run(add_stream(slow_server.url))
    process = started(tmp_path, slow_server)
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=120)
    assert process.returncode == 1, shown
    found = re.search(
        r"^([\d,]+) events published to INFODECK; go on with --since (\S+)$", shown, re.MULTILINE
    )
    assert found is not None, shown
    assert 1000 <= int(found[1].replace(",", "")) < 3_000
    assert files.run("intake", "nats", "republish", "--since", found[2]).returncode == 0
    ids = {message.json["id"] for message in asyncio.run(read_stream(slow_server.url))}
    assert ids == {f"evt_{number}" for number in range(3_000)}


def test_a_server_that_restarts_is_waited_for(tmp_path: Path, slow_server: NatsServer) -> None:
    """What was under way is published again, on a new connection."""
    NatsFiles(tmp_path, [slow_server.url])
    fill(tmp_path, 3_000)
    asyncio.run(add_stream(slow_server.url))
    process = started(tmp_path, slow_server)
    slow_server.kill()
    slow_server.start()
    shown, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "3,000 events published to INFODECK" in shown
    ids = {message.json["id"] for message in asyncio.run(read_stream(slow_server.url))}
    assert ids == {f"evt_{number}" for number in range(3_000)}


def test_what_is_missing_is_said(tmp_path: Path, server: NatsServer) -> None:
    """Without a stream nothing is published; freed bodies and refused events are counted."""
    files = NatsFiles(tmp_path, [server.url])
    fill(tmp_path, 10)
    absent = files.run("intake", "nats", "republish", "--since", "1h")
    assert absent.returncode == 1
    assert STREAM in absent.stderr
    assert "gateway nats setup" in absent.stderr
    with closing(sqlite3.connect(tmp_path / "intake.db")) as database, database:
        database.execute("UPDATE events SET body = NULL WHERE seq <= 3")
    asyncio.run(add_stream(server.url, largest_bytes=300))
    done = files.run("intake", "nats", "republish", "--since", "1h")
    assert "3 more are lost here: a full journal freed their bodies" in done.stderr
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "0 events published to INFODECK; 7 refused"
    assert "evt_3: " in done.stderr
    assert "a duration such as 36h" in files.run("intake", "nats", "republish", "--since", "soon").stderr
    assert "no sink of type nats" in files.run("edge", "nats", "republish", "--since", "1h").stderr
