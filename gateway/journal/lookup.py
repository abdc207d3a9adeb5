"""A look into the journal for commands, while the gateway runs or not: it locks and changes nothing.

Blocking. A journal that is not there yet is empty; one that can't be read raises GatewayError, whose text
ends with what to do, behind a semicolon.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from gateway.errors import EventError, GatewayError
from gateway.journal import assets, letters, notes
from gateway.journal.layout import check_layout
from gateway.journal.rows import as_text, event_of, id_hash
from gateway.model import BACKFILL_ID_PREFIX, Event, Record
from gateway.records import UnmappedAsset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.records import AssetSnapshot, DeadLetter, StoredDeadLetter, UnmappedAsset

# Bodies of delivered events are given up first when the journal is full; a dead letter keeps its own.
_EVENT = """SELECT seq, received_ms, coalesce(body,
    (SELECT body FROM dead_letters WHERE dead_letters.seq = events.seq AND body IS NOT NULL LIMIT 1))
  FROM events WHERE id_hash = ?"""
_CURSORS = "SELECT sink, seq FROM cursors WHERE sink NOT LIKE '$%'"
_NEWEST = "SELECT id_hash, received_ms, body FROM events WHERE body IS NOT NULL ORDER BY seq DESC LIMIT ?"

_NEWEST_KEPT = "SELECT max(time_ms) FROM kept WHERE instr(coalesce(event_id, ''), ?) != 1"

_PRIMARY_CODE = 0xFF  # of SQLite's extended codes
_RIGHTS = "the command needs the rights of the gateway's user"
_DAMAGED = (
    "start the gateway, which moves the file aside and takes over what can be read (`A damaged journal` in"
    " docs/operations.md)"
)
_LOCKED = "end the program that keeps it locked, `fuser -v FILE` names it"
_REMEDIES = {
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
}


def ailment(path: Path) -> tuple[str, str] | None:
    """Return why the journal can't be read and what to do; None where it can, or is not there yet."""
    try:
        next(newest_events(path, limit=1), None)
        read_snapshot(path)
    except GatewayError as error:
        found, _, remedy = str(error).rpartition("; ")
        return found, remedy
    return None


def read_event(path: Path, event_id: str) -> Record | None:
    """Return the event as it was received, or None where it is not, or no longer, in the journal.

    Its type and body are empty where a full journal freed them after delivery, or where they are damaged.
    """
    with look(path) as database:
        row = database and database.execute(_EVENT, (id_hash(event_id),)).fetchone()
        if not row:
            return None
        seq, received_ms, body = row
        event = Event(event_id, "", b"", {}, received_ms)
        with suppress(EventError):
            event = event_of(id_hash(event_id), received_ms, body or b"")
        return Record(seq, event)


def read_letters(path: Path, *, event_id: str | None = None) -> dict[int, DeadLetter]:
    """Return by number all that could not be delivered, or what could not of one event, oldest first."""
    with look(path) as database:
        return letters.read_all(database, event_id=event_id) if database else {}


def read_letter(path: Path, number: int) -> StoredDeadLetter | None:
    """Return one dead letter with its event's body, None where there is none of this number any more."""
    with look(path) as database:
        return next(iter(letters.read(database, [number], enough_bytes=0)), None) if database else None


def read_cursors(path: Path) -> dict[str, int]:
    """Return the number of the last event that each sink is done with; the last moments may be missing."""
    with look(path) as database:
        return dict(database.execute(_CURSORS)) if database else {}


def read_retained(path: Path) -> dict[str, dict[str, bool]]:
    """Return by sink the topics that it may have left something on, and whether that is a value."""
    with look(path) as database:
        return notes.read_retained(database) if database else {}


def read_snapshot(path: Path) -> AssetSnapshot | None:
    """Return what Infodeck's API last said of the assets, or None where it was never asked."""
    with look(path) as database:
        return assets.read(database) if database else None


def read_unmapped(path: Path) -> list[UnmappedAsset]:
    """Return the assets that have reported while no point table named them, by id."""
    with look(path) as database:
        return notes.read_unmapped(database) if database else []


def newest_events(path: Path, *, limit: int) -> Iterator[Event]:
    """Yield the last `limit` events that still have their bodies, the newest first."""
    with look(path) as database:
        for row in database.execute(_NEWEST, (limit,)) if database else ():
            with suppress(EventError):  # damaged; the gateway makes a dead letter of it
                yield event_of(*row)


def newest_kept_ms(path: Path) -> int | None:
    """Return the time of the newest reading by webhook that a point has kept, None where there is none."""
    with look(path) as database:
        newest = database.execute(_NEWEST_KEPT, (BACKFILL_ID_PREFIX,)).fetchone() if database else (None,)
        return None if newest[0] is None else int(newest[0])


@contextmanager
def look(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Open the file read-only; None where there is none, or nothing in it yet."""
    try:
        if not _exists(path):
            yield None
            return
        with closing(sqlite3.connect(_address(path), uri=True)) as database:
            database.text_factory = as_text
            version = database.execute("PRAGMA user_version").fetchone()[0]
            check_layout(path, version)
            yield database if version else None
    except (sqlite3.Error, OSError) as error:
        raise GatewayError(f"{path}: the journal can't be read: {_reason(path, error)}") from error


def _reason(path: Path, error: sqlite3.Error | OSError) -> str:
    """Say why a file can't be read, and what to do."""
    if isinstance(error, OSError):
        return f"{error.strerror}; {_RIGHTS}"
    if path.is_dir():
        return "it is a folder; name a file in journal.url"
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY_CODE
    return f"{error}; {_REMEDIES.get(code, _RIGHTS)}"


def _address(path: Path) -> str:
    """Return SQLite's name for the file. Without a log beside it nobody writes, and no log shall be begun.

    Otherwise a user who only looks would leave files behind that the gateway's own user can't open.
    """
    immutable = "" if _exists(path.with_name(path.name + "-wal")) else "&immutable=1"
    return f"file:{quote(str(path.absolute()))}?mode=ro{immutable}"


def _exists(path: Path) -> bool:
    """Say whether there is such a file; raise OSError where the user may not know."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
