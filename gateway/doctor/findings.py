"""What a check has found: nothing without a remedy unless it is well."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_SPANS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


class Level(StrEnum):
    """How it is. A warning needs a look some day, a problem keeps the gateway from doing its work."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination. `remedy` says what to do; None only where there is nothing to do."""

    level: Level
    found: str
    remedy: str | None = None


def counted(count: int, thing: str, *, several: str | None = None) -> str:
    """Return `1 asset` or `2 assets`; `several` is the plural where it is not made by an s."""
    return f"{count} {thing if count == 1 else several or f'{thing}s'}"


def span(seconds: float) -> str:
    """Return a time in the largest unit that says enough: `3 days`."""
    for unit_s, name in _SPANS:
        if seconds >= unit_s:
            return counted(int(seconds // unit_s), name)
    return "moments"


def ok(found: str) -> Finding:
    """Return what is well."""
    return Finding(Level.OK, found)


def warning(found: str, remedy: str) -> Finding:
    """Return what is not well yet, or cannot be known, and what to do about it."""
    return Finding(Level.WARNING, found, remedy)


def problem(found: str, remedy: str) -> Finding:
    """Return what keeps the gateway from doing its work, and what to do about it."""
    return Finding(Level.PROBLEM, found, remedy)
