"""What there is to draft from: assets and types as Infodeck has them, and what was seen of readings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.mapping.convert import compile_conversion
from gateway.model import Conversion, Quality, ValueKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import Scalar
    from gateway.records import AssetType, KnownAsset

_MOST_WORDS = 5
_SWITCHED = frozenset({"true", "false"})
_as_number = compile_conversion(Conversion(kind=ValueKind.NUMBER))


@dataclass(slots=True)
class Sample:
    """What was seen of one telemetry key. Nothing at all where only the key is known.

    `has_amounts`: numbers other than 0 and 1; `largest` is the greatest magnitude of all its numbers.
    `has_spoken`: true or false as text. `has_words`: other texts; `words` are some of them, none of blanks.
    """

    has_numbers: bool = False
    has_amounts: bool = False
    has_switches: bool = False
    has_spoken: bool = False
    has_words: bool = False
    largest: float = 0.0
    words: tuple[str, ...] = ()

    def add(self, value: Scalar) -> None:
        """Take one value, as the conversions of points would."""
        if isinstance(value, bool):
            self.has_switches = True
            return
        if isinstance(value, str) and value.strip().lower() in _SWITCHED:
            self.has_spoken = True
            return
        number, quality = _as_number(value)
        if quality is Quality.GOOD and isinstance(number, int | float):
            self.has_numbers, self.largest = True, max(self.largest, abs(number))
            self.has_amounts |= number not in {0, 1}
        elif isinstance(value, str):
            self.has_words = True
            self._add_words((value,) if value.strip() else ())

    def merge(self, other: Sample) -> None:
        """Take what was seen of the same key elsewhere."""
        self.has_numbers |= other.has_numbers
        self.has_amounts |= other.has_amounts
        self.has_switches |= other.has_switches
        self.has_spoken |= other.has_spoken
        self.has_words |= other.has_words
        self.largest = max(self.largest, other.largest)
        self._add_words(other.words)

    def _add_words(self, words: tuple[str, ...]) -> None:
        if len(self.words) < _MOST_WORDS:
            self.words = tuple(dict.fromkeys((*self.words, *words)))[:_MOST_WORDS]


Samples = dict[str, Sample]
"""What was seen of one asset's readings, by telemetry key."""


@dataclass(slots=True)
class Sightings:
    """What was seen of readings, by asset."""

    by_asset: dict[str, Samples] = field(default_factory=dict)

    def add(self, asset: str, key: str, value: Scalar = None) -> None:
        """Take one reading; with no value its key alone."""
        self.by_asset.setdefault(asset, {}).setdefault(key, Sample()).add(value)

    def of(self, asset: str) -> Samples:
        """Return what was seen of an asset."""
        return self.by_asset.get(asset, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything to draft from. `source` says where it comes from, in words.

    `unlisted` are assets that report although Infodeck does not list them, each with what to say of it.
    """

    source: str
    assets: Mapping[str, KnownAsset]
    types: Mapping[str, AssetType]
    sightings: Sightings
    unlisted: Mapping[str, str] = field(default_factory=dict)
