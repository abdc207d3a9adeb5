"""Every implementation of event log and state store on real files, and events for them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Protocol

from gateway.events import parse_event
from gateway.journal.sqlite import SqliteJournal
from gateway.ports import EventLog, StateStore
from gateway.status import JournalStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.model import Event, Record

START_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
RETENTION_S = 48 * 3600.0
LONG_AFTER_MS = START_MS + 1000 * HOUR_MS


class Journal(EventLog, StateStore, Protocol):
    """An event log and a state store in one place."""


def sqlite_journal(
    folder: Path,
    *,
    sinks: Sequence[str] = ("bms",),
    max_bytes: int = 1 << 30,
    clock_ms: Callable[[], int] = lambda: START_MS,
    status: JournalStatus | None = None,
    on_damage: Callable[[str], None] = lambda _: None,
    on_corrupt: Callable[[], None] = lambda: None,
) -> SqliteJournal:
    """Make a SQLite journal, `journal.db` in `folder`."""
    return SqliteJournal(
        folder / "journal.db",
        sinks=sinks,
        retention_s=RETENTION_S,
        max_bytes=max_bytes,
        clock_ms=clock_ms,
        status=JournalStatus() if status is None else status,
        on_damage=on_damage,
        on_corrupt=on_corrupt,
    )


EVENT_LOGS = {"sqlite": sqlite_journal}
STATE_STORES = {"sqlite": sqlite_journal}


def make_event(number: int, *, received_ms: int = START_MS, padding: int = 0) -> Event:
    """Make the event `evt_<number>`, with a body that is `padding` bytes longer than necessary."""
    document = {"id": f"evt_{number}", "type": "asset.telemetry.updated", "data": {"object": {}}}
    document["padding"] = "x" * padding
    return parse_event(json.dumps(document).encode(), received_ms=received_ms)


def ids(records: Sequence[Record]) -> list[str]:
    """Return the event ids of records."""
    return [record.event.event_id for record in records]


async def read_all(journal: EventLog, *, limit: int = 1000) -> list[Record]:
    """Read from the beginning until nothing is left."""
    records: list[Record] = []
    while more := await journal.read(records[-1].seq if records else 0, limit):
        assert len(more) <= limit
        records += more
    return records


async def until_pruned(journal: EventLog) -> None:
    """Wait until every event is deleted."""
    async with asyncio.timeout(60):
        while await journal.read(0, 1):  # noqa: ASYNC110 - pruning has no event
            await asyncio.sleep(0.01)
