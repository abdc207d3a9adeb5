"""What the checks found, and how it is printed: each finding that is not ok says what to do about it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from textwrap import TextWrapper
from typing import TYPE_CHECKING, Self

import orjson

from gateway.text import count_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MOST_ALIKE = 3


class Level(StrEnum):
    """A warning needs attention some day; a problem keeps the gateway from doing its work."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


_LEVEL_WIDTH = len(Level.PROBLEM) + 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination. `remedy` says what to do; None only if there is nothing to do.

    `name` is that of a receiver, `cause` what it may have in common with others: see `bundled`.
    """

    level: Level
    found: str
    remedy: str | None = None
    name: str = ""
    cause: str = ""

    def alike(self, name: str, cause: str) -> Self:
        """Return the finding as that of one among many receivers."""
        return replace(self, name=name, cause=cause)


class Findings(list[Finding]):
    """The findings of one check."""

    def warning(self, found: str, remedy: str) -> None:
        """Add what is not good yet or cannot be determined, and what to do about it."""
        self.append(warning(found, remedy))

    def problem(self, found: str, remedy: str) -> None:
        """Add what keeps the gateway from doing its work, and what to do about it."""
        self.append(problem(found, remedy))


def ok(found: str) -> Finding:
    """Return what is as it should be."""
    return Finding(Level.OK, found)


def warning(found: str, remedy: str) -> Finding:
    """Return what is not good yet or cannot be determined, and what to do about it."""
    return Finding(Level.WARNING, found, remedy)


def problem(found: str, remedy: str) -> Finding:
    """Return what keeps the gateway from doing its work, and what to do about it."""
    return Finding(Level.PROBLEM, found, remedy)


def bundled(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings; more than three with the same cause become one that lists all their names."""
    groups: dict[tuple[Level, str | None, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.level, finding.remedy, finding.cause), []).append(finding)
    bundles = []
    for group in groups.values():
        first, *others = group
        if len(group) > _MOST_ALIKE:
            names = ", ".join(other.name for other in others)
            bundles.append(replace(first, found=f"{first.found}; likewise {names}"))
        else:
            bundles += group
    return bundles


@dataclass(frozen=True, slots=True)
class Result:
    """The findings of one check."""

    check: str
    findings: tuple[Finding, ...]


def render_text(results: Sequence[Result], *, left_out: int, width: int) -> str:
    """Return a line for each finding, its remedy below it, and a summary. `width` is in characters."""
    names = max((len(result.check) for result in results), default=0) + 2
    margin = " " * (_LEVEL_WIDTH + names)
    lines: list[str] = []
    for result in results:
        for finding in result.findings:
            head = f"{finding.level:<{_LEVEL_WIDTH}}{result.check:<{names}}"
            lines += _wrapped(finding.found, first=head, others=margin, width=width)
            if finding.remedy is not None:
                lines += _wrapped(finding.remedy, first=f"{margin}-> ", others=f"{margin}   ", width=width)
    counts = _counts(results)
    problems = count_text(counts[Level.PROBLEM], "problem")
    offline = f"; {left_out} checks left out: --offline" if left_out else ""
    summary = f"{problems}, {count_text(counts[Level.WARNING], 'warning')}, {counts[Level.OK]} ok{offline}"
    return "\n".join([*lines, "", summary])


def render_json(results: Sequence[Result], *, left_out: int) -> str:
    """Return an object: `findings` with `check`, `level`, `found`, `remedy`, and counts by level."""
    counts = _counts(results)
    document = {
        "findings": [
            {"check": result.check, "level": one.level, "found": one.found, "remedy": one.remedy}
            for result in results
            for one in result.findings
        ],
        "ok": counts[Level.OK],
        "warnings": counts[Level.WARNING],
        "problems": counts[Level.PROBLEM],
        "left_out": left_out,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def has_problem(results: Sequence[Result]) -> bool:
    """Return whether anything keeps the gateway from doing its work."""
    return _counts(results)[Level.PROBLEM] > 0


def _counts(results: Sequence[Result]) -> Counter[Level]:
    return Counter(finding.level for result in results for finding in result.findings)


def _wrapped(text: str, *, first: str, others: str, width: int) -> list[str]:
    """Return a text as lines; a word longer than a line, such as a path, is never cut."""
    printable = "".join(mark if mark.isprintable() else " " for mark in text)
    wrapper = TextWrapper(
        width=max(width, len(others) + 20),
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapper.wrap(printable) or [first.rstrip()]
