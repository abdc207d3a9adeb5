"""The points that `gateway discover` drafts for assets of one type, from the type and received readings."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from gateway.mapping.compile.automatic import as_level
from gateway.mapping.convert import compile_conversion
from gateway.mapping.units import standard_spelling
from gateway.model import Conversion, ObjectType, Quality, Register, RegisterTable, ValueKind

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from gateway.model import Scalar
    from gateway.records import AssetProperty, AssetSnapshot, AssetType, KnownAsset

_STRIDE_STEP = 8
_MOST_WORDS = 5
_LONGEST_COMMENT = 200
_DECLARED_KINDS = {  # Infodeck documents `integer` only; the others are usual
    **dict.fromkeys(("integer", "number", "float", "double"), ValueKind.NUMBER),
    "boolean": ValueKind.SWITCH,
    "string": ValueKind.ANY,
}
_REGISTERS = {  # what a point of each kind gets; others have none
    ValueKind.NUMBER: Register("", 1, RegisterTable.INPUT, 0, "float32", 2),
    ValueKind.SWITCH: Register("", 1, RegisterTable.INPUT, 0, "bit", 1, bit=0),
}
_CONVERSIONS = {
    kind: compile_conversion(Conversion(kind=kind), (register,)) for kind, register in _REGISTERS.items()
}


@dataclass(slots=True)
class KeySample:
    """What was received of one telemetry key: the kinds of points that accept all of it, and a few texts.

    `kinds`, the best first, is None before the first value.
    """

    kinds: list[ValueKind] | None = None
    words: list[str] = field(default_factory=list)

    def add(self, value: Scalar) -> None:
        """Add one value."""
        if value is None:
            return
        order = (ValueKind.SWITCH, ValueKind.NUMBER) if isinstance(value, bool) else tuple(_CONVERSIONS)
        kinds = [kind for kind in order if _CONVERSIONS[kind](value)[1] is Quality.GOOD]
        self.merge(KeySample(kinds, [] if kinds else [str(value)]))

    def merge(self, other: KeySample) -> None:
        """Add what was received of the same key from another asset."""
        if self.kinds is None or other.kinds is None:
            self.kinds = other.kinds if self.kinds is None else self.kinds
        else:
            self.kinds = [kind for kind in self.kinds if kind in other.kinds]
        self.words = list(dict.fromkeys((*self.words, *other.words)))[:_MOST_WORDS]


Samples = dict[str, KeySample]
"""What was received of one asset or type, by telemetry key."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything to draft from. `source`: its origin in words; `samples`: those of each asset."""

    source: str
    snapshot: AssetSnapshot
    samples: Mapping[str, Samples]


@dataclass(slots=True)
class AssetGroup:
    """Assets with the same points: those of one type, or of an unknown type with the same keys."""

    asset_type: str | None
    of_type: AssetType | None
    samples: Samples = field(default_factory=dict)
    assets: list[KnownAsset] = field(default_factory=list)


def add_value(samples: dict[str, Samples], asset: str, key: str, value: Scalar = None) -> None:
    """Add one reading of an asset; without a value only its key."""
    samples.setdefault(asset, {}).setdefault(key, KeySample()).add(value)


def group_assets(assets: Iterable[KnownAsset], evidence: Evidence) -> list[AssetGroup]:
    """Return the assets by type, and those without one by the keys that they report.

    What was received of a type counts also from assets that are not to be drafted.
    """
    groups: dict[tuple[str, ...], AssetGroup] = {}
    for asset in assets:
        group = groups.setdefault(
            _group_key(asset, evidence),
            AssetGroup(asset.asset_type, evidence.snapshot.types.get(asset.asset_type or "")),
        )
        group.assets.append(asset)
    for asset in evidence.snapshot.assets.values():
        if found := groups.get(_group_key(asset, evidence)):
            for key, sample in evidence.samples.get(asset.id, {}).items():
                found.samples.setdefault(key, KeySample()).merge(sample)
    return [groups[key] for key in sorted(groups)]


def _group_key(asset: KnownAsset, evidence: Evidence) -> tuple[str, ...]:
    return (asset.asset_type,) if asset.asset_type else ("", *sorted(evidence.samples.get(asset.id, {})))


@dataclass(slots=True)
class DraftPoint:
    """A point as in a point table; `remarks` are for the user who edits it."""

    keys: dict[str, Any]
    remarks: list[str]


def draft_points(group: AssetGroup) -> tuple[dict[str, DraftPoint], int]:
    """Return a point for each key that the type lists or that was received, and the stride.

    Registers follow each other from an asset's base on. The stride is 0 if no point has one.
    """
    points: dict[str, DraftPoint] = {}
    end = 0
    listed = {one.key: one for one in (group.of_type.properties if group.of_type else ())}
    for key in (*listed, *sorted(group.samples.keys() - listed)):
        if not key or key.startswith("$"):  # `from` would read something else
            continue
        sample = group.samples.get(key)
        kind = _kind(listed.get(key), sample)
        point = DraftPoint(_point_keys(key, listed.get(key), kind), [])
        if register := _REGISTERS.get(kind):
            form: dict[str, Any] = {"bit": 0} if register.type == "bit" else {"type": register.type}
            point.keys["modbus"] = {"register": end} | form
            end += register.words
        if sample is None and group.samples:
            point.remarks.append("never received")
        if listed and key not in listed:
            point.remarks.append("not listed by its asset type")
        if kind is ValueKind.NUMBER and "unit" not in point.keys:
            point.remarks.append("no unit known: add one")
        if kind is ValueKind.ANY:
            point.keys["bacnet"] = {"object": ObjectType.CHARACTERSTRING_VALUE.value}
            point.remarks.append(_text_remark(sample.words if sample else ()))
        points[unique_name(as_level(key.upper()) or "POINT", points)] = point
    return points, -(-end // _STRIDE_STEP) * _STRIDE_STEP


def _kind(listed: AssetProperty | None, sample: KeySample | None) -> ValueKind:
    """Return the declared kind if it accepts all values, otherwise one that does; ANY has no register."""
    declared = _DECLARED_KINDS.get(((listed and listed.type) or "").strip().lower())
    if declared is ValueKind.ANY or sample is None or sample.kinds is None:
        return declared or ValueKind.ANY
    if declared in sample.kinds:
        return declared
    return sample.kinds[0] if sample.kinds else ValueKind.ANY


def _point_keys(key: str, listed: AssetProperty | None, kind: ValueKind) -> dict[str, Any]:
    keys: dict[str, Any] = {"from": key}
    unit = comment_text((listed and listed.unit_of_measure) or "")
    if unit and kind is ValueKind.NUMBER:  # with a unit, a point accepts no text
        keys["unit"] = standard_spelling(unit)
    description = comment_text((listed and listed.name) or "")
    if description and description != key:
        keys["description"] = description
    return keys


def _text_remark(words: Iterable[str]) -> str:
    examples = ", ".join(filter(None, map(comment_text, words)))
    return f"text{examples and f', such as {examples}'}: no register, unless by a `map`"


def comment_text(text: str) -> str:
    """Return text as a comment may have it: printable, on one line, and not too long."""
    line = " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())
    return line if len(line) <= _LONGEST_COMMENT else f"{line[: _LONGEST_COMMENT - 1]}…"


def unique_name(name: str, names: Container[str]) -> str:
    """Return the name, with a number if it exists already."""
    if name not in names:
        return name
    return next(other for number in count(2) if (other := f"{name}-{number}") not in names)
