"""Rows of a spreadsheet as the points of a table: one point per tag and name, one register per row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.mapping.register_map import COLUMNS
from gateway.mapping.registers import BIT_TABLES, is_orderable, parse_modicon
from gateway.model import HEARTBEAT, PSEUDO_SOURCES
from gateway.tools.spreadsheet import (
    REQUIRED,
    SheetRow,
    cell_problem,
    damage_note,
    parse_cell_duration,
    parse_flag,
    parse_mapping,
    parse_on_stale,
    parse_refill,
    parse_sinks,
    parse_whole,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.tools.spreadsheet import Sheet

ADDRESS_COLUMNS = ("address", "number", "modicon")
_FORMAT_COLUMNS = ("sink", "unit", "table", "type", "order", "scale", "bit")
_DERIVED_COLUMNS = ("name", "topic", "asset_topic", "words", "sentinel")
_POINT_COLUMNS = tuple(
    column for column in COLUMNS if column not in {*ADDRESS_COLUMNS, *_FORMAT_COLUMNS, *_DERIVED_COLUMNS}
)
_NAME_COLUMNS = (*REQUIRED, "unit_of_measure", "own_topic", "description")
_FIVE_DIGITS = 5
_HEARTBEAT_EVERY = "10s"


@dataclass(slots=True)
class SheetPoint:
    """One point: `keys` as in a point table, `rows` the row numbers of its registers.

    `every`: the period of the heartbeat, which has no other keys than `modbus`; None for all others.
    `on_stale`: that of a pseudo point, which a table can only state in its defaults.
    """

    keys: dict[str, Any]
    rows: list[int]
    site: str | None
    every: str | None = None
    on_stale: Any = None

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """Return the `modbus` blocks."""
        modbus = self.keys.get("modbus", [])
        return modbus if isinstance(modbus, list) else [modbus]


def read_points(sheet: Sheet, *, sink: str) -> list[SheetPoint]:
    """Return the points in the order of their first rows; registers without a sink belong to `sink`.

    Unusable cells become problems of the sheet, suspicious names become notes.
    """
    grouped: dict[tuple[str, ...], list[SheetRow]] = {}
    for row in sheet.rows:
        is_heartbeat = row.text("from") == HEARTBEAT
        name = (HEARTBEAT,) if is_heartbeat else (row.text("tag") or "", row.text("point") or "")
        grouped.setdefault(name, []).append(row)
        for column in _NAME_COLUMNS:
            value = row.text(column)
            if value is not None and (note := damage_note(value)):
                sheet.notes.append(cell_problem(note, row=row.number, column=column, value=value))
    return [_read_point(rows, sink) for rows in grouped.values()]


def _read_point(rows: list[SheetRow], sink: str) -> SheetPoint:
    mapped = [row for row in rows if _has_register(row)]
    for row in rows if len(rows) > 1 else ():
        if row not in mapped:
            other = next(each.number for each in rows if each is not row)
            row.report(f"row {other} is about the same point, so a register is expected here")
    blocks = [_read_block(row, sink=sink) for row in mapped]
    point = _merged(rows)
    is_heartbeat = point.text("from") == HEARTBEAT
    keys = {} if is_heartbeat else _point_keys(point)
    on_stale = keys.pop("on_stale", None) if keys.get("from") in PSEUDO_SOURCES else None
    if blocks:
        keys["modbus"] = blocks[0] if len(blocks) == 1 else blocks
    every = point.parse("every", parse_cell_duration)
    if is_heartbeat:
        every = every or _HEARTBEAT_EVERY
    elif every is not None:
        point.report(f"is for the heartbeat, the row with from {HEARTBEAT}", "every")
    numbers = [row.number for row in mapped] or [point.number]
    return SheetPoint(keys, numbers, point.text("site"), every, on_stale)


def _merged(rows: Sequence[SheetRow]) -> SheetRow:
    """Return the columns of the point from all its rows, where several state one, they must agree."""
    cells: dict[str, str] = {}
    row_of: dict[str, int] = {}
    for row in rows:
        for column in _POINT_COLUMNS:
            cell = row.text(column)
            if cell is not None and cells.setdefault(column, cell) != cell:
                row.report(f"row {row_of[column]} says {cells[column]!r} for the same point", column)
            elif cell is not None:
                row_of.setdefault(column, row.number)
    return SheetRow(rows[0].number, cells, rows[0].decimal, rows[0].problems)


def _point_keys(row: SheetRow) -> dict[str, Any]:
    """Return a point's keys without registers, in the usual order of a point table."""
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
        "map": row.parse("map", parse_mapping),
        "gain": row.number_in("gain"),
        "offset": row.number_in("offset"),
        "range": _range(row),
        "clamp": row.parse("clamp", parse_flag) or None,
        "decimals": row.whole_number_in("decimals"),
        "cov": _cov(row),
        "stale_after": row.parse("stale_after", parse_cell_duration),
        "on_stale": row.parse("on_stale", parse_on_stale),
        "refill": row.parse("refill", parse_refill),
        "tags": row.parse("tags", parse_mapping),
        "mqtt": _mqtt(row),
    }
    return {key: value for key, value in keys.items() if value is not None}


def _range(row: SheetRow) -> list[int | float] | None:
    low, high = row.number_in("range_low"), row.number_in("range_high")
    for column, other in (("range_low", "range_high"), ("range_high", "range_low")):
        if row.text(column) is None and row.text(other) is not None:
            row.report(f"is missing: a range has two ends, and {other} is given", column)
    return None if low is None or high is None else [low, high]


def _cov(row: SheetRow) -> Any:
    delta, every = row.number_in("cov"), row.parse("cov_every", parse_cell_duration)
    if every is not None and row.text("cov") is None:
        row.report("goes with column cov, which is empty here", "cov_every")
    return delta if delta is None or every is None else {"delta": delta, "every": every}


def _mqtt(row: SheetRow) -> Any:
    sinks, topic = row.parse("mqtt", parse_sinks), row.text("own_topic")
    if sinks is False:
        if topic is not None:
            row.report("would go to no broker, for column mqtt says so", "own_topic")
        return False
    keys: dict[str, Any] = {}
    if isinstance(sinks, list):
        keys["to"] = sinks
    if topic is not None:
        keys["topic"] = topic
    return keys or None


def _has_register(row: SheetRow) -> bool:
    """Return whether the row has the address of a register; report a register without one."""
    if any(row.text(column) is not None for column in ADDRESS_COLUMNS):
        return True
    stated = [column for column in _FORMAT_COLUMNS if row.text(column) is not None]
    if stated:
        row.report("belongs to a register: give its address, number or modicon as well", stated[0])
    return False


def _read_block(row: SheetRow, *, sink: str) -> dict[str, Any]:
    """Return the `modbus` block of a row with all its keys."""
    table, address = _table_and_address(row)
    kind, bit, order = row.word("type"), row.whole_number_in("bit"), row.word("order")
    needs_no_type = kind == "bit" and (table in BIT_TABLES or bit is not None)
    if order is None and kind is not None and is_orderable(kind):
        order = "abcd"
    scale, unit = row.number_in("scale"), row.parse("unit", lambda cell: _unit(cell, row.decimal))
    block = {
        "to": row.text("sink") or sink,
        "unit": 1 if unit is None else unit,
        "table": table,
        "register": address,
        "type": None if needs_no_type else kind,
        "order": None if order is None else order.upper(),
        "scale": None if scale == 1 else scale,
        "bit": bit,
    }
    return {key: value for key, value in block.items() if value is not None}


def _unit(cell: str, decimal: str | None) -> int:
    try:
        return parse_whole(cell, decimal=decimal)
    except ValueError:
        raise ValueError(
            "a Modbus unit id (0 to 255) is expected; a unit of measure belongs to unit_of_measure"
        ) from None


def _table_and_address(row: SheetRow) -> tuple[str, int | None]:
    """Return table and PDU address from the columns that have them; all of these must agree."""
    table = row.word("table")
    number = row.parse("number", lambda cell: _number(cell, row.decimal))
    modicon = row.parse("modicon", lambda cell: _modicon(cell, table))
    stated = {
        "address": row.whole_number_in("address"),
        "number": None if number is None else number - 1,
        "modicon": None if modicon is None else modicon[1],
    }
    column, address = next(((key, value) for key, value in stated.items() if value is not None), ("", None))
    for other, value in stated.items():
        if value not in {None, address}:
            row.report(
                f"is PDU address {value}, but column {column} says {address}; clear one of them", other
            )
    if modicon is not None and table not in {None, modicon[0]}:
        row.report(f"is in the {modicon[0]} table, but column table says {table}", "modicon")
    return table or (modicon[0] if modicon else "input"), address


def _number(cell: str, decimal: str | None) -> int:
    number = parse_whole(cell, decimal=decimal)
    if number < 1:
        raise ValueError("counts from 1; a 0-based number belongs to column address")
    return number


def _modicon(cell: str, table: str | None) -> tuple[str, int]:
    """Parse a number whose leading zeros a spreadsheet may have dropped, which only coils have."""
    if not cell.isdigit():
        raise ValueError("a number such as 30001 is expected")
    if table == "coil" and len(cell) <= _FIVE_DIGITS:
        cell = cell.zfill(_FIVE_DIGITS + 1)
    of_table, address = parse_modicon(cell if len(cell) >= _FIVE_DIGITS else int(cell))
    return of_table.value, address
