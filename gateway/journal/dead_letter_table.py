"""The table of dead letters, with bounded copies of their events' bodies. Blocking.

A dead letter has a copy of its event's body, since the event is forgotten sooner. One event may cause a dead
letter for each of its readings, so the copies are bounded. A dead letter without one has the body of its
event while that is stored.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

import orjson

from gateway.journal.event_table import READ_BYTES
from gateway.records import DeadLetter, StoredDeadLetter

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

MOST_DEAD_LETTERS = 10_000
"""How many are stored."""

# AUTOINCREMENT: a number is never used again, so that nobody who asks for it gets a newer dead letter.
SCHEMA = """
CREATE TABLE dead_letters(
  id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, sink TEXT NOT NULL, seq INTEGER NOT NULL,
  event_id TEXT NOT NULL, point TEXT NOT NULL, reason TEXT NOT NULL, body BLOB) STRICT;
"""
_INSERT = """INSERT INTO dead_letters(at_ms, sink, seq, event_id, point, reason, body) VALUES (
  :at_ms, :sink, :seq, :event_id, :point, :reason,
  CASE WHEN :has_room THEN coalesce((SELECT body FROM events WHERE seq = :seq), :body) END)"""
_SIZES = """SELECT seq, length(body) FROM events
  WHERE body IS NOT NULL AND seq IN (SELECT value FROM json_each(?))"""
_REMOVE = "DELETE FROM dead_letters WHERE id IN (SELECT value FROM json_each(?))"
_PRUNE = """DELETE FROM dead_letters
  WHERE id <= (SELECT id FROM dead_letters ORDER BY id DESC LIMIT 1 OFFSET ?)"""
_DROP_COPIES = """UPDATE dead_letters SET body = NULL WHERE body IS NOT NULL AND id <= (SELECT max(id) FROM (
  SELECT id, sum(length(body)) OVER (ORDER BY id DESC) AS bytes FROM dead_letters) WHERE bytes > ?)"""
_COLUMNS = "id, sink, seq, event_id, point, reason, at_ms"
_ALL = f"SELECT {_COLUMNS} FROM dead_letters WHERE ?1 IS NULL OR event_id = ?1 ORDER BY id"  # noqa: S608 - constants only
_BY_NUMBER = f"""SELECT {_COLUMNS},
  coalesce(body, (SELECT body FROM events WHERE events.seq = dead_letters.seq))
  FROM dead_letters WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"""  # noqa: S608 - likewise


class DeadLetterCount(NamedTuple):
    """How many dead letters are stored, and the size of their copies."""

    number: int
    copies_bytes: int


def write_dead_letters(
    database: sqlite3.Connection, new: Sequence[DeadLetter], *, removed: Sequence[int], room_bytes: int
) -> DeadLetterCount:
    """Insert and remove dead letters, within a transaction; return by how much there is more, at most.

    Of many, the newest get a copy of the body as far as there is room. The body that a dead letter brings
    along was stored before, so it always has room.
    """
    sizes = dict(database.execute(_SIZES, (_json([letter.seq for letter in new]),))) if new else {}
    rows, left_bytes = [], room_bytes
    for letter in reversed(new):
        size = sizes.get(letter.seq, len(letter.body or b""))
        has_room = letter.body is not None or size <= left_bytes
        left_bytes -= size if has_room else 0
        rows.append(asdict(letter) | {"has_room": has_room})
    database.executemany(_INSERT, reversed(rows))
    gone = database.execute(_REMOVE, (_json(removed),)).rowcount if removed else 0
    return DeadLetterCount(len(new) - gone, room_bytes - left_bytes)


def prune_dead_letters(database: sqlite3.Connection, *, copies_bytes: int) -> DeadLetterCount:
    """Remove the oldest dead letters beyond their limit and the oldest copies beyond so many bytes."""
    database.execute(_PRUNE, (MOST_DEAD_LETTERS,))
    database.execute(_DROP_COPIES, (copies_bytes,))
    return count_dead_letters(database)


def count_dead_letters(database: sqlite3.Connection) -> DeadLetterCount:
    """Return what is stored."""
    query = "SELECT count(*), coalesce(sum(length(body)), 0) FROM dead_letters"
    return DeadLetterCount(*database.execute(query).fetchone())


def read_stored(database: sqlite3.Connection, numbers: Sequence[int]) -> list[StoredDeadLetter]:
    """Return the dead letters of these numbers that exist, oldest first, limited in bytes."""
    letters: list[StoredDeadLetter] = []
    size_bytes = 0
    for number, *columns, body in database.execute(_BY_NUMBER, (_json(numbers),)):
        letters.append(StoredDeadLetter(number, DeadLetter(*columns), body))
        size_bytes += len(body or b"")
        if size_bytes > READ_BYTES:
            break
    return letters


def read_all_dead_letters(database: sqlite3.Connection, *, event_id: str | None) -> dict[int, DeadLetter]:
    """Return by number all dead letters, or those of one event, without bodies, oldest first."""
    return {number: DeadLetter(*columns) for number, *columns in database.execute(_ALL, (event_id,))}


def _json(numbers: Sequence[int]) -> str:
    return orjson.dumps(list(numbers)).decode()
