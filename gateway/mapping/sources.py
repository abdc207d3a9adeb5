"""The files of a mappings folder as read: every table and registers.lock, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.config.decode import Document, Location, Problem, read_document
from gateway.mapping.slots.lock_file import Slots, read_slots
from gateway.mapping.table import PARTS, Table, may_be_null

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NO_TABLE = "no point table in this folder: no file ends in .yaml"


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of a folder as read; `problems`: of the folder itself."""

    tables: list[Document[Table]]
    slots: Slots
    problems: list[Problem]

    def findings(self) -> tuple[list[Problem], list[Problem]]:
        """Return all problems and all warnings as they are now, file by file in reading order."""
        problems, warnings = [*self.problems], list[Problem]()
        lock = self.slots.document
        for document in [*self.tables, *(() if lock is None else (lock,))]:
            problems += _in_reading_order(document.problems)
            warnings += _in_reading_order(document.warnings)
        return problems, warnings


def read_sources(folder: Path) -> Sources:
    """Read every table of the folder and its registers.lock."""
    files, problems = _table_files(folder)
    tables = [read_document(file, Table, parts=PARTS, may_be_null=may_be_null) for file in files]
    return Sources(tables, read_slots(folder), problems)


def _table_files(folder: Path) -> tuple[list[Path], list[Problem]]:
    """Return the tables, and what there is to say about the folder."""
    start = Location(str(folder), 0, 0)
    try:
        # What editors and file servers leave beside a table, such as the lock .#a.yaml, is hidden.
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        return [], [Problem(start, "", f"cannot be read as a folder: {error.strerror}")]
    files = [file for file in entries if file.suffix == ".yaml"]
    problems = [
        Problem(Location(str(file), 1, 1), "", "would not be read: a point table's name ends in .yaml")
        for file in entries
        if file.suffix != ".yaml" and file.suffix.lower() in {".yml", ".yaml"}
    ]
    if not files:
        problems.append(Problem(start, "", NO_TABLE))
    return files, problems


def _in_reading_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sort by place, and drop repetitions: an override is checked together with what it overrides."""
    unique = {(problem.location, problem.path, problem.message): problem for problem in problems}
    return [unique[key] for key in sorted(unique)]
