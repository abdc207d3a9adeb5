"""The files of a mappings folder as read: every table and registers.lock, with their problems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.config.decode import Document, Location, Problem, read_document
from gateway.mapping.compile.lock_file import Slots, read_slots
from gateway.mapping.table import PARTS, Table, may_be_null

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.config.salvage import Remains, Steps

NO_TABLE = "no point table in this folder: no file ends in .yaml"
_WITHOUT_TEMPLATES = frozenset({"assets", "points", "cases", "system", "defaults"})
_WITHOUT_POINTS = frozenset({"cases", "defaults"})


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of a folder. `problems` are those of the folder itself."""

    tables: list[Document[Table]]
    slots: Slots
    problems: list[Problem]

    def findings(self) -> tuple[list[Problem], list[Problem]]:
        """Return all problems and all warnings so far, file by file in reading order."""
        problems, warnings = [*self.problems], list[Problem]()
        lock = self.slots.document
        for document in [*self.tables, *(() if lock is None else (lock,))]:
            problems += _in_reading_order(document.problems)
            warnings += _in_reading_order(document.warnings)
        return problems, warnings


def read_sources(folder: Path) -> Sources:
    """Read every table of the folder and its registers.lock, as far as their problems allow."""
    files, problems = _table_files(folder)
    return Sources([read_table(file) for file in files], read_slots(folder), problems)


def read_table(file: Path) -> Document[Table]:
    """Read one point table."""
    return read_document(file, Table, parts=PARTS, may_be_null=may_be_null)


def _table_files(folder: Path) -> tuple[list[Path], list[Problem]]:
    """Return the tables of a folder, and the problems of the folder."""
    start = Location(str(folder), 0, 0)
    try:
        # Hidden files are left by editors and file servers, such as the lock .#a.yaml.
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
    """Sort by place and drop repetitions: an override is checked together with its template's point."""
    unique = {(problem.location, problem.path, problem.message): problem for problem in problems}
    return [unique[key] for key in sorted(unique)]


@dataclass(frozen=True, slots=True)
class MissingParts:
    """The parts of all tables that were left out because of problems.

    A name that refers to one of them is no mistake: only causes are reported, not consequences. `points` is
    whether any point or asset is missing.
    """

    any_template: bool
    templates: frozenset[str]
    template_points: frozenset[tuple[str, str]]
    points: bool

    @classmethod
    def from_tables(cls, documents: Iterable[Document[Table]]) -> MissingParts:
        """Return the missing parts of these tables."""
        all_remains = [document.remains for document in documents]
        is_unreadable = any(remains.value is None for remains in all_remains)
        sections: set[str | int] = set()
        templates, template_points = set(), set()
        points = is_unreadable
        for remains in all_remains:
            for path in remains.dropped:
                match path:
                    case ("templates", str(template), "points", str(point)):
                        template_points.add((template, point))
                    case ("templates", str(template)):
                        templates.add(template)
                    case (section,):
                        sections.add(section)
                points = points or _hides_points(path, remains)
        return cls(
            any_template=is_unreadable or not sections <= _WITHOUT_TEMPLATES,
            templates=frozenset(templates),
            template_points=frozenset(template_points),
            points=points,
        )

    def may_have(self, template: str) -> bool:
        """Return whether a template of this name may be among the missing parts."""
        return self.any_template or template in self.templates


def _hides_points(path: Steps, remains: Remains[Table]) -> bool:
    """Return whether the part at a path has points or assets, or the source of one."""
    match path:
        case ("assets", int(), *_, _):
            return True
        case ("points", int(index), str()):
            return not _has_source(remains.written["points"][index])
        case ("templates", str(template), "points", str(point), str()):
            return not _has_source(remains.written["templates"][template]["points"][point])
    return path[0] not in _WITHOUT_POINTS


def _has_source(point: Any) -> bool:
    return isinstance(point, dict) and "from" in point
