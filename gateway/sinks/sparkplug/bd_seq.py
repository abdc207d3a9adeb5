"""The number that tells the births and the death of one session from those of others (section 6.4.19)."""

from __future__ import annotations

_MARK = "/bdSeq/"  # nothing is ever published there
_WRAPS_AT = 256


def is_number(entry: str) -> bool:
    """Say whether an entry in what outlives the gateway is such a number, and not where something stands."""
    return _MARK in entry


class BdSeq:
    """Counts sessions, 0 to 255 and again, and goes on after a restart where the last run ended.

    Otherwise the will of a session that the broker has not yet given up, of the same number, would be taken
    for the death of the present one.
    """

    def __init__(self, retained: dict[str, bool], *, will_topic: str) -> None:
        """`retained`: what outlives the gateway. The number of the last will is noted there, as a topic."""
        self._retained = retained
        self._will_topic = will_topic
        numbers = [key.partition(_MARK)[2] for key in retained if is_number(key)]
        self.number = int(numbers[-1]) if numbers else _WRAPS_AT - 1
        """That of the last session."""

    def advance(self) -> None:
        """Take the next number, for the CONNECT that follows."""
        self.number = (self.number + 1) % _WRAPS_AT
        for former in [key for key in self._retained if is_number(key)]:
            del self._retained[former]
        self._retained[f"{self._will_topic}{_MARK}{self.number}"] = False
