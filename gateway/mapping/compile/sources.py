"""What the compiler reads: the tables and lock files of a folder, and the place of everything in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from os.path import lexists
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from gateway.config.decode import MISSING, Document, Location, Problem, read_document
from gateway.config.problems import path_text
from gateway.mapping.compile.lock_file import LOCK_NAME, LOCK_PARTS, LockFile
from gateway.mapping.compile.object_lock import OBJECT_LOCK_NAME, ObjectLock, read_object_lock
from gateway.mapping.registers import HIGHEST_ADDRESS
from gateway.mapping.table import PARTS, Table, may_be_null
from gateway.mapping.topics import TopicScheme
from gateway.text import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from gateway.mapping.compile.lock_file import Slot
    from gateway.mapping.object_keys import BacnetDefaults, BacnetKeys
    from gateway.mapping.table import MqttDefaults, MqttKeys
    from gateway.model import WriteLimits
    from gateway.records import AssetSnapshot

T = TypeVar("T")
NO_TABLE = (
    "no point table in this folder: no file ends in .yaml; `schema` and `site` alone make one without points"
)
_WITHOUT_TEMPLATES = frozenset({"assets", "points", "cases", "system", "defaults"})

Steps = tuple[str | int, ...]
"""A path from one value of a file to another one below it."""


@dataclass(frozen=True, slots=True)
class TableInputs:
    """A folder of point tables, and what they are compiled with.

    `sinks` has each sink's type by its name, such as mqtt or modbus_client. `topics` are those of the MQTT
    sinks, so that no two points share one; the default ones if unknown. `snapshot` has the assets in
    Infodeck, None if the API was not asked. `limits` are what each Modbus client may write. Without
    `needs_instances`, a point that has no BACnet instance yet is no problem: it has no object.
    """

    folder: Path
    sinks: Mapping[str, str]
    topics: Mapping[str, TopicScheme] = field(default_factory=dict)
    snapshot: AssetSnapshot | None = None
    limits: Mapping[str, WriteLimits] = field(default_factory=dict)
    needs_instances: bool = True

    @property
    def mqtt_topics(self) -> dict[str, TopicScheme]:
        """The topics of every MQTT sink."""
        names = [name for name, sink_type in self.sinks.items() if sink_type == "mqtt"]
        return {name: self.topics.get(name, TopicScheme(prefix="")) for name in names}

    @property
    def bacnet_sinks(self) -> tuple[str, ...]:
        """The names of the BACnet sinks."""
        return tuple([name for name, sink_type in self.sinks.items() if sink_type == "bacnet"])

    def sink_problem(self, name: str, *, kind: str) -> str | None:
        """Return why a name is not that of a sink of this kind (mqtt, modbus, bacnet), or None if it is."""
        if name not in self.sinks:
            known = [sink for sink, sink_type in self.sinks.items() if sink_type.startswith(kind)]
            return unknown_name("sink", name, known)
        sink_type = self.sinks[name]
        return None if sink_type.startswith(kind) else f"this sink is of type {sink_type}, not {kind}"

    def is_controller(self, sink: str) -> bool:
        """Return whether a sink writes into a controller."""
        return self.sinks.get(sink) == "modbus_client"


@dataclass(frozen=True, slots=True)
class Place:
    """One value in one file. `template`: of a point that an asset overrides, the place of the original.

    A silent place reports nothing.
    """

    document: Document[Any]
    path: Steps
    template: Place | None = None
    is_silent: bool = False

    def __str__(self) -> str:
        return str(self.location)

    @property
    def location(self) -> Location:
        """File, line and column."""
        return self.document.location(self.path)

    def at(self, *steps: str | int) -> Place:
        """Return the place of the value at `steps` below this one."""
        return Place(self.document, (*self.path, *steps))

    def owner(self, *steps: str | int) -> Place:
        """Return this place, or the template's if only that one can have the key at `steps`."""
        return self if self.template is None or self.has(*steps) else self.template

    def report(self, message: str, *steps: str | int) -> None:
        """Add a problem with the key at `steps`, where it is written. It shows a single value."""
        if not self.is_silent:
            owner = self.owner(*steps)
            owner.document.problems.append(_problem(owner, message, steps))

    def warn(self, message: str, *steps: str | int) -> None:
        """Add a warning, which does not keep the tables from being used; otherwise like `report`."""
        if not self.is_silent:
            owner = self.owner(*steps)
            owner.document.warnings.append(_problem(owner, message, steps))

    @property
    def is_whole(self) -> bool:
        """Whether no part of this value was left out because of a problem."""
        both = filter(None, (self, self.template))
        return all(place.document.remains.is_whole(place.path) for place in both)

    def text(self, *steps: str | int) -> str:
        """Return `file:line:col: path` of the value at `steps` below this place."""
        at = self.at(*steps)
        return f"{at}: {path_text(at.path)}"

    def has(self, *steps: str | int) -> bool:
        """Return whether anything is written at `steps` below this place."""
        return self.document.written((*self.path, *steps)) is not MISSING

    def with_zeros(self, *steps: str | int) -> str | None:
        """Return the number at `steps` as it is written, if it starts with 0."""
        owner = self.owner(*steps)
        return owner.document.with_zeros((*owner.path, *steps))


def choose_sinks(
    kind: str,
    place: Place,
    inputs: TableInputs,
    *,
    written: bool | MqttKeys | BacnetKeys | None,
    default: bool | MqttDefaults | BacnetDefaults | None,
) -> tuple[str, ...] | None:
    """Return the sinks of a kind that a point goes to, None for all of the kind; report its own wrong names.

    `written`: what the point has under the key of this kind, `default`: what its defaults have there.
    """
    check_sinks(kind, place, inputs, written=written)
    chosen = default if written is None else written
    if chosen is False:
        return ()
    names = None if isinstance(chosen, bool | None) else chosen.to
    if names is None and not isinstance(written, bool) and not isinstance(default, bool | None):
        names = default.to
    return names


def check_sinks(
    kind: str,
    place: Place,
    inputs: TableInputs,
    *,
    written: bool | MqttKeys | MqttDefaults | BacnetKeys | BacnetDefaults | None,
) -> None:
    """Report names that are not those of sinks of a kind, under the key of this kind."""
    names = None if isinstance(written, bool | None) else written.to
    for index, name in enumerate(names or ()):
        if problem := inputs.sink_problem(name, kind=kind):
            place.report(problem, kind, "to", index)


def _problem(place: Place, message: str, steps: Steps) -> Problem:
    path = (*place.path, *steps)
    value = place.document.written(path)
    return place.document.problem(path, message, MISSING if isinstance(value, dict | list) else value)


def entries(document: Document[Any], key: str, listed: Iterable[T] | None) -> Iterator[tuple[Place, T]]:
    """Yield the entries of a file's list, each with its place. `listed`: those without problems."""
    for index, entry in zip(document.remains.positions(key), listed or (), strict=True):
        yield Place(document, (key, index)), entry


class SlotEntry(NamedTuple):
    """A slot and where it is written."""

    slot: Slot
    place: Place


@dataclass(slots=True)
class Sources:
    """The files of a folder, as far as they can be read. `problems` are those of the folder itself.

    `slots` are those of registers.lock by asset; `lock` is None if there is no such file. `object_lock` is
    bacnet.lock, empty without a BACnet sink.
    """

    tables: list[Document[Table]]
    lock: Document[LockFile] | None
    problems: list[Problem]
    object_lock: ObjectLock = field(default_factory=ObjectLock)
    slots: dict[str, SlotEntry] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Find the slots; report an asset that has two."""
        if self.lock is None or self.lock.remains.value is None:
            return
        for place, slot in entries(self.lock, "slots", self.lock.remains.value.slots):
            first = self.slots.setdefault(slot.asset, SlotEntry(slot, place))
            if first.place is not place:
                place.report(f"this asset has a slot already at {first.place}", "asset")
            if slot.last > HIGHEST_ADDRESS:
                message = f"the slot would end at register {slot.last}, the last is {HIGHEST_ADDRESS}"
                place.report(message, "base")

    @property
    def has_all_slots(self) -> bool:
        """Whether registers.lock has no problems."""
        return self.lock is None or self.lock.value is not None

    def findings(self) -> tuple[list[Problem], list[Problem]]:
        """Return all problems and all warnings so far, file by file in reading order."""
        problems, warnings = [*self.problems], list[Problem]()
        for document in (*self.tables, self.lock):
            if document is None:
                continue
            problems += _in_reading_order(document.problems)
            warnings += _in_reading_order(document.warnings)
        return problems + _in_reading_order(self.object_lock.problems), warnings


def read_sources(folder: Path, *, with_objects: bool = False) -> Sources:
    """Read every table of the folder and its registers.lock, as far as their problems allow.

    `with_objects`: also bacnet.lock, which only an install with a BACnet sink needs.
    """
    files, problems = _table_files(folder)
    file = folder / LOCK_NAME
    lock = read_document(file, LockFile, parts=LOCK_PARTS) if lexists(file) else None  # also a dead link
    objects = read_object_lock(folder / OBJECT_LOCK_NAME) if with_objects else ObjectLock()
    return Sources([read_table(file) for file in files], lock, problems, objects)


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


class MissingParts:
    """What may have been left out of tables because of problems: names that refer to it are no mistakes.

    Only causes are reported, not consequences. `points`: whether any point or asset may be missing.
    """

    def __init__(self, documents: Iterable[Document[Table]]) -> None:
        all_remains = [document.remains for document in documents]
        dropped = [path for remains in all_remains for path in remains.dropped]
        is_unreadable = any(remains.value is None for remains in all_remains)
        self.points = is_unreadable or any(path[0] not in {"cases", "defaults"} for path in dropped)
        depths = {len(path) for path in dropped if path[0] not in _WITHOUT_TEMPLATES}
        self.templates = is_unreadable or bool(depths & {1, 2})  # all of them, or one
        self.template_points = 4 in depths  # noqa: PLR2004 - templates, name, points, name
