"""What Infodeck's API last said of the assets, as the journal keeps it: one row, for it is replaced whole.

As one JSON text it costs one write, and one that leaves the file's pages as they are where nothing
changed but the time; flash memory lives longer that way.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import orjson

from gateway.model import AssetSnapshot, KnownAsset

if TYPE_CHECKING:
    import sqlite3

TABLE = """
CREATE TABLE IF NOT EXISTS assets(
  id INTEGER PRIMARY KEY CHECK (id = 1), at_ms INTEGER NOT NULL, known TEXT NOT NULL) STRICT;
"""
_FIELDS = frozenset(field.name for field in fields(KnownAsset))
# Updated in place: SQLite then writes only those pages that differ.
_UPSERT = """INSERT INTO assets VALUES (1, ?, ?)
  ON CONFLICT(id) DO UPDATE SET at_ms = excluded.at_ms, known = excluded.known"""


def encode(snapshot: AssetSnapshot) -> str:
    """Return the assets as JSON, in an order that stays."""
    return orjson.dumps([snapshot.assets[asset] for asset in sorted(snapshot.assets)]).decode()


def write(database: sqlite3.Connection, *, at_ms: int, known: str) -> None:
    """Replace what was kept; `known` comes from `encode`."""
    database.execute(_UPSERT, (at_ms, known))


def read(database: sqlite3.Connection) -> AssetSnapshot | None:
    """Return what is kept, or None: the API was never asked, or the text is not ours."""
    row = database.execute("SELECT at_ms, known FROM assets").fetchone()
    if row is None:
        return None
    try:
        assets = [
            KnownAsset(**{key: asset[key] for key in _FIELDS & asset.keys()})
            for asset in orjson.loads(row[1])
        ]
    except (ValueError, TypeError, AttributeError):  # edited by hand; the API tells it again soon
        return None
    return AssetSnapshot(row[0], {asset.id: asset for asset in assets})
