"""What the checks found, and how it is printed: each finding that is not ok says what to do about it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from enum import StrEnum

import orjson

from gateway.text import align_columns, count_text, sanitise_line

_LONGEST = 10_000


class Level(StrEnum):
    """A warning needs attention some day; a problem keeps the gateway from doing its work."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination. `remedy` is None only if there is nothing to do."""

    level: Level
    found: str
    remedy: str | None = None


def ok(found: str) -> Finding:
    """Return what is as it should be."""
    return Finding(Level.OK, found)


def warning(found: str, remedy: str) -> Finding:
    """Return what is not good yet or cannot be determined, and what to do about it."""
    return Finding(Level.WARNING, found, remedy)


def problem(found: str, remedy: str) -> Finding:
    """Return what keeps the gateway from doing its work, and what to do about it."""
    return Finding(Level.PROBLEM, found, remedy)


Results = dict[str, list[Finding]]
"""The findings by the name of the check."""


def count_levels(results: Results) -> Counter[Level]:
    """Return the number of findings by level."""
    return Counter(finding.level for findings in results.values() for finding in findings)


def render_text(results: Results, *, left_out: int) -> str:
    """Return a line for each finding, its remedy below it, and a summary."""
    rows = []
    for check, findings in results.items():
        for finding in findings:
            rows.append((f"{finding.level:<7}", check, sanitise_line(finding.found, longest=_LONGEST)))
            if finding.remedy is not None:
                rows.append(("", "", f"-> {sanitise_line(finding.remedy, longest=_LONGEST)}"))
    counts = count_levels(results)
    offline = f"; {left_out} checks left out: --offline" if left_out else ""
    problems = count_text(counts[Level.PROBLEM], "problem")
    warnings = count_text(counts[Level.WARNING], "warning")
    return f"{align_columns(rows, indent='')}\n{problems}, {warnings}, {counts[Level.OK]} ok{offline}"


def render_json(results: Results, *, left_out: int) -> str:
    """Return an object: `findings` with `check`, `level`, `found`, `remedy`, and counts by level."""
    counts = count_levels(results)
    document = {
        "findings": [
            {"check": check, **asdict(finding)} for check, findings in results.items() for finding in findings
        ],
        "ok": counts[Level.OK],
        "warnings": counts[Level.WARNING],
        "problems": counts[Level.PROBLEM],
        "left_out": left_out,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
