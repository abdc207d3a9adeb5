"""Gaps in histories as the journal keeps them, until they are filled. Blocking, like all of the store.

Of readings inside a gap that came all the same, the seconds are kept: the API's history has them, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import structlog

from gateway.records import Gap

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from gateway.records import GapId

log = structlog.get_logger()

TABLE = """
CREATE TABLE gaps(
  asset TEXT NOT NULL, key TEXT NOT NULL, since_ms INTEGER NOT NULL, until_ms INTEGER,
  known_s TEXT NOT NULL, PRIMARY KEY(asset, key, since_ms)) STRICT, WITHOUT ROWID;
"""
_MOST_KNOWN = 4096  # of one gap; an API asked four times an hour tells fewer within 32 days
_CHARACTERS = 11  # of one of them
_ROWS = "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')"
_UPSERT = f"""
INSERT INTO gaps
  {_ROWS}, json_extract(value, '$[3]'), json_extract(value, '$[4]') FROM json_each(?) WHERE true
  ON CONFLICT(asset, key, since_ms) DO UPDATE SET
  until_ms = coalesce(excluded.until_ms, until_ms),
  known_s = substr(known_s || excluded.known_s, -{_MOST_KNOWN * _CHARACTERS})"""
_DELETE = f"DELETE FROM gaps WHERE (asset, key, since_ms) IN ({_ROWS} FROM json_each(?))"  # noqa: S608 - constants only


def write(database: sqlite3.Connection, gaps: Mapping[GapId, Gap | None], *, room_bytes: int) -> None:
    """Write gaps and forget those that are None; within a transaction.

    Where there is no room for them, the log says so: events and cursors matter more.
    """
    filled = [place for place, gap in gaps.items() if gap is None]
    if filled:
        database.execute(_DELETE, (orjson.dumps(filled).decode(),))
    rows = [
        (gap.asset, gap.key, gap.since_ms, gap.until_ms, "".join(f" {second:010}" for second in gap.known_s))
        for gap in gaps.values()
        if gap is not None
    ]
    if not rows:
        return
    text = orjson.dumps(rows).decode()
    if len(text) > room_bytes:
        log.warning("journal.gaps_not_kept", reason="the journal is full", gaps=len(rows))
        return
    database.execute(_UPSERT, (text,))


def read(database: sqlite3.Connection) -> list[Gap]:
    """Return every gap, without the seconds that are known of it."""
    return [Gap(*row) for row in database.execute("SELECT asset, key, since_ms, until_ms FROM gaps")]


def known_seconds(database: sqlite3.Connection, gap: Gap) -> set[int]:
    """Return the Unix seconds in which a reading inside a gap is known already."""
    row = database.execute(
        "SELECT known_s FROM gaps WHERE (asset, key, since_ms) = (?, ?, ?)",
        (gap.asset, gap.key, gap.since_ms),
    ).fetchone()
    return {int(second) for second in row[0].split() if second.isdecimal()} if row else set()
