"""Reads the journal for commands, whether the gateway runs or not; locks and changes nothing. Blocking.

A journal that does not exist yet is empty. One that cannot be read raises GatewayError, whose text ends with
what to do, after a semicolon.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, contextmanager, suppress
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, NamedTuple, ParamSpec, TypeVar
from urllib.parse import quote

from gateway.errors import EventError, GatewayError
from gateway.events import asset_of
from gateway.journal import state_tables
from gateway.journal.database import (
    SINK_CURSORS,
    connect,
    create_tables,
    is_corrupt,
    primary_code,
    read_layout,
    show_origins,
)
from gateway.journal.journal_file import decode_event, id_hash
from gateway.model import BACKFILL_ID_PREFIX, Event, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.records import StoredDeadLetter

_Rest = ParamSpec("_Rest")
_Found = TypeVar("_Found")

# Bodies of delivered events are freed first when the journal is full; a dead letter keeps its copy.
_EVENT = """SELECT seq, received_ms, coalesce(body,
    (SELECT body FROM dead_letters WHERE dead_letters.seq = events.seq AND body IS NOT NULL LIMIT 1)),
    origin, origin_ms
  FROM events WHERE id_hash = ?"""
_NEWEST = """SELECT id_hash, received_ms, body, origin, origin_ms FROM events
  WHERE body IS NOT NULL ORDER BY seq DESC LIMIT ?"""
_NAMING = """SELECT seq, id_hash, received_ms, body, origin, origin_ms FROM events
  WHERE seq > ? AND seq <= ? AND instr(body, ?) ORDER BY seq DESC"""
_SINCE = """SELECT seq, id_hash, received_ms, body, origin, origin_ms FROM events
  WHERE seq > ? AND seq <= ? AND received_ms >= ? AND body IS NOT NULL ORDER BY seq LIMIT ?"""
_COUNT_SINCE = """SELECT count(body), coalesce(sum(length(body)), 0), count(*) - count(body),
  coalesce(max(seq), 0) FROM events WHERE received_ms >= ?"""
_NEXT_BELOW = "SELECT seq, received_ms FROM events WHERE seq <= ? ORDER BY seq DESC LIMIT 1"
_SEARCHED_AT_ONCE = 10_000  # events, 20 ms
_UNESCAPED = re.compile(rb"[\w.:-]+")  # what every JSON writer leaves as it is
_NEWEST_VALUE = "SELECT max(time_ms) FROM last_values WHERE instr(coalesce(event_id, ''), ?) != 1"


@contextmanager
def open_read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the journal read-only; an empty one in memory if there is none yet.

    Without a write-ahead log nobody writes. Then the file is opened as immutable, so that no log is created:
    one that belongs to the user of a command could not be opened by the gateway's own user.
    """
    try:
        with closing(connect(":memory:")) as empty:
            create_tables(empty)
            if not _exists(path):
                yield empty
                return
            immutable = "" if _exists(path.with_name(path.name + "-wal")) else "&immutable=1"
            address = f"file:{quote(str(path.absolute()))}?mode=ro{immutable}"
            with closing(connect(address, uri=True)) as database:
                layout = read_layout(database, path)
                show_origins(database, layout=layout)
                yield database if layout else empty
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise GatewayError(f"{path}: the journal can't be read: {reason}; {_remedy(error)}") from error


def _offline(
    query: Callable[Concatenate[sqlite3.Connection, _Rest], _Found],
) -> Callable[Concatenate[Path, _Rest], _Found]:
    """Make a query of a connection one of a journal's path."""

    @wraps(query)
    def read(path: Path, /, *arguments: _Rest.args, **named: _Rest.kwargs) -> _Found:
        with open_read_only(path) as database:
            return query(database, *arguments, **named)

    return read


read_assets = _offline(state_tables.read_assets)
read_dead_letters = _offline(state_tables.list_dead_letters)
read_retained_topics = _offline(state_tables.read_retained)
read_values = _offline(state_tables.read_values)
read_unmapped_assets = _offline(state_tables.read_unmapped_assets)


@_offline
def read_dead_letter(database: sqlite3.Connection, number: int) -> StoredDeadLetter | None:
    """Return one dead letter with its event's body, None if the number does not exist, or no longer."""
    return next(iter(state_tables.read_dead_letters(database, [number])), None)


@_offline
def read_cursors(database: sqlite3.Connection) -> dict[str, int]:
    """Return the number of the last event that each sink completed; the last moments may be missing."""
    return dict(database.execute(SINK_CURSORS))


@_offline
def read_event(database: sqlite3.Connection, event_id: str) -> Record | None:
    """Return the event as it was received, None if it is not, or no longer, in the journal.

    Type and body are empty if a full journal freed them after delivery, or if they are damaged.
    """
    row = database.execute(_EVENT, (id_hash(event_id),)).fetchone()
    if not row:
        return None
    seq, received_ms, body, *origin = row
    event = Event(event_id, "", b"", {}, received_ms)
    with suppress(EventError):
        event = decode_event(id_hash(event_id), received_ms, body or b"", *origin)
    return Record(seq, event)


@_offline
def newest_webhook_value_ms(database: sqlite3.Connection) -> int | None:
    """Return the time of the newest last value that a webhook delivered, None if there is none."""
    newest: int | None = database.execute(_NEWEST_VALUE, (BACKFILL_ID_PREFIX,)).fetchone()[0]
    return newest


def newest_events(path: Path, *, limit: int) -> Iterator[Event]:
    """Yield the last `limit` events that still have their bodies, newest first."""
    with open_read_only(path) as database:
        for row in database.execute(_NEWEST, (limit,)):
            with suppress(EventError):  # damaged; the gateway makes a dead letter of it
                yield decode_event(*row)


def search_asset_events(path: Path, asset: str) -> Iterator[tuple[int, Record | None]]:
    """Yield the events of an asset, newest first, each after its time of receipt.

    After 10,000 events of any asset, None comes with the time of the next one, so that a long search can be
    ended. There is no index, which would cost each event on its way in: SQLite looks for the id in the
    bodies, a million of them in two seconds, without Python's lock and without keeping the writer waiting.
    """
    part = max(_UNESCAPED.findall(asset.encode(errors="replace")), key=len, default=b"")
    with open_read_only(path) as database:
        through = database.execute("SELECT max(seq) FROM events").fetchone()[0]
        while through is not None:
            below = through - _SEARCHED_AT_ONCE
            for seq, *row in database.execute(_NAMING, (below, through, part)):
                with suppress(EventError):  # damaged
                    event = decode_event(*row)
                    if asset_of(event) == asset:
                        yield event.received_ms, Record(seq, event)
            through, reached_ms = database.execute(_NEXT_BELOW, (below,)).fetchone() or (None, 0)
            if through is not None:
                yield reached_ms, None


class EventCount(NamedTuple):
    """Events of a time: with a body, the bytes of these, those whose body was freed; the last number."""

    events: int
    size_bytes: int
    without_body: int
    last_seq: int


@_offline
def count_events_since(database: sqlite3.Connection, since_ms: int) -> EventCount:
    """Count the events that were received since then; looks at all events."""
    return EventCount(*database.execute(_COUNT_SINCE, (since_ms,)).fetchone())


def events_since(path: Path, since_ms: int, *, through: int, at_once: int) -> Iterator[list[Record]]:
    """Yield lists of the events that were received since then, oldest first, up to number `through`."""
    with open_read_only(path) as database:
        after = 0
        while rows := database.execute(_SINCE, (after, through, since_ms, at_once)).fetchall():
            after = rows[-1][0]
            records = []
            for seq, *row in rows:
                with suppress(EventError):  # damaged; the gateway makes a dead letter of it
                    records.append(Record(seq, decode_event(*row)))
            if records:
                yield records


def read_error(path: Path) -> tuple[str, str] | None:
    """Return why the journal cannot be read and what to do; None if it can, or does not exist yet."""
    try:
        next(newest_events(path, limit=1), None)
        read_assets(path)
    except GatewayError as error:
        found, _, remedy = str(error).rpartition("; ")
        return found, remedy
    return None


def _exists(path: Path) -> bool:
    """Return whether there is such a file; raise OSError if the user may not know."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _remedy(error: Exception) -> str:
    if is_corrupt(error):
        return (
            "start the gateway, which moves the file aside and takes over what can be read (`A damaged"
            " journal` in docs/operations.md)"
        )
    if primary_code(error) == sqlite3.SQLITE_BUSY:
        return "end the program that keeps it locked, `fuser -v FILE` names it"
    return "name a file in journal.url, and run the command with the rights of the gateway's user"
