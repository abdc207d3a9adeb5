"""The time of day, for those at the edge who hand it inwards: nothing in the middle reads a clock."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return Unix milliseconds."""
    return time.time_ns() // 1_000_000


def ticks_ms() -> int:
    """Return milliseconds that count from anywhere, and that no setting of the clock moves."""
    return time.monotonic_ns() // 1_000_000
