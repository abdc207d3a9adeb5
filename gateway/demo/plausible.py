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
from gateway.model import Quality, ValueKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.demo.demo_building import Signal
    from gateway.mapping.plan import AssetPlan
    from gateway.model import Point, Register, Scalar

_USUAL = {
    "degC": (19.0, 25.0),
    "degF": (66.0, 77.0),
    "K": (292.0, 298.0),
    "percent": (30.0, 65.0),
    "ppm": (420.0, 1100.0),
    "ppb": (50.0, 400.0),
    "lx": (100.0, 800.0),
    "Pa": (100.0, 500.0),
    "hPa": (950.0, 1050.0),
    "mbar": (950.0, 1050.0),
    "kPa": (95.0, 105.0),
    "V": (226.0, 234.0),
    "A": (1.0, 12.0),
    "Hz": (49.9, 50.1),
    "W": (100.0, 2500.0),
    "kW": (1.0, 60.0),
}
"""Where values of a unit of measure usually are in a building; others are between 0 and 100."""

_ANY = (0.0, 100.0)
_ENERGY = re.compile(r"[kMGT]?(?:Wh|VAh|varh|J)|[kM]?B[Tt][Uu]|therms?|\w*(?:watt_?hour|joule)s?")
_COUNTED_TO = (0.0, 1e6)
_COUNTED_SINCE_S = 1_767_225_600  # 2026-01-01, so that a meter does not fall back from run to run
_MOST_PER_HOUR = 10.0
_WORDS = ("on", "off")
_MARGIN = 0.05  # of a range is kept free at both ends
_SLOWEST_S, _QUICKEST_S = 3600.0, 900.0
_SIGNIFICANT = 4


def plausible_signals(plan: AssetPlan, *, seed: int) -> dict[str, Signal]:
    """Return a signal for each reading of an asset, by telemetry key or path; it takes Unix seconds.

    The same seed gives the same values at the same time, but for a little noise.
    """
    readers: dict[str, list[Point]] = {}
    for point in plan.measured:
        readers.setdefault(point.source, []).append(point)
    return {source: _signal(points, seed=seed) for source, points in readers.items()}


def _signal(points: Sequence[Point], *, seed: int) -> Signal:
    """Return a signal that suits all points that read one source, as far as one can."""
    first = points[0]
    random = Random(f"{seed}/{first.asset}/{first.source}")
    period_s, shift = random.uniform(_QUICKEST_S, _SLOWEST_S), random.random()
    words = _words(points)
    if words:
        return _turns(words, period_s=period_s, shift=shift)
    if any(_is_switch(point) for point in points):
        return alternating(first=True, then=False, period_s=period_s, shift=shift)
    low, high = _limits(points)
    if any(_ENERGY.fullmatch(point.unit_of_measure or "") for point in points):
        return _meter(low, high, pace=random.uniform(0.2, 1.0))
    swing, decimals = (high - low) / 2, _decimals(high - low)
    curve = wave(
        mean=(low + high) / 2,
        swing=swing * 0.9,
        period_s=period_s,
        noise=swing / 100,
        shift=shift,
        decimals=decimals,
    )
    return lambda at_s, noise: min(max(float(curve(at_s, noise) or 0), low), high)


def _words(points: Sequence[Point]) -> tuple[Scalar, ...]:
    """Return what may be said where words are expected: those that give a good value for all points."""
    mapped = [point for point in points if point.conversion.map]
    if mapped:
        conversions = [compile_conversion(point.conversion) for point in mapped]
        said = [_as_sent(word) for word in mapped[0].conversion.map or ()]
        good = [word for word in said if all(convert(word)[1] is Quality.GOOD for convert in conversions)]
        return tuple(good or said)
    texts = [register for register in _registers(points) if register.type == "string"]
    return tuple(word[: 2 * texts[0].words] for word in _WORDS) if texts else ()


def _as_sent(word: str) -> Scalar:
    """Return a map's key as a device says it: booleans as such, all else as text."""
    return {"true": True, "false": False}.get(word.lower(), word)


def _is_switch(point: Point) -> bool:
    return point.conversion.kind is ValueKind.SWITCH or any(
        register.type == "bit" for register in point.registers
    )


def _turns(words: tuple[Scalar, ...], *, period_s: float, shift: float) -> Signal:
    """Say each word for the same time, one after the other."""
    return lambda at_s, _: words[int((at_s / period_s + shift) % 1.0 * len(words))]


def _meter(low: float, high: float, *, pace: float) -> Signal:
    """Count up evenly; at the end of what may be shown, begin again as meters do."""
    span, decimals = high - low, max(3, _decimals(high - low))
    per_hour = pace * min(_MOST_PER_HOUR, span / 10_000)
    return lambda at_s, _: round(low + (at_s - _COUNTED_SINCE_S) / 3600 * per_hour % span, decimals)


def _limits(points: Sequence[Point]) -> tuple[float, float]:
    """Return the lowest and highest reading that suits all points; where none does, the first one's."""
    bounds = [_reading_limits(point) for point in points]
    low, high = max(low for low, _ in bounds), min(high for _, high in bounds)
    return (low, high) if low < high else bounds[0]


def _reading_limits(point: Point) -> tuple[float, float]:
    """Return the lowest and highest usual reading of a point, on the sensor's scale."""
    unit = point.unit_of_measure or ""
    usual = _COUNTED_TO if _ENERGY.fullmatch(unit) else _USUAL.get(standard_spelling(unit), _ANY)
    allowed = _shown_limits(point)
    low, high = max(usual[0], allowed[0]), min(usual[1], allowed[1])
    if low >= high:  # what is usual elsewhere is not here
        low, high = _bounded(*allowed)
    free = (high - low) * _MARGIN
    gain, offset = point.conversion.linear
    ends = [(value - offset) / (gain or 1) for value in (low + free, high - free)]
    return min(ends), max(ends)


def _bounded(low: float, high: float) -> tuple[float, float]:
    """Return bounds of which at least one is finite with both of them finite."""
    if math.isinf(low):
        return high - _ANY[1], high
    return low, low + _ANY[1] if math.isinf(high) else high


def _shown_limits(point: Point) -> tuple[float, float]:
    """Return the lowest and highest value that a point may have and that each of its registers can show."""
    low, high = point.conversion.range or (-math.inf, math.inf)
    for register in point.registers:
        if "int" in register.type:
            lowest, highest, _ = integer_limits(register.type)
            low, high = max(low, lowest / register.scale), min(high, highest / register.scale)
    return low, high


def _registers(points: Sequence[Point]) -> Iterator[Register]:
    for point in points:
        yield from point.registers


def _decimals(span: float) -> int:
    """Return how many decimals a sensor of such a span has: enough to move, no more."""
    return max(0, _SIGNIFICANT - 1 - math.floor(math.log10(span))) if span > 0 else 0
