"""Large structures are freed in slices, and only what nothing else refers to."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from gateway.memory import free_in_slices
from gateway.records import UnmappedAsset

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = 20_000


class Piece:
    """Something whose end can be observed."""

    def __init__(self, *holds: object) -> None:
        self.holds = holds


def holder(*things: object) -> UnmappedAsset:
    """Return an object of the gateway that refers to these things."""
    return UnmappedAsset("a", 0, 0, 0, things)  # type: ignore[arg-type]  # any object with a field will do


def test_objects_that_only_the_roots_refer_to_are_freed() -> None:
    """Through objects, collections of any size, and closures, as keys and as values."""
    keys, values, captured = ([Piece() for _ in range(MANY)] for _ in range(3))
    gone = [weakref.ref(each[-1]) for each in (keys, values, captured)]

    def make(inside: list[Piece]) -> Callable[[], int]:
        return lambda: len(inside)

    roots: list[object] = [holder([dict(zip(keys, values, strict=True))], make(captured))]
    del keys, values, captured
    free_in_slices(roots)
    assert roots == []
    assert [reference() for reference in gone] == [None, None, None]


def test_collections_in_use_keep_their_elements() -> None:
    """A collection that is referred to from elsewhere is unchanged."""
    kept = {number: Piece() for number in range(MANY)}
    free_in_slices([holder(kept), holder(list(kept.values()))])
    assert len(kept) == MANY
    assert all(isinstance(piece, Piece) for piece in kept.values())


def test_a_collection_within_another_is_freed_in_slices() -> None:
    """Its elements are freed one by one, too, and it is the last."""
    order: list[int] = []

    class Line(Piece):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def __del__(self) -> None:
            order.append(self.number if document_is_gone() else -1)

    def document_is_gone() -> bool:
        return document_reference() is None

    document = Piece([Line(number) for number in range(MANY)])
    document_reference = weakref.ref(document)
    roots: list[object] = [holder(*document.holds), holder([holder(document) for _ in range(MANY)])]
    del document
    free_in_slices(roots)
    assert order == list(reversed(range(MANY)))
