"""The file `bacnet.lock`: the instance of each BACnet object whose point table has none.

The running gateway only reads it. `gateway lock` writes what `add_objects` returns.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import count, filterfalse
from typing import TYPE_CHECKING, Literal

from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT
from gateway.config.salvage import ANY, Parts
from gateway.mapping.compile.lock_file import extend_list, yaml_text
from gateway.mapping.object_keys import Instance
from gateway.mapping.table import Text
from gateway.model import ObjectType

if TYPE_CHECKING:
    from collections.abc import Iterable

OBJECT_LOCK_NAME = "bacnet.lock"
_NEW_FILE = """\
# Instances of BACnet objects. Written by `gateway lock`; commit it together with the tables.
# An instance never changes and is never given to another point. Delete a line only when no BMS reads its
# object any more.
schema: gateway.objects/1
objects:
"""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class LockedObject:
    """The instance of a point, `<tag>/<point>`, as an object of one type, on every BACnet sink."""

    point: Text
    object: ObjectType
    instance: Instance

    def __str__(self) -> str:
        return f"{{point: {yaml_text(self.point)}, object: {self.object}, instance: {self.instance}}}"


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ObjectLockFile:
    """The keys of `bacnet.lock`."""

    schema: Literal["gateway.objects/1"]
    objects: tuple[LockedObject, ...] | None = None  # None: nothing follows `objects:`


OBJECT_LOCK_PARTS = Parts(droppable=(("objects", ANY),), essential=("schema",))


def add_objects(text: str | None, added: Iterable[LockedObject]) -> str:
    """Return the text of bacnet.lock with more objects at its end. `text`: None if there is no file."""
    return extend_list(_NEW_FILE if text is None else text, added)


def allocate_instances(
    requests: Iterable[tuple[ObjectType, str]], taken: Iterable[tuple[ObjectType, int]]
) -> list[LockedObject]:
    """Return an instance for each type and name: the lowest from 1 on that the type has free, in order.

    `taken`: the instances of bacnet.lock and of the tables.
    """
    used: dict[ObjectType, set[int]] = defaultdict(set)
    for kind, instance in taken:
        used[kind].add(instance)
    free = {kind: filterfalse(used[kind].__contains__, count(1)) for kind in ObjectType}
    return [
        LockedObject(point=name, object=kind, instance=next(free[kind]))
        for kind, name in dict.fromkeys(requests)
    ]
