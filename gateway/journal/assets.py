"""What Infodeck's API last said of the assets, as the journal keeps it: one row, for it is replaced whole.

As one JSON text it costs one write, and one that leaves the file's pages as they are where nothing
changed but the time; flash memory lives longer that way.
"""

from __future__ import annotations

import sqlite3
from dataclasses import fields
from typing import TYPE_CHECKING

import orjson
import structlog

from gateway.model import AssetSnapshot, KnownAsset

if TYPE_CHECKING:
    from collections.abc import Iterable

log = structlog.get_logger()

TABLE = """
CREATE TABLE IF NOT EXISTS assets(
  id INTEGER PRIMARY KEY CHECK (id = 1), at_ms INTEGER NOT NULL, known TEXT NOT NULL) STRICT;
"""
_FIELDS = frozenset(field.name for field in fields(KnownAsset))
# Updated in place: SQLite then writes only those pages that differ.
_UPSERT = """INSERT INTO assets VALUES (1, ?, ?)
  ON CONFLICT(id) DO UPDATE SET at_ms = excluded.at_ms, known = excluded.known"""


def keep(database: sqlite3.Connection, snapshot: AssetSnapshot, *, room_bytes: int) -> None:
    """Replace what is kept, in a transaction of its own.

    Where that is not possible, the log says so and nothing else suffers: events and cursors matter
    more, and the API tells the same again soon.
    """
    known = orjson.dumps([snapshot.assets[asset] for asset in sorted(snapshot.assets)])
    try:
        if len(known) > room_bytes:
            raise sqlite3.OperationalError("the journal is full")
        database.execute(_UPSERT, (snapshot.at_ms, known.decode()))
    except sqlite3.Error as error:
        log.warning("journal.assets_not_kept", reason=str(error), assets=len(snapshot.assets))


def read(database: sqlite3.Connection) -> AssetSnapshot | None:
    """Return what is kept, or None: the API was never asked, or the text is not ours."""
    row = database.execute("SELECT at_ms, known FROM assets").fetchone()
    if row is None:
        return None
    try:
        return AssetSnapshot(row[0], {asset.id: asset for asset in _decode(row[1])})
    except (ValueError, TypeError, AttributeError):  # edited by hand; the API tells it again soon
        return None


def _decode(known: str) -> Iterable[KnownAsset]:
    """Yield the assets; what a later gateway tells of them besides is left out."""
    for asset in orjson.loads(known):
        known_fields = {key: asset[key] for key in _FIELDS & asset.keys()}
        known_fields["location_path"] = tuple(known_fields.get("location_path", ()))
        yield KnownAsset(**known_fields)
