"""The time, for those at the edge who hand it inwards: nothing in the middle reads a clock.

The wall clock dates events and may be set. Ages and progress are measured by what passes.
"""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return Unix milliseconds."""
    return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """Return Unix milliseconds as of this process's start, and what has passed since.

    No setting of the wall clock moves it. The time for which the machine sleeps has passed, too.
    """
    return (_passed_ns() + _BEGAN_NS) // 1_000_000


def _passed_ns() -> int:
    return time.clock_gettime_ns(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BEGAN_NS = time.time_ns() - _passed_ns()
