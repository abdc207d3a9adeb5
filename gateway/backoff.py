"""How long to wait before trying again: exponential, capped, jittered so that boxes don't march in step."""

from __future__ import annotations

import random

_FIRST_S = 0.5
_LONGEST_S = 30.0


class Backoff:
    """Pauses that double from half a second to half a minute; `reset` after a success."""

    def __init__(self) -> None:
        self._attempts = 0

    def reset(self) -> None:
        """Begin again with the shortest pause."""
        self._attempts = 0

    def next_s(self) -> float:
        """Return the seconds to wait before the next attempt."""
        longest = min(_LONGEST_S, _FIRST_S * 2.0**self._attempts)
        self._attempts = min(self._attempts + 1, 16)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no cryptography
