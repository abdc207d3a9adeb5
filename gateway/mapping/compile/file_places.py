"""Places in the tables and in registers.lock, for the compiler's problems and warnings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.config.decode import MISSING
from gateway.config.problems import path_text

if TYPE_CHECKING:
    from gateway.config.decode import Document, Problem

Steps = tuple[str | int, ...]
"""A path from one value of a file to another one below it."""


@dataclass(frozen=True, slots=True)
class Place:
    """One value in one file."""

    document: Document[Any]
    path: Steps

    def __str__(self) -> str:
        return str(self.document.location(self.path))

    def report(self, message: str, *steps: str | int) -> None:
        """Add a problem with the value at `steps` below this place. It shows a single value."""
        self.document.problems.append(self._problem(message, steps))

    def warn(self, message: str, *steps: str | int) -> None:
        """Add a warning, which does not keep the tables from being used; otherwise like `report`."""
        self.document.warnings.append(self._problem(message, steps))

    def _problem(self, message: str, steps: Steps) -> Problem:
        path = (*self.path, *steps)
        value = self.document.written(path)
        return self.document.problem(path, message, MISSING if isinstance(value, dict | list) else value)

    @property
    def is_whole(self) -> bool:
        """Whether no part of this value was left out because of a problem."""
        return self.document.remains.is_whole(self.path)

    def text(self, *steps: str | int) -> str:
        """Return `file:line:col: path` of the value at `steps` below this place."""
        path = (*self.path, *steps)
        return f"{self.document.location(path)}: {path_text(path)}"

    def has(self, *steps: str | int) -> bool:
        """Return whether anything is written at `steps` below this place."""
        return self.document.written((*self.path, *steps)) is not MISSING

    def with_zeros(self, *steps: str | int) -> str | None:
        """Return the number at `steps` below this place as it is written, if it starts with 0."""
        return self.document.with_zeros((*self.path, *steps))


@dataclass(frozen=True, slots=True)
class PointPlaces:
    """The places that make up one point: an asset's override, if any, then the point itself."""

    places: tuple[Place, ...]
    is_silent: bool = False

    @property
    def silent_if_incomplete(self) -> PointPlaces:
        """These places, without reports if a key was left out: other keys may look wrong without it."""
        return self if all(place.is_whole for place in self.places) else replace(self, is_silent=True)

    @property
    def bottom(self) -> Place:
        """The place of the point itself."""
        return self.places[-1]

    def place_of(self, *steps: str | int) -> Place:
        """Return the first place that has the key at `steps`, or the point itself if none has."""
        return next((place for place in self.places if place.has(*steps)), self.bottom)

    def report(self, message: str, *steps: str | int) -> None:
        """Add a problem with the key at `steps` where it is written."""
        if not self.is_silent:
            self.place_of(*steps).report(message, *steps)

    def report_first(self, message: str, steps: Steps, *keys: str) -> None:
        """Add a problem at the first of these keys below `steps` that is written, otherwise at `steps`."""
        for key in keys:
            if self.place_of(*steps, key).has(*steps, key):
                self.report(message, *steps, key)
                return
        self.report(message, *steps)

    def warn(self, message: str, *steps: str | int) -> None:
        """Add a warning about the key at `steps` where it is written."""
        if not self.is_silent:
            self.place_of(*steps).warn(message, *steps)
