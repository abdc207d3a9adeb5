"""`gateway backup`: a copy of the journal as of one moment, whether the gateway runs or not."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.loading import add_config_argument
from gateway.config.private_files import draft_of, sync_folder, write_private
from gateway.config.value_types import rounded_size_text
from gateway.errors import GatewayError, system_reason
from gateway.journal.lookup import open_read_only
from gateway.settings import load_settings

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_argument(parser)
    parser.add_argument("file", type=Path, metavar="FILE", help="where to; an earlier copy is replaced")


def run(arguments: argparse.Namespace) -> int:
    """Copy; return 0 once the copy is on disk."""
    journal, target = load_settings(arguments.config).require().journal.path, arguments.file
    own = {
        journal.resolve().with_name(journal.name + end) for end in ("", "-wal", "-shm", "-journal", ".lock")
    }
    if target.resolve() in own:
        raise GatewayError(f"{target}: it belongs to the journal itself; name another file")
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise GatewayError(f"{target}: it is not a file, and stays as it is; name a file")
    size_bytes = _back_up(journal, target)
    print(f"{target}: a copy of {journal}, {rounded_size_text(size_bytes)}")
    return 0


def _back_up(journal: Path, target: Path) -> int:
    """Replace the target by a private copy of the journal, once it is whole on disk; return its bytes."""
    place = target.resolve()  # a link stays a link
    new = place.with_name(f"{place.name}.copy")
    try:
        write_private(new, b"")  # SQLite accepts an empty file, and keeps its mode
        _copy(journal, new)
        with new.open("rb") as stream:
            os.fsync(stream.fileno())  # SQLite leaves that to the caller here
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


def _copy(journal: Path, new: Path) -> None:
    with open_read_only(journal) as database:
        if not database.execute("PRAGMA database_list").fetchone()[2]:  # the empty one in memory
            raise GatewayError(f"{journal}: there is no journal yet; the gateway makes it at its first start")
        try:
            # Not `Connection.backup`: that begins again with each commit of the gateway.
            database.execute("VACUUM INTO ?", (str(new),))
        except sqlite3.Error as error:
            raise GatewayError(
                f"{new}: the journal cannot be copied: {error}; see what is free there, and what `gateway"
                " doctor` says of the journal"
            ) from error
