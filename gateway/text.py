"""Text for people: suggestions for misspelt names, durations, times, aligned columns, sanitised text."""

from __future__ import annotations

import difflib
import heapq
import re
from datetime import UTC, datetime
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MOST_COMPARED = 100
_MOST_LISTED = 8
_MOST_IN_A_SENTENCE = 5
_DURATIONS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
_SPANS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_CONTROLS = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # without tabs and line ends
_DIRECTIONS = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # text direction marks and Unicode line ends
_SURROGATES = "\ud800-\udfff"  # halves of pairs, which cannot be encoded
_STEERING = f"{_CONTROLS}{_DIRECTIONS}{_SURROGATES}"
_IN_LINES = re.compile(f"\r(?!\n)|[{_STEERING}]")
_IN_ONE_LINE = re.compile(f"[\t\r\n{_STEERING}]")


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that does not exist, with the most similar known name."""
    names = list(known)
    close = closest_name(name, names)
    if close is not None:
        return f"there is no {what} of this name, did you mean `{close}`?"
    names.sort()
    listed = ", ".join(names[:_MOST_LISTED]) + (", …" if len(names) > _MOST_LISTED else "")
    return f"there is no {what} of this name" + (f"; known: {listed}" if names else "")


def closest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the most similar known name, or None if none is similar.

    A single typing error leaves one half of a name unchanged. Of many names, only those that share a half
    are compared, and of these only the ones with the longest common ends: quick in a large building, too.
    """
    names = list(known)
    if len(names) > _MOST_COMPARED:
        half = len(name) // 2
        start, end = name[:half], name[half + 1 :]
        similar = [one for one in names if one.startswith(start) or one.endswith(end)]
        names = heapq.nlargest(_MOST_COMPARED, similar, key=lambda one: _common_ends(name, one))
    return next(iter(difflib.get_close_matches(name, sorted(names), n=1)), None)


def _common_ends(one: str, other: str) -> int:
    """Return how many characters two names share at their start and at their end."""
    return sum(
        sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(*both, strict=False)))
        for both in ((one, other), (one[::-1], other[::-1]))
    )


def short_list(names: Sequence[str]) -> str:
    """Return a few names for a sentence: `a, b and 3 more`."""
    listed = ", ".join(names[:_MOST_IN_A_SENTENCE])
    rest = len(names) - _MOST_IN_A_SENTENCE
    return f"{listed} and {rest} more" if rest > 0 else listed


def count_text(number: int, noun: str, *, plural: str | None = None, grouped: bool = False) -> str:
    """Return `1 point` or `2000 points`, `grouped` `2,000 points`; `plural`: if it does not end in an s."""
    digits = f"{number:,}" if grouped else f"{number}"
    return f"{digits} {noun if number == 1 else plural or f'{noun}s'}"


def duration_text(milliseconds: int) -> str:
    """Return a duration as configuration files write it: 1500ms, 90m, 24h, 7d."""
    if not milliseconds:
        return "0.1ms"  # rounded down; 0 itself is not allowed in files
    name, factor = next(
        (name, factor)
        for name, factor in _DURATIONS
        if milliseconds % factor == 0 and (name != "d" or milliseconds > factor)
    )
    return f"{milliseconds // factor}{name}"


def span_text(seconds: float) -> str:
    """Return a duration in its largest unit: `3 days`."""
    for unit_s, name in _SPANS:
        if seconds >= unit_s:
            return count_text(int(seconds // unit_s), name)
    return "moments"


def time_text(time_ms: int) -> str:
    """Return a time as ISO 8601 in UTC, with milliseconds unless they are 0."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds" if time_ms % 1000 else "seconds").replace("+00:00", "Z")


def second_text(time_ms: int) -> str:
    """Return a time as ISO 8601 in UTC, without milliseconds."""
    return time_text(time_ms // 1000 * 1000)


def align_columns(rows: Iterable[Sequence[str]], *, indent: str = "  ") -> str:
    """Return rows of cells as lines with aligned columns. Empty columns are left out."""
    listed = list(rows)
    count = max(map(len, listed), default=0)
    padded = [[*row, *[""] * (count - len(row))] for row in listed]
    columns = [column for column in zip(*padded, strict=True) if any(column)]
    widths = [max(map(len, column)) for column in columns]
    return "".join(
        (indent + "  ".join(map(str.ljust, line, widths))).rstrip() + "\n"
        for line in zip(*columns, strict=True)
    )


def sanitise(text: str) -> str:
    """Return text of any number of lines; what could control a terminal is escaped as in JSON.

    Names and reasons come from Infodeck, devices and proxies, so an attacker may have written them. Joiners
    between letters stay, because some languages need them.
    """
    return _IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def sanitise_line(text: str, *, longest: int) -> str:
    """Return text as one line of at most `longest` characters, without what could control a terminal."""
    return _IN_ONE_LINE.sub(" ", text).strip()[:longest].rstrip()
