"""The journal's dead letters, to and from their table. Blocking, like all of the store.

A letter has a copy of its event's body, for the event is forgotten sooner. One event may leave a letter for
each of its readings, so copies are bounded: a letter without one has its event's body while that is there.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

import orjson

from gateway.records import DeadLetter, StoredDeadLetter

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

MOST_KEPT = 10_000

# AUTOINCREMENT: whoever asks for number 5 must not get a newer letter, after the old one was forgotten.
TABLE = """
CREATE TABLE dead_letters(
  id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, sink TEXT NOT NULL, seq INTEGER NOT NULL,
  event_id TEXT NOT NULL, point TEXT NOT NULL, reason TEXT NOT NULL, body BLOB) STRICT;
"""
_INSERT = """INSERT INTO dead_letters(at_ms, sink, seq, event_id, point, reason, body) VALUES (
  :at_ms, :sink, :seq, :event_id, :point, :reason,
  CASE WHEN :has_room THEN coalesce((SELECT body FROM events WHERE seq = :seq), :body) END)"""
_SIZES = """SELECT seq, length(body) FROM events
  WHERE body IS NOT NULL AND seq IN (SELECT value FROM json_each(?))"""
_FORGET = "DELETE FROM dead_letters WHERE id IN (SELECT value FROM json_each(?))"
_PRUNE = """DELETE FROM dead_letters
  WHERE id <= (SELECT id FROM dead_letters ORDER BY id DESC LIMIT 1 OFFSET ?)"""
_SLIM = """UPDATE dead_letters SET body = NULL WHERE body IS NOT NULL AND id <= (SELECT max(id) FROM (
  SELECT id, sum(length(body)) OVER (ORDER BY id DESC) AS bytes FROM dead_letters) WHERE bytes > ?)"""
_COLUMNS = "id, sink, seq, event_id, point, reason, at_ms"
_ALL = f"SELECT {_COLUMNS} FROM dead_letters ORDER BY id"  # noqa: S608 - constants only
_OF_EVENT = f"SELECT {_COLUMNS} FROM dead_letters WHERE event_id = ? ORDER BY id"  # noqa: S608 - likewise
_STORED = f"""SELECT {_COLUMNS}, coalesce(body, (SELECT body FROM events WHERE events.seq = dead_letters.seq))
  FROM dead_letters WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"""  # noqa: S608 - likewise


class Kept(NamedTuple):
    """How many letters there are, and the size of their bodies."""

    number: int
    body_bytes: int


def update(
    database: sqlite3.Connection, *, new: Sequence[DeadLetter], settled: Sequence[int], room_bytes: int
) -> Kept:
    """Write new letters, then forget the settled ones; within a transaction.

    A letter has its event's body as far as the event is there, or else the one that it brings; of many
    letters, the newest have, so far as there is room. Return by how much there is more, at most.
    """
    sizes = dict(database.execute(_SIZES, (_json([letter.seq for letter in new]),))) if new else {}
    rows, left_bytes = [], room_bytes
    for letter in reversed(new):
        size = sizes.get(letter.seq, len(letter.body or b""))
        has_room = letter.body is not None or size <= left_bytes  # what it brings was there before
        left_bytes -= size if has_room else 0
        rows.append(asdict(letter) | {"has_room": has_room})
    database.executemany(_INSERT, reversed(rows))
    forgotten = database.execute(_FORGET, (_json(settled),)).rowcount if settled else 0
    return Kept(len(new) - forgotten, room_bytes - left_bytes)


def prune(database: sqlite3.Connection, *, body_bytes: int) -> Kept:
    """Forget the oldest letters beyond the number that is kept, and the oldest copies beyond so many bytes.

    Return what is left.
    """
    database.execute(_PRUNE, (MOST_KEPT,))
    database.execute(_SLIM, (body_bytes,))
    return count(database)


def count(database: sqlite3.Connection) -> Kept:
    """Return what there is."""
    return Kept(
        *database.execute("SELECT count(*), coalesce(sum(length(body)), 0) FROM dead_letters").fetchone()
    )


def read(
    database: sqlite3.Connection, numbers: Sequence[int], *, enough_bytes: int
) -> list[StoredDeadLetter]:
    """Return the letters of these numbers that there are, oldest first, until bodies are `enough_bytes`."""
    letters: list[StoredDeadLetter] = []
    size = 0
    for number, *columns, body in database.execute(_STORED, (_json(numbers),)):
        letters.append(StoredDeadLetter(number, DeadLetter(*columns), body))
        size += len(body or b"")
        if size > enough_bytes:
            break
    return letters


def read_all(database: sqlite3.Connection, *, event_id: str | None = None) -> dict[int, DeadLetter]:
    """Return all letters by number, or those of one event, oldest first."""
    query, parameters = (_ALL, ()) if event_id is None else (_OF_EVENT, (event_id,))
    return {number: DeadLetter(*columns) for number, *columns in database.execute(query, parameters)}


def _json(numbers: Sequence[int]) -> str:
    return orjson.dumps(list(numbers)).decode()
