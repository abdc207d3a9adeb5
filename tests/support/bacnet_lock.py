"""Point tables of an install with BACnet sinks, and their bacnet.lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.mapping.compile.object_lock import add_objects
from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.tools.allocate_registers import SlotAssignment, assign_slots
from support.point_tables import SINKS, TOPICS
from support.registers_lock import Outcome, write_tables

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.records import AssetSnapshot

BACNET_SINKS = SINKS | {"bac": "bacnet", "bac2": "bacnet"}


def load_objects(
    folder: Path, *tables: str, lock: str | None = None, snapshot: AssetSnapshot | None = None
) -> Outcome:
    """Write the files and load them as a gateway with two BACnet sinks does; entries start on line 3."""
    write_tables(folder, *tables)
    if lock is not None:
        (folder / "bacnet.lock").write_text(f"schema: gateway.objects/1\nobjects:\n{lock}", "utf-8")
    compiled = load_point_map(_inputs(folder, snapshot))
    problems, warnings = (
        [str(each).replace(f"{folder}/", "") for each in found]
        for found in (compiled.problems, compiled.warnings)
    )
    return Outcome(compiled.point_map, problems, warnings)


def assign_objects(folder: Path, *, snapshot: AssetSnapshot | None = None) -> SlotAssignment:
    """Return what `gateway lock` would add for the present files."""
    return assign_slots(_inputs(folder, snapshot))


def lock_objects(folder: Path, *, snapshot: AssetSnapshot | None = None) -> None:
    """Write the missing instances, as `gateway lock` does."""
    found = assign_objects(folder, snapshot=snapshot)
    assert found.problems == []
    file = folder / "bacnet.lock"
    if found.objects:
        text = file.read_text("utf-8") if file.exists() else None
        file.write_text(add_objects(text, found.objects), "utf-8")


def instances(found: Outcome) -> dict[str, str]:
    """Return type and instance of each point's object, the same on both sinks."""
    assert found.point_map is not None, found.problems
    shown = {
        point.name: {(one.type, one.instance) for one in point.objects} for point in found.point_map.points
    }
    assert all(len(each) <= 1 for each in shown.values())
    return {name: f"{kind} {instance}" for name, each in shown.items() for kind, instance in each}


def _inputs(folder: Path, snapshot: AssetSnapshot | None) -> TableInputs:
    return TableInputs(folder, BACNET_SINKS, topics=TOPICS, snapshot=snapshot)
