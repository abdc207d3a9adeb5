"""How registers, calculations, durations and misspelt names read, wherever people are told of them."""

from __future__ import annotations

import difflib
import heapq
from datetime import UTC, datetime
from itertools import takewhile
from typing import TYPE_CHECKING

from gateway.mapping.registers import is_orderable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.model import Register

_MOST_COMPARED = 100
_DURATIONS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return the message about a name that stands for nothing, with the one that may be meant."""
    names = list(known)
    close = closest(name, names)
    if close is not None:
        return f"there is no {what} of this name, did you mean `{close}`?"
    names.sort()
    few = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")  # noqa: PLR2004 - as many as a line takes
    return f"there is no {what} of this name" + (f"; known: {few}" if names else "")


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the name that may be meant, None where none is like it; quick also in a large building.

    A slip of one key leaves one half of a name as it was: of many names only such are looked at, and of
    these the ones that begin and end most alike.
    """
    names = list(known)
    if len(names) > _MOST_COMPARED:
        half = len(name) // 2
        start, end = name[:half], name[half + 1 :]
        alike = [one for one in names if one.startswith(start) or one.endswith(end)]
        names = heapq.nlargest(_MOST_COMPARED, alike, key=lambda one: _shared_ends(name, one))
    return next(iter(difflib.get_close_matches(name, sorted(names), n=1)), None)


def _shared_ends(one: str, other: str) -> int:
    """Count the characters that two names have in common at their beginning and at their end."""
    return sum(
        sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(*both, strict=False)))
        for both in ((one, other), (one[::-1], other[::-1]))
    )


def duration(milliseconds: int) -> str:
    """Return a duration as people write it in a point table: 1500ms, 90m, 24h, 7d."""
    if not milliseconds:
        return "0.1ms"  # what is written as less than half a millisecond, for 0 cannot be written
    name, factor = next(
        (name, factor)
        for name, factor in _DURATIONS
        if milliseconds % factor == 0 and (name != "d" or milliseconds > factor)
    )
    return f"{milliseconds // factor}{name}"


def time_text(time_ms: int) -> str:
    """Return a time as ISO 8601 in UTC, milliseconds where there are any."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds" if time_ms % 1000 else "seconds").replace("+00:00", "Z")


def second_text(time_ms: int) -> str:
    """Return a time as ISO 8601 in UTC, without milliseconds."""
    return time_text(time_ms // 1000 * 1000)


def calculation_text(gain: float, offset: float, *, of: str) -> str:
    """Return a gain and an offset as arithmetic: `reading x 0.001 - 0.4`."""
    parts = [of if gain == 1 else f"{of} x {gain:.12g}"]
    if offset:
        parts.append(f"{'-' if offset < 0 else '+'} {abs(offset):.12g}")
    return " ".join(parts)


def place_text(register: Register) -> str:
    """Return the PDU addresses that a register covers: `input 1000-1001`, `holding 4 bit 3`."""
    last = register.address + register.words - 1
    words = f"{register.address}" if last == register.address else f"{register.address}-{last}"
    return f"{register.table} {words}" + ("" if register.bit is None else f" bit {register.bit}")


def form_text(register: Register) -> str:
    """Return how a value stands in a register: `float32 ABCD`, `uint16 scale 10`."""
    parts = [f"string({2 * register.words})" if register.type == "string" else register.type]
    if is_orderable(register.type):
        parts.append(register.order)
    if register.scale != 1:
        parts.append(f"scale {register.scale:.12g}")
    return " ".join(parts)


def aligned(rows: Iterable[Sequence[str]], *, indent: str = "  ") -> str:
    """Return rows of cells as lines with aligned columns; columns that are empty throughout are left out."""
    listed = list(rows)
    count = max(map(len, listed), default=0)
    padded = [[*row, *[""] * (count - len(row))] for row in listed]
    columns = [column for column in zip(*padded, strict=True) if any(column)]
    widths = [max(map(len, column)) for column in columns]
    return "".join(
        (indent + "  ".join(map(str.ljust, line, widths))).rstrip() + "\n"
        for line in zip(*columns, strict=True)
    )
