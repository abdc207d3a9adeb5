"""The register that one row of a spreadsheet is about, as a `modbus:` block of a point table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.mapping.notation import BIT_TABLES, parse_modicon
from gateway.mapping.registers import is_orderable
from gateway.tools.sheets.cells import parse_whole

if TYPE_CHECKING:
    from gateway.tools.sheets.row import Row

PLACE_COLUMNS = ("address", "number", "modicon")
FORM_COLUMNS = ("sink", "unit", "table", "type", "order", "scale", "bit")
_FIVE_DIGITS = 5


def has_register(row: Row) -> bool:
    """Say whether the row says where a register is; report a register without its place."""
    if any(row.text(column) is not None for column in PLACE_COLUMNS):
        return True
    said = [column for column in FORM_COLUMNS if row.text(column) is not None]
    if said:
        row.report("belongs to a register: give its address, number or modicon as well", said[0])
    return False


def read_block(row: Row, *, sink: str) -> dict[str, Any]:
    """Return the block with everything said; `sink` is for rows that name none."""
    table, address = _place(row)
    kind, bit, order = row.word("type"), row.whole("bit"), row.word("order")
    goes_without_type = kind == "bit" and (table in BIT_TABLES or bit is not None)
    if order is None and kind is not None and is_orderable(kind):
        order = "abcd"
    scale = row.figure("scale")
    block = {
        "to": row.text("sink") or sink,
        "unit": _unit(row),
        "table": table,
        "register": address,
        "type": None if goes_without_type else kind,
        "order": None if order is None else order.upper(),
        "scale": None if scale == 1 else scale,
        "bit": bit,
    }
    return {key: value for key, value in block.items() if value is not None}


def _unit(row: Row) -> int:
    def parse(cell: str) -> int:
        try:
            return parse_whole(cell, decimal=row.decimal)
        except ValueError:
            raise ValueError(
                "a Modbus unit id (0 to 255) is expected; a unit of measure belongs to unit_of_measure"
            ) from None

    unit = row.read("unit", parse)
    return 1 if unit is None else unit


def _place(row: Row) -> tuple[str, int | None]:
    """Return table and PDU address from whichever columns say them; all that do must agree."""
    table = row.word("table")
    address, number = row.whole("address"), row.read("number", lambda cell: _number(cell, row.decimal))
    by_modicon = row.read("modicon", lambda cell: _modicon_place(cell, table))
    said = {
        "address": address,
        "number": None if number is None else number - 1,
        "modicon": None if by_modicon is None else by_modicon[1],
    }
    column, place = next(((key, value) for key, value in said.items() if value is not None), ("", None))
    for other, value in said.items():
        if value not in {None, place}:
            row.report(f"is PDU address {value}, but column {column} says {place}; clear one of them", other)
    if by_modicon is not None and table not in {None, by_modicon[0]}:
        row.report(f"is in the {by_modicon[0]} table, but column table says {table}", "modicon")
    return table or (by_modicon[0] if by_modicon else "input"), place


def _number(cell: str, decimal: str | None) -> int:
    number = parse_whole(cell, decimal=decimal)
    if number < 1:
        raise ValueError("counts from 1; a 0-based number belongs to column address")
    return number


def _modicon_place(cell: str, table: str | None) -> tuple[str, int]:
    """Spreadsheets drop leading zeros, which only coils have: 1 is 00001, and so may 10001 be 010001."""
    if not cell.isdigit():
        raise ValueError("a number such as 30001 is expected")
    if table == "coil" and len(cell) <= _FIVE_DIGITS:
        cell = cell.zfill(_FIVE_DIGITS + 1)
    of_table, address = parse_modicon(cell if len(cell) >= _FIVE_DIGITS else int(cell))
    return of_table.value, address
