"""The journal's dead letters, to and from their table. Blocking, like all of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from gateway.model import DeadLetter, StoredLetter

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
NUMBER_OLDER = f"""
ALTER TABLE dead_letters RENAME TO older_letters;
{TABLE}
INSERT INTO dead_letters SELECT id, at_ms, sink, seq, event_id, point, reason, body FROM older_letters;
DROP TABLE older_letters;
"""  # noqa: S608 - constants only
_INSERT = """INSERT INTO dead_letters(at_ms, sink, seq, event_id, point, reason, body)
  VALUES (?1, ?2, ?3, ?4, ?5, ?6, coalesce((SELECT body FROM events WHERE seq = ?3), ?7))"""
_FORGET = "DELETE FROM dead_letters WHERE id IN (SELECT value FROM json_each(?))"
_PRUNE = """DELETE FROM dead_letters
  WHERE id <= (SELECT id FROM dead_letters ORDER BY id DESC LIMIT 1 OFFSET ?)"""
_COLUMNS = "id, sink, seq, event_id, point, reason, at_ms"
_ALL = f"SELECT {_COLUMNS} FROM dead_letters ORDER BY id"  # noqa: S608 - constants only
_OF_EVENT = f"SELECT {_COLUMNS} FROM dead_letters WHERE event_id = ? ORDER BY id"  # noqa: S608 - likewise
_STORED = f"""SELECT {_COLUMNS}, body FROM dead_letters
  WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"""  # noqa: S608 - likewise


def update(database: sqlite3.Connection, *, new: Sequence[DeadLetter], settled: Sequence[int]) -> int:
    """Write new letters, then forget the settled ones; within a transaction.

    A letter has its event's body as far as the event is there, or else the one that it brings. Return by
    how many letters there are more.
    """
    database.executemany(
        _INSERT,
        [
            (letter.at_ms, letter.sink, letter.seq, letter.event_id, letter.point, letter.reason, letter.body)
            for letter in new
        ],
    )
    forgotten = database.execute(_FORGET, (_json(settled),)).rowcount if settled else 0
    return len(new) - forgotten


def prune(database: sqlite3.Connection) -> int:
    """Forget the oldest letters beyond the number that is kept; return how many those were."""
    return database.execute(_PRUNE, (MOST_KEPT,)).rowcount


def count(database: sqlite3.Connection) -> int:
    """Return how many there are."""
    return int(database.execute("SELECT count(*) FROM dead_letters").fetchone()[0])


def read(database: sqlite3.Connection, numbers: Sequence[int], *, enough_bytes: int) -> list[StoredLetter]:
    """Return the letters of these numbers that there are, oldest first, until bodies are `enough_bytes`."""
    letters: list[StoredLetter] = []
    size = 0
    for number, *columns, body in database.execute(_STORED, (_json(numbers),)):
        letters.append(StoredLetter(number, DeadLetter(*columns), body))
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
