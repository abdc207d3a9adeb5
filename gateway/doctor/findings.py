"""What a check has found: nothing without a remedy unless it is well."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MOST_ALIKE = 3
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


@dataclass(frozen=True, slots=True)
class About:
    """What was found of one of many alike, by its `name`; `why` is the same where the cause may be one."""

    name: str
    why: str
    finding: Finding


def bundled(seen: Iterable[About]) -> list[Finding]:
    """Return the findings; where the same is found of many, the first one stands for all and names them."""
    groups: dict[tuple[Level, str | None, str], list[About]] = {}
    for one in seen:
        groups.setdefault((one.finding.level, one.finding.remedy, one.why), []).append(one)
    return [finding for group in groups.values() for finding in _together(group)]


def _together(group: Sequence[About]) -> list[Finding]:
    if len(group) <= _MOST_ALIKE:
        return [one.finding for one in group]
    first, *others = group
    names = ", ".join(one.name for one in others)
    return [replace(first.finding, found=f"{first.finding.found}; likewise {names}")]


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
