"""The two clocks. Only the edge of the house reads them; inside, time is an argument.

The wall clock dates events and may be set. The steady clock measures ages and progress.
"""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return Unix milliseconds."""
    return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """Return the Unix milliseconds of this process's start plus the time since, sleep included.

    Setting the wall clock does not change it.
    """
    return (_passed_ns() + _BEGAN_NS) // 1_000_000


def _passed_ns() -> int:
    return time.clock_gettime_ns(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BEGAN_NS = time.time_ns() - _passed_ns()
