"""The CSV of `gateway points` that was handed to the BMS engineer, as an inventory to compare with.

It tells a little less than the tables do, so both sides of a comparison are taken from their CSV then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from gateway.config.value_types import parse_duration
from gateway.errors import ConfigError
from gateway.mapping.listing import COLUMNS
from gateway.mapping.registers import parse_type
from gateway.model import ByteOrder, Register, RegisterTable
from gateway.tools.diff.inventory import Inventory, ListedPoint, in_message
from gateway.tools.sheets.cells import parse_flag
from gateway.tools.sheets.points import NUMERIC
from gateway.tools.sheets.row import Row, parse_mapping, parse_on_stale, parse_refill
from gateway.tools.sheets.row_registers import has_register, read_block
from gateway.tools.sheets.spreadsheet import read_sheet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.tools.diff.inventory import Topic

Word = TypeVar("Word", RegisterTable, ByteOrder)

_REQUIRED = ("tag", "point", "topic", "sink", "type")
_TEXTS = ("asset", "from", "unit_of_measure", "description", "source_unit")


def inventory_in(data: bytes, *, file: str) -> Inventory:
    """Return what the CSV lists; columns that it lacks are facts that nobody knows.

    Raises ConfigError with every cell that cannot be read, `file: row 7, column type: …`.
    """
    try:
        sheet = read_sheet(data, columns=COLUMNS, numeric=NUMERIC, required=_REQUIRED)
    except ConfigError as error:
        raise ConfigError([f"{file}: {problem}" for problem in error.problems]) from error
    grouped: dict[str, list[Row]] = {}
    for line in sheet.lines:
        row = Row(line.number, line.cells, sheet.decimal, sheet.problems)
        grouped.setdefault(f"{row.text('tag')}/{row.text('point')}", []).append(row)
    points = {name: _listed(name, rows, sheet.columns) for name, rows in grouped.items()}
    if sheet.problems:
        raise ConfigError([f"{file}: {problem}" for problem in sheet.problems])
    return Inventory(
        points=points,
        sinks={register.sink: {} for point in points.values() for register in point.registers},
    )


def _listed(name: str, rows: list[Row], columns: tuple[str, ...]) -> ListedPoint:
    registers = [register for row in rows if (register := _register(row)) is not None]
    return ListedPoint(
        name=name, topics=_topics(rows[0]), registers=tuple(registers), facts=_facts(rows[0], columns)
    )


def _topics(row: Row) -> frozenset[Topic]:
    """Part the topics of several sinks, which one cell has with spaces between them."""
    usual_end = f"/{row.text('site')}/{row.text('tag')}"
    own = _parted(row.text("topic"), f"{usual_end}/{row.text('point')}", has_own=bool(row.text("own_topic")))
    of_assets = _parted(row.text("asset_topic"), usual_end, has_own=False)
    name = row.text("point") or ""
    return frozenset(("", topic) for topic in (*own, *(in_message(topic, name) for topic in of_assets)))


def _parted(cell: str | None, usual_end: str, *, has_own: bool) -> list[str]:
    """Return the topics of a cell; all of it where they are not the usual ones: names may have spaces."""
    if not cell:
        return []
    if has_own or not cell.endswith(usual_end):
        return [cell]
    return [f"{start.strip()}{usual_end}" for start in cell.split(usual_end)[:-1]]


def _register(row: Row) -> Register | None:
    """Return the register of a row, None where the point has none there or a cell cannot be read."""
    if not has_register(row):
        return None
    table = row.read("table", _one_of(RegisterTable))
    order = row.read("order", _one_of(ByteOrder))
    form = row.read("type", lambda cell: parse_type(cell.lower()))
    block = read_block(row, sink="")
    if table is None or form is None or "register" not in block:
        return None
    return Register(
        sink=block["to"],
        unit=block["unit"],
        table=table,
        address=block["register"],
        type=form[0],
        words=form[1],
        order=order or ByteOrder.ABCD,
        scale=float(block.get("scale", 1)),
        bit=block.get("bit"),
    )


def _one_of(words: type[Word]) -> Callable[[str], Word]:
    by_text: Mapping[str, Word] = {word.value.lower(): word for word in words}

    def read(cell: str) -> Word:
        if cell.lower() not in by_text:
            raise ValueError(f"{', '.join(word.value for word in words)} are known")
        return by_text[cell.lower()]

    return read


def _facts(row: Row, columns: tuple[str, ...]) -> dict[str, Any]:
    """Return the facts of those columns that the sheet has, as an inventory of tables has them."""
    low, high = row.figure("range_low"), row.figure("range_high")
    delta, every_ms = row.figure("cov"), row.read("cov_every", _milliseconds)
    facts: dict[str, tuple[str, Any]] = {
        "gain": ("gain", row.figure("gain") or 1.0),
        "offset": ("offset", row.figure("offset") or 0.0),
        "map": ("map", row.read("map", parse_mapping)),
        "range": ("range_low", None if low is None or high is None else (low, high)),
        "clamp": ("clamp", bool(row.read("clamp", parse_flag))),
        "decimals": ("decimals", row.whole("decimals")),
        "cov": ("cov", None if delta is None else (delta, every_ms or 0)),
        "stale_after": ("stale_after", row.read("stale_after", _milliseconds)),
        "on_stale": ("on_stale", row.read("on_stale", parse_on_stale)),
        "refill": ("refill", row.read("refill", parse_refill) or "newest"),
        "tags": ("tags", row.read("tags", parse_mapping)),
        "every_ms": ("every", row.read("every", _milliseconds)),
    }
    texts = {column: row.text(column) for column in _TEXTS if column in columns}
    return texts | {fact: value for fact, (column, value) in facts.items() if column in columns}


def _milliseconds(cell: str) -> int | None:
    """Return a duration in ms, None for `never`."""
    return None if cell.lower() == "never" else round(parse_duration(cell) * 1000)
