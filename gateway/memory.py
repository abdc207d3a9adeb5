"""Large structures keep nobody waiting: what stays is not searched for garbage, what goes, goes in pieces."""

from __future__ import annotations

import gc
import sys
from types import CellType, FunctionType, MethodType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGE = 1_000  # elements; what is smaller is freed as a whole
_sample: list[object] = [object()]
_ONE_REFERENCE = sys.getrefcount(_sample[0])  # as it is counted for what only a list holds

_Collection = dict[object, object] | list[object] | tuple[object, ...] | set[object] | frozenset[object]


def freeze_objects() -> None:
    """Have all that there is now not searched for garbage any more, such as points and sinks just built.

    It is freed all the same once nothing leads to it; not so what is in a circle. So: on rare occasions.
    """
    gc.freeze()


def freeze_new_objects() -> None:
    """Do the same for what came since, and free the garbage among it first: this may be done often.

    It takes as long as there is news: a few milliseconds for some thousand readings. Where the search is put
    off, so is this: whoever did so has much to build, and settles it in the end.
    """
    if gc.isenabled():
        gc.collect()
        gc.freeze()


def free_in_slices(roots: list[object]) -> None:
    """Empty `roots`, and free what only they led to; for a thread. What others hold stays as it is.

    The interpreter frees in one go what hangs together, and does nothing else meanwhile: for a building's
    points a quarter of a second. So hold what the large collections contain until these are freed, and
    let go of it piece by piece then.
    """
    collections = list(_large_collections(roots))
    contents = [_contents(collection) for collection in collections]
    roots.clear()
    while collections:
        at = _nobody_elses(collections)
        del collections[at]
        pieces = contents.pop(at)
        while pieces:
            pieces.pop()


def _contents(collection: _Collection) -> list[object]:
    contents = list(collection)
    if isinstance(collection, dict):
        contents.extend(collection.values())
    return contents


def _nobody_elses(collections: list[_Collection]) -> int:
    """Return the position of one that nothing else leads to; the first where each is led to.

    One may be led to from what others contain, such as a file's lines from points that say where they stand.
    """
    positions = range(len(collections))
    return next((at for at in positions if sys.getrefcount(collections[at]) == _ONE_REFERENCE), 0)


def _large_collections(roots: list[object]) -> Iterator[_Collection]:
    """Yield the large collections that the gateway's own objects lead to, without looking into them."""
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
            waiting.extend(thing.__closure__ or ())  # its module is none of our business
        elif isinstance(thing, CellType | MethodType) or type(thing).__module__.startswith("gateway."):
            waiting.extend(gc.get_referents(thing))
