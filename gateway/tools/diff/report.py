"""Changes of point tables as text for a terminal, as Markdown to send along, or as JSON for scripts."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

from gateway.mapping.notation import address_text, format_text, modicon_text
from gateway.mapping.registers import is_orderable
from gateway.model import Register
from gateway.text import align_columns
from gateway.tools.diff.comparison import summary
from gateway.tools.diff.verdicts import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.tools.diff.verdicts import Change

_HEADINGS = {True: "Would break an existing BMS database", False: "Harmless"}
_TOGETHER = 4  # topics that moved alike are told in one line from this number on
_SINKS = frozenset({Kind.SINK_GONE, Kind.SINK_CHANGED, Kind.NEW_SINK})


def render_changes(changes: Sequence[Change], *, form: str) -> str:
    """Return the changes as `compare` ordered them; `form` is one of CHANGE_FORMS."""
    return CHANGE_FORMS[form](changes)


def _text(changes: Sequence[Change]) -> str:
    parts = []
    for breaks, group in groupby(changes, key=lambda change: change.kind.breaks):
        parts.append(f"{_HEADINGS[breaks].upper()}\n\n")
        for kind, of_kind in groupby(group, key=lambda change: change.kind):
            parts.append(f"{kind.title}: {kind.why}\n{align_columns(_rows(of_kind))}\n")
    return "".join(parts) + summary(changes) + "\n"


def _rows(changes: Iterable[Change]) -> list[list[str]]:
    """Return the lines of one kind. Topics that moved together, with all below a level, are one line."""
    groups: dict[object, list[Change]] = {}
    for change in changes:
        groups.setdefault(_topic_heads(change) or change, []).append(change)
    rows = []
    for group in groups.values():
        heads = _topic_heads(group[0])
        if heads is not None and len(group) >= _TOGETHER:
            was, now = heads
            rows.append([f"{len(group):,} points", group[0].what or "", f"{was}/…", "->", f"{now}/…"])
        else:
            rows += map(_row, group)
    return rows


def _topic_heads(change: Change) -> tuple[str, str] | None:
    """Return what differs of two topics without the levels that they have in common at their end."""
    if change.kind is not Kind.TOPIC_MOVED:
        return None
    was, now = str(change.old).split("/"), str(change.new).split("/")
    while was and now and was[-1] == now[-1]:
        was.pop()
        now.pop()
    return "/".join(was), "/".join(now)


def _row(change: Change) -> list[str]:
    """Return the cells of one line, old and new side by side."""
    if change.kind is Kind.REGISTER_TAKEN and isinstance(change.old, Register):
        *place, form = _cells(change.old)
        now = _cells(change.new)
        if now[:-1] == place:
            now = now[-1:]
        return [*place, "was", change.subject, form, "is now", str(change.other), " ".join(now)]
    if change.other is not None:
        return [*_cells(change.old), "was", change.subject, "is now", change.other]
    subject = [change.subject, change.what or ""]
    if change.old is None or change.new is None:
        return [*subject, *_cells(change.old), *_cells(change.new)]
    if change.kind is Kind.RENAMED:
        return ["was", *_cells(change.old), "is now", *_cells(change.new)]
    return [*subject, *_cells(change.old), "->", *_cells(change.new)]


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
                "sink" if change.kind in _SINKS else "point": change.subject,
                "what": change.what,
                "old": _plain(change.old),
                "new": _plain(change.new),
                "other": change.other,
                "why": f"{change.kind.title}: {change.kind.why}",
            }
            for change in changes
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _plain(side: Register | str | None) -> Any:
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


CHANGE_FORMS: dict[str, Callable[[Sequence[Change]], str]] = {
    "text": _text,
    "json": _json,
    "md": _markdown,
}
