"""Opens the journal's file for one gateway at a time; a corrupt one is moved aside and what can be read kept.

Blocking. Salvage goes row by row, since SQLite reads past a broken page only when asked for what comes after
it: from both ends of a table, and where rows have numbers, from ever higher numbers on.
"""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

import structlog

from gateway.config.private_files import sync_folder
from gateway.errors import GatewayError
from gateway.journal.journal_file import LAYOUT
from gateway.journal.state_tables import NUMBERS_CURSOR, VALUES_CURSOR, is_intact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from gateway.journal.journal_file import JournalFile

log = structlog.get_logger()

DAMAGED_ADVICE = "Check the disk; `A damaged journal` in docs/operations.md says what is lost"
_SUFFIXES = ("-wal", "-shm", "")  # the file itself last: where it is, the others are
_TEXT_KEYED = ("last_values", "overrides", "online", "retained", "alarms", "gaps", "unmapped_assets")
_HIGHEST_NUMBER = 1 << 62
_MAPPED_AGAIN = 100_000  # events at most, a few seconds' work, if last values could not be read


def lock_journal(path: Path) -> Any:
    """Return the open lock file; refuse a second gateway on the same journal."""
    lock_path = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_path.open("w")
    except (FileExistsError, NotADirectoryError) as error:
        raise GatewayError(f"{path}: cannot be created, since a folder of that path is a file") from error
    except OSError as error:
        raise GatewayError(
            f"{lock_path}: {error.strerror}; the gateway's user must be able to write there"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise GatewayError(f"{path}: another gateway is running on this journal") from error
    return lock


def open_journal_file(
    path: Path, *, make_file: Callable[[Path], JournalFile], sinks: Iterable[str], now_ms: int
) -> tuple[JournalFile, str | None]:
    """Return the file, prepared, and what was damaged in words for the user (None: nothing).

    A corrupt file is moved aside, never deleted, once what can be read of it is in a new one. However the
    gateway ends meanwhile, the next start does it again.
    """
    new_path = path.with_name(f"{path.name}.new")
    if not path.exists() and new_path.exists():
        _rename(new_path, path)  # the last step of a replacement
    file = make_file(path)
    reason = _why_corrupt(file) or _marked_corrupt(path)
    if reason is None:
        return file, None
    for suffix in _SUFFIXES:  # of a start that was cut off
        new_path.with_name(new_path.name + suffix).unlink(missing_ok=True)
    new = make_file(new_path)
    new.prepare()
    salvaged = _salvage(file.database, new.database, sinks=sinks)
    new.close()
    # While it is open: SQLite folds the log into a file that it closes, but not into a moved one.
    aside = _free_name(path, now_ms)
    _rename(path, aside)
    file.close()
    _rename(new_path, path)
    corruption_marker(path).unlink(missing_ok=True)
    sync_folder(path.parent)
    log.critical("journal.corrupt", reason=reason, file=str(path), moved_to=str(aside), taken_over=salvaged)
    file = make_file(path)
    file.prepare()
    return file, (
        f"its file was corrupt ({reason}) and is now {aside}; taken over into a new one: {salvaged}."
        f" {DAMAGED_ADVICE}"
    )


def corruption_marker(path: Path) -> Path:
    """Return the file that says why the journal is corrupt, if that was found while it was in use."""
    return path.with_name(path.name + ".corrupt")


def corrupt_files(path: Path) -> list[Path]:
    """Return the corrupt files that were moved aside and still exist, oldest first."""
    files = path.parent.glob(f"{path.name}.corrupt-*")
    return sorted(file for file in files if not file.name.endswith(("-wal", "-shm")))


def _marked_corrupt(path: Path) -> str | None:
    marker = corruption_marker(path)
    return (marker.read_text(errors="replace") or "as its use has shown") if marker.exists() else None


def _why_corrupt(file: JournalFile) -> str | None:
    """Prepare the file; return why it is corrupt, None if it is not."""
    try:
        file.prepare()
    except sqlite3.OperationalError:  # not the file's fault
        raise
    except sqlite3.DatabaseError as error:
        return str(error)
    return None


def _free_name(path: Path, now_ms: int) -> Path:
    """Return a new name for a corrupt file, also with a clock that starts at the same time at every start."""
    names = (path.with_name(f"{path.name}.corrupt-{number}") for number in count(now_ms))
    return next(name for name in names if not name.exists())


def _rename(path: Path, other: Path) -> None:
    """Rename a journal and its side files, so that they stay together."""
    for suffix in _SUFFIXES:
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(other.with_name(other.name + suffix))


def _salvage(damaged: sqlite3.Connection, new: sqlite3.Connection, *, sinks: Iterable[str]) -> str:
    """Copy what can be read into a new, empty journal; return how much that is, in words.

    Sinks whose cursor cannot be read get every event that is there. If last values cannot be read, they are
    computed again from the newest events. Raise sqlite3.Error if the new journal cannot be written.
    """
    with suppress(sqlite3.Error):
        damaged.execute("PRAGMA writable_schema=ON")  # so that SQLite also opens a file that was cut off
        if damaged.execute("PRAGMA user_version").fetchone() != (LAYOUT,):
            return "nothing, since its layout cannot be read"
    cursors = dict.fromkeys(sinks, 0) | dict(_both_ways(damaged, "cursors"))
    copied = {table: _insert(new, table, _both_ways(damaged, table)) for table in _TEXT_KEYED}
    for table in ("assets", "dead_letters"):
        rows = _numbered(damaged, f"SELECT * FROM {table} WHERE id > ?")  # noqa: S608 - our own names
        copied[table] = _insert(new, table, rows)
    delivered = min((seq for name, seq in cursors.items() if not name.startswith("$")), default=0)
    newest = _newest(damaged, cursors)
    after = min(delivered, max(0, newest - _MAPPED_AGAIN))
    body = f"CASE WHEN seq > {after} THEN body END"
    events = _numbered(damaged, f"SELECT seq, id_hash, received_ms, {body} FROM events WHERE seq > ?")  # noqa: S608 - a number
    _insert(new, "events", events)
    newest = max(newest, new.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])
    cursors |= {VALUES_CURSOR: min(cursors.get(VALUES_CURSOR, 0), after), NUMBERS_CURSOR: newest}
    _insert(new, "cursors", cursors.items())
    query = "SELECT count(*) FROM events WHERE seq > ? AND body IS NOT NULL"
    undelivered = new.execute(query, (delivered,)).fetchone()[0]
    return (
        f"{undelivered} events that a sink may not have got, last values of {copied['last_values']} points,"
        f" {copied['dead_letters']} dead letters"
    )


def _newest(damaged: sqlite3.Connection, cursors: dict[str, int]) -> int:
    """Return the highest number that is known to be used."""
    newest = max(cursors.values(), default=0)
    with suppress(sqlite3.Error):
        newest = max(newest, damaged.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])
    return newest


def _both_ways(database: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """Yield a table's rows from its beginning up to a broken page, and from its end down to one."""
    for order in ("ASC", "DESC"):
        try:
            yield from database.execute(f"SELECT * FROM {table} ORDER BY 1 {order}")  # noqa: S608 - our own names
        except sqlite3.Error:
            continue
        return


def _numbered(database: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query by number, from behind each broken page on.

    Each try begins at a higher number than the one before, so that it ends: pages that changed places bring
    lower numbers again.
    """
    after, step = -1, 1
    while after < _HIGHEST_NUMBER:
        last = after
        try:
            for row in database.execute(f"{query} ORDER BY 1", (after,)):
                yield row
                last = row[0]
        except sqlite3.Error:
            after, step = (last, 1) if last > after else (after + step, step * 2)
        else:
            return


def _insert(database: sqlite3.Connection, table: str, rows: Iterable[tuple[Any, ...]]) -> int:
    """Insert the rows that are intact and that the table accepts; return how many."""
    inserted = 0
    database.execute("BEGIN IMMEDIATE")
    for row in filter(is_intact, rows):
        with suppress(sqlite3.IntegrityError):  # of another type, or there already
            places = ",".join("?" * len(row))
            inserted += database.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row).rowcount  # noqa: S608 - our own names
    database.execute("COMMIT")
    return inserted
