"""Rows of a spreadsheet as the points of a table: one point per tag and name, one register per row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.mapping.listing import COLUMNS
from gateway.model import HEARTBEAT, PSEUDO_SOURCES
from gateway.tools.sheets.cells import damage, duration_text, is_no, parse_flag
from gateway.tools.sheets.row import Row, parse_mapping, parse_on_stale, parse_refill
from gateway.tools.sheets.row_registers import FORM_COLUMNS, PLACE_COLUMNS, has_register, read_block
from gateway.tools.sheets.spreadsheet import complaint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.tools.sheets.spreadsheet import Line, Sheet

REQUIRED = ("tag", "point", "asset", "from")
NUMERIC = ("address", "number", "scale", "gain", "offset", "range_low", "range_high", "cov")
MADE = ("name", "topic", "asset_topic", "words", "sentinel")
"""Columns that follow from others, and are not read."""
_OF_POINTS = tuple(column for column in COLUMNS if column not in {*PLACE_COLUMNS, *FORM_COLUMNS, *MADE})
_NAMES = (*REQUIRED, "unit_of_measure", "own_topic", "description")
_HEARTBEAT_EVERY = "10s"


@dataclass(slots=True)
class SheetPoint:
    """One point: `keys` as a point table has them, `rows` where each of its registers stands.

    `every`: the period of the heartbeat, which has no other keys than `modbus`; None for all others.
    `policy`: `on_stale` of what the gateway makes itself, which only the defaults of a table can say.
    """

    keys: dict[str, Any]
    rows: list[int]
    site: str | None
    every: str | None = None
    policy: Any = None


def read_points(sheet: Sheet, *, sink: str) -> list[SheetPoint]:
    """Return the points in the order of their first rows; `sink` has the registers that name none.

    What cannot be used is added to the sheet's problems, what looks odd to its notes.
    """
    grouped: dict[tuple[str, ...], list[Line]] = {}
    for line in sheet.lines:
        is_heartbeat = line.cells.get("from") == HEARTBEAT
        name = (HEARTBEAT,) if is_heartbeat else (line.cells.get("tag", ""), line.cells.get("point", ""))
        grouped.setdefault(name, []).append(line)
        sheet.notes += _damages(line)
    return [_read_point(sheet, lines, sink) for lines in grouped.values()]


def _damages(line: Line) -> list[str]:
    return [
        complaint(note, row=line.number, column=column, value=line.cells[column])
        for column in _NAMES
        if (note := damage(line.cells.get(column, "")))
    ]


def _read_point(sheet: Sheet, lines: list[Line], sink: str) -> SheetPoint:
    rows = [Row(line.number, line.cells, sheet.decimal, sheet.problems) for line in lines]
    mapped = [row for row in rows if has_register(row)]
    for row in rows if len(rows) > 1 else ():
        if row not in mapped:
            other = next(each.number for each in rows if each is not row)
            row.report(f"row {other} is about the same point, so a register is expected here")
    blocks = [read_block(row, sink=sink) for row in mapped]
    point = _merged(rows)
    is_heartbeat = point.text("from") == HEARTBEAT
    keys = {} if is_heartbeat else _keys(point)
    policy = keys.pop("on_stale", None) if keys.get("from") in PSEUDO_SOURCES else None
    if blocks:
        keys["modbus"] = blocks[0] if len(blocks) == 1 else blocks
    numbers = [row.number for row in mapped] or [point.number]
    every = point.read("every", duration_text)
    if is_heartbeat:
        every = every or _HEARTBEAT_EVERY
    elif every is not None:
        point.report(f"is for the heartbeat, the row with from {HEARTBEAT}", "every")
    return SheetPoint(keys, numbers, point.text("site"), every, policy)


def _merged(rows: Iterable[Row]) -> Row:
    """Return what all rows of a point say together: each column in any of them, or the same in several."""
    cells: dict[str, str] = {}
    said_in: dict[str, int] = {}
    first: Row | None = None
    for row in rows:
        first = first or row
        for column in _OF_POINTS:
            cell = row.text(column)
            if cell is not None and cells.setdefault(column, cell) != cell:
                message = f"row {said_in[column]} says {cells[column]!r} for the same point"
                row.report(message, column)
            elif cell is not None:
                said_in.setdefault(column, row.number)
    assert first is not None  # noqa: S101 - a point has a row
    return Row(first.number, cells, first.decimal, first.problems)


def _keys(row: Row) -> dict[str, Any]:
    """Return a point's keys but for its registers, in the order in which people write them."""
    for column in REQUIRED:
        if row.text(column) is None:
            row.report("a cell is missing here", column)
    keys = {
        "tag": row.text("tag"),
        "point": row.text("point"),
        "asset": row.text("asset"),
        "from": row.text("from"),
        "unit": row.text("unit_of_measure"),
        "source_unit": row.text("source_unit"),
        "description": row.text("description"),
        "map": row.read("map", parse_mapping),
        "gain": row.figure("gain"),
        "offset": row.figure("offset"),
        "range": _range(row),
        "clamp": row.read("clamp", parse_flag) or None,
        "decimals": row.whole("decimals"),
        "cov": _cov(row),
        "stale_after": row.read("stale_after", duration_text),
        "on_stale": row.read("on_stale", parse_on_stale),
        "refill": row.read("refill", parse_refill),
        "tags": row.read("tags", parse_mapping),
        "mqtt": _mqtt(row),
    }
    return {key: value for key, value in keys.items() if value is not None}


def _range(row: Row) -> list[int | float] | None:
    low, high = row.figure("range_low"), row.figure("range_high")
    for column, other in (("range_low", "range_high"), ("range_high", "range_low")):
        if row.text(column) is None and row.text(other) is not None:
            row.report(f"is missing: a range has two ends, and {other} is given", column)
    return None if low is None or high is None else [low, high]


def _cov(row: Row) -> Any:
    delta, every = row.figure("cov"), row.read("cov_every", duration_text)
    if every is not None and row.text("cov") is None:
        row.report("goes with column cov, which is empty here", "cov_every")
    if delta is None or every is None:
        return delta
    return {"delta": delta, "every": every}


def _mqtt(row: Row) -> Any:
    written, topic = row.text("mqtt"), row.text("own_topic")
    if written is not None and is_no(written):
        if topic is not None:
            row.report("would go to no broker, for column mqtt says so", "own_topic")
        return False
    keys: dict[str, Any] = {}
    if written is not None and written.lower() not in {"true", "wahr"}:
        keys["to"] = written.strip("[]").replace(",", " ").split()
    if topic is not None:
        keys["topic"] = topic
    return keys or None
