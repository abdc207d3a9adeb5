"""The points that `gateway discover` drafts for assets of one type, from the type and received readings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, Flag, auto
from itertools import count
from typing import TYPE_CHECKING, Any

from gateway.mapping.convert import compile_conversion
from gateway.mapping.registers import HIGHEST_ADDRESS, HIGHEST_BIT
from gateway.mapping.topics import FORBIDDEN_IN_LEVELS
from gateway.mapping.units import is_known_unit, standard_spelling
from gateway.model import Conversion, Quality, ValueKind

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from gateway.model import Scalar
    from gateway.records import AssetProperty, AssetType, KnownAsset

EXACT_UP_TO = 1 << 24
"""Up to here a float32 shows every whole number."""
_STRIDE_STEP = 8
_MOST_WORDS = 5
_LONGEST_NAME = 60
_LONGEST_COMMENT = 120
_LONGEST_DESCRIPTION = 200
_LONGEST_UNIT = 40
_SWITCH_WORDS = frozenset({"true", "false"})
_as_number = compile_conversion(Conversion(kind=ValueKind.NUMBER))


class ReadingKind(Enum):
    """What the readings of a telemetry key are."""

    NUMBER = "a number"
    SWITCH = "true or false"
    TEXT = "text"
    UNKNOWN = "unknown"


# Infodeck's documentation shows `integer` and lists no other type; these are the usual words.
_DECLARED_KINDS = {
    **dict.fromkeys(("integer", "int", "long", "short", "number", "numeric"), ReadingKind.NUMBER),
    **dict.fromkeys(("float", "double", "decimal"), ReadingKind.NUMBER),
    **dict.fromkeys(("boolean", "bool"), ReadingKind.SWITCH),
    **dict.fromkeys(("string", "text", "enum"), ReadingKind.TEXT),
}


class Received(Flag):
    """Which forms of values a telemetry key has had."""

    NOTHING = 0
    ZERO_OR_ONE = auto()
    OTHER_NUMBER = auto()
    SWITCH = auto()
    SWITCH_WORD = auto()  # true or false as text
    TEXT = auto()


@dataclass(slots=True)
class KeySample:
    """What was received of one telemetry key; empty if only the key is known.

    `largest`: the greatest magnitude of its numbers; `words`: a few of its texts.
    """

    received: Received = Received.NOTHING
    largest: float = 0.0
    words: tuple[str, ...] = ()

    def add(self, value: Scalar) -> None:
        """Add one value, interpreted as a point would do it."""
        number, quality = _as_number(value)
        if isinstance(value, bool):
            self.received |= Received.SWITCH
        elif isinstance(value, str) and value.strip().lower() in _SWITCH_WORDS:
            self.received |= Received.SWITCH_WORD
        elif quality is Quality.GOOD and isinstance(number, int | float):
            self.received |= Received.ZERO_OR_ONE if number in {0, 1} else Received.OTHER_NUMBER
            self.largest = max(self.largest, abs(number))
        elif isinstance(value, str):
            self.received |= Received.TEXT
            self._add_words((value,) if value.strip() else ())

    def merge(self, other: KeySample) -> None:
        """Add what was received of the same key from another asset."""
        self.received |= other.received
        self.largest = max(self.largest, other.largest)
        self._add_words(other.words)

    def _add_words(self, words: tuple[str, ...]) -> None:
        if len(self.words) < _MOST_WORDS:
            self.words = tuple(dict.fromkeys((*self.words, *words)))[:_MOST_WORDS]


Samples = dict[str, KeySample]
"""What was received of one asset or type, by telemetry key."""


@dataclass(slots=True)
class Sightings:
    """The samples of all assets."""

    by_asset: dict[str, Samples] = field(default_factory=dict)

    def add(self, asset: str, key: str, value: Scalar = None) -> None:
        """Add one reading; without a value only its key."""
        self.by_asset.setdefault(asset, {}).setdefault(key, KeySample()).add(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything to draft from. `source`: its origin in words.

    `unlisted`: assets that report although Infodeck does not list them, each with a remark.
    """

    source: str
    assets: Mapping[str, KnownAsset]
    types: Mapping[str, AssetType]
    sightings: Sightings
    unlisted: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class AssetGroup:
    """Assets with the same points: those of one type, or of an unknown type with the same keys."""

    asset_type: str | None
    of_type: AssetType | None
    samples: Samples
    assets: list[KnownAsset] = field(default_factory=list)


def group_assets(assets: Iterable[KnownAsset], evidence: Evidence) -> list[AssetGroup]:
    """Return the assets by type, and those without one by the keys that they report.

    What was received of a type counts also from assets that are not to be drafted.
    """
    received = evidence.sightings.by_asset
    of_types: dict[str, Samples] = {}
    for asset in evidence.assets.values():
        if asset.asset_type is not None:
            _merge(of_types.setdefault(asset.asset_type, {}), received.get(asset.id, {}))
    groups: dict[tuple[str, ...], AssetGroup] = {}
    for asset in assets:
        if asset.asset_type is not None:
            of_type = evidence.types.get(asset.asset_type)
            group = AssetGroup(asset.asset_type, of_type, of_types[asset.asset_type])
            group = groups.setdefault((asset.asset_type,), group)
        else:
            own = received.get(asset.id, {})
            group = groups.setdefault(("", *sorted(own)), AssetGroup(None, None, {}))
            _merge(group.samples, own)
        group.assets.append(asset)
    return [groups[key] for key in sorted(groups)]


def _merge(samples: Samples, others: Samples) -> None:
    for key, sample in others.items():
        samples.setdefault(key, KeySample()).merge(sample)


@dataclass(slots=True)
class DraftPoint:
    """A point as in a point table; `remarks` are for the user who edits it."""

    keys: dict[str, Any]
    remarks: list[str]

    def without_register(self) -> DraftPoint:
        """Return the point for an asset that has no registers."""
        return DraftPoint({key: value for key, value in self.keys.items() if key != "modbus"}, self.remarks)


@dataclass(frozen=True, slots=True)
class _Key:
    """A telemetry key with its property of the asset type and its sample, either may be missing."""

    key: str
    listed: AssetProperty | None
    sample: KeySample | None

    @property
    def kind(self) -> ReadingKind:
        """The kind that accepts everything received; without values, the declared one.

        Text accepts anything. Numbers accept booleans, but not as text; switches accept both, and 0 and 1.
        """
        declared = self.declared_kind
        received = Received.NOTHING if self.sample is None else self.sample.received
        has_switch_words, has_amounts = Received.SWITCH_WORD in received, Received.OTHER_NUMBER in received
        if Received.TEXT in received or declared is ReadingKind.TEXT or (has_switch_words and has_amounts):
            return ReadingKind.TEXT
        if has_switch_words:
            return ReadingKind.SWITCH
        if has_amounts:
            return ReadingKind.NUMBER
        if declared is not ReadingKind.UNKNOWN:
            return declared
        if Received.ZERO_OR_ONE in received:
            return ReadingKind.NUMBER
        return ReadingKind.SWITCH if Received.SWITCH in received else ReadingKind.UNKNOWN

    @property
    def declared_kind(self) -> ReadingKind:
        declared = (self.listed and self.listed.type) or ""
        return _DECLARED_KINDS.get(declared.strip().lower(), ReadingKind.UNKNOWN)

    @property
    def unit(self) -> str:
        return comment_text((self.listed and self.listed.unit_of_measure) or "", longest=_LONGEST_UNIT)


def draft_points(group: AssetGroup) -> tuple[dict[str, DraftPoint], int, list[str]]:
    """Return a point for each key that the type lists or that was received, the stride, and remarks.

    Registers are relative to an asset's base. The stride is 0 if no point has one.
    """
    points: dict[str, DraftPoint] = {}
    numbers, switches = [], []
    remarks = []
    for key in _keys(group):
        if not key.key or key.key.startswith("$"):
            remarks.append(
                f"no point for the key {comment_text(key.key)!r}: `from` takes it for something else, so"
                " name its path, such as $.data.object.x"
            )
            continue
        point = DraftPoint(_point_keys(key), list(_remarks(key, group)))
        points[unique_name(_topic_level(key.key.upper()) or "POINT", points)] = point
        if key.kind is ReadingKind.NUMBER:
            numbers.append((point, key.sample.largest if key.sample else 0.0))
        elif key.kind is ReadingKind.SWITCH:
            switches.append(point)
    return points, _add_registers(numbers, switches), remarks


def _keys(group: AssetGroup) -> Iterator[_Key]:
    """Yield the keys of the type in its order, then those received besides.

    A key that is received in another case than the type lists is the same one; points read it as received.
    """
    listed = {one.key: one for one in (group.of_type.properties if group.of_type else ())}
    unlisted = {key: sample for key, sample in sorted(group.samples.items()) if key not in listed}
    by_folded: dict[str, list[str]] = {}
    for key in unlisted:
        by_folded.setdefault(key.casefold(), []).append(key)
    for key, one in listed.items():
        similar = by_folded.get(key.casefold(), [])
        if key not in group.samples and len(similar) == 1 and similar[0] in unlisted:
            yield _Key(similar[0], one, unlisted.pop(similar[0]))
        else:
            yield _Key(key, one, group.samples.get(key))
    for key, sample in unlisted.items():
        yield _Key(key, None, sample)


def _point_keys(key: _Key) -> dict[str, Any]:
    keys: dict[str, Any] = {"from": key.key}
    if key.unit and key.kind is ReadingKind.NUMBER:  # with a unit, a point accepts no text
        keys["unit"] = standard_spelling(key.unit)
    description = comment_text((key.listed and key.listed.name) or "", longest=_LONGEST_DESCRIPTION)
    if description and description != key.key:
        keys["description"] = description
    return keys


def _remarks(key: _Key, group: AssetGroup) -> Iterator[str]:
    """Yield what the user should check about a point."""
    if key.sample is None and group.samples:
        yield "in no telemetry yet"
    if key.listed is None and group.of_type is not None and group.of_type.properties:
        yield "seen in telemetry, but its type does not list it"
    if key.listed is not None and key.listed.key != key.key:
        yield f"its type calls it {comment_text(key.listed.key)}"
    kind, contradiction = key.kind, ""
    if key.listed and key.declared_kind not in {ReadingKind.UNKNOWN, kind}:
        contradiction = f"its type says {key.listed.type}, but {kind.value} was seen"
    if kind is ReadingKind.TEXT:
        examples = _examples(key.sample) if key.sample else ""
        yield f"{contradiction or 'text'}{examples}: no register, unless by a `map`"
    elif kind is ReadingKind.UNKNOWN:
        yield "no value seen and no type known: no register, no unit"
    elif contradiction:
        yield contradiction
    if kind is ReadingKind.NUMBER:
        yield from _unit_remarks(key.unit)


def _examples(sample: KeySample) -> str:
    """Return some of the texts, and whether numbers were received as well: then few texts may be wrong."""
    if Received.TEXT not in sample.received:
        return ""
    words = ", ".join(comment_text(word, longest=20) for word in sample.words)
    examples = f", such as {words}" if words else ", of blanks"
    has_numbers = bool(sample.received & (Received.ZERO_OR_ONE | Received.OTHER_NUMBER))
    return f"{examples}, besides numbers" if has_numbers else examples


def _unit_remarks(unit: str) -> Iterator[str]:
    if not unit:
        yield "no unit known: add one"
    elif standard_spelling(unit) != unit:
        yield f"unit as Infodeck says: {unit}"
    elif not is_known_unit(unit):
        yield "unit as Infodeck says; it cannot be converted"


def _add_registers(numbers: Iterable[tuple[DraftPoint, float]], switches: Iterable[DraftPoint]) -> int:
    """Add a register to each point that fits into one Modbus unit; return the stride.

    Numbers come first, so that wide values begin at even addresses. They are floats, because an integer
    would refuse values beyond its range.
    """
    end = 0
    for point, largest in numbers:
        name, words = ("float32", 2) if largest <= EXACT_UP_TO else ("float64", 4)
        if end + words - 1 <= HIGHEST_ADDRESS:
            point.keys["modbus"] = {"register": end, "type": name}
            end += words
    first_word = end
    for number, point in enumerate(switches):
        word, bit = divmod(number, HIGHEST_BIT + 1)
        if first_word + word <= HIGHEST_ADDRESS:
            point.keys["modbus"] = {"register": first_word + word, "bit": bit}
            end = first_word + word + 1
    return -(-end // _STRIDE_STEP) * _STRIDE_STEP


def template_name(asset_type: str, names: Container[str]) -> str:
    """Return the name of the template of an asset type."""
    return unique_name(comment_text(asset_type, longest=_LONGEST_NAME) or "template", names)


def site_name(text: str) -> str:
    """Return text as the name of a site."""
    return _topic_level(text) or "site"


def comment_text(text: str, *, longest: int = _LONGEST_COMMENT) -> str:
    """Return text as a comment may have it: printable, on one line, and not too long."""
    printable = "".join(mark if mark.isprintable() else " " for mark in text)
    line = re.sub(r"\s+", " ", printable).strip()
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _topic_level(text: str) -> str:
    marks = ("-" if mark in FORBIDDEN_IN_LEVELS or not mark.isprintable() else mark for mark in text.strip())
    level = re.sub(r"\s+", "-", "".join(marks))[:_LONGEST_NAME].strip()
    return f"-{level[1:]}" if level.startswith("$") else level


def unique_name(name: str, names: Container[str]) -> str:
    """Return the name, with a number if it exists already."""
    if name not in names:
        return name
    return next(other for number in count(2) if (other := f"{name}-{number}") not in names)
