"""How computed points are computed: aggregates, rates, runtimes and expressions. Each has the state it needs.

A computation reads what its members show at present. Nothing is computed from a value that is not there.
"""

from __future__ import annotations

from math import fsum, isqrt
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from gateway.mapping.convert import without_noise
from gateway.model import Quality

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.mapping.plan import ComputedPoint
    from gateway.model import Point, Scalar, Update
    from gateway.state.point_state import PointState

_CONTRIBUTING = frozenset({Quality.GOOD, Quality.FORCED})
_READ = frozenset({Quality.GOOD, Quality.BAD})
_SMALLEST_BLOCK = 32


class Result(NamedTuple):
    """What is computed. `quality`: GOOD, BAD, or STALE if too few members have a value.

    `oldest`: what the oldest contributing member shows; None if all of them are forced. If the quality is not
    GOOD, it only dates the result.
    """

    quality: Quality
    value: Scalar = None
    oldest: Update | None = None


class Memory(NamedTuple):
    """What a rate or a runtime keeps over restarts.

    `newest` is the counter's newest reading, or whether the point was on, `time_ms` its time. `meaning`: what
    the reading means, by the point table of then.
    """

    newest: Scalar
    result: Scalar
    time_ms: int
    meaning: str | None


class Computing(Protocol):
    """One computed point."""

    def follow(self, change: Update, place: int) -> None:
        """Follow a change of the member at a place; the state has it already."""

    def compute(self, now_ms: int) -> Result | None:
        """Return the present result, None if there is nothing to compute it from.

        Raise ArithmeticError for a result that no float can hold.
        """


class _Summary(NamedTuple):
    """A part of an aggregate. `seen`: what any of its members shows."""

    used: int
    value: Any
    oldest: Update | None
    seen: Update | None


class Nothing:
    """A point that has no value, because it is computed from points that no table has yet."""

    def follow(self, change: Update, place: int) -> None:
        """Do nothing: there is no member."""

    def compute(self, now_ms: int) -> Result | None:  # noqa: ARG002 - it never has a value
        """Return None."""
        return None


class Aggregate:
    """`mean`, `min`, `max`, `sum`, `count`, `any`, `all` of the members that are good or forced.

    Members are summarised in blocks, so that a change of one of thousands costs little.
    """

    def __init__(self, each: ComputedPoint, shown: Mapping[Point, Update]) -> None:
        self._kind = each.kind
        self._fold = _FOLDS[each.kind]
        self._needed = each.needed
        self._usable = (float, int, str) if each.kind == "count" else (float, int)
        self._shown = shown
        self._size = size = max(_SMALLEST_BLOCK, isqrt(len(each.members)))
        self._blocks = [each.members[at : at + size] for at in range(0, len(each.members), size)]
        self._summaries = [_Summary(0, None, None, None)] * len(self._blocks)
        self._outdated = set(range(len(self._blocks)))

    def follow(self, change: Update, place: int) -> None:  # noqa: ARG002 - what is shown counts
        """Have the member's block summarised again."""
        self._outdated.add(place // self._size)

    def compute(self, now_ms: int) -> Result | None:  # noqa: ARG002 - members have aged already
        """Combine the summaries of all blocks."""
        for block in self._outdated:
            self._summaries[block] = self._summarise(self._blocks[block])
        self._outdated.clear()
        parts = [part for part in self._summaries if part.used]
        count = sum(part.used for part in parts)
        if count < self._needed:
            seen = next((part.seen for part in self._summaries if part.seen is not None), None)
            return None if seen is None else Result(Quality.STALE, oldest=seen)
        value = count if self._kind == "count" else self._fold([part.value for part in parts])
        if self._kind == "mean":
            value /= count
        oldest = _oldest([part.oldest for part in parts if part.oldest is not None])
        return Result(Quality.GOOD, without_noise(value), oldest)

    def _summarise(self, members: Sequence[Point]) -> _Summary:
        shown = [update for member in members if (update := self._shown.get(member)) is not None]
        used = [
            update
            for update in shown
            if update.quality in _CONTRIBUTING and isinstance(update.value, self._usable)
        ]
        value = self._fold([update.value for update in used]) if used else None
        oldest = _oldest([update for update in used if update.quality is Quality.GOOD])
        return _Summary(len(used), value, oldest, shown[0] if shown else None)


class Formula:
    """`expr`: an expression with the members' values."""

    def __init__(self, each: ComputedPoint, shown: Mapping[Point, Update]) -> None:
        assert each.expression is not None  # noqa: S101 - a fault of the compiler
        self._evaluate = each.expression.evaluate
        self._members = each.members
        self._shown = shown

    def follow(self, change: Update, place: int) -> None:
        """Do nothing: all members are read when it is computed."""

    def compute(self, now_ms: int) -> Result | None:  # noqa: ARG002 - members have aged already
        """Evaluate the expression. It is bad if a member is bad or missing, else stale if one is stale."""
        shown = [self._shown.get(member) for member in self._members]
        seen = [update for update in shown if update is not None]
        if not seen:
            return None
        good = [update for update in seen if update.quality is Quality.GOOD]
        qualities = {update.quality for update in seen}
        if len(seen) < len(shown) or Quality.BAD in qualities:
            return Result(Quality.BAD, oldest=_oldest(seen))
        if not qualities <= _CONTRIBUTING:
            return Result(Quality.STALE, oldest=_oldest(seen))
        value = self._evaluate(cast("list[float]", [update.value for update in seen]))
        quality = Quality.BAD if value is None else Quality.GOOD
        return Result(quality, value, _oldest(good))


class Rate:
    """`rate`: the difference of the two newest good readings of a counter, over the time between them."""

    def __init__(self, each: ComputedPoint, known: PointState) -> None:
        (self._counter,) = each.members
        self._per_ms, self._rollover = each.per_ms, each.rollover
        self._known = known
        self._meaning = f"{self._counter.unit_of_measure} {self._counter.conversion.linear}"
        self._value: float = 0
        self._time_ms: int | None = None  # of the newest reading
        self._rate: float | None = None
        self._had_rate = False

    def follow(self, change: Update, place: int) -> None:  # noqa: ARG002 - it has one member
        """Compute the rate of a newer reading. An older one changes nothing."""
        reading = change if change.quality in _READ else self._known.readings.get(change.point)
        if (
            reading is None
            or reading.quality is not Quality.GOOD
            or not isinstance(reading.value, int | float)
        ):
            return
        if self._time_ms is not None:
            if reading.time_ms < self._time_ms:
                return
            if reading.time_ms > self._time_ms:  # of equal times, the last one counts from now on
                self._rate = self._rate_until(reading.value, reading.time_ms - self._time_ms)
                self._had_rate = self._had_rate or self._rate is not None
        self._value, self._time_ms = reading.value, reading.time_ms

    def _rate_until(self, value: float, elapsed_ms: int) -> float | None:
        """Return the rate, None if the counter was reset: then the next reading gives one."""
        difference = value - self._value
        if difference < 0 and self._rollover is not None:
            difference += self._rollover
        return None if difference < 0 else without_noise(difference * self._per_ms / elapsed_ms)

    def compute(self, now_ms: int) -> Result | None:
        """Return the rate; stale with its counter, and after a reset."""
        reading = self._known.readings.get(self._counter)
        if reading is None or not self._had_rate:
            return None
        if self._rate is None or not _is_usable(reading, self._known, now_ms):
            return Result(Quality.STALE, oldest=reading)
        return Result(Quality.GOOD, self._rate, reading)

    def memory(self) -> Memory | None:
        """Return what a restart needs, None if there is nothing yet."""
        return (
            None if self._time_ms is None else Memory(self._value, self._rate, self._time_ms, self._meaning)
        )

    def remember(self, memory: Memory) -> None:
        """Go on where an earlier run ended, if the counter still means the same."""
        is_older = self._time_ms is not None and memory.time_ms < self._time_ms
        if is_older or memory.meaning != self._meaning or not isinstance(memory.newest, int | float):
            return
        self._value, self._time_ms = memory.newest, memory.time_ms
        self._rate = memory.result if isinstance(memory.result, int | float) else None
        self._had_rate = self._rate is not None


class Runtime:
    """`runtime`: seconds in which a point was on, from reading to reading, while each of them was fresh."""

    def __init__(self, each: ComputedPoint, known: PointState) -> None:
        (self._switch,) = each.members
        self._known = known
        self._is_on = False
        self._time_ms: int | None = None  # counted up to here
        self._total_s = 0.0

    def follow(self, change: Update, place: int) -> None:  # noqa: ARG002 - it has one member
        """Count up to a newer reading. An older one changes nothing."""
        reading = change if change.quality in _READ else self._known.readings.get(change.point)
        if reading is None or (self._time_ms is not None and reading.time_ms < self._time_ms):
            return
        if self._is_on and self._time_ms is not None:
            elapsed_ms, limit_ms = reading.time_ms - self._time_ms, self._switch.stale_after_ms
            self._total_s += (elapsed_ms if limit_ms is None else min(elapsed_ms, limit_ms)) / 1000
        is_number = reading.quality is Quality.GOOD and isinstance(reading.value, int | float)
        self._is_on = is_number and reading.value != 0
        self._time_ms = reading.time_ms

    def compute(self, now_ms: int) -> Result | None:
        """Return the seconds up to the newest reading; stale with the point."""
        reading = self._known.readings.get(self._switch)
        if reading is None or self._time_ms is None:
            return None
        quality = Quality.GOOD if _is_usable(reading, self._known, now_ms) else Quality.STALE
        return Result(quality, without_noise(self._total_s), reading)

    def memory(self) -> Memory | None:
        """Return what a restart needs, None if there is nothing yet."""
        return None if self._time_ms is None else Memory(self._is_on, self._total_s, self._time_ms, None)

    def remember(self, memory: Memory) -> None:
        """Go on where an earlier run ended."""
        is_older = self._time_ms is not None and memory.time_ms < self._time_ms
        if not is_older and isinstance(memory.result, int | float):
            self._is_on, self._total_s, self._time_ms = bool(memory.newest), memory.result, memory.time_ms


def _is_usable(reading: Update, known: PointState, now_ms: int) -> bool:
    return known.is_current(reading, now_ms) and isinstance(reading.value, int | float)


def _sum(values: Sequence[float]) -> float:
    total = sum(values)
    return total if isinstance(total, int) else fsum(values)


def _oldest(updates: Sequence[Update]) -> Update | None:
    return min(updates, key=_TIME_MS, default=None)


_TIME_MS = attrgetter("time_ms")
_FOLDS: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    "mean": _sum,
    "min": min,
    "max": max,
    "sum": _sum,
    "count": len,
    "any": any,
    "all": all,
}
