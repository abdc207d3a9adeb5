"""Point tables with a registers.lock and assets in Infodeck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.mapping.compile.lock_file import add_slots
from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.records import AssetSnapshot, KnownAsset
from gateway.tools.allocate_registers import SlotAssignment, assign_slots
from support.point_tables import SINKS, TOPICS

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.decode import Problem
    from gateway.mapping.plan import PointMap

AS_OF_MS = 1_795_507_200_000  # 2026-11-24 08:00 UTC


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of loading; problems and warnings are lines, with names of files in place of paths."""

    point_map: PointMap | None
    problems: list[str]
    warnings: list[str]

    def bases(self) -> dict[str, int]:
        """Return the lowest register of every asset that has one."""
        assert self.point_map is not None, self.problems
        lowest: dict[str, int] = {}
        for point in self.point_map.points:
            for register in point.registers:
                lowest[point.asset] = min(register.address, lowest.get(point.asset, register.address))
        return lowest

    def tags(self) -> dict[str, str]:
        """Return the tag of every asset."""
        assert self.point_map is not None, self.problems
        return {point.asset: point.tag for point in self.point_map.points}


def write_tables(folder: Path, *tables: str, lock: str | None = None) -> None:
    """Write a.yaml, b.yaml … and the slots of registers.lock; those start on line 3."""
    for name, text in zip("abcdefgh", tables, strict=False):
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    if lock is not None:
        (folder / "registers.lock").write_text(f"schema: gateway.registers/1\nslots:\n{lock}", "utf-8")


def load(
    folder: Path, *tables: str, lock: str | None = None, snapshot: AssetSnapshot | None = None
) -> Outcome:
    """Write the files and load them as the gateway does."""
    write_tables(folder, *tables, lock=lock)
    compiled = load_point_map(TableInputs(folder, SINKS, topics=TOPICS, snapshot=snapshot))
    return Outcome(compiled.point_map, _lines(compiled.problems, folder), _lines(compiled.warnings, folder))


def assign(folder: Path, *, snapshot: AssetSnapshot | None = None) -> tuple[dict[str, int], list[str]]:
    """Return the bases that would be assigned, in order, and the problems."""
    found = assign_files(folder, snapshot=snapshot)
    return {slot.asset: slot.base for slot in found.added}, _lines(found.problems, folder)


def assign_files(folder: Path, *, snapshot: AssetSnapshot | None = None) -> SlotAssignment:
    """Return the assignment for the present files."""
    return assign_slots(TableInputs(folder, SINKS, topics=TOPICS, snapshot=snapshot))


def write_slots(folder: Path, *, snapshot: AssetSnapshot | None = None) -> None:
    """Write the missing slots, as `gateway lock` does."""
    file = folder / "registers.lock"
    found = assign_files(folder, snapshot=snapshot)
    assert found.problems == []
    text = file.read_text("utf-8") if file.exists() else None
    file.write_text(add_slots(text, found.added), "utf-8")


def known(*assets: KnownAsset) -> AssetSnapshot:
    """Return a snapshot of these assets."""
    return AssetSnapshot(AS_OF_MS, {asset.id: asset for asset in assets})


def _lines(problems: list[Problem], folder: Path) -> list[str]:
    return [str(problem).replace(f"{folder}/", "") for problem in problems]
