"""The changes that `gateway diff` found as text for a terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

from gateway.mapping.registers import address_text, format_text, is_orderable, modicon_text
from gateway.model import Register
from gateway.text import align_columns
from gateway.tools.diff import ChangeKind, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.tools.diff import Change

_HEADINGS = {True: "Would break an existing BMS database", False: "Harmless"}
_FEWEST_TOGETHER = 4  # topics that moved alike become one line from this number on
_SINK_KINDS = frozenset({ChangeKind.SINK_GONE, ChangeKind.SINK_CHANGED, ChangeKind.NEW_SINK})


def render_changes(changes: Sequence[Change], *, form: str) -> str:
    """Return the changes in the order of `compare`; `form` is one of CHANGE_FORMATS."""
    return CHANGE_FORMATS[form](changes)


def _text(changes: Sequence[Change]) -> str:
    parts = []
    for breaks, group in groupby(changes, key=lambda change: change.kind.breaks):
        parts.append(f"{_HEADINGS[breaks].upper()}\n\n")
        for kind, of_kind in groupby(group, key=lambda change: change.kind):
            parts.append(f"{kind.title}: {kind.why}\n{align_columns(_rows(of_kind))}\n")
    return "".join(parts) + summary(changes) + "\n"


def _rows(changes: Iterable[Change]) -> list[list[str]]:
    """Return the lines of one kind; many topics below one level that moved together are one line."""
    groups: dict[object, list[Change]] = {}
    for change in changes:
        groups.setdefault(_moved_levels(change) or change, []).append(change)
    rows = []
    for group in groups.values():
        levels = _moved_levels(group[0])
        if levels is not None and len(group) >= _FEWEST_TOGETHER:
            old, new = levels
            rows.append([f"{len(group):,} points", group[0].what or "", f"{old}/…", "->", f"{new}/…"])
        else:
            rows += map(_row, group)
    return rows


def _moved_levels(change: Change) -> tuple[str, str] | None:
    """Return both topics without their common last levels."""
    if change.kind is not ChangeKind.TOPIC_MOVED:
        return None
    old, new = str(change.old).split("/"), str(change.new).split("/")
    while old and new and old[-1] == new[-1]:
        old.pop()
        new.pop()
    return "/".join(old), "/".join(new)


def _row(change: Change) -> list[str]:
    """Return the cells of one line, old and new side by side."""
    old, new = _cells(change.old), _cells(change.new)
    if change.kind is ChangeKind.REGISTER_TAKEN:
        *place, form = old
        shown = new[-1:] if new[:-1] == place else new
        return [*place, "was", change.subject, form, "is now", str(change.other), " ".join(shown)]
    if change.kind is ChangeKind.TOPIC_TAKEN:
        return [*old, "was", change.subject, "is now", str(change.other)]
    if change.kind is ChangeKind.RENAMED:
        return ["was", *old, "is now", *new]
    arrow = ["->"] if change.old is not None and change.new is not None else []
    return [change.subject, change.what or "", *old, *arrow, *new]


def _cells(side: Register | str | None) -> list[str]:
    if isinstance(side, Register):
        number = modicon_text(side.table, side.address)
        return [f"{side.sink} unit {side.unit}", address_text(side), number, format_text(side)]
    return [] if side is None else [side]


def _markdown(changes: Sequence[Change]) -> str:
    parts = [f"{summary(changes)}\n"]
    for breaks, group in groupby(changes, key=lambda change: change.kind.breaks):
        parts.append(f"\n## {_HEADINGS[breaks]}\n\n| what | point | before | now | why |\n|{' --- |' * 5}\n")
        for change in group:
            now = " ".join(_cells(change.new))
            cells = [
                f"{change.kind.title} ({change.what})" if change.what else change.kind.title,
                change.subject,
                " ".join(_cells(change.old)),
                f"{change.other} {now}".rstrip() if change.other else now,
                change.kind.why,
            ]
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(parts)


def _json(changes: Sequence[Change]) -> str:
    breaking = sum(change.kind.breaks for change in changes)
    document = {
        "breaking": breaking,
        "harmless": len(changes) - breaking,
        "changes": [
            {
                "kind": change.kind.name.lower(),
                "breaks": change.kind.breaks,
                "sink" if change.kind in _SINK_KINDS else "point": change.subject,
                "what": change.what,
                "old": _json_value(change.old),
                "new": _json_value(change.new),
                "other": change.other,
                "why": f"{change.kind.title}: {change.kind.why}",
            }
            for change in changes
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _json_value(side: Register | str | None) -> Any:
    if not isinstance(side, Register):
        return side
    return {
        "sink": side.sink,
        "unit": side.unit,
        "table": side.table.value,
        "address": side.address,
        "modicon": modicon_text(side.table, side.address),
        "words": side.words,
        "type": side.type,
        "order": side.order.value if is_orderable(side.type) else None,
        "scale": side.scale,
        "bit": side.bit,
    }


CHANGE_FORMATS: dict[str, Callable[[Sequence[Change]], str]] = {
    "text": _text,
    "json": _json,
    "md": _markdown,
}
