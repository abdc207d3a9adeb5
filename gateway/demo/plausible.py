"""Plausible readings for any point table: what sensors could say that gives good values. Pure.

A reading is made backwards from what its points do with it: inside `range` and what the registers hold,
through gain, offset and unit to the sensor's own scale; a word of a `map`; a switch for a bit.
"""

from __future__ import annotations

import math
import re
from random import Random
from typing import TYPE_CHECKING

from gateway.demo.demo_building import alternating, wave
from gateway.mapping.convert import compile_conversion
from gateway.mapping.registers import integer_limits
from gateway.mapping.units import standard_spelling
from gateway.model import Quality, ValueKind, source_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.demo.demo_building import Signal
    from gateway.mapping.plan import AssetPlan
    from gateway.model import Point, Scalar

_ANY = (0.0, 100.0)
_USUAL = {
    "degC": (19.0, 25.0),
    "degF": (66.0, 77.0),
    "K": (292.0, 298.0),
    "percent": (30.0, 65.0),
    "ppm": (420.0, 1100.0),
    "lx": (100.0, 800.0),
    "Pa": (100.0, 500.0),
    "hPa": (950.0, 1050.0),
    "kPa": (95.0, 105.0),
    "V": (226.0, 234.0),
    "Hz": (49.9, 50.1),
}
"""Where values of a unit of measure usually are in a building; others are between 0 and 100."""

_ENERGY = re.compile(r"[kMGT]?(?:Wh|VAh|varh|J)|[kM]?B[Tt][Uu]|therms?|\w*(?:watt_?hour|joule)s?")
_COUNTED_TO = (0.0, 1e6)
_COUNTED_SINCE_S = 1_767_225_600  # 2026-01-01, so that a meter does not fall back from run to run
_MOST_PER_HOUR = 10.0
_MARGIN = 0.05  # of a range is kept free at both ends
_SLOWEST_S, _QUICKEST_S = 3600.0, 900.0
_SIGNIFICANT = 4


def plausible_signals(plan: AssetPlan, *, seed: int) -> dict[str, Signal]:
    """Return a signal for each reading of an asset, by telemetry key or path; it takes Unix seconds."""
    readers: dict[str, list[Point]] = {}
    for point in plan.measured:
        readers.setdefault(source_keys(point.source)[0], []).append(point)
    return {source: _signal(points, seed=seed) for source, points in readers.items()}


def _signal(points: Sequence[Point], *, seed: int) -> Signal:
    random = Random(f"{seed}/{points[0].asset}/{points[0].source}")
    period_s, shift = random.uniform(_QUICKEST_S, _SLOWEST_S), random.random()
    if status := _status_word(points):
        return alternating(first=status, then=0, period_s=period_s, shift=shift)
    if words := _words(points):
        return lambda at_s, _: words[int((at_s / period_s + shift) % 1.0 * len(words))]
    types = {register.type for point in points for register in point.value_registers}
    if "bit" in types or any(point.conversion.kind is ValueKind.SWITCH for point in points):
        return alternating(first=True, then=False, period_s=period_s, shift=shift)
    bounds = [_reading_limits(point) for point in points]
    low, high = max(low for low, _ in bounds), min(high for _, high in bounds)
    if low >= high:  # no reading suits all
        low, high = bounds[0]
    # A sensor of such a span has enough decimals to move, and no more.
    decimals = max(0, _SIGNIFICANT - 1 - math.floor(math.log10(high - low))) if high > low else 0
    if any(_is_meter(point) for point in points):
        per_hour = random.uniform(0.2, 1.0) * min(_MOST_PER_HOUR, (high - low) / 10_000)
        return _meter(low, high, per_hour=per_hour, decimals=max(3, decimals))
    swing = (high - low) / 2
    mean, noise = low + swing, swing / 100
    curve = wave(mean=mean, swing=swing * 0.9, period_s=period_s, noise=noise, shift=shift, decimals=decimals)
    return lambda at_s, noise: min(max(float(curve(at_s, noise) or 0), low), high)


def _status_word(points: Sequence[Point]) -> int:
    """Return the number in which all bits that points read are set, 0 if none of them reads bits."""
    bits = [point.conversion.bits for point in points]
    ranges = [(one, one) if isinstance(one, int) else one for one in bits if one is not None]
    return sum(1 << bit for bit in {bit for first, last in ranges for bit in range(first, last + 1)})


def _words(points: Sequence[Point]) -> list[Scalar]:
    """Return the words of a map that give a good value for all points, or texts that fit a register."""
    mapped = [point for point in points if point.conversion.map]
    if not mapped:
        lengths = [2 * one.words for point in points for one in point.value_registers if one.type == "string"]
        return [word[: lengths[0]] for word in ("on", "off")] if lengths else []
    conversions = [compile_conversion(point.conversion) for point in mapped]
    switches = {"true": True, "false": False}  # as a device reports them
    words: list[Scalar] = [switches.get(word.lower(), word) for word in mapped[0].conversion.map or ()]
    good = [word for word in words if all(convert(word)[1] is Quality.GOOD for convert in conversions)]
    return good or words


def _meter(low: float, high: float, *, per_hour: float, decimals: int) -> Signal:
    """Count up evenly; at the end of what may be shown, begin again as meters do."""
    span = high - low
    return lambda at_s, _: round(low + (at_s - _COUNTED_SINCE_S) / 3600 * per_hour % span, decimals)


def _is_meter(point: Point) -> bool:
    return _ENERGY.fullmatch(point.unit_of_measure or "") is not None


def _reading_limits(point: Point) -> tuple[float, float]:
    unit = standard_spelling(point.unit_of_measure or "")
    usual = _COUNTED_TO if _is_meter(point) else _USUAL.get(unit, _ANY)
    low, high = point.conversion.range or (-math.inf, math.inf)
    for register in point.value_registers:
        if "int" in register.type:
            lowest, highest, _ = integer_limits(register.type)
            low, high = max(low, lowest / register.scale), min(high, highest / register.scale)
    if max(low, usual[0]) < min(high, usual[1]):
        low, high = max(low, usual[0]), min(high, usual[1])
    else:  # what is usual elsewhere is not here
        low = high - _ANY[1] if math.isinf(low) else low
        high = low + _ANY[1] if math.isinf(high) else high
    free = (high - low) * _MARGIN
    gain, offset = point.conversion.linear
    ends = [(value - offset) / (gain or 1) for value in (low + free, high - free)]
    return min(ends), max(ends)
