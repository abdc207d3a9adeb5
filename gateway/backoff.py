"""Pauses between attempts: exponential, capped, and jittered so that gateways do not act in step."""

from __future__ import annotations

import random

_FIRST_S = 0.5
_LONGEST_S = 30.0


class Backoff:
    """Pauses that double from the first to the longest, in seconds; `reset` after a success."""

    def __init__(self, *, first_s: float = _FIRST_S, longest_s: float = _LONGEST_S) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._attempts = 0

    def reset(self) -> None:
        """Return to the shortest pause."""
        self._attempts = 0

    def next_s(self) -> float:
        """Return the seconds to wait before the next attempt."""
        longest = min(self._longest_s, self._first_s * 2.0**self._attempts)
        self._attempts = min(self._attempts + 1, 16)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no cryptography
