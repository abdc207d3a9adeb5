"""A copy of the journal as of one moment, while the gateway runs or not. Blocking."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from gateway.config.private_files import draft_of, sync_folder, write_private
from gateway.errors import GatewayError, system_reason
from gateway.journal.lookup import look

if TYPE_CHECKING:
    from pathlib import Path


def back_up(journal: Path, target: Path) -> int:
    """Write a copy of the journal, for this user alone, in the place of an earlier one; return its bytes.

    The earlier one stays until the copy is on disk as a whole. Raise GatewayError with what to do.
    """
    _check(journal, target)
    place = target.resolve()  # where it is a link, that stays one
    new = place.with_name(f"{place.name}.copy")
    try:
        write_private(new, b"")  # SQLite takes an empty file, and leaves its mode
        _copy(journal, new)
        with new.open("rb") as stream:
            os.fsync(stream.fileno())  # which SQLite leaves to us here
        new.replace(place)
        sync_folder(place.parent)
        return place.stat().st_size
    except OSError as error:
        raise GatewayError(
            f"{target}: {system_reason(error)}; name a file in a folder that this user may write to"
        ) from error
    finally:
        for left in (new, draft_of(new)):
            left.unlink(missing_ok=True)


def _check(journal: Path, target: Path) -> None:
    """Refuse what a copy would destroy in its place."""
    for suffix in ("", "-wal", "-shm", "-journal", ".lock"):
        if target.resolve() == journal.resolve().with_name(journal.name + suffix):
            what = "belongs to the journal" if suffix else "is the journal"
            raise GatewayError(f"{target}: it {what} itself; name another file")
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise GatewayError(f"{target}: it is not a file, and stays as it is; name a file")


def _copy(journal: Path, new: Path) -> None:
    with look(journal) as database:
        if database is None:
            raise GatewayError(f"{journal}: there is no journal yet; the gateway makes it at its first start")
        try:
            # Not `Connection.backup`: that begins anew with each commit of the gateway.
            database.execute("VACUUM INTO ?", (str(new),))
        except sqlite3.Error as error:
            raise GatewayError(
                f"{new}: the journal cannot be copied: {error}; see what is free there, and what `gateway"
                " doctor` says of the journal"
            ) from error
