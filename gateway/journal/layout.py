"""How the journal's SQLite file is laid out, and how a file of an older gateway is brought up to that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.journal import assets, gaps, letters

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

SCHEMA_VERSION = 6
# Cursors of the journal's own; no sink can have such a name.
KEPT_THROUGH = "$kept"  # the newest values'
NUMBERED = "$numbered"  # how far numbers were used, where the events that had them are gone

_MOST_MAPPED_AGAIN = 100_000  # events, a few seconds' work

_VALUES = """
CREATE TABLE kept(
  point TEXT PRIMARY KEY, asset TEXT NOT NULL, source TEXT NOT NULL, raw TEXT NOT NULL,
  last_good TEXT NOT NULL, time_ms INTEGER NOT NULL, seq INTEGER NOT NULL, event_id TEXT)
  STRICT, WITHOUT ROWID;
CREATE TABLE forced(
  point TEXT PRIMARY KEY, value TEXT NOT NULL, since_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL)
  STRICT, WITHOUT ROWID;
CREATE TABLE online(
  asset TEXT PRIMARY KEY, online INTEGER NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""
_RETAINED = """
CREATE TABLE retained(
  sink TEXT NOT NULL, topic TEXT NOT NULL, has_value INTEGER NOT NULL, PRIMARY KEY(sink, topic))
  STRICT, WITHOUT ROWID;
"""
_SCHEMA = f"""
CREATE TABLE events(
  seq INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, received_ms INTEGER NOT NULL, body BLOB) STRICT;
CREATE TABLE cursors(sink TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE unmapped(
  asset TEXT PRIMARY KEY, events INTEGER NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
  keys TEXT NOT NULL) STRICT, WITHOUT ROWID;
{letters.TABLE}{_VALUES}{_RETAINED}{assets.TABLE}{gaps.TABLE}"""
# Layouts 1 and 2 kept values as converted, without saying by what; 1 had no assets. The events that the
# values came from are still there, so the newest of them are mapped again at the next start. Letters of
# events that could not be mapped are written again then, so the old ones go.
_FROM_OLDER = f"""
DROP TABLE kept;
{_VALUES}{_RETAINED}{assets.TABLE}
UPDATE cursors SET seq = max(0, min(seq, (SELECT coalesce(max(seq), 0) FROM events) - {_MOST_MAPPED_AGAIN}))
  WHERE sink = '{KEPT_THROUGH}';
DELETE FROM dead_letters WHERE sink = '' AND seq IN (SELECT seq FROM events WHERE body IS NOT NULL
  AND seq > (SELECT coalesce(max(seq), 0) FROM cursors WHERE sink = '{KEPT_THROUGH}'));
{letters.NUMBER_OLDER}{gaps.TABLE}"""  # noqa: S608 - constants only
_FROM_4 = letters.NUMBER_OLDER + gaps.TABLE
_FROM_3 = _RETAINED + _FROM_4
_STEPS = {0: _SCHEMA, 1: _FROM_OLDER, 2: _FROM_OLDER, 3: _FROM_3, 4: _FROM_4, 5: gaps.TABLE}


def bring_up(database: sqlite3.Connection, version: int) -> None:
    """Create the layout in an empty file (version 0), or bring an older one up, whole or not at all."""
    if version < SCHEMA_VERSION:
        database.executescript(
            f"BEGIN IMMEDIATE;{_STEPS[version]}PRAGMA user_version={SCHEMA_VERSION};COMMIT;"
        )


def check_layout(path: Path, version: int) -> None:
    """Raise GatewayError where the file's layout is not known yet."""
    if version > SCHEMA_VERSION:
        raise GatewayError(
            f"{path}: written by a newer gateway (layout {version}, this one knows"
            f" {SCHEMA_VERSION}); install that version again"
        )
