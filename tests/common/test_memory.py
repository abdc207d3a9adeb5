"""Large structures that are let go of: piece by piece, and only what nobody else holds."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from gateway.memory import free_in_slices
from gateway.records import UnmappedAsset

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = 20_000


class Piece:
    """Something that can be seen to be gone."""

    def __init__(self, *holds: object) -> None:
        self.holds = holds


def holder(*things: object) -> UnmappedAsset:
    """Return an object of the gateway that holds things."""
    return UnmappedAsset("a", 0, 0, 0, things)  # type: ignore[arg-type]  # any object with a field will do


def test_what_only_the_roots_led_to_is_freed() -> None:
    """Through objects, small collections, closures and large collections, as keys and as values."""
    keys, values, captured = ([Piece() for _ in range(MANY)] for _ in range(3))
    gone = [weakref.ref(each[-1]) for each in (keys, values, captured)]

    def make(inside: list[Piece]) -> Callable[[], int]:
        return lambda: len(inside)

    roots: list[object] = [holder([dict(zip(keys, values, strict=True))], make(captured))]
    del keys, values, captured
    free_in_slices(roots)
    assert roots == []
    assert [reference() for reference in gone] == [None, None, None]


def test_what_others_hold_stays_as_it_is() -> None:
    """A collection that is still in use keeps all its elements."""
    kept = {number: Piece() for number in range(MANY)}
    free_in_slices([holder(kept), holder(list(kept.values()))])
    assert len(kept) == MANY
    assert all(isinstance(piece, Piece) for piece in kept.values())


def test_what_leads_to_another_large_collection_goes_first() -> None:
    """Where elements of one collection hold another, its pieces go one by one too: the last one last."""
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
