"""`gateway lock`: gives registers to every asset without a base, and writes them to registers.lock.

A new sensor in the place of an old one: write its id into the table in place of the old one's, then

    gateway lock -c FILE --replace OLD=NEW

hands it the registers of the old one, and of an automatic asset the tag.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from gateway.cli.loading import add_config_argument, refusal, table_inputs
from gateway.cli.table_file import write_table
from gateway.config.decode import read_document
from gateway.errors import CommandError
from gateway.mapping.compile.lock_file import LOCK_NAME, LockFile, add_slots, rename_slot
from gateway.settings import load_settings
from gateway.text import align_columns, count_text
from gateway.tools.allocate_registers import assign_slots

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.tools.allocate_registers import SlotAssignment


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
    inputs, warnings = table_inputs(document)
    if inputs is None:
        raise refusal(document.problems, document.file)
    assignment = assign_slots(inputs, successors=successors)
    for warning in [*warnings, *assignment.warnings]:
        print(f"warning: {warning}", file=sys.stderr)
    if document.problems or assignment.problems:
        raise refusal([*document.problems, *assignment.problems], document.file)
    file = inputs.folder / LOCK_NAME
    handed_over = [slot for slot, _ in assignment.slots.values() if slot.asset in successors.values()]
    changed = [*assignment.added, *handed_over]
    if not changed:
        print(f"nothing to add to {file}: every asset with registers has a base or a slot")
        return 0
    tags = assignment.tags
    rows = [
        (slot.asset, tags.get(slot.asset, ""), slot.template, f"{slot.base}-{slot.last}") for slot in changed
    ]
    if arguments.dry_run:
        done = f"would change {count_text(len(changed), 'slot')} in {file}; nothing was written"
    else:
        _write(file, assignment, [slot.asset for slot in handed_over])
        done = f"changed {count_text(len(changed), 'slot')} in {file}; commit it together with the tables"
    print(align_columns(rows, indent="") + done)
    return 0


def _write(file: Path, assignment: SlotAssignment, handed_over: list[str]) -> None:
    """Write the new slots, or the new owners of slots, into registers.lock, and read it again first."""
    try:
        text = file.read_text(encoding="utf-8-sig") if file.exists() else None
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}") from error
    for asset in handed_over:
        text = rename_slot(text or "", assignment.slots[asset].place.at("asset").location, asset)
    if assignment.added:
        text = add_slots(text, assignment.added)
    expected = [*(slot for slot, _ in assignment.slots.values()), *assignment.added]

    def check(draft: Path) -> None:
        value = read_document(draft, LockFile).value
        slots = () if value is None else value.slots or ()
        if {slot.asset: slot for slot in slots} != {slot.asset: slot for slot in expected}:
            raise CommandError(
                f"{file} is not laid out as this command writes it, so no line can be added: write `slots:`"
                " on a line of its own, last in the file, and below it one slot a line, `  - {asset: …}`"
            )

    write_table(file, text or "", check=check)
