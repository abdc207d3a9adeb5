"""How long is waited before something is worth an alarm: what the settings say, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS
_LONGEST_QUIET_MS = 3 * _DAY_MS  # a weekend, and some of Friday and Monday
_SHORTEST_SILENCE_MS = 5 * _MINUTE_MS
_PATIENCE_MS = 2 * _MINUTE_MS
_TICK_MS = 5_000
_JUMP_MS = 2 * _MINUTE_MS
_SHORTEST_TICK_MS = 100
_TICKS = 4  # within the shortest of what is waited for


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """All in milliseconds.

    `delivery_ms` is what a delivery may take, `skew_ms` how far clocks may be off, `silence_ms` the longest
    silence; `seen_for_ms` is how long an asset must be known for a shorter one, which is
    `shortest_silence_ms` at least. The API is given `patience_ms` to explain silence, and cannot excuse more
    than `longest_quiet_ms`; less where assets are known for `week_ms`. Where it fails for `unreachable_ms`,
    an alarm is raised; after `stuck_ms` where nothing says that it does. `look_again_ms` lies between two
    looks into the delivery log. Looks are `tick_ms` apart; where one is off by `jump_ms`, the clock was set,
    or the machine slept.
    """

    delivery_ms: int = _MINUTE_MS
    skew_ms: int = 5 * _MINUTE_MS
    silence_ms: int = _HOUR_MS
    shortest_silence_ms: int = _SHORTEST_SILENCE_MS
    patience_ms: int = _PATIENCE_MS
    longest_quiet_ms: int = _LONGEST_QUIET_MS
    seen_for_ms: int = _DAY_MS
    week_ms: int = 7 * _DAY_MS
    unreachable_ms: int = _HOUR_MS
    stuck_ms: int = _DAY_MS
    look_again_ms: int = 5 * _MINUTE_MS
    tick_ms: int = _TICK_MS
    jump_ms: int = _JUMP_MS

    @classmethod
    def of(cls, *, delivery_s: float, skew_s: float, silence_s: float, reconcile_every_s: float) -> Self:
        """Return what follows from the settings."""
        delivery_ms, silence_ms = _ms(delivery_s), _ms(silence_s)
        unreachable_ms = max(_HOUR_MS, 4 * _ms(reconcile_every_s))
        return cls(
            delivery_ms=delivery_ms,
            skew_ms=_ms(skew_s),
            silence_ms=silence_ms,
            shortest_silence_ms=min(_SHORTEST_SILENCE_MS, silence_ms),
            patience_ms=min(_PATIENCE_MS, silence_ms),
            longest_quiet_ms=max(_LONGEST_QUIET_MS, silence_ms),
            unreachable_ms=unreachable_ms,
            stuck_ms=max(_DAY_MS, unreachable_ms),
            tick_ms=max(_SHORTEST_TICK_MS, min(_TICK_MS, delivery_ms // _TICKS, silence_ms // _TICKS)),
        )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
