"""`gateway lock`: gives registers to every asset without a base, and keeps them in registers.lock."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.loading import add_config_argument, locate_tables, refusal
from gateway.config.decode import read_document
from gateway.errors import CommandError
from gateway.mapping.allocation import assign_slots
from gateway.mapping.slots.lock_file import LOCK_NAME, LockFile, with_slots
from gateway.settings import load_settings

if TYPE_CHECKING:
    import argparse

    from gateway.mapping.allocation import Assignment
    from gateway.mapping.slots.lock_file import Slot

_READABLE_BY_ALL = 0o644


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_config_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="show what would be assigned, write nothing")


def run(arguments: argparse.Namespace) -> int:
    """Assign and print slots; raise CommandError, and write nothing, where the files have problems."""
    document = load_settings(arguments.config)
    found = locate_tables(document)
    if found is None:
        raise refusal(document.problems, document.file)
    assignment = assign_slots(
        found.folder,
        found.sinks,
        topics=found.topics,
        snapshot=found.snapshot,
        limits=found.limits,
    )
    for warning in [*found.warnings, *assignment.warnings]:
        print(f"warning: {warning}", file=sys.stderr)
    if document.problems or assignment.problems:
        raise refusal([*document.problems, *assignment.problems], document.file)
    file = found.folder / LOCK_NAME
    if assignment.added and not arguments.dry_run:
        _write(file, assignment)
    _print(assignment, file=file, is_dry_run=arguments.dry_run)
    return 0


def _print(assignment: Assignment, *, file: Path, is_dry_run: bool) -> None:
    added = assignment.added
    if not added:
        print(f"nothing to add to {file}: every asset with registers has a base or a slot")
        return
    rows = [
        (slot.asset, assignment.tags.get(slot.asset, ""), slot.template, f"{slot.base}-{slot.last}")
        for slot in added
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]))
    count = f"{len(added)} slot{'' if len(added) == 1 else 's'}"
    if is_dry_run:
        print(f"would add {count} to {file}; nothing was written")
    else:
        print(f"added {count} to {file}; commit it together with the tables")


def _write(file: Path, assignment: Assignment) -> None:
    """Replace the file as a whole, once what would stand there was read and found right."""
    target = file.resolve()  # a link stays a link
    try:
        text = target.read_text(encoding="utf-8-sig") if target.exists() else None
        mode = target.stat().st_mode & 0o777 if text is not None else _READABLE_BY_ALL
        handle, name = tempfile.mkstemp(prefix=f".{LOCK_NAME}.", suffix=".tmp", dir=target.parent)
        aside = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(with_slots(text, assignment.slots, assignment.added))
                stream.flush()
                os.fchmod(stream.fileno(), mode)
                os.fsync(stream.fileno())
            _check(aside, file, assignment)
            aside.replace(target)
        finally:
            with suppress(FileNotFoundError):
                aside.unlink()
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}") from error


def _check(aside: Path, file: Path, assignment: Assignment) -> None:
    """Refuse to write what would not read as the slots that were there and the new ones."""
    value = read_document(aside, LockFile).value
    expected = {slot.asset: slot for slot in _all(assignment)}
    if value is None or {slot.asset: slot for slot in value.slots or ()} != expected:
        raise CommandError(
            f"{file} is not laid out as this command writes it, so no line can be added: write `slots:` on a"
            " line of its own, last in the file, and below it one slot a line, `  - {asset: …}`"
        )


def _all(assignment: Assignment) -> list[Slot]:
    return [*(slot for slot, _ in assignment.slots), *assignment.added]
