"""Where things are written in the tables, for messages about what the compiler finds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.config.decode import MISSING
from gateway.config.problems import path_text

if TYPE_CHECKING:
    from gateway.config.decode import Document, Problem

Steps = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """One value in one file: a point table or registers.lock."""

    document: Document[Any]
    path: Steps

    def __str__(self) -> str:
        return str(self.document.location(self.path))

    def report(self, message: str, *steps: str | int) -> None:
        """Note a problem with what stands at `steps` below this place, and show a single value."""
        self.document.problems.append(self._problem(message, steps))

    def warn(self, message: str, *steps: str | int) -> None:
        """Note what is suspicious but can be used, otherwise like `report`."""
        self.document.warnings.append(self._problem(message, steps))

    def _problem(self, message: str, steps: Steps) -> Problem:
        path = (*self.path, *steps)
        value = self.document.written(path)
        return self.document.problem(path, message, MISSING if isinstance(value, dict | list) else value)

    @property
    def is_whole(self) -> bool:
        """Whether all that is written here is checked: nothing of it is left out for a problem of its own."""
        return self.document.remains.is_whole(self.path)

    def text(self, *steps: str | int) -> str:
        """Return `file:line:col: path` of what stands at `steps` below this place."""
        path = (*self.path, *steps)
        return f"{self.document.location(path)}: {path_text(path)}"

    def has(self, *steps: str | int) -> bool:
        """Say whether anything is written at `steps` below this place."""
        return self.document.written((*self.path, *steps)) is not MISSING

    def with_zeros(self, *steps: str | int) -> str | None:
        """Return the number at `steps` below this place as it is written, if that starts with 0."""
        return self.document.with_zeros((*self.path, *steps))


@dataclass(frozen=True, slots=True)
class Layers:
    """The places whose keys make up one point: what an asset overrides, if anything, then the point."""

    places: tuple[Place, ...]
    is_silent: bool = False

    @property
    def for_drafting(self) -> Layers:
        """Return what reports nothing where a key was left out: others may only seem wrong without it."""
        return self if all(place.is_whole for place in self.places) else replace(self, is_silent=True)

    @property
    def bottom(self) -> Place:
        """The place of the point itself."""
        return self.places[-1]

    def place_of(self, *steps: str | int) -> Place:
        """Return the layer that wrote the key at `steps`; the point itself where none did."""
        return next((place for place in self.places if place.has(*steps)), self.bottom)

    def report(self, message: str, *steps: str | int) -> None:
        """Note a problem with the key at `steps` where it is written."""
        if self.is_silent:
            return
        self.place_of(*steps).report(message, *steps)

    def warn(self, message: str, *steps: str | int) -> None:
        """Note what is suspicious about the key at `steps` where it is written."""
        if self.is_silent:
            return
        self.place_of(*steps).warn(message, *steps)
