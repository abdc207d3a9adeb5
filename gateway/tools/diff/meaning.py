"""Whether a point still means the same: everything about it but its registers and topics."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from gateway.mapping.notation import calculation_text
from gateway.text import duration_text
from gateway.tools.diff.verdicts import Change, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.tools.diff.inventory import ListedPoint

_KINDS = {
    "asset": Kind.ASSET,
    "from": Kind.SOURCE,
    "source_unit": Kind.CALCULATION,
    "take": Kind.TAKEN_AS,
    "description": Kind.DESCRIPTION,
    "range": Kind.RANGE,
    "clamp": Kind.RANGE,
    "decimals": Kind.DECIMALS,
    "stale_after": Kind.STALE,
    "on_stale": Kind.STALE,
    "tags": Kind.TAGS,
    "refill": Kind.REFILL,
}
_CALCULATION = ("gain", "offset")
# A sensor is corrected by a little; anything beyond is another number.
_CORRECTION_RATIO = 0.1
_CORRECTION_OFFSET = 5.0  # where no range says how far values reach
_TAKEN_AS = {"any": "as they come", "number": "as numbers", "switch": "as on and off"}


def compare_facts(old: ListedPoint, new: ListedPoint) -> Iterator[Change]:
    """Yield what changed of what both sides tell about one point; `new` may have another name."""
    for key in old.facts:
        before, after = old.facts[key], new.facts.get(key)
        if key not in new.facts or before == after or key in _CALCULATION:
            continue
        kind = _kind(key, before, after)
        if kind is not None:
            yield Change(
                kind=kind,
                subject=new.name,
                old=fact_text(key, before),
                new=fact_text(key, after),
                what=None if key in {"asset", "description", "take"} else key,
            )
    yield from _compare_calculation(old, new)


def _kind(key: str, before: Any, after: Any) -> Kind | None:
    """Say what a difference in one fact means; None where it means nothing."""
    if key == "unit_of_measure":
        return Kind.UNIT_OF_MEASURE if before and after else Kind.UNIT_TOLD
    if key == "map":
        return _map_kind(before, after)
    if key == "every_ms":
        return Kind.HEARTBEAT if after > before else Kind.HEARTBEAT_FASTER
    if key.startswith("cov"):
        return Kind.COV
    return _KINDS.get(key, Kind.OTHER)


def _map_kind(before: dict[str, Any] | None, after: dict[str, Any] | None) -> Kind:
    if before is None or after is None:
        return Kind.MAP
    missing = object()
    return Kind.MAP_EXTENDED if all(after.get(key, missing) == before[key] for key in before) else Kind.MAP


def _compare_calculation(old: ListedPoint, new: ListedPoint) -> Iterator[Change]:
    told = old.facts.keys() & new.facts.keys()
    before, after = (
        (side.facts["gain"] if "gain" in told else 1.0, side.facts["offset"] if "offset" in told else 0.0)
        for side in (old, new)
    )
    if all(math.isclose(*pair, rel_tol=1e-9, abs_tol=1e-12) for pair in zip(before, after, strict=True)):
        return
    yield Change(
        kind=Kind.CORRECTED if _is_correction(before, after, new.facts.get("range")) else Kind.CALCULATION,
        subject=new.name,
        old=calculation_text(*before, of="reading"),
        new=calculation_text(*after, of="reading"),
    )


def _is_correction(before: tuple[float, float], after: tuple[float, float], limits: Any) -> bool:
    ratio, shift = after[0] / before[0], abs(after[1] - before[1])
    span = limits[1] - limits[0] if isinstance(limits, tuple) else _CORRECTION_OFFSET / _CORRECTION_RATIO
    return abs(ratio - 1) <= _CORRECTION_RATIO and shift <= _CORRECTION_RATIO * span


def fact_text(key: str, value: Any) -> str:
    """Return a fact as the tables would have it, on one line."""
    match key, value:
        case _, None | "":
            text = "never" if key == "stale_after" else "none"
        case "take", str():
            text = _TAKEN_AS.get(value, value)
        case "stale_after" | "every_ms", int():
            text = duration_text(value)
        case "cov", (delta, every_ms):
            text = f"{delta:g}, at least every {duration_text(every_ms)}"
        case "range", (low, high):
            text = f"{low:.12g} to {high:.12g}"
        case _:
            text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | bool) else str(value)
    return text
