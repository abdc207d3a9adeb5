"""Opening the journal's file: one gateway at a time, and a new file where it is corrupt."""

from __future__ import annotations

import fcntl
import sqlite3
from itertools import count
from typing import TYPE_CHECKING, Any

import structlog

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from gateway.journal.store import Store

log = structlog.get_logger()

DAMAGED_ADVICE = "Check the disk; `A damaged journal` in docs/operations.md says what is lost"


def open_store(
    path: Path, *, make_store: Callable[[], Store], sinks: Iterable[str], now_ms: int
) -> tuple[Store, str | None]:
    """Return a store that is prepared, and what was damaged, in words for the user, None: nothing.

    A corrupt file is moved aside, never deleted, and what can be read of it taken over into a new one.
    """
    store = make_store()
    reason = _why_corrupt(store) or _known_damage(path)
    if reason is None:
        return store, None
    # While it is open: SQLite folds the log into a file that it closes, but not into a moved one.
    aside = _move_aside(path, now_ms)
    new = make_store()
    new.prepare()
    salvaged = new.salvage(store, sinks=sinks)
    store.close()
    marker(path).unlink(missing_ok=True)
    log.critical(
        "journal.corrupt", reason=reason, file=str(path), moved_to=str(aside), taken_over=str(salvaged)
    )
    return new, (
        f"its file was corrupt ({reason}) and is now {aside}; taken over into a new one: {salvaged}."
        f" {DAMAGED_ADVICE}"
    )


def marker(path: Path) -> Path:
    """Return the file that says why the journal is corrupt where only its use has shown that."""
    return path.with_name(path.name + ".corrupt")


def corrupt_files(path: Path) -> list[Path]:
    """Return the corrupt files that were moved aside and are still there, the oldest first."""
    return sorted(
        file
        for file in path.parent.glob(f"{path.name}.corrupt-*")
        if not file.name.endswith(("-wal", "-shm"))
    )


def take_lock(path: Path) -> Any:
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


def _known_damage(path: Path) -> str | None:
    file = marker(path)
    return (file.read_text(errors="replace") or "as its use has shown") if file.exists() else None


def _why_corrupt(store: Store) -> str | None:
    """Prepare the store; return why its file is corrupt, None where it is not."""
    try:
        store.prepare()
    except sqlite3.OperationalError:  # not the file's fault
        raise
    except sqlite3.DatabaseError as error:
        return str(error)
    return None


def _move_aside(path: Path, now_ms: int) -> Path:
    """Rename the journal and its side files, so that they stay together under the new name."""
    aside = next(
        name
        for number in count(now_ms)  # a clock that begins anew at every start may give the same time twice
        if not (name := path.with_name(f"{path.name}.corrupt-{number}")).exists()
    )
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside
