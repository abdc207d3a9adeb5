"""What `gateway diff` can report, and the report as text for a terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING, Any

from gateway.mapping.registers import address_text, format_text, is_orderable, modicon_text
from gateway.model import BacnetObject, Register
from gateway.text import align_columns, count_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Place = Register | BacnetObject | str
"""Where a BMS finds a point; a topic is text."""

_HEADINGS = {True: "Would break an existing BMS database", False: "Harmless"}


class ChangeKind(Enum):
    """One kind of change. `breaks`: an existing BMS database would show nothing, or something wrong."""

    REGISTER_TAKEN = (True, "register belongs to another point now", "the BMS shows it under the old name")
    OBJECT_TAKEN = (True, "object belongs to another point now", "the BMS shows it under the old name")
    TOPIC_TAKEN = (True, "topic belongs to another point now", "subscribers get the new point's value")
    SINK_GONE = (True, "sink gone", "nothing is published or answered there any more")
    SINK_CHANGED = (True, "sink changed", "the BMS reaches or reads it in another way")
    POINT_GONE = (
        True,
        "point gone",
        "topics get no messages, registers answer exception 2, objects are unknown",
    )
    REGISTER_MOVED = (True, "register moved", "the BMS still reads the old address")
    REGISTER_GONE = (True, "register gone", "reading it is answered with exception 2")
    REGISTER_FORM = (True, "type, order, scale or bit changed", "the same words are another number")
    OBJECT_MOVED = (True, "object moved", "the BMS still reads the old type and instance")
    OBJECT_GONE = (True, "object gone", "reading it is answered with unknown-object")
    OBJECT_RENAMED = (True, "object renamed", "a BMS that finds objects by name finds none")
    OBJECT_STATES = (True, "states changed", "the same number is another state")
    TOPIC_MOVED = (True, "topic moved", "the old topic gets no more messages")
    TOPIC_GONE = (True, "topic gone", "it gets no more messages")
    MEANING = (True, "meaning changed", "the same place shows something else")

    RENAMED = (False, "renamed", "the same reading in the same place")
    NEW_POINT = (False, "new point", "nobody reads it yet")
    NEW_REGISTER = (False, "new register of a known point", "nobody reads it yet")
    NEW_OBJECT = (False, "new object of a known point", "nobody reads it yet")
    NEW_STATES = (False, "states added or worded differently", "each number is the state it was")
    NEW_TOPIC = (False, "new topic of a known point", "nobody reads it yet")
    NEW_SINK = (False, "new sink", "nobody reads it yet")
    POINT_UNSEEN = (False, "point without topic, register and object gone", "nobody could read it")
    DETAIL = (False, "detail changed", "place and meaning stay")

    def __init__(self, breaks: bool, title: str, why: str) -> None:  # noqa: FBT001 - the values are above
        self.breaks = breaks
        self.title = title
        self.why = why


_SINK_KINDS = frozenset({ChangeKind.SINK_GONE, ChangeKind.SINK_CHANGED, ChangeKind.NEW_SINK})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that changed.

    `subject`: the point's present name (of one that is gone, its old name), or the sink's name. `old`, `new`:
    a register, an object or text, None if there is none. `other`: the point that has the place now. `what`:
    a sink, or a key of the point table, where the kind alone does not say it.
    """

    kind: ChangeKind
    subject: str
    old: Place | None = None
    new: Place | None = None
    other: str | None = None
    what: str | None = None


def summary(changes: Iterable[Change]) -> str:
    """Return the counts in one line."""
    counts = Counter(change.kind.breaks for change in changes)
    if not counts:
        return "no difference"
    breaking = f"{counts[True]:,} would break" if counts[True] else "nothing breaks"
    total = count_text(counts.total(), "change", grouped=True)
    return f"{total}: {breaking} an existing BMS database, {counts[False]:,} harmless"


def _text(changes: Sequence[Change]) -> str:
    parts = []
    for breaks, group in groupby(changes, key=lambda change: change.kind.breaks):
        parts.append(f"{_HEADINGS[breaks].upper()}\n\n")
        for kind, of_kind in groupby(group, key=lambda change: change.kind):
            rows = []
            for change in of_kind:
                before, now = _sides(change)
                arrow = "->" if before and now else ""
                rows.append([change.subject, change.what or "", before, arrow, now])
            parts.append(f"{kind.title}: {kind.why}\n{align_columns(rows)}\n")
    return "".join(parts) + summary(changes) + "\n"


def _markdown(changes: Sequence[Change]) -> str:
    parts = [f"{summary(changes)}\n"]
    for breaks, group in groupby(changes, key=lambda change: change.kind.breaks):
        parts.append(f"\n## {_HEADINGS[breaks]}\n\n| what | point | before | now | why |\n|{' --- |' * 5}\n")
        for change in group:
            title = f"{change.kind.title} ({change.what})" if change.what else change.kind.title
            cells = (title, change.subject, *_sides(change), change.kind.why)
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(parts)


def _sides(change: Change) -> tuple[str, str]:
    """Return what was before and what is now."""
    return _side(change.old), " ".join(filter(None, (change.other, _side(change.new))))


def _side(side: Place | None) -> str:
    if isinstance(side, BacnetObject):
        return " ".join(filter(None, (side.sink, side.type, str(side.instance))))
    if isinstance(side, Register):
        number = modicon_text(side.table, side.address)
        return f"{side.sink} unit {side.unit} {address_text(side)} {number} {format_text(side)}"
    return side or ""


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


def _json_value(side: Place | None) -> Any:
    if isinstance(side, BacnetObject):
        return {"sink": side.sink, "object_type": side.type, "object_instance": side.instance}
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
