"""The file `bacnet.lock`: the instance of each BACnet object, and those that point tables state themselves.

The running gateway only reads it. `gateway lock` writes what `add_objects` returns.
"""

from __future__ import annotations

import re
from os.path import lexists
from typing import TYPE_CHECKING, Literal

from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT, Location, read_document
from gateway.config.salvage import ANY, Parts
from gateway.mapping.compile.lock_file import extend_list, yaml_text
from gateway.mapping.object_keys import Instance
from gateway.mapping.table import Text
from gateway.model import ObjectType

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.config.decode import Problem

OBJECT_LOCK_NAME = "bacnet.lock"
_NEW_FILE = """\
# Instances of BACnet objects. Written by `gateway lock`; commit it together with the tables.
# An instance never changes and is never given to another point. Delete a line only when no BMS reads its
# object any more. `reserved`: a table states this instance, or once did.
schema: gateway.objects/1
objects:
"""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class LockedObject:
    """The instance of a point, `<tag>/<point>`, as an object of one type, on every BACnet sink.

    `reserved`: `gateway lock` gives it to no point, and this one has it only where its table states it.
    """

    point: Text
    object: ObjectType
    instance: Instance
    reserved: bool = False

    def __str__(self) -> str:
        keys = f"point: {yaml_text(self.point)}, object: {self.object}, instance: {self.instance}"
        return f"{{{keys}, reserved: true}}" if self.reserved else f"{{{keys}}}"


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ObjectLockFile:
    """The keys of `bacnet.lock`."""

    schema: Literal["gateway.objects/1"]
    objects: tuple[LockedObject, ...] | None = None  # None: nothing follows `objects:`


class ObjectLock:
    """What bacnet.lock has, also of points that are in no table any more. `problems`: those of the file.

    `instances` are by type and point. `holders` are the points that have an instance, by type and instance,
    each with the place of its entry. `reserved` are the points whose tables state an instance, or once did.
    """

    def __init__(self, problems: list[Problem] | None = None) -> None:
        self.problems = problems or []
        self.instances: dict[tuple[ObjectType, str], int] = {}
        self.holders: dict[tuple[ObjectType, int], tuple[str, Location]] = {}
        self.reserved: dict[tuple[ObjectType, int], str] = {}

    def add(self, entry: LockedObject, place: Location) -> tuple[str, str] | None:
        """Add an entry; if another one has its point or its instance, return the key and what is wrong."""
        kind, point, instance = entry.object, entry.point, entry.instance
        if entry.reserved:
            self.reserved[kind, instance] = point
            return None
        if (kind, point) in self.instances:
            _, first = self.holders[kind, self.instances[kind, point]]
            return "point", f"this point has an instance as {kind} already at {first}"
        if (kind, instance) in self.holders:
            holder, first = self.holders[kind, instance]
            return "instance", f"{kind} {instance} belongs to {holder} at {first}"
        self.instances[kind, point] = instance
        self.holders[kind, instance] = point, place
        return None


_PARTS = Parts(droppable=(("objects", ANY),), essential=("schema",))
_HEAD = re.compile(r"(?:#[^\n]*\n)*schema: gateway\.objects/1\nobjects:\n")
_ENTRY = re.compile(r"  - \{point: (.+), object: ([a-z-]+), instance: ([0-9]+)(, reserved: true)?\}\n")


def read_object_lock(file: Path) -> ObjectLock:
    """Read bacnet.lock; an empty one if there is no file.

    Lines as `gateway lock` writes them need no YAML, which takes ten times as long for tens of thousands of
    objects; any other file, and one with a contradiction, is read as YAML, for messages with exact places.
    """
    if not lexists(file):  # also a dead link is a file
        return ObjectLock()
    try:
        lock = _read_lines(file)
    except (OSError, ValueError):
        lock = None
    return lock or _read_yaml(file)


def _read_lines(file: Path) -> ObjectLock | None:
    """Return what the lines of a file have; None for another layout, or a contradiction."""
    text = file.read_text(encoding="utf-8")
    head = _HEAD.match(text)
    if head is None:
        return None
    lock, line, position = ObjectLock(), head[0].count("\n") + 1, head.end()
    while match := _ENTRY.match(text, position):
        entry = LockedObject(
            point=match[1].strip('"'),
            object=ObjectType(match[2]),
            instance=int(match[3]),
            reserved=bool(match[4]),
        )
        is_as_written = f"  - {entry}\n" == match[0] and entry.point.isprintable()
        if not is_as_written or lock.add(entry, Location(str(file), line, 5)):
            return None
        line, position = line + 1, match.end()
    return lock if position == len(text) else None


def _read_yaml(file: Path) -> ObjectLock:
    document = read_document(file, ObjectLockFile, parts=_PARTS)
    lock, remains = ObjectLock(document.problems), document.remains
    objects = None if remains.value is None else remains.value.objects
    for index, entry in zip(remains.positions("objects"), objects or (), strict=True):
        if clash := lock.add(entry, document.location(("objects", index))):
            path = "objects", index, clash[0]
            lock.problems.append(document.problem(path, clash[1], document.written(path)))
    return lock


def add_objects(text: str | None, added: Iterable[LockedObject]) -> str:
    """Return the text of bacnet.lock with more objects at its end. `text`: None if there is no file."""
    return extend_list(_NEW_FILE if text is None else text, added)
