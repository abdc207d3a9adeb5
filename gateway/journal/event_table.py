"""The table of events: appended in order, read by number, freed from the oldest on. Blocking.

An event's id is stored as a hash. It recognises a duplicate, is short however long the id is, and stays when
the body, which has the id itself, is freed.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING

import orjson

from gateway.errors import EventError
from gateway.events import keep_apart, parse_event
from gateway.model import Record
from gateway.records import DeadLetter

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from gateway.model import Event

SCHEMA = """
CREATE TABLE events(
  seq INTEGER PRIMARY KEY, id_hash BLOB NOT NULL UNIQUE, received_ms INTEGER NOT NULL, body BLOB) STRICT;
"""
READ_BYTES = 4 << 20  # of bodies that are read at once
_HASH_BYTES = 16
_EVER_MS = 1 << 62
_ID = re.compile(rb'"id"\s*:\s*"([^"\\]+)"')
# Each statement releases the interpreter lock and must get it back from the busy event loop. So rows are
# inserted many to a statement; powers of two keep the number of statements small.
_INSERTS = tuple(
    (size, f"INSERT OR IGNORE INTO events VALUES {','.join(['(?,?,?,?)'] * size)}")  # noqa: S608 - placeholders only
    for size in (64, 32, 16, 8, 4, 2, 1)
)
_READ = """SELECT seq, id_hash, received_ms, body FROM events
  WHERE seq > ? AND body IS NOT NULL ORDER BY seq"""
_LAST_TO_FREE = """SELECT max(seq) FROM (
  SELECT seq FROM events WHERE seq > ? AND seq <= ? AND body IS NOT NULL ORDER BY seq LIMIT ?)"""
# Deleted and inserted again: rows that shrink in place leave their pages half empty.
_FREE = (
    """CREATE TEMP TABLE slim AS
      SELECT seq, id_hash, received_ms, NULL FROM events WHERE seq > :after AND seq <= :last""",
    "DELETE FROM events WHERE seq > :after AND seq <= :last",
    "INSERT INTO events SELECT * FROM slim",
    "DROP TABLE slim",
)
_FREE_SINGLE = "UPDATE events SET body = NULL WHERE seq IN (SELECT value FROM json_each(?))"
_FORGET = """DELETE FROM events WHERE seq IN (SELECT seq FROM (
  SELECT seq, received_ms FROM events WHERE seq <= ? ORDER BY seq LIMIT ?) WHERE received_ms < ?)"""


def id_hash(event_id: str) -> bytes:
    """Return what is stored of an event's id."""
    return blake2b(event_id.encode(errors="surrogatepass"), digest_size=_HASH_BYTES).digest()


def insert_events(database: sqlite3.Connection, events: Sequence[Event], *, first: int) -> tuple[Record, ...]:
    """Insert events under the numbers from `first` on; return the new ones, without duplicates."""
    before = database.total_changes
    done = 0
    for size, statement in _INSERTS:
        while len(events) - done >= size:
            rows = (
                (seq, id_hash(event.event_id), event.received_ms, event.body)
                for seq, event in enumerate(events[done : done + size], first + done)
            )
            database.execute(statement, tuple(chain.from_iterable(rows)))
            done += size
    records = enumerate(events, first)
    if database.total_changes - before == len(events):
        return tuple(Record(seq, event) for seq, event in records)
    new = {row[0] for row in database.execute("SELECT seq FROM events WHERE seq >= ?", (first,))}
    return tuple(Record(seq, event) for seq, event in records if seq in new)


def read_events(
    database: sqlite3.Connection, after: int, limit: int
) -> tuple[list[Record], list[DeadLetter]]:
    """Return the next events, and dead letters for damaged ones; limited in number and bytes."""
    records: list[Record] = []
    damaged: list[DeadLetter] = []
    size_bytes = 0
    for seq, stored_hash, received_ms, body in database.execute(_READ, (after,)):
        try:
            records.append(Record(seq, decode_event(stored_hash, received_ms, body)))
        except EventError as error:
            damaged.append(_damaged(seq, stored_hash, received_ms, body, reason=str(error)))
        size_bytes += len(body)
        if len(records) == limit or (records and size_bytes > READ_BYTES):
            break
    return records, damaged


def decode_event(stored_hash: bytes, received_ms: int, body: bytes) -> Event:
    """Return the event of a row; raise EventError if the row is damaged."""
    event = parse_event(body, received_ms=received_ms)
    if id_hash(event.event_id) != stored_hash:
        keep_apart(event)
        if id_hash(event.event_id) != stored_hash:
            raise EventError("its id is not the one that was received")
    return event


def free_bodies(database: sqlite3.Connection, *, after: int, through: int, limit: int) -> int:
    """Free the oldest bodies up to `through`, within a transaction; return the last number, 0 if none.

    The ids stay, to recognise duplicates.
    """
    last: int = database.execute(_LAST_TO_FREE, (after, through, limit)).fetchone()[0] or 0
    if last:
        for statement in _FREE:
            database.execute(statement, {"after": after, "last": last})
    return last


def free_single_bodies(database: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Free the bodies of these events, within a transaction."""
    if numbers:
        database.execute(_FREE_SINGLE, (orjson.dumps(numbers).decode(),))


def forget_events(database: sqlite3.Connection, *, through: int, limit: int, before_ms: int | None) -> int:
    """Delete the oldest events up to `through`, ids too, within a transaction; return how many."""
    before = _EVER_MS if before_ms is None else before_ms
    return database.execute(_FORGET, (through, limit, before)).rowcount


def _damaged(seq: int, stored_hash: bytes, received_ms: int, body: bytes, *, reason: str) -> DeadLetter:
    """Return the dead letter for a damaged row, with the event's id if it can still be found."""
    ids = [found.decode(errors="replace") for found in _ID.findall(body)]
    return DeadLetter(
        sink="",
        seq=seq,
        event_id=next((found for found in ids if id_hash(found) == stored_hash), ""),
        point="",
        reason=f"damaged in the journal: {reason}",
        at_ms=received_ms,
        body=body,
    )
