"""Points and templates drafted for the assets of one type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.mapping.units import is_known_unit, standard_spelling
from gateway.tools.discover.evidence import Sample
from gateway.tools.discover.kinds import Kind, contradiction, kind_of
from gateway.tools.discover.layout import lay_out
from gateway.tools.discover.naming import one_line, point_name
from gateway.tools.discover.proposal import ProposedPoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.records import AssetProperty
    from gateway.tools.discover.grouping import Group

_LONGEST_DESCRIPTION = 200
_LONGEST_UNIT = 40


@dataclass(frozen=True, slots=True)
class Drafted:
    """The points of a group, without registers, then what the registers would be."""

    points: tuple[ProposedPoint, ...]
    blocks: tuple[dict[str, Any] | None, ...]
    stride: int
    remarks: tuple[str, ...]

    def with_registers(self) -> tuple[ProposedPoint, ...]:
        """Return the points, each with its register."""
        return tuple(
            point
            if block is None
            else ProposedPoint(point.name, {**point.keys, "modbus": block}, point.remarks)
            for point, block in zip(self.points, self.blocks, strict=True)
        )


@dataclass(frozen=True, slots=True)
class _Key:
    """A telemetry key, what its type says of it, and what was seen of it; None: nothing."""

    listed: AssetProperty | None
    key: str
    sample: Sample | None


def draft_points(group: Group) -> Drafted:
    """Draft a point for each key that the type lists or that was seen."""
    is_seen, is_listed = bool(group.samples), group.of_type is not None and bool(group.of_type.properties)
    names: set[str] = set()
    points, wishes, remarks = [], [], []
    for one in _keys(group):
        if not one.key or one.key.startswith("$"):
            remarks.append(
                f"no point for the key {one_line(one.key)!r}: `from` takes it for something else, so name its"
                " path, such as $.data.object.x"
            )
            continue
        sample = one.sample or Sample()
        kind = kind_of(one.listed.type if one.listed else None, sample)
        name = point_name(one.key, taken=names)
        names.add(name)
        told = _remarks(one, kind, is_seen=is_seen, is_listed=is_listed)
        points.append(ProposedPoint(name, _point_keys(one, kind), tuple(told)))
        wishes.append((kind, sample.largest))
    layout = lay_out(wishes)
    return Drafted(tuple(points), tuple(layout.blocks), layout.stride, tuple(remarks))


def _keys(group: Group) -> Iterator[_Key]:
    """Yield what the type lists in its order, then what was seen besides; a key in other case is the same.

    Readings are found by the key as it was seen, so that one counts.
    """
    listed = {one.key: one for one in (group.of_type.properties if group.of_type else ())}
    unlisted = {key: sample for key, sample in sorted(group.samples.items()) if key not in listed}
    by_folded: dict[str, list[str]] = {}
    for key in unlisted:
        by_folded.setdefault(key.casefold(), []).append(key)
    for key, one in listed.items():
        sample = group.samples.get(key)
        alike = by_folded.get(key.casefold(), [])
        if sample is None and len(alike) == 1 and alike[0] in unlisted:
            yield _Key(one, alike[0], unlisted.pop(alike[0]))
        else:
            yield _Key(one, key, sample)
    for key, sample in unlisted.items():
        yield _Key(None, key, sample)


def _point_keys(one: _Key, kind: Kind) -> dict[str, Any]:
    keys: dict[str, Any] = {"from": one.key}
    unit = _unit(one.listed)
    if unit is not None and kind is Kind.NUMBER:  # beside a unit, text would not be taken
        keys["unit"] = standard_spelling(unit)
    name = one_line((one.listed and one.listed.name) or "", longest=_LONGEST_DESCRIPTION)
    if name and name != one.key:
        keys["description"] = name
    return keys


def _unit(listed: AssetProperty | None) -> str | None:
    written = one_line((listed and listed.unit_of_measure) or "", longest=_LONGEST_UNIT)
    return written or None


def _remarks(one: _Key, kind: Kind, *, is_seen: bool, is_listed: bool) -> Iterable[str]:
    """Yield what there is to check about a point."""
    if one.sample is None and is_seen:
        yield "in no telemetry yet"
    if one.listed is None and is_listed:
        yield "seen in telemetry, but its type does not list it"
    if one.listed is not None and one.listed.key != one.key:
        yield f"its type calls it {one_line(one.listed.key)}"
    yield from _kind_remarks(one, kind)
    if kind is Kind.NUMBER:
        yield from _unit_remarks(_unit(one.listed))


def _kind_remarks(one: _Key, kind: Kind) -> Iterable[str]:
    such = _such(one.sample) if kind is Kind.TEXT and one.sample else ""
    against = contradiction(one.listed.type if one.listed else None, kind)
    if kind is Kind.TEXT:
        yield f"{against or 'text'}{such}: no register, unless by a `map`"
    elif kind is Kind.UNKNOWN:
        yield "no value seen and no type known: no register, no unit"
    elif against:
        yield against


def _such(sample: Sample) -> str:
    """Say which words are among the texts, and whether numbers came as well: then few of them may be odd."""
    words = ", ".join(one_line(word, longest=20) for word in sample.words)
    such = f", such as {words}" if words else ", of blanks" if sample.has_words else ""
    return f"{such}, besides numbers" if such and sample.has_numbers else such


def _unit_remarks(unit: str | None) -> Iterable[str]:
    if unit is None:
        yield "no unit known: add one"
    elif standard_spelling(unit) != unit:
        yield f"unit as Infodeck says: {unit}"
    elif not is_known_unit(unit):
        yield "unit as Infodeck says; it cannot be converted"
