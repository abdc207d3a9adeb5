"""Alarms as the journal keeps them: those that hold, and the newest of those that are over. Blocking."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING

from gateway.records import Alarm

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

MOST_KEPT = 500

TABLE = """
CREATE TABLE alarms(
  name TEXT NOT NULL, reason TEXT NOT NULL, since_ms INTEGER NOT NULL, latched INTEGER NOT NULL,
  cleared_ms INTEGER, acknowledged_ms INTEGER, acknowledged_by TEXT, PRIMARY KEY(name, since_ms))
  STRICT, WITHOUT ROWID;
"""
_UPSERT = "INSERT OR REPLACE INTO alarms VALUES (?,?,?,?,?,?,?)"
_PRUNE = """DELETE FROM alarms WHERE cleared_ms IS NOT NULL AND since_ms < (
  SELECT since_ms FROM alarms ORDER BY since_ms DESC LIMIT 1 OFFSET ?)"""


def write(database: sqlite3.Connection, alarms: Iterable[Alarm]) -> None:
    """Write alarms, and forget the oldest of those that are over; within a transaction."""
    database.executemany(_UPSERT, [astuple(alarm) for alarm in alarms])
    database.execute(_PRUNE, (MOST_KEPT - 1,))


def read(database: sqlite3.Connection) -> list[Alarm]:
    """Return every alarm that is kept: those that are over in the order in which they ended."""
    return [
        Alarm(name, reason, since_ms, bool(latched), *rest)
        for name, reason, since_ms, latched, *rest in database.execute(
            "SELECT * FROM alarms ORDER BY coalesce(cleared_ms, since_ms), name"
        )
    ]
