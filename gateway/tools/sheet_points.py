"""Rows of a spreadsheet as the points of a table: one point per tag and name, one register per row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.mapping.registers import parse_modicon
from gateway.model import HEARTBEAT, PSEUDO_SOURCES
from gateway.tools.computed_cells import computed_keys
from gateway.tools.headings import REQUIRED
from gateway.tools.sheet_layout import ADDRESS_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.tools.spreadsheet import Sheet, SheetRow

_FORMAT_COLUMNS = ("sink", "unit", "table", "type", "order", "scale", "bit", "shows")
DERIVED_COLUMNS = (
    *("name", "asset_name", "location", "topic", "asset_topic", "words", "sentinel"),
    *("object_unit", "object_states"),
)
"""Columns of our lists that are made from others, and not imported."""
_WORD_TABLES = ("input", "holding")
_HEARTBEAT_EVERY = "10s"
_POINT_COLUMNS = (  # in the usual order of a point table; `unit_of_measure` is the key `unit` there
    *(*REQUIRED, "unit_of_measure", "source_unit", "description", "bits", "map", "gain", "offset", "range"),
    *("clamp", "decimals", "cov", "stale_after", "on_stale", "refill", "tags", "mqtt", "bacnet"),
)


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
        """Return the `modbus` blocks, then those of `quality`."""
        both = (self.keys.get(key, []) for key in ("modbus", "quality"))
        return [block for found in both for block in (found if isinstance(found, list) else [found])]

    def row_of(self, steps: Sequence[str | int]) -> int:
        """Return the row of the register block at `steps` below the point, otherwise the first row."""
        key, index = (*steps, None, None)[:2]
        values = self.keys.get("modbus", [])
        before = (len(values) if isinstance(values, list) else 1) if key == "quality" else 0
        is_block = key in {"modbus", "quality"}
        return self.rows[before + (index if isinstance(index, int) else 0) if is_block else 0]


def read_points(sheet: Sheet, *, sink: str) -> list[SheetPoint]:
    """Return the points in the order of their first rows; registers without a sink belong to `sink`.

    Rows that contradict each other become problems of the sheet.
    """
    grouped: dict[tuple[str, ...], list[SheetRow]] = {}
    for row in sheet.rows:
        is_heartbeat = row.cells.get("from") == HEARTBEAT
        name = (HEARTBEAT,) if is_heartbeat else (row.cells.get("tag", ""), row.cells.get("point", ""))
        grouped.setdefault(name, []).append(row)
    return [_read_point(sheet, rows, sink) for rows in grouped.values()]


def _read_point(sheet: Sheet, rows: list[SheetRow], sink: str) -> SheetPoint:
    if len(rows) > 1 and not sheet.headings.is_own:
        listed = ", ".join(str(row.number) for row in rows)
        sheet.notes.append(f"rows {listed} have one name, so they are registers of one point")
    mapped = [row for row in rows if _has_register(sheet, row)]
    for row in rows if len(rows) > 1 else ():
        if row not in mapped:
            sheet.report("this point has another row, so a register is expected here", row=row.number)
    mapped.sort(key=_shows_quality)  # as a point has its blocks
    blocks = [_read_block(sheet, row, sink=sink) for row in mapped if not _shows_quality(row)]
    of_quality = [_read_block(sheet, row, sink=sink) for row in mapped if _shows_quality(row)]
    numbers = [row.number for row in mapped] or [rows[0].number]
    cells = _merged(sheet, rows)
    point = SheetPoint({}, numbers, cells.get("site"))
    if cells.get("from") == HEARTBEAT:
        point.every = cells.get("every", _HEARTBEAT_EVERY)
    else:
        point.keys = _point_keys(sheet, cells, rows[0])
        if point.keys.get("from") in PSEUDO_SOURCES:
            point.on_stale = point.keys.pop("on_stale", None)
    if blocks:
        point.keys["modbus"] = blocks[0] if len(blocks) == 1 else blocks
    if of_quality:
        point.keys["quality"] = of_quality[0] if len(of_quality) == 1 else of_quality
    return point


def _merged(sheet: Sheet, rows: Sequence[SheetRow]) -> dict[str, Any]:
    """Return the cells of the point from all its rows; where several state one, they must agree."""
    cells: dict[str, Any] = {}
    for row in rows:
        for column, value in row.cells.items():
            if column in (*ADDRESS_COLUMNS, *_FORMAT_COLUMNS, *DERIVED_COLUMNS):
                continue
            if cells.setdefault(column, value) != value:
                first = f"an earlier row of this point has {cells[column]!r}"
                sheet.report(first, row=row.number, column=column, value=value)
    return cells


def _point_keys(sheet: Sheet, cells: dict[str, Any], row: SheetRow) -> dict[str, Any]:
    """Return a point's keys without registers."""
    computed = computed_keys(str(cells.get("from")))
    for column in REQUIRED:
        if column not in cells and not (computed and column == "asset"):
            sheet.report("a cell is missing here", row=row.number, column=column)
    limits = [cells.get("range_low"), cells.get("range_high")]
    values = cells | {
        "range": None if limits == [None, None] else limits,
        "clamp": cells.get("clamp") or None,
        "cov": _cov(cells),
        "mqtt": _mqtt(cells),
        "bacnet": _bacnet(cells),
    }
    found = {column: values[column] for column in _POINT_COLUMNS if values.get(column) is not None}
    if computed:
        del found["from"]
        found |= computed
    return {"unit" if column == "unit_of_measure" else column: value for column, value in found.items()}


def _cov(cells: dict[str, Any]) -> Any:
    delta, every = cells.get("cov"), cells.get("cov_every")
    return delta if every is None else {"delta": delta, "every": every}


def _mqtt(cells: dict[str, Any]) -> Any:
    sinks, topic = cells.get("mqtt"), cells.get("own_topic")
    if sinks is False:
        return False
    keys = {"to": sinks} if isinstance(sinks, list) else {}
    return keys | ({"topic": topic} if topic else {}) or None


def _bacnet(cells: dict[str, Any]) -> Any:
    sinks = cells.get("bacnet")
    if sinks is False:
        return False
    keys = {
        "to": sinks if isinstance(sinks, list) else None,
        "object": cells.get("object_type"),
        "instance": cells.get("object_instance"),
    }
    return {key: value for key, value in keys.items() if value is not None} or None


def _has_register(sheet: Sheet, row: SheetRow) -> bool:
    """Return whether the row has the address of a register; report a register without one."""
    if any(column in row.cells for column in ADDRESS_COLUMNS):
        return True
    for column in _FORMAT_COLUMNS:
        if column in row.cells:
            message = "belongs to a register: give its address, number or modicon as well"
            sheet.report(message, row=row.number, column=column, value=row.cells[column])
            break
    return False


def _shows_quality(row: SheetRow) -> bool:
    return row.cells.get("shows") == "quality"


def _read_block(sheet: Sheet, row: SheetRow, *, sink: str) -> dict[str, Any]:
    """Return the `modbus` block of a row with all its keys."""
    cells = row.cells
    table, address = _table_and_address(sheet, row)
    scale, order, bit = cells.get("scale"), cells.get("order"), cells.get("bit")
    if cells.get("type") == "bit" and bit is None and table in _WORD_TABLES:
        bit = 0  # a register of its own that is 0 or 1
    block = {
        "to": cells.get("sink", sink),
        "unit": cells.get("unit"),
        "table": table,
        "register": address,
        "type": cells.get("type"),
        "order": None if order == "ABCD" else order,
        "scale": None if scale == 1 else scale,
        "bit": bit,
    }
    omitted = ("type", "order", "scale", "bit") if _shows_quality(row) else ()
    return {key: value for key, value in block.items() if value is not None and key not in omitted}


def _table_and_address(sheet: Sheet, row: SheetRow) -> tuple[str, int | None]:
    """Return table and PDU address from the columns that have them; all of these must agree."""
    cells = row.cells
    table: str | None = cells.get("table")
    stated: dict[str, Any] = {"address": cells.get("address")}
    if cells.get("number") is not None:
        stated["number"] = cells["number"] - 1
    if "modicon" in cells:
        try:
            of_table, stated["modicon"] = _modicon(cells["modicon"], table)
        except ValueError as error:
            sheet.report(str(error), row=row.number, column="modicon", value=cells["modicon"])
        else:
            table = table or of_table
            if table != of_table:
                message = f"is in the {of_table} table, but column table says {table}"
                sheet.report(message, row=row.number, column="modicon")
    stated = {column: address for column, address in stated.items() if address is not None}
    if len(set(stated.values())) > 1:
        places = ", ".join(f"{column} says {address}" for column, address in stated.items())
        sheet.report(f"the columns differ, as PDU addresses: {places}", row=row.number)
    return table or "input", next(iter(stated.values()), None)


def _modicon(cell: str, table: str | None) -> tuple[str, int]:
    """Parse a number whose leading zeros a spreadsheet may have dropped, which only coils have."""
    if not cell.isdigit():
        raise ValueError("a number such as 30001 is expected")
    digits = 6 if table == "coil" and len(cell) == 5 else 5  # noqa: PLR2004 - 010001 became 10001
    of_table, address = parse_modicon(cell.zfill(digits))
    return of_table.value, address
