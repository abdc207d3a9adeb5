"""`gateway lock`: gives registers to every asset without a base, and instances to BACnet objects.

It writes them to registers.lock and bacnet.lock.

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
from gateway.mapping.compile.object_lock import OBJECT_LOCK_NAME, ObjectLockFile, add_objects
from gateway.settings import load_settings
from gateway.text import align_columns, count_text, short_list
from gateway.tools.allocate_registers import assign_slots

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from gateway.mapping.compile.lock_file import Slot
    from gateway.mapping.compile.object_lock import LockedObject
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
    """Assign and print slots and instances; raise CommandError, and write nothing, if there are problems."""
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
    slots, objects = inputs.folder / LOCK_NAME, inputs.folder / OBJECT_LOCK_NAME
    handed_over = [slot for slot, _ in assignment.slots.values() if slot.asset in successors.values()]
    is_trial = arguments.dry_run
    end = "nothing was written" if is_trial else "commit it together with the tables"
    if changed := [*assignment.added, *handed_over]:
        if not is_trial:
            _write_slots(slots, assignment, [slot.asset for slot in handed_over])
        what = f"{'would change' if is_trial else 'changed'} {count_text(len(changed), 'slot')} in {slots}"
        print(f"{align_columns(_slot_rows(changed, assignment.tags), indent='')}{what}; {end}")
    if added := assignment.objects:
        if not is_trial:
            _write_objects(objects, added)
        what = f"{'would add' if is_trial else 'added'} {count_text(len(added), 'object')} to {objects}"
        print(f"{align_columns(_object_rows(added), indent='')}{what}; {end}")
    if not (changed or added):
        print(f"nothing to add to {slots}: every asset with registers has a base or a slot")
        if inputs.bacnet_sinks:
            print(f"nothing to add to {objects}: every BACnet object has an instance")
    return 0


def _slot_rows(slots: Iterable[Slot], tags: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    for slot in slots:
        yield slot.asset, tags.get(slot.asset, ""), slot.template, f"{slot.base}-{slot.last}"


def _object_rows(objects: Iterable[LockedObject]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each object type: a building has tens of thousands of objects."""
    by_type: dict[tuple[str, bool], list[LockedObject]] = {}
    for one in objects:
        by_type.setdefault((one.object, one.reserved), []).append(one)
    for (kind, is_reserved), found in by_type.items():
        if is_reserved:
            yield kind, "reserved", short_list([f"{one.point} ({one.instance})" for one in found])
            continue
        first, last = found[0].instance, found[-1].instance
        instances = f"{first}-{last}" if first != last else f"{first}"
        yield kind, instances, short_list([one.point for one in found])


def _write_slots(file: Path, assignment: SlotAssignment, handed_over: list[str]) -> None:
    """Write the new slots, or the new owners of slots, into registers.lock, and read it again first."""
    text = _read(file)
    for asset in handed_over:
        text = rename_slot(text or "", assignment.slots[asset].place.at("asset").location, asset)
    if assignment.added:
        text = add_slots(text, assignment.added)
    expected = [*(slot for slot, _ in assignment.slots.values()), *assignment.added]

    def check(draft: Path) -> None:
        value = read_document(draft, LockFile).value
        slots = () if value is None else value.slots or ()
        if {slot.asset: slot for slot in slots} != {slot.asset: slot for slot in expected}:
            raise _layout_error(file, "slots", "one slot a line, `  - {asset: …}`")

    write_table(file, text or "", check=check)


def _write_objects(file: Path, added: list[LockedObject]) -> None:
    """Add objects to bacnet.lock, and read it again first."""

    def check(draft: Path) -> None:
        value = read_document(draft, ObjectLockFile).value
        if value is None or value.objects is None or value.objects[-len(added) :] != tuple(added):
            raise _layout_error(file, "objects", "one object a line, `  - {point: …}`")

    write_table(file, add_objects(_read(file), added), check=check)


def _read(file: Path) -> str | None:
    """Return the text of a lock file, None if there is none."""
    try:
        return file.read_text(encoding="utf-8-sig") if file.exists() else None
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}") from error


def _layout_error(file: Path, key: str, lines: str) -> CommandError:
    return CommandError(
        f"{file} is not laid out as this command writes it, so no line can be added: write `{key}:`"
        f" on a line of its own, last in the file, and below it {lines}"
    )
