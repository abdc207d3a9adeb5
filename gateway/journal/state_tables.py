"""The tables of the state store: what is saved beside the events, to and from its rows. Blocking.

SQLite checks its pages, not what stands in them: a damaged row is left out and spoils no other.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from dataclasses import astuple, fields
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
import structlog

from gateway.records import (
    Alarm,
    AssetLocation,
    AssetProperty,
    AssetSnapshot,
    AssetType,
    AutoTag,
    Gap,
    KnownAsset,
    LastValue,
    OnlineState,
    Override,
    UnmappedAsset,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.model import Scalar
    from gateway.records import GapId, StateChanges

log = structlog.get_logger()

SCHEMA = """
CREATE TABLE cursors(sink TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE last_values(
  point TEXT PRIMARY KEY, asset TEXT NOT NULL, source TEXT NOT NULL, raw TEXT NOT NULL,
  last_good TEXT NOT NULL, time_ms INTEGER NOT NULL, seq INTEGER NOT NULL, event_id TEXT,
  raw_unit TEXT, last_good_unit TEXT) STRICT, WITHOUT ROWID;
CREATE TABLE overrides(
  point TEXT PRIMARY KEY, value TEXT NOT NULL, since_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL)
  STRICT, WITHOUT ROWID;
CREATE TABLE online(
  asset TEXT PRIMARY KEY, online INTEGER NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE retained(
  sink TEXT NOT NULL, topic TEXT NOT NULL, has_value INTEGER NOT NULL, PRIMARY KEY(sink, topic))
  STRICT, WITHOUT ROWID;
CREATE TABLE unmapped_assets(
  asset TEXT PRIMARY KEY, events INTEGER NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
  keys TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE assets(
  id INTEGER PRIMARY KEY CHECK (id = 1), at_ms INTEGER NOT NULL, snapshot TEXT NOT NULL) STRICT;
CREATE TABLE gaps(
  asset TEXT NOT NULL, key TEXT NOT NULL, since_ms INTEGER NOT NULL, until_ms INTEGER,
  known_s TEXT NOT NULL, PRIMARY KEY(asset, key, since_ms)) STRICT, WITHOUT ROWID;
CREATE TABLE alarms(
  name TEXT NOT NULL, reason TEXT NOT NULL, since_ms INTEGER NOT NULL, latched INTEGER NOT NULL,
  cleared_ms INTEGER, acknowledged_ms INTEGER, acknowledged_by TEXT, PRIMARY KEY(name, since_ms))
  STRICT, WITHOUT ROWID;
"""
# Names in `cursors` that no sink can have.
VALUES_CURSOR = "$values"  # the event up to which last values are saved
NUMBERS_CURSOR = "$numbers"  # the last number used, after its event was forgotten

_MOST_ALARMS = 500
_AT_ONCE = 500  # assets encoded in one slice
_MOST_UNMAPPED = 10_000
_MOST_KNOWN_S = 4096  # of one gap; an API asked four times an hour supplies fewer within 32 days
_KNOWN_S_CHARACTERS = 11  # of one of them
_DAMAGED_TEXT = "\ufffd"  # in place of bytes that are no text


def _rows(columns: int) -> str:
    """Return a query for the rows of a JSON text: many rows are written with one run of a statement.

    Each run releases the interpreter lock and must get it back from busy threads: a thousand runs could delay
    a commit by a second.
    """
    values = ", ".join(f"json_extract(value, '$[{column}]')" for column in range(columns))
    return f"SELECT {values} FROM json_each(?)"  # noqa: S608 - constants only


_WRITE_VALUES = f"INSERT OR REPLACE INTO last_values {_rows(10)}"
_WRITE_OVERRIDES = f"INSERT OR REPLACE INTO overrides {_rows(4)}"
_REMOVE_OVERRIDES = "DELETE FROM overrides WHERE point IN (SELECT value FROM json_each(?))"
_WRITE_ONLINE = f"INSERT OR REPLACE INTO online {_rows(3)}"
_WRITE_RETAINED = f"INSERT OR REPLACE INTO retained {_rows(3)}"
_REMOVE_RETAINED = f"DELETE FROM retained WHERE (sink, topic) IN ({_rows(2)})"  # noqa: S608 - constants only
_WRITE_UNMAPPED = f"""INSERT INTO unmapped_assets {_rows(5)} WHERE true ON CONFLICT(asset) DO UPDATE SET
  events = events + excluded.events, last_ms = excluded.last_ms, keys = excluded.keys"""
_WRITE_ALARMS = f"INSERT OR REPLACE INTO alarms {_rows(7)}"
_PRUNE_ALARMS = """DELETE FROM alarms WHERE cleared_ms IS NOT NULL AND since_ms < (
  SELECT since_ms FROM alarms ORDER BY since_ms DESC LIMIT 1 OFFSET ?)"""
_WRITE_GAPS = f"""INSERT INTO gaps {_rows(5)} WHERE true ON CONFLICT(asset, key, since_ms) DO UPDATE SET
  until_ms = coalesce(excluded.until_ms, until_ms),
  known_s = substr(known_s || excluded.known_s, -{_MOST_KNOWN_S * _KNOWN_S_CHARACTERS})"""
_REMOVE_GAPS = f"DELETE FROM gaps WHERE (asset, key, since_ms) IN ({_rows(3)})"  # noqa: S608 - constants only
# Updated in place: SQLite then writes only the pages that differ, which spares flash memory.
_WRITE_ASSETS = """INSERT INTO assets VALUES (1, ?, ?)
  ON CONFLICT(id) DO UPDATE SET at_ms = excluded.at_ms, snapshot = excluded.snapshot"""
_PRUNE_UNMAPPED = """DELETE FROM unmapped_assets WHERE asset NOT IN (
  SELECT asset FROM unmapped_assets ORDER BY last_ms DESC LIMIT ?)"""

_Row = TypeVar("_Row")
_Described = TypeVar("_Described", KnownAsset, AssetType, AssetProperty, AssetLocation, AutoTag)


def as_text(stored: bytes) -> str:
    """Decode a text column (`sqlite3.Connection.text_factory`): damaged bytes do not end the query."""
    return stored.decode(errors="replace")


def is_intact(row: Iterable[Any]) -> bool:
    """Return whether no text of a row shows damage."""
    return not any(isinstance(column, str) and _DAMAGED_TEXT in column for column in row)


def write_changes(database: sqlite3.Connection, changes: StateChanges, *, room_bytes: int) -> None:
    """Write changes, without dead letters and the asset snapshot; within a transaction."""
    _write(database, _WRITE_VALUES, [_value_row(value) for value in changes.last_values.values()])
    set_now = [each for each in changes.overrides.values() if each is not None]
    _write(
        database,
        _WRITE_OVERRIDES,
        [(each.point, json.dumps(each.value), each.since_ms, each.until_ms) for each in set_now],
    )
    _write(database, _REMOVE_OVERRIDES, [point for point, each in changes.overrides.items() if each is None])
    _write(
        database, _WRITE_ONLINE, [(each.asset, each.online, each.at_ms) for each in changes.online.values()]
    )
    topics = changes.retained.items()
    _write(
        database,
        _WRITE_RETAINED,
        [(*topic, has_value) for topic, has_value in topics if has_value is not None],
    )
    _write(database, _REMOVE_RETAINED, [topic for topic, has_value in topics if has_value is None])
    _write(
        database,
        _WRITE_UNMAPPED,
        [
            (each.asset, each.events, each.first_ms, each.last_ms, orjson.dumps(each.keys).decode())
            for each in changes.unmapped_assets.values()
        ],
    )
    _write(database, _WRITE_ALARMS, [astuple(alarm) for alarm in changes.alarms.values()])
    if changes.alarms:
        database.execute(_PRUNE_ALARMS, (_MOST_ALARMS - 1,))
    _write_gaps(database, changes.gaps, room_bytes=room_bytes)
    if changes.values_through:
        write_cursors(database, {VALUES_CURSOR: changes.values_through})


def write_cursors(database: sqlite3.Connection, cursors: Mapping[str, int]) -> None:
    """Write cursors by name; within a transaction."""
    database.executemany("INSERT OR REPLACE INTO cursors VALUES (?,?)", list(cursors.items()))


def write_assets(database: sqlite3.Connection, snapshot: AssetSnapshot, *, room_bytes: int) -> None:
    """Replace the asset snapshot, in a transaction of its own; log it if that is not possible.

    Events and cursors matter more, and the API supplies the same again soon. The snapshot is one row, with
    everything in the order of the ids: what did not change stays on the same pages.
    """
    tags = orjson.dumps(snapshot.tags, option=orjson.OPT_SORT_KEYS).decode()
    text = (
        f'{{"assets":{_json_list(snapshot.assets)},"types":{_json_list(snapshot.types)},'
        f'"locations":{_json_list(snapshot.locations)},"tags":{tags}}}'
    )
    try:
        if len(text) > room_bytes:
            raise sqlite3.OperationalError("the journal is full")
        database.execute(_WRITE_ASSETS, (snapshot.at_ms, text))
    except sqlite3.Error as error:
        log.warning("journal.assets_not_kept", reason=str(error), assets=len(snapshot.assets))


def prune_state(database: sqlite3.Connection, *, before_ms: int) -> None:
    """Remove overrides that ended before a time and unmapped assets beyond their limit; in a transaction."""
    database.execute("DELETE FROM overrides WHERE until_ms < ?", (before_ms,))
    database.execute(_PRUNE_UNMAPPED, (_MOST_UNMAPPED,))


def read_last_values(database: sqlite3.Connection) -> tuple[list[LastValue], int]:
    """Return the last values, and how many are damaged."""
    return _readable(database.execute("SELECT * FROM last_values"), _last_value)


def read_overrides(database: sqlite3.Connection) -> tuple[list[Override], int]:
    """Return the overrides, also those that ended, and how many are damaged."""
    return _readable(
        database.execute("SELECT * FROM overrides"),
        lambda point, value, since_ms, until_ms: Override(point, _scalar(value), since_ms, until_ms),
    )


def read_online(database: sqlite3.Connection) -> list[OnlineState]:
    """Return the last state of each device's connection."""
    rows = database.execute("SELECT * FROM online")
    return [OnlineState(asset, bool(online), at_ms) for asset, online, at_ms in rows]


def read_retained(database: sqlite3.Connection) -> dict[str, dict[str, bool]]:
    """Return by sink and topic whether a value is retained there."""
    found: dict[str, dict[str, bool]] = {}
    for sink, topic, has_value in database.execute("SELECT * FROM retained"):
        found.setdefault(sink, {})[topic] = bool(has_value)
    return found


def read_unmapped_assets(database: sqlite3.Connection) -> list[UnmappedAsset]:
    """Return the assets that report although no point table names them, by id."""
    return _readable(
        database.execute("SELECT * FROM unmapped_assets ORDER BY asset"),
        lambda asset, events, first_ms, last_ms, keys: UnmappedAsset(
            asset, events, first_ms, last_ms, tuple(orjson.loads(keys))
        ),
    )[0]


def read_alarms(database: sqlite3.Connection) -> list[Alarm]:
    """Return the alarms; those that ended in the order of their ends."""
    rows = database.execute("SELECT * FROM alarms ORDER BY coalesce(cleared_ms, since_ms), name")
    return [
        Alarm(name, reason, since_ms, bool(latched), *rest) for name, reason, since_ms, latched, *rest in rows
    ]


def read_gaps(database: sqlite3.Connection) -> list[Gap]:
    """Return every gap, without its `known_s`."""
    return [Gap(*row) for row in database.execute("SELECT asset, key, since_ms, until_ms FROM gaps")]


def read_known_seconds(database: sqlite3.Connection, gap: Gap) -> set[int]:
    """Return the `known_s` of a gap."""
    row = database.execute(
        "SELECT known_s FROM gaps WHERE (asset, key, since_ms) = (?, ?, ?)", gap.id
    ).fetchone()
    return {int(second) for second in row[0].split() if second.isdecimal()} if row else set()


def read_assets(database: sqlite3.Connection) -> AssetSnapshot | None:
    """Return the asset snapshot, None if there is none or its text is damaged."""
    row = database.execute("SELECT at_ms, snapshot FROM assets").fetchone()
    try:
        return row and _snapshot(row[0], orjson.loads(row[1]))
    except (ValueError, TypeError, AttributeError, KeyError):  # the API supplies it again soon
        return None


def _write(database: sqlite3.Connection, statement: str, rows: Sequence[Any]) -> None:
    if rows:
        database.execute(statement, (orjson.dumps(rows).decode(),))


def _json_list(records: Mapping[str, KnownAsset | AssetType | AssetLocation]) -> str:
    """Return records as JSON in the order of ids, in slices: no other thread runs while one is encoded."""
    ids = sorted(records)
    slices = (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))
    return f"[{','.join(orjson.dumps([records[one] for one in some]).decode()[1:-1] for some in slices)}]"


def _write_gaps(database: sqlite3.Connection, gaps: Mapping[GapId, Gap | None], *, room_bytes: int) -> None:
    """Write gaps and remove those that are None. Without room, log it: events and cursors matter more."""
    _write(database, _REMOVE_GAPS, [gap_id for gap_id, gap in gaps.items() if gap is None])
    rows = [
        (*gap.id, gap.until_ms, "".join(f" {second:010}" for second in gap.known_s))
        for gap in gaps.values()
        if gap is not None
    ]
    if rows and sum(len(asset) + len(key) + len(known_s) for asset, key, _, _, known_s in rows) > room_bytes:
        log.warning("journal.gaps_not_kept", reason="the journal is full", gaps=len(rows))
    else:
        _write(database, _WRITE_GAPS, rows)


def _value_row(value: LastValue) -> tuple[str | int | None, ...]:
    return (
        value.point,
        value.asset,
        value.source,
        json.dumps(value.raw),
        json.dumps(value.last_good),
        value.time_ms,
        value.seq,
        value.event_id,
        value.raw_unit,
        value.last_good_unit,
    )


def _last_value(point: str, asset: str, source: str, raw: str, last_good: str, *rest: Any) -> LastValue:
    return LastValue(point, asset, source, _scalar(raw), _scalar(last_good), *rest)


def _scalar(stored: str) -> Scalar:
    value: Scalar = json.loads(stored)
    if not isinstance(value, float | int | str | None):
        raise TypeError("a value is no object and no list")
    return value


def _readable(rows: Iterable[tuple[Any, ...]], decode: Callable[..., _Row]) -> tuple[list[_Row], int]:
    """Return what can be decoded of the rows, and how many are damaged."""
    decoded, number = [], 0
    for number, row in enumerate(rows, 1):  # noqa: B007 - their number
        with suppress(ValueError, TypeError):
            if is_intact(row):
                decoded.append(decode(*row))
    return decoded, number - len(decoded)


def _snapshot(at_ms: int, parts: Any) -> AssetSnapshot:
    assets = [
        _described(KnownAsset, asset | {"location_path": tuple(asset.get("location_path", ()))})
        for asset in parts["assets"]
    ]
    types = [
        _described(
            AssetType,
            one | {"properties": tuple(_described(AssetProperty, each) for each in one["properties"])},
        )
        for one in parts.get("types", ())
    ]
    locations = [_described(AssetLocation, one) for one in parts.get("locations", ())]
    return AssetSnapshot(
        at_ms,
        {asset.id: asset for asset in assets},
        {one.id: one for one in types},
        {one.id: one for one in locations},
        {asset: _described(AutoTag, tag) for asset, tag in parts.get("tags", {}).items()},
    )


def _described(kind: type[_Described], stored: dict[str, Any]) -> _Described:
    """Make a record from its stored fields, without those that only a later gateway has."""
    return kind(**{field.name: stored[field.name] for field in fields(kind) if field.name in stored})
