"""What was found, as lines for people or as JSON."""

from __future__ import annotations

from collections import Counter
from textwrap import TextWrapper
from typing import TYPE_CHECKING

import orjson

from gateway.doctor.findings import Level, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.doctor.examine import Result

_LEVEL_WIDTH = len("problem") + 2


def render_text(results: Sequence[Result], *, left_out: int, width: int) -> str:
    """Return a line for each finding, its remedy below it, and a line that sums up. `width` in characters."""
    names = max((len(result.check) for result in results), default=0) + 2
    margin = " " * (_LEVEL_WIDTH + names)
    lines: list[str] = []
    for result in results:
        for finding in result.findings:
            head = f"{finding.level:<{_LEVEL_WIDTH}}{result.check:<{names}}"
            lines += _wrapped(finding.found, first=head, others=margin, width=width)
            if finding.remedy is not None:
                lines += _wrapped(finding.remedy, first=f"{margin}-> ", others=f"{margin}   ", width=width)
    return "\n".join([*lines, "", _summary(results, left_out=left_out)])


def render_json(results: Sequence[Result], *, left_out: int) -> str:
    """Return an object: `findings` with `check`, `level`, `found`, `remedy`, and how many there are."""
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
    """Say whether anything keeps the gateway from doing its work."""
    return _counts(results)[Level.PROBLEM] > 0


def _counts(results: Sequence[Result]) -> Counter[Level]:
    return Counter(finding.level for result in results for finding in result.findings)


def _summary(results: Sequence[Result], *, left_out: int) -> str:
    counts = _counts(results)
    problems, warnings = counts[Level.PROBLEM], counts[Level.WARNING]
    parts = [
        counted(problems, "problem"),
        counted(warnings, "warning"),
        f"{counts[Level.OK]} ok",
    ]
    offline = f"; {left_out} checks left out: --offline" if left_out else ""
    return ", ".join(parts) + offline


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
