"""The file `bacnet.lock`: the instance of each BACnet object, and those that point tables state themselves.

The running gateway only reads it. `gateway lock` writes what `add_objects` returns.
"""

from __future__ import annotations

import re
from os.path import lexists
from typing import TYPE_CHECKING, Literal

from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT, Document, read_document
from gateway.config.salvage import ANY, Parts, Remains
from gateway.config.yaml_tree import Node
from gateway.mapping.compile.lock_file import extend_list, yaml_text
from gateway.mapping.object_keys import Instance
from gateway.mapping.object_types import HIGHEST_INSTANCE
from gateway.mapping.table import Text
from gateway.model import ObjectType

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

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

    `reserved`: no other point gets it, and this one has it only where its table states it.
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


_PARTS = Parts(droppable=(("objects", ANY),), essential=("schema",))
_HEAD = re.compile(r"(?:#[^\n]*\n)*schema: gateway\.objects/1\nobjects:\n")
_ENTRY = re.compile(
    r'  - \{point: ("[^"]+"|[^",}]+), object: ([a-z-]+), instance: (0|[1-9][0-9]{0,6})(, reserved: true)?\}\n'
)
_TYPES = {str(kind): kind for kind in ObjectType}


def read_object_lock(file: Path) -> Document[ObjectLockFile] | None:
    """Read bacnet.lock, None if there is none.

    Lines as `gateway lock` writes them need no YAML, which takes ten times as long for tens of thousands of
    objects; any other file, and one with a contradiction, is read as YAML, for messages with exact places.
    """
    if not lexists(file):  # also a dead link is a file
        return None
    try:
        found = _read_lines(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found is None:
        return read_document(file, ObjectLockFile, parts=_PARTS)
    objects, first_line = found
    entries: dict[str | int, Node] = {
        index: Node(None, first_line + index, 5) for index in range(len(objects))
    }
    written = Node(None, first_line - 1, 1, children=entries)
    root = Node(None, 1, 1, children={"objects": written})
    value = ObjectLockFile(schema="gateway.objects/1", objects=tuple(objects))
    return Document(file, root, value, [], Remains(value, written={"objects": objects}))


def _read_lines(text: str) -> tuple[list[LockedObject], int] | None:
    """Return the objects and the line of the first; None for another layout, or something given twice."""
    head = _HEAD.match(text)
    if head is None:
        return None
    objects, position = list[LockedObject](), head.end()
    while match := _ENTRY.match(text, position):
        point = match[1].strip('"')
        kind, instance = _TYPES.get(match[2]), int(match[3])
        is_as_written = yaml_text(point) == match[1] and point.isprintable()
        if kind is None or instance > HIGHEST_INSTANCE or not is_as_written:
            return None
        objects.append(LockedObject(point=point, object=kind, instance=instance, reserved=bool(match[4])))
        position = match.end()
    given = [one for one in objects if not one.reserved]
    points = {(one.object, one.point) for one in given}
    instances = {(one.object, one.instance) for one in given}
    is_whole = position == len(text) and len(points) == len(instances) == len(given)
    return (objects, head[0].count("\n") + 1) if is_whole else None


def add_objects(text: str | None, added: Iterable[LockedObject]) -> str:
    """Return the text of bacnet.lock with more objects at its end. `text`: None if there is no file."""
    return extend_list(_NEW_FILE if text is None else text, added)
