"""What the journal keeps beside the events, to and from its tables. Blocking, like all of the store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson

from gateway.journal import alarms
from gateway.journal.layout import KEPT_THROUGH
from gateway.journal.rows import readable
from gateway.records import LastValue, OnlineState, Override, UnmappedAsset

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from gateway.model import Scalar
    from gateway.records import StateChanges


def _columns(count: int) -> str:
    return ", ".join(f"json_extract(value, '$[{column}]')" for column in range(count))


# Many rows at a time come as one JSON text: each run of a statement gives up the interpreter lock and must
# win it back from busy threads, so a thousand runs could hold up a commit for a second.
_UPSERT_KEPT = f"INSERT OR REPLACE INTO kept SELECT {_columns(10)} FROM json_each(?)"  # noqa: S608 - constants only
_UPSERT_RETAINED = f"INSERT OR REPLACE INTO retained SELECT {_columns(3)} FROM json_each(?)"  # noqa: S608 - constants only
_DELETE_RETAINED = f"DELETE FROM retained WHERE (sink, topic) IN (SELECT {_columns(2)} FROM json_each(?))"  # noqa: S608 - likewise
_UPSERT_FORCED = "INSERT OR REPLACE INTO forced VALUES (?,?,?,?)"
_UPSERT_ONLINE = "INSERT OR REPLACE INTO online VALUES (?,?,?)"
_UPSERT_UNMAPPED = """INSERT INTO unmapped VALUES (?,?,?,?,?) ON CONFLICT(asset) DO UPDATE SET
  events = events + excluded.events, last_ms = excluded.last_ms, keys = excluded.keys"""


def write_notes(database: sqlite3.Connection, notes: StateChanges) -> None:
    """Write all of it but the dead letters and the assets; within a transaction."""
    _write_together(database, _UPSERT_KEPT, [_kept_row(kept) for kept in notes.last_values.values()])
    database.executemany(
        _UPSERT_FORCED,
        [
            (forced.point, json.dumps(forced.value), forced.since_ms, forced.until_ms)
            for forced in notes.overrides.values()
            if forced is not None
        ],
    )
    database.executemany(
        "DELETE FROM forced WHERE point = ?",
        [(point,) for point, forced in notes.overrides.items() if forced is None],
    )
    database.executemany(
        _UPSERT_ONLINE, [(state.asset, state.online, state.at_ms) for state in notes.online.values()]
    )
    _write_together(
        database,
        _UPSERT_RETAINED,
        [(*place, has_value) for place, has_value in notes.retained.items() if has_value is not None],
    )
    _write_together(
        database,
        _DELETE_RETAINED,
        [place for place, has_value in notes.retained.items() if has_value is None],
    )
    database.executemany(
        _UPSERT_UNMAPPED,
        [
            (seen.asset, seen.events, seen.first_ms, seen.last_ms, orjson.dumps(seen.keys).decode())
            for seen in notes.unmapped_assets.values()
        ],
    )
    if notes.alarms:
        alarms.write(database, notes.alarms.values())
    if notes.values_through:
        write_cursors(database, {KEPT_THROUGH: notes.values_through})


def _write_together(database: sqlite3.Connection, statement: str, rows: list[tuple[Any, ...]]) -> None:
    """Write all rows with one run of a statement."""
    if rows:
        database.execute(statement, (orjson.dumps(rows).decode(),))


def write_cursors(database: sqlite3.Connection, cursors: Mapping[str, int]) -> None:
    """Write cursors by name; within a transaction."""
    database.executemany("INSERT OR REPLACE INTO cursors VALUES (?,?)", list(cursors.items()))


def read_kept(database: sqlite3.Connection) -> tuple[list[LastValue], int]:
    """Return the kept values, and how many are damaged."""
    return readable(database.execute("SELECT * FROM kept"), _kept_value)


def read_forced(database: sqlite3.Connection) -> tuple[list[Override], int]:
    """Return the forced values, also those whose time is over by now, and how many are damaged."""
    return readable(database.execute("SELECT * FROM forced"), _forced_value)


def read_online(database: sqlite3.Connection) -> list[OnlineState]:
    """Return what was last said of each asset's connection."""
    return [
        OnlineState(asset, bool(online), at_ms)
        for asset, online, at_ms in database.execute("SELECT * FROM online")
    ]


def read_unmapped(database: sqlite3.Connection) -> list[UnmappedAsset]:
    """Return the assets that have reported while no point table named them, by id."""
    query = "SELECT asset, events, first_ms, last_ms, keys FROM unmapped ORDER BY asset"
    return readable(database.execute(query), _unmapped_asset)[0]


def read_retained(database: sqlite3.Connection) -> dict[str, dict[str, bool]]:
    """Return by sink which topics it has left with its receiver, and whether a value stands there."""
    found: dict[str, dict[str, bool]] = {}
    for sink, topic, has_value in database.execute("SELECT * FROM retained"):
        found.setdefault(sink, {})[topic] = bool(has_value)
    return found


def _kept_value(point: str, asset: str, source: str, raw: str, last_good: str, *rest: Any) -> LastValue:
    return LastValue(point, asset, source, _scalar(raw), _scalar(last_good), *rest)


def _forced_value(point: str, value: str, since_ms: int, until_ms: int) -> Override:
    return Override(point, _scalar(value), since_ms, until_ms)


def _unmapped_asset(asset: str, events: int, first_ms: int, last_ms: int, keys: str) -> UnmappedAsset:
    return UnmappedAsset(asset, events, first_ms, last_ms, tuple(orjson.loads(keys)))


def _scalar(stored: str) -> Scalar:
    value: Scalar = json.loads(stored)
    if not isinstance(value, float | int | str | None):
        raise TypeError("a value is no object and no list")
    return value


def _kept_row(kept: LastValue) -> tuple[str | int | None, ...]:
    return (
        kept.point,
        kept.asset,
        kept.source,
        json.dumps(kept.raw),
        json.dumps(kept.last_good),
        kept.time_ms,
        kept.seq,
        kept.event_id,
        kept.raw_unit,
        kept.last_good_unit,
    )
