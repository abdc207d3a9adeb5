"""What Infodeck's API last said of assets, types and locations, as the journal keeps it: in one row.

It is replaced whole. As one JSON text it costs one write, and one that leaves the file's pages as they
are where nothing changed but the time; flash memory lives longer that way.
"""

from __future__ import annotations

import sqlite3
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
import structlog

from gateway.records import AssetProperty, AssetSnapshot, AssetType, AutoTag, KnownAsset, Location

if TYPE_CHECKING:
    from collections.abc import Mapping

log = structlog.get_logger()

TABLE = """
CREATE TABLE assets(
  id INTEGER PRIMARY KEY CHECK (id = 1), at_ms INTEGER NOT NULL, known TEXT NOT NULL) STRICT;
"""
# Updated in place: SQLite then writes only those pages that differ.
_UPSERT = """INSERT INTO assets VALUES (1, ?, ?)
  ON CONFLICT(id) DO UPDATE SET at_ms = excluded.at_ms, known = excluded.known"""
_AT_ONCE = 500  # are encoded in one go: other threads do nothing meanwhile

_Kind = TypeVar("_Kind", KnownAsset, AssetType, AssetProperty, Location, AutoTag)


def keep(database: sqlite3.Connection, snapshot: AssetSnapshot, *, room_bytes: int) -> None:
    """Replace what is kept, in a transaction of its own.

    Where that is not possible, the log says so and nothing else suffers: events and cursors matter
    more, and the API tells the same again soon.
    """
    parts = ("assets", snapshot.assets), ("types", snapshot.types), ("locations", snapshot.locations)
    texts = {name: _encode(part) for name, part in parts}
    texts["tags"] = orjson.dumps(snapshot.tags, option=orjson.OPT_SORT_KEYS)
    known = b"{%b}" % b",".join(b'"%b":%b' % (name.encode(), text) for name, text in texts.items())
    try:
        if len(known) > room_bytes:
            raise sqlite3.OperationalError("the journal is full")
        database.execute(_UPSERT, (snapshot.at_ms, known.decode()))
    except sqlite3.Error as error:
        log.warning("journal.assets_not_kept", reason=str(error), assets=len(snapshot.assets))


def read(database: sqlite3.Connection) -> AssetSnapshot | None:
    """Return what is kept, or None: the API was never asked, or the text is none of ours."""
    row = database.execute("SELECT at_ms, known FROM assets").fetchone()
    if row is None:
        return None
    try:
        return _decode(row[0], orjson.loads(row[1]))
    except (ValueError, TypeError, AttributeError, KeyError):  # edited by hand; the API tells it again soon
        return None


def _encode(part: Mapping[str, KnownAsset | AssetType | Location]) -> bytes:
    """Return a JSON list, in the order of the ids so that what has not changed is where it was."""
    ids = sorted(part)
    pieces = (
        orjson.dumps([part[one] for one in ids[first : first + _AT_ONCE]])[1:-1]
        for first in range(0, len(ids), _AT_ONCE)
    )
    return b"[%b]" % b",".join(pieces)


def _decode(at_ms: int, known: Any) -> AssetSnapshot:
    """Read what is kept; earlier gateways kept a list of assets, and later ones may keep more."""
    parts = {"assets": known} if isinstance(known, list) else known
    assets = [
        _made(KnownAsset, asset | {"location_path": tuple(asset.get("location_path", ()))})
        for asset in parts["assets"]
    ]
    types = [_made(AssetType, one | {"properties": _properties(one)}) for one in parts.get("types", ())]
    locations = [_made(Location, one) for one in parts.get("locations", ())]
    tags: dict[str, Any] = {} if isinstance(known, list) else known.get("tags", {})
    return AssetSnapshot(
        at_ms,
        {asset.id: asset for asset in assets},
        {one.id: one for one in types},
        {one.id: one for one in locations},
        {asset: _made(AutoTag, made) for asset, made in tags.items()},
    )


def _properties(asset_type: dict[str, Any]) -> tuple[AssetProperty, ...]:
    return tuple([_made(AssetProperty, written) for written in asset_type["properties"]])


def _made(kind: type[_Kind], written: dict[str, Any]) -> _Kind:
    """Make one from its fields; what a later gateway tells of it besides is left out."""
    return kind(**{field.name: written[field.name] for field in fields(kind) if field.name in written})
