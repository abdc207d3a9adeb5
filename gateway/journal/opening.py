"""Opening the journal's file: one gateway at a time, and a new file where it is corrupt."""

from __future__ import annotations

import fcntl
import sqlite3
from itertools import count
from typing import TYPE_CHECKING, Any

import structlog

from gateway.config.private_files import sync_folder
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from gateway.journal.salvage import Salvaged
    from gateway.journal.store import Store

log = structlog.get_logger()

_SUFFIXES = ("-wal", "-shm", "")  # the file itself last: where it is, the others are

DAMAGED_ADVICE = "Check the disk; `A damaged journal` in docs/operations.md says what is lost"


def open_store(
    path: Path, *, make_store: Callable[[Path], Store], sinks: Iterable[str], now_ms: int
) -> tuple[Store, str | None]:
    """Return a store that is prepared, and what was damaged, in words for the user, None: nothing.

    A corrupt file is moved aside, never deleted, once what can be read of it is in a new one: whatever ends
    the gateway meanwhile, the next start does it again.
    """
    new_path = path.with_name(f"{path.name}.new")
    if not path.exists() and new_path.exists():
        _rename(new_path, path)  # the last step of a replacement
    store = make_store(path)
    reason = _why_corrupt(store) or _known_damage(path)
    if reason is None:
        return store, None
    salvaged = _salvage(store, new_path, make_store=make_store, sinks=sinks)
    # While it is open: SQLite folds the log into a file that it closes, but not into a moved one.
    aside = _free_name(path, now_ms)
    _rename(path, aside)
    store.close()
    _rename(new_path, path)
    marker(path).unlink(missing_ok=True)
    sync_folder(path.parent)
    log.critical(
        "journal.corrupt", reason=reason, file=str(path), moved_to=str(aside), taken_over=str(salvaged)
    )
    store = make_store(path)
    store.prepare()
    return store, (
        f"its file was corrupt ({reason}) and is now {aside}; taken over into a new one: {salvaged}."
        f" {DAMAGED_ADVICE}"
    )


def _salvage(
    corrupt: Store, new_path: Path, *, make_store: Callable[[Path], Store], sinks: Iterable[str]
) -> Salvaged:
    """Make a new file of what can be read of a corrupt one."""
    for suffix in _SUFFIXES:  # of a start that was broken off
        new_path.with_name(new_path.name + suffix).unlink(missing_ok=True)
    new = make_store(new_path)
    new.prepare()
    salvaged = new.salvage(corrupt, sinks=sinks)
    new.close()
    return salvaged


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


def _free_name(path: Path, now_ms: int) -> Path:
    """Return a name for a corrupt file that no other one has."""
    return next(
        name
        for number in count(now_ms)  # a clock that begins anew at every start may give the same time twice
        if not (name := path.with_name(f"{path.name}.corrupt-{number}")).exists()
    )


def _rename(path: Path, other: Path) -> None:
    """Rename a journal and its side files, so that they stay together under the new name."""
    for suffix in _SUFFIXES:
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(other.with_name(other.name + suffix))
