"""`gateway lock`: gives registers to every asset without a base, and writes them to registers.lock.

A new sensor in the place of an old one: write its id into the table in place of the old one's, then

    gateway lock -c FILE --replace OLD=NEW

hands it the registers of the old one, and of an automatic asset the tag.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.loading import add_config_argument, refusal, table_inputs
from gateway.config.decode import read_document
from gateway.errors import CommandError
from gateway.mapping.compile.lock_file import LOCK_NAME, LockFile, add_slots, rename_assets
from gateway.settings import load_settings
from gateway.text import align_columns, short_list
from gateway.tools.allocate_registers import assign_slots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.tools.allocate_registers import SlotAssignment

_READABLE_BY_ALL = 0o644


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="show what would be assigned, write nothing")
    parser.add_argument(
        "--replace",
        action="append",
        type=_successor,
        metavar="OLD=NEW",
        default=[],
        help="ids of assets: the new one has the slot of the old one from now on; may be repeated",
    )


def _successor(text: str) -> tuple[str, str]:
    old, _, new = text.partition("=")
    if not old or not new or old == new:
        raise argparse.ArgumentTypeError(f"{text}: OLD=NEW is expected, the ids of two assets")
    return old, new


def run(arguments: argparse.Namespace) -> int:
    """Assign and print slots; raise CommandError, and write nothing, if the files have problems."""
    successors = dict(arguments.replace)
    document = load_settings(arguments.config)
    inputs = table_inputs(document)
    if inputs is None:
        raise refusal(document.problems, document.file)
    assignment = assign_slots(
        inputs.folder,
        inputs.sinks,
        topics=inputs.topics,
        snapshot=inputs.snapshot,
        limits=inputs.limits,
        successors=successors,
    )
    for warning in [*inputs.warnings, *assignment.warnings]:
        print(f"warning: {warning}", file=sys.stderr)
    if document.problems or assignment.problems:
        raise refusal([*document.problems, *assignment.problems], document.file)
    file = inputs.folder / LOCK_NAME
    handed_over = [slot for slot, _ in assignment.slots if slot.asset in successors.values()]
    changed = [*assignment.added, *handed_over]
    if changed and not arguments.dry_run:
        _replace_file(file, assignment, successors)
    rows = [
        (slot.asset, assignment.tags.get(slot.asset, ""), slot.template, f"{slot.base}-{slot.last}")
        for slot in changed
    ]
    print(align_columns(rows, indent=""), end="")
    count = f"{len(changed)} slot{'' if len(changed) == 1 else 's'}"
    done, to_do, where = ("handed over", "hand over", "in") if successors else ("added", "add", "to")
    if not changed:
        print(f"nothing to add to {file}: every asset with registers has a base or a slot")
    elif arguments.dry_run:
        print(f"would {to_do} {count} {where} {file}; nothing was written")
    else:
        print(f"{done} {count} {where} {file}; commit it together with the tables")
    _note_abandoned(assignment)
    return 0


def _note_abandoned(assignment: SlotAssignment) -> None:
    """Print which slots of assets that are gone a new asset may replace."""
    templates = {slot.template for slot in assignment.added}
    abandoned = [
        f"{slot.asset} ({slot.base}-{slot.last})" for slot in assignment.left if slot.template in templates
    ]
    if abandoned:
        print(
            f"note: the slots of {short_list(abandoned)} belong to assets that no table reads any more; if a"
            " new one takes such a place, delete the line added for it here and run this with"
            " --replace OLD=NEW",
            file=sys.stderr,
        )


def _replace_file(file: Path, assignment: SlotAssignment, successors: Mapping[str, str]) -> None:
    """Write a new file beside the old one, read and check it, then replace the old one."""
    target = file.resolve()  # a link stays a link
    try:
        text = target.read_text(encoding="utf-8-sig") if target.exists() else None
        mode = target.stat().st_mode & 0o777 if text is not None else _READABLE_BY_ALL
        handle, name = tempfile.mkstemp(prefix=f".{LOCK_NAME}.", suffix=".tmp", dir=target.parent)
        draft = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                if successors:
                    stream.write(rename_assets(text or "", assignment.slots, successors.values()))
                else:
                    stream.write(add_slots(text, assignment.slots, assignment.added))
                stream.flush()
                os.fchmod(stream.fileno(), mode)
                os.fsync(stream.fileno())
            _check(draft, file, assignment)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}") from error


def _check(draft: Path, file: Path, assignment: SlotAssignment) -> None:
    """Raise CommandError if the new file would not read as the old and the new slots."""
    value = read_document(draft, LockFile).value
    slots = [*(slot for slot, _ in assignment.slots), *assignment.added]
    expected = {slot.asset: slot for slot in slots}
    if value is None or {slot.asset: slot for slot in value.slots or ()} != expected:
        raise CommandError(
            f"{file} is not laid out as this command writes it, so no line can be added: write `slots:` on a"
            " line of its own, last in the file, and below it one slot a line, `  - {asset: …}`"
        )
