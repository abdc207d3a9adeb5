"""Avoid GC pauses: freeze long-lived objects, free large ones in slices."""

from __future__ import annotations

import gc
import sys
from types import CellType, FunctionType, MethodType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGE = 1_000  # elements; a smaller collection is freed as a whole
_sample: list[object] = [object()]
_ONE_REFERENCE = sys.getrefcount(_sample[0])  # the count of an object that only a list holds

_Collection = dict[object, object] | list[object] | tuple[object, ...] | set[object] | frozenset[object]


def freeze_objects() -> None:
    """Exclude all present objects, such as points and sinks just built, from garbage collection.

    They are still freed once nothing refers to them, except for reference cycles. So: on rare occasions.
    """
    gc.freeze()


def freeze_new_objects() -> None:
    """Collect the garbage since the last freeze, then freeze the rest; this may be done often.

    It takes some milliseconds for some thousand readings. It does nothing while garbage collection is off:
    then the tables are being built, and are frozen at the end.
    """
    if gc.isenabled():
        gc.collect()
        gc.freeze()


def free_in_slices(roots: list[object]) -> None:
    """Empty `roots`, and free what only they refer to; call this in a thread.

    The interpreter frees connected objects in one go, which would stop the event loop for a quarter of a
    second for a building's points. So the contents of large collections are held while the collections
    themselves are freed, and then freed one by one.
    """
    collections = list(_large_collections(roots))
    contents = [_contents(collection) for collection in collections]
    roots.clear()
    while collections:
        at = _unreferenced(collections)
        del collections[at]
        elements = contents.pop(at)
        while elements:
            elements.pop()


def _contents(collection: _Collection) -> list[object]:
    contents = list(collection)
    if isinstance(collection, dict):
        contents.extend(collection.values())
    return contents


def _unreferenced(collections: list[_Collection]) -> int:
    """Return the position of a collection that nothing else refers to, else 0.

    Contents of one may refer to another, such as points to the file's lines that they come from.
    """
    positions = range(len(collections))
    return next((at for at in positions if sys.getrefcount(collections[at]) == _ONE_REFERENCE), 0)


def _large_collections(roots: list[object]) -> Iterator[_Collection]:
    """Yield the large collections that the gateway's own objects refer to, without looking into them."""
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, dict | list | tuple | set | frozenset):
            if len(thing) > _LARGE:
                yield thing
            else:
                waiting.extend(gc.get_referents(thing))
        elif isinstance(thing, FunctionType):
            waiting.extend(thing.__closure__ or ())  # not its module
        elif isinstance(thing, CellType | MethodType) or type(thing).__module__.startswith("gateway."):
            waiting.extend(gc.get_referents(thing))
