"""What can still be read of a corrupt journal, taken over into a new one. Blocking.

Row by row, since SQLite reads past a broken page only where it is asked for what comes after it: forwards and
backwards, and where rows have numbers, from ever higher numbers on.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.journal.layout import KEPT_THROUGH, NUMBERED, SCHEMA_VERSION
from gateway.journal.rows import is_intact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NAMED = ("kept", "forced", "online", "retained", "alarms", "gaps", "unmapped")  # by their text keys
_MOST_NUMBER = 1 << 62
_MAPPED_AGAIN = 100_000  # events at most, a few seconds' work, where values could not be read


class Salvaged(NamedTuple):
    """How much was taken over. `values` are of points."""

    undelivered: int
    values: int
    dead_letters: int

    def __str__(self) -> str:
        """Say it in words."""
        return (
            f"{self.undelivered} events that a sink may not have got, last values of {self.values} points,"
            f" {self.dead_letters} dead letters"
        )


def salvage(damaged: sqlite3.Connection, fresh: sqlite3.Connection, *, sinks: Iterable[str]) -> Salvaged:
    """Copy what can be read of one journal into another one, which is empty.

    Sinks whose cursor cannot be read get every event that is there; values that cannot be read are mapped
    again from the newest events. Raise sqlite3.Error where the new one cannot be written.
    """
    with suppress(sqlite3.Error):
        damaged.execute("PRAGMA writable_schema=ON")  # so that SQLite opens what was cut off, too
        if damaged.execute("PRAGMA user_version").fetchone() != (SCHEMA_VERSION,):
            return Salvaged(0, 0, 0)
    return _copy(damaged, fresh, sinks=sinks)


def _copy(damaged: sqlite3.Connection, fresh: sqlite3.Connection, *, sinks: Iterable[str]) -> Salvaged:
    cursors = dict.fromkeys(sinks, 0) | dict(_both_ways(damaged, "cursors"))
    copied = {name: _insert(fresh, name, _both_ways(damaged, name)) for name in _NAMED}
    copied["assets"] = _insert(fresh, "assets", _numbered(damaged, "SELECT * FROM assets WHERE id > ?"))
    letters = _insert(fresh, "dead_letters", _numbered(damaged, "SELECT * FROM dead_letters WHERE id > ?"))
    delivered = min((seq for name, seq in cursors.items() if not name.startswith("$")), default=0)
    newest = _newest(damaged, cursors)
    after = min(delivered, max(0, newest - _MAPPED_AGAIN))
    events = _numbered(
        damaged,
        f"SELECT seq, id_hash, received_ms, CASE WHEN seq > {after} THEN body END FROM events WHERE seq > ?",  # noqa: S608 - a number
    )
    _insert(fresh, "events", events)
    newest = max(newest, fresh.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])
    cursors |= {KEPT_THROUGH: min(cursors.get(KEPT_THROUGH, 0), after), NUMBERED: newest}
    _insert(fresh, "cursors", cursors.items())
    undelivered = "SELECT count(*) FROM events WHERE seq > ? AND body IS NOT NULL"
    return Salvaged(fresh.execute(undelivered, (delivered,)).fetchone()[0], copied["kept"], letters)


def _newest(damaged: sqlite3.Connection, cursors: dict[str, int]) -> int:
    """Return the highest number that is known to be used."""
    newest = max(cursors.values(), default=0)
    with suppress(sqlite3.Error):
        newest = max(newest, damaged.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])
    return newest


def _both_ways(database: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """Yield a table's rows from its beginning up to a broken page, and from its end down to one."""
    for order in ("ASC", "DESC"):
        try:
            yield from database.execute(f"SELECT * FROM {table} ORDER BY 1 {order}")  # noqa: S608 - our own names
        except sqlite3.Error:
            continue
        return


def _numbered(database: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query by number, from beyond each broken page on."""
    after, step = -1, 1
    while after < _MOST_NUMBER:
        try:
            for row in database.execute(f"{query} ORDER BY 1", (after,)):
                yield row
                after, step = row[0], 1
        except sqlite3.Error:
            after, step = after + step, step * 2
        else:
            return


def _insert(database: sqlite3.Connection, table: str, rows: Iterable[tuple[Any, ...]]) -> int:
    """Insert the rows that the table takes; return how many."""
    inserted = 0
    database.execute("BEGIN IMMEDIATE")
    for row in rows:
        with suppress(sqlite3.IntegrityError):  # of another type, or there already
            places = ",".join("?" * len(row))
            if is_intact(row):
                inserted += database.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row).rowcount  # noqa: S608 - our own names
    database.execute("COMMIT")
    return inserted
