"""The tables beside the events: state, dead letters and the asset snapshot, to and from their rows. Blocking.

SQLite checks its pages, not what stands in them: a damaged row is left out and spoils no other.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from pydantic import TypeAdapter, ValidationError

from gateway.journal.database import MAPPED_AGAIN, VALUES_CURSOR, is_intact
from gateway.model import Origin
from gateway.records import (
    Alarm,
    AssetLocation,
    AssetSnapshot,
    AssetType,
    AutoTag,
    DeadLetter,
    Gap,
    KnownAsset,
    LastValue,
    OnlineState,
    Override,
    StoredDeadLetter,
    StoredState,
    UnmappedAsset,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.model import Scalar
    from gateway.records import StateChanges

log = structlog.get_logger()

MOST_DEAD_LETTERS = 10_000
"""How many are stored."""
READ_BYTES = 4 << 20
"""Of bodies that are read at once."""

_MOST_ALARMS = 500
_MOST_UNMAPPED = 10_000
_MOST_KNOWN_S = 4096  # of one gap; an API asked four times an hour supplies fewer within 32 days
_KNOWN_S_CHARACTERS = 11  # of one of them


@dataclass(frozen=True)
class _Table:
    """How a field of `StateChanges` is stored: a table of its name, with a column for each field of `record`.

    `converted` has the two functions to and from a column that is not stored as it is, by its place.
    """

    name: str
    record: type[Any]
    columns: int
    key: str
    converted: Mapping[int, tuple[Callable[[Any], Any], Callable[[Any], Any]]]
    conflict: str = ""

    def write(self, database: sqlite3.Connection, changes: Mapping[Any, Any]) -> None:
        """Write the records by key, and remove those that are None; within a transaction."""
        if not changes:
            return
        removed = [key if isinstance(key, tuple) else (key,) for key, record in changes.items() if not record]
        fields_of = attrgetter(*[each.name for each in fields(self.record)][: self.columns])
        rows = [list(fields_of(record)) for record in changes.values() if record]
        for row in rows:
            for place, (to_column, _) in self.converted.items():
                row[place] = to_column(row[place])
        if removed:
            keys = _rows(self.key.count(",") + 1)
            database.execute(f"DELETE FROM {self.name} WHERE ({self.key}) IN ({keys})", (_json(removed),))  # noqa: S608 - our own names
        if rows:
            verb = "INSERT" if self.conflict else "INSERT OR REPLACE"
            query = f"{verb} INTO {self.name} {_rows(self.columns)} {self.conflict}"
            database.execute(query, (_json(rows),))

    def read(self, database: sqlite3.Connection, order: str = "") -> tuple[list[Any], int]:
        """Return the records that can be decoded, and how many are damaged."""
        records, number = [], 0
        query = f"SELECT * FROM {self.name} {order}"  # noqa: S608 - our own names
        for number, row in enumerate(database.execute(query), 1):  # noqa: B007 - their number
            with suppress(ValueError, TypeError):
                if is_intact(row):
                    columns = list(row)
                    for place, (_, from_column) in self.converted.items():
                        columns[place] = from_column(columns[place])
                    records.append(self.record(*columns))
        return records, number - len(records)

    def repair(self, database: sqlite3.Connection) -> tuple[list[Any], int]:
        """Remove damaged rows; return what `read` does."""
        records, damaged = self.read(database)
        if damaged:
            with database:
                database.execute("BEGIN IMMEDIATE")
                database.execute(f"DELETE FROM {self.name}")  # noqa: S608 - our own names
                self.write(database, dict(enumerate(records)))
        return records, damaged


@dataclass(frozen=True)
class _RetainedTopic:
    sink: str
    topic: str
    has_value: bool


def _scalar(stored: str) -> Scalar:
    value: Scalar = json.loads(stored)
    if not isinstance(value, float | int | str | None):
        raise TypeError("a value is no object and no list")
    return value


_VALUE = (json.dumps, _scalar)
_FLAG = (int, bool)
_VALUES = _Table("last_values", LastValue, 10, "point", {3: _VALUE, 4: _VALUE})
_OVERRIDES = _Table("overrides", Override, 4, "point", {1: _VALUE})
_ONLINE = _Table("online", OnlineState, 3, "asset", {1: _FLAG})
_RETAINED = _Table("retained", _RetainedTopic, 3, "sink, topic", {2: _FLAG})
_ALARMS = _Table("alarms", Alarm, 7, "name, since_ms", {3: _FLAG})
_UNMAPPED = _Table(
    "unmapped_assets",
    UnmappedAsset,
    5,
    "asset",
    {4: (json.dumps, lambda stored: tuple(json.loads(stored)))},
    """WHERE true ON CONFLICT(asset) DO UPDATE SET
      events = events + excluded.events, last_ms = excluded.last_ms, keys = excluded.keys""",
)
_GAPS = _Table(
    "gaps",
    Gap,
    5,
    "asset, key, since_ms",
    {4: (lambda known_s: "".join(f" {second:010}" for second in known_s), lambda _: ())},
    f"""WHERE true ON CONFLICT(asset, key, since_ms) DO UPDATE SET
      until_ms = coalesce(excluded.until_ms, until_ms),
      known_s = substr(known_s || excluded.known_s, -{_MOST_KNOWN_S * _KNOWN_S_CHARACTERS})""",
)


def write_changes(database: sqlite3.Connection, changes: StateChanges, *, room_bytes: int) -> None:
    """Write changes, without dead letters and the asset snapshot; within a transaction."""
    for table in (_VALUES, _OVERRIDES, _ONLINE, _ALARMS, _UNMAPPED):
        table.write(database, getattr(changes, table.name))
    retained = changes.retained.items()
    _RETAINED.write(
        database, {key: None if flag is None else _RetainedTopic(*key, flag) for key, flag in retained}
    )
    gaps = changes.gaps
    kept = [gap for gap in gaps.values() if gap is not None]
    if sum(len(gap.asset) + len(gap.key) + 11 * len(gap.known_s) for gap in kept) > max(0, room_bytes):
        log.warning("journal.gaps_not_kept", reason="the journal is full", gaps=len(kept))
        gaps = {gap_id: None for gap_id, gap in gaps.items() if gap is None}
    _GAPS.write(database, gaps)
    if changes.values_through:
        write_cursors(database, {VALUES_CURSOR: changes.values_through})


def write_cursors(database: sqlite3.Connection, cursors: Mapping[str, int]) -> None:
    """Write cursors by name; within a transaction."""
    database.executemany("INSERT OR REPLACE INTO cursors VALUES (?,?)", list(cursors.items()))


def prune_state(database: sqlite3.Connection, *, before_ms: int) -> None:
    """Remove overrides that ended before a time, and old alarms and unmapped assets beyond their limits."""
    database.execute("DELETE FROM overrides WHERE until_ms < ?", (before_ms,))
    database.execute(
        """DELETE FROM unmapped_assets WHERE asset NOT IN (
          SELECT asset FROM unmapped_assets ORDER BY last_ms DESC LIMIT ?)""",
        (_MOST_UNMAPPED,),
    )
    database.execute(
        """DELETE FROM alarms WHERE cleared_ms IS NOT NULL AND since_ms < (
          SELECT since_ms FROM alarms ORDER BY since_ms DESC LIMIT 1 OFFSET ?)""",
        (_MOST_ALARMS - 1,),
    )


def read_state(database: sqlite3.Connection) -> tuple[StoredState, int]:
    """Return everything stored, and how many last values and overrides were damaged, and are removed.

    If last values were, the newest events are to be mapped again.
    """
    values, damaged_values = _VALUES.repair(database)
    overrides, damaged_overrides = _OVERRIDES.repair(database)
    row = database.execute("SELECT seq FROM cursors WHERE sink = ?", (VALUES_CURSOR,)).fetchone()
    values_through = row[0] if row else 0
    state = StoredState(
        last_values=values,
        values_through=max(0, values_through - MAPPED_AGAIN) if damaged_values else values_through,
        overrides=overrides,
        online=_ONLINE.read(database)[0],
        retained=read_retained(database),
        assets=read_assets(database),
        gaps=_GAPS.read(database)[0],
        alarms=_ALARMS.read(database, "ORDER BY coalesce(cleared_ms, since_ms), name")[0],
    )
    return state, damaged_values + damaged_overrides


def read_values(database: sqlite3.Connection) -> StoredState:
    """Return the last values, overrides and connections alone; damaged ones are left out."""
    return StoredState(
        last_values=_VALUES.read(database)[0],
        overrides=_OVERRIDES.read(database)[0],
        online=_ONLINE.read(database)[0],
    )


def read_retained(database: sqlite3.Connection) -> dict[str, dict[str, bool]]:
    """Return by sink and topic whether a value is retained there."""
    found: dict[str, dict[str, bool]] = {}
    for each in _RETAINED.read(database)[0]:
        found.setdefault(each.sink, {})[each.topic] = each.has_value
    return found


def read_unmapped_assets(database: sqlite3.Connection) -> list[UnmappedAsset]:
    """Return the assets that report although no point table names them, by id."""
    return _UNMAPPED.read(database, "ORDER BY asset")[0]


def read_known_seconds(database: sqlite3.Connection, gap: Gap) -> set[int]:
    """Return the `known_s` of a gap."""
    query = "SELECT known_s FROM gaps WHERE (asset, key, since_ms) = (?, ?, ?)"
    row = database.execute(query, gap.id).fetchone()
    return {int(second) for second in row[0].split() if second.isdecimal()} if row else set()


# Dead letters. Each has a copy of its event's body, since the event is forgotten sooner. One event may cause
# a dead letter for each of its readings, so the copies are bounded. A dead letter without one has the body
# of its event while that is stored.

_INSERT_LETTER = """INSERT INTO dead_letters(at_ms, sink, seq, event_id, point, reason, body)
  VALUES (:at_ms, :sink, :seq, :event_id, :point, :reason, :body)"""
_COPY_BODIES = """UPDATE dead_letters SET body = (SELECT body FROM events WHERE events.seq = dead_letters.seq)
  WHERE id IN (SELECT id FROM (
    SELECT id, sum(length(events.body)) OVER (ORDER BY id DESC) AS bytes
      FROM dead_letters JOIN events USING (seq)
      WHERE id > ? AND dead_letters.body IS NULL AND events.body IS NOT NULL) WHERE bytes <= ?)"""
_REMOVE_LETTERS = "DELETE FROM dead_letters WHERE id IN (SELECT value FROM json_each(?))"
_PRUNE_LETTERS = """DELETE FROM dead_letters
  WHERE id <= (SELECT id FROM dead_letters ORDER BY id DESC LIMIT 1 OFFSET ?)"""
_DROP_COPIES = """UPDATE dead_letters SET body = NULL WHERE body IS NOT NULL AND id <= (SELECT max(id) FROM (
  SELECT id, sum(length(body)) OVER (ORDER BY id DESC) AS bytes FROM dead_letters) WHERE bytes > ?)"""
_LETTER = "id, sink, seq, event_id, point, reason, at_ms"
_ALL_LETTERS = f"SELECT {_LETTER} FROM dead_letters WHERE ?1 IS NULL OR event_id = ?1 ORDER BY id"  # noqa: S608 - constants only
_LETTERS_BY_NUMBER = f"""SELECT {_LETTER},
  coalesce(dead_letters.body, events.body), received_ms, origin, origin_ms
  FROM dead_letters LEFT JOIN events USING (seq) WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"""  # noqa: S608 - likewise


def write_dead_letters(
    database: sqlite3.Connection, new: Sequence[DeadLetter], *, removed: Sequence[int], room_bytes: int
) -> tuple[int, int]:
    """Insert and remove dead letters, within a transaction.

    Return by how much their number grew, and the size of the new copies of bodies. Of many, the newest get
    one as far as there is room. The body that a dead letter brings along was stored before.
    """
    before = database.execute("SELECT max(id) FROM dead_letters").fetchone()[0] or 0
    database.executemany(_INSERT_LETTER, [asdict(letter) for letter in new])
    database.execute(_COPY_BODIES, (before, room_bytes))
    gone = database.execute(_REMOVE_LETTERS, (_json(removed),)).rowcount
    query = "SELECT coalesce(sum(length(body)), 0) FROM dead_letters WHERE id > ?"
    return len(new) - gone, database.execute(query, (before,)).fetchone()[0]


def limit_dead_letters(database: sqlite3.Connection, *, most_bytes: int) -> int:
    """Remove the oldest dead letters and copies beyond their limits; return how many dead letters stay.

    All of them are read, which takes too long for each commit.
    """
    database.execute(_PRUNE_LETTERS, (MOST_DEAD_LETTERS,))
    database.execute(_DROP_COPIES, (most_bytes,))
    return count_dead_letters(database)


def count_dead_letters(database: sqlite3.Connection) -> int:
    """Return how many dead letters are stored."""
    number: int = database.execute("SELECT count(*) FROM dead_letters").fetchone()[0]
    return number


def read_dead_letters(database: sqlite3.Connection, numbers: Sequence[int]) -> list[StoredDeadLetter]:
    """Return the dead letters of these numbers that exist, oldest first, limited in bytes."""
    letters: list[StoredDeadLetter] = []
    size_bytes = 0
    for row in database.execute(_LETTERS_BY_NUMBER, (_json(numbers),)):
        number, *columns, body, received_ms, gateway, first_ms = row
        origin = origin_of(gateway, first_ms)
        letters.append(StoredDeadLetter(number, DeadLetter(*columns), body, received_ms, origin))
        size_bytes += len(body or b"")
        if size_bytes > READ_BYTES:
            break
    return letters


def origin_of(gateway: str | None, received_ms: int | None) -> Origin | None:
    """Return where an event was verified, by two columns of its row; None: by this gateway's own intake."""
    return None if gateway is None or received_ms is None else Origin(gateway, received_ms)


def list_dead_letters(database: sqlite3.Connection, *, event_id: str | None = None) -> dict[int, DeadLetter]:
    """Return by number all dead letters, or those of one event, without bodies, oldest first."""
    return {number: DeadLetter(*columns) for number, *columns in database.execute(_ALL_LETTERS, (event_id,))}


# The asset snapshot: one row, with everything in the order of the ids. What did not change stays on the same
# pages, and SQLite writes only pages that differ, which spares flash memory.


def write_assets(database: sqlite3.Connection, snapshot: AssetSnapshot, *, room_bytes: int) -> None:
    """Replace the asset snapshot, in a transaction of its own; log it if that is not possible.

    Events and cursors matter more, and the API supplies the same again soon.
    """
    by_id = {"assets": snapshot.assets, "types": snapshot.types, "locations": snapshot.locations}
    parts = {part: [records[one] for one in sorted(records)] for part, records in by_id.items()}
    text = orjson.dumps({**parts, "tags": dict(sorted(snapshot.tags.items()))}).decode()
    reason = "the journal is full"
    if len(text) <= room_bytes:
        try:
            database.execute(
                """INSERT INTO assets VALUES (1, ?, ?)
                  ON CONFLICT(id) DO UPDATE SET at_ms = excluded.at_ms, snapshot = excluded.snapshot""",
                (snapshot.at_ms, text),
            )
        except sqlite3.Error as error:
            reason = str(error)
        else:
            return
    log.warning("journal.assets_not_kept", reason=reason, assets=len(snapshot.assets))


def read_assets(database: sqlite3.Connection) -> AssetSnapshot | None:
    """Return the asset snapshot, None if there is none or its text is damaged: the API supplies it again."""
    row = database.execute("SELECT at_ms, snapshot FROM assets").fetchone()
    if row is None:
        return None
    try:
        stored = TypeAdapter(_StoredAssets).validate_json(row[1])
    except ValidationError:
        return None
    return AssetSnapshot(
        row[0],
        {asset.id: asset for asset in stored.assets},
        {one.id: one for one in stored.types},
        {one.id: one for one in stored.locations},
        stored.tags,
    )


@dataclass
class _StoredAssets:
    """The text of the snapshot. Fields that only a later gateway has are ignored."""

    assets: list[KnownAsset]
    types: list[AssetType] = field(default_factory=list)
    locations: list[AssetLocation] = field(default_factory=list)
    tags: dict[str, AutoTag] = field(default_factory=dict)


def _rows(columns: int) -> str:
    """Return a query for the rows of a JSON text: many rows are written with one run of a statement.

    Each run releases the interpreter lock and must get it back from busy threads: a thousand runs could delay
    a commit by a second.
    """
    values = ", ".join(f"json_extract(value, '$[{column}]')" for column in range(columns))
    return f"SELECT {values} FROM json_each(?)"  # noqa: S608 - constants only


def _json(rows: Iterable[Any]) -> str:
    return orjson.dumps(list(rows)).decode()
