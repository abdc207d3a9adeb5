"""How the journal's SQLite file is laid out."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.journal import alarms, assets, gaps, letters

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_VERSION = 7
# Cursors of the journal's own; no sink can have such a name.
KEPT_THROUGH = "$kept"  # the newest values'
NUMBERED = "$numbered"  # how far numbers were used, where the events that had them are gone

_SCHEMA = f"""
CREATE TABLE events(
  seq INTEGER PRIMARY KEY, id_hash BLOB NOT NULL UNIQUE, received_ms INTEGER NOT NULL, body BLOB) STRICT;
CREATE TABLE cursors(sink TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE kept(
  point TEXT PRIMARY KEY, asset TEXT NOT NULL, source TEXT NOT NULL, raw TEXT NOT NULL,
  last_good TEXT NOT NULL, time_ms INTEGER NOT NULL, seq INTEGER NOT NULL, event_id TEXT,
  raw_unit TEXT, last_good_unit TEXT)
  STRICT, WITHOUT ROWID;
CREATE TABLE forced(
  point TEXT PRIMARY KEY, value TEXT NOT NULL, since_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL)
  STRICT, WITHOUT ROWID;
CREATE TABLE online(
  asset TEXT PRIMARY KEY, online INTEGER NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE retained(
  sink TEXT NOT NULL, topic TEXT NOT NULL, has_value INTEGER NOT NULL, PRIMARY KEY(sink, topic))
  STRICT, WITHOUT ROWID;
CREATE TABLE unmapped(
  asset TEXT PRIMARY KEY, events INTEGER NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
  keys TEXT NOT NULL) STRICT, WITHOUT ROWID;
{letters.TABLE}{assets.TABLE}{gaps.TABLE}{alarms.TABLE}"""


def create(database: sqlite3.Connection) -> None:
    """Create the layout in an empty file, whole or not at all."""
    database.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")


def check_schema(database: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError where the description of the tables is damaged."""
    with closing(sqlite3.connect(":memory:")) as new:
        create(new)
        query = (
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY name"
        )
        if database.execute(query).fetchall() != new.execute(query).fetchall():
            raise sqlite3.DatabaseError("the description of the tables is damaged")


def check_layout(path: Path, version: int) -> None:
    """Raise GatewayError where the file has another layout than this one; version 0 is an empty file."""
    if version > SCHEMA_VERSION:
        raise GatewayError(
            f"{path}: written by a newer gateway (layout {version}, this one knows"
            f" {SCHEMA_VERSION}); install that version again"
        )
    if 0 < version < SCHEMA_VERSION:
        raise GatewayError(
            f"{path}: written by a gateway before the first release (layout {version}, this one reads"
            f" {SCHEMA_VERSION} alone); stop the gateway and move the file away, with -wal and -shm: a new"
            " journal is begun, and points show nothing until their next reading"
        )
