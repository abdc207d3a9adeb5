"""A spreadsheet into the text of a point table, compiled before anybody sees it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gateway.config.problems import MISSING, show
from gateway.errors import ConfigError
from gateway.mapping.compiler import load_point_map
from gateway.mapping.listing import COLUMNS
from gateway.tools.sheets.points import NUMERIC, REQUIRED, read_points
from gateway.tools.sheets.row_registers import PLACE_COLUMNS
from gateway.tools.sheets.spreadsheet import complaint, read_sheet
from gateway.tools.sheets.table_text import explicit_text, table_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from gateway.config.problems import Problem
    from gateway.mapping.topics import TopicScheme
    from gateway.model import WriteLimits
    from gateway.tools.sheets.points import SheetPoint
    from gateway.tools.sheets.spreadsheet import Sheet

USUAL_SINK = "regs"
_PATH = re.compile(r"points\[(\d+)\](?:\.(\w+)(?:\[(\d+)\])?(?:\.(\w+))?)?")
_COLUMNS = {  # of keys that are called otherwise in a table
    "unit": "unit_of_measure",
    "range": "range_low",
    "modbus": "address",
    "modbus.to": "sink",
    "modbus.register": "address",
    "mqtt.topic": "own_topic",
    "cov.every": "cov_every",
}
_OWN_BLOCK_COLUMNS = frozenset({"unit", "table", "type", "order", "scale", "bit"})


@dataclass(frozen=True, slots=True)
class Imported:
    """The table's text, what it holds, and what its reader should look at."""

    text: str
    points: int
    notes: tuple[str, ...]


def import_points(
    data: bytes,
    *,
    name: str,
    site: str | None = None,
    sinks: Mapping[str, str] | None = None,
    topics: Mapping[str, TopicScheme] | None = None,
    limits: Mapping[str, WriteLimits] | None = None,
) -> Imported:
    """Return the point table that a spreadsheet holds; raise ConfigError with every problem found.

    `name` is the file's, for the table's first line; `site` stands in where rows name none, and chooses
    where they name several; `sinks`, `topics` and `limits` are as for `load_point_map`, `sinks` None where
    they are not known: then every sink that a row names is taken to exist.
    """
    sheet = read_sheet(data, columns=COLUMNS, numeric=NUMERIC, required=REQUIRED)
    points = read_points(sheet, sink=_only_modbus_sink(sinks))
    if not points and not sheet.problems:
        sheet.problems.append("there is no row below the headings")
    _raise(sheet)
    chosen = _choose_site(sheet, points, site)
    points = [point for point in points if point.site in {None, chosen}]
    _raise(sheet)
    known = _sinks_of(points) if sinks is None else sinks
    check = partial(_problems_of, sinks=known, topics=topics, limits=limits)
    _compile(sheet, points, site=chosen, check=check)
    _raise(sheet)
    _note_defaults(sheet, points, sinks)
    text = table_text(points, site=chosen, comments=_comments(name))
    remaining = check(text)
    if remaining:
        raise ConfigError([f"the table made of it is wrong: {problem}" for problem in remaining])
    return Imported(text, len(points), tuple(sheet.notes))


def _raise(sheet: Sheet) -> None:
    if sheet.problems:
        raise ConfigError(sheet.problems)


def _comments(name: str) -> list[str]:
    shown = "".join(character for character in name if character.isprintable())
    return [
        f"Made from {shown} by `gateway import`. Registers are absolute 0-based PDU addresses.",
        "`gateway check` says what is wrong here, `gateway points` prints the list again.",
    ]


def _only_modbus_sink(sinks: Mapping[str, str] | None) -> str:
    found = [name for name, of_type in (sinks or {}).items() if of_type.startswith("modbus")]
    return found[0] if len(found) == 1 else USUAL_SINK


def _choose_site(sheet: Sheet, points: Sequence[SheetPoint], site: str | None) -> str:
    """Return the one site that a table has."""
    named = list(dict.fromkeys(point.site for point in points if point.site is not None))
    if site is None and len(named) == 1:
        return named[0]
    if site is None:
        sheet.problems.append(
            f"there are rows of {len(named)} sites, a table has one: choose it with --site, one of "
            f"{', '.join(named)}"
            if named
            else "the site is not known: add a column `site`, or say --site NAME"
        )
        return ""
    if named and site not in named and all(point.site is not None for point in points):
        sheet.problems.append(f"no row is of site {site}; there is {', '.join(named)}")
    left_out = sum(point.site not in {None, site} for point in points)
    if left_out:
        sheet.notes.append(f"{left_out} points of other sites are left out")
    return site


def _sinks_of(points: Sequence[SheetPoint]) -> dict[str, str]:
    sinks = {"(broker)": "mqtt"}  # a name that no table can use, so that topics are compared
    for point in points:
        mqtt, modbus = point.keys.get("mqtt"), point.keys.get("modbus", [])
        sinks |= dict.fromkeys(mqtt.get("to", ()) if isinstance(mqtt, dict) else (), "mqtt")
        blocks = modbus if isinstance(modbus, list) else [modbus]
        sinks |= {block["to"]: "modbus_server" for block in blocks}
    return sinks


def _note_defaults(sheet: Sheet, points: Sequence[SheetPoint], sinks: Mapping[str, str] | None) -> None:
    """Say what was taken for granted."""
    has_registers = any("modbus" in point.keys for point in points)
    if has_registers and sinks is None and "sink" not in sheet.columns:
        sheet.notes.append(f"there is no column sink: the Modbus sink is called {USUAL_SINK} in the table")
    if has_registers and not {"table", "modicon"} & set(sheet.columns):
        sheet.notes.append("there is no column table: all registers are input registers")
    if "topic" in sheet.columns and "own_topic" not in sheet.columns:
        sheet.notes.append("column topic follows from site, tag and point; own_topic is for another topic")


def _problems_of(
    text: str,
    *,
    sinks: Mapping[str, str],
    topics: Mapping[str, TopicScheme] | None,
    limits: Mapping[str, WriteLimits] | None,
) -> list[Problem]:
    with TemporaryDirectory(prefix="gateway-import-") as folder:
        (Path(folder) / "table.yaml").write_text(text, encoding="utf-8")
        return load_point_map(Path(folder), sinks, topics=topics, limits=limits).problems


def _compile(
    sheet: Sheet,
    points: Sequence[SheetPoint],
    *,
    site: str,
    check: Callable[[str], list[Problem]],
) -> None:
    """Add what the compiler says to the sheet's problems, in terms of rows and columns."""
    text, rows = explicit_text(points, site=site)
    single = [point for point in points if point.every is None]
    for problem in check(text):
        message = re.sub(
            r"\S*table\.yaml:(\d+):\d+",
            lambda match: f"row {rows.get(int(match[1]), '?')}",
            problem.message,
        )
        sheet.problems.append(_in_sheet(problem, message, single, rows, sheet.columns))


def _in_sheet(
    problem: Problem,
    message: str,
    single: Sequence[SheetPoint],
    rows: Mapping[int, int],
    columns: Collection[str],
) -> str:
    match = _PATH.match(problem.path)
    if match is None:
        row = rows.get(problem.location.line)
        if row is not None:
            return complaint(message, row=row, value=_value(problem))
        shown = show(problem.value)
        return f"{problem.path}: {message}" + (f" ({shown})" if shown else "")
    point = single[int(match[1])]
    key, index, inner = match[2], match[3], match[4]
    is_block = key == "modbus" and index is not None
    row = point.rows[int(index)] if is_block else point.rows[0]
    column = _column(key, index, inner)
    if column == "address":
        column = next((one for one in PLACE_COLUMNS if one in columns), column)
    return complaint(message, row=row, column=column, value=_value(problem))


def _value(problem: Problem) -> object:
    return None if problem.value is MISSING else problem.value


def _column(key: str | None, index: str | None, inner: str | None) -> str | None:
    if key is None:
        return None
    if key == "range" and index == "1":
        return "range_high"
    if key == "modbus" and inner in _OWN_BLOCK_COLUMNS:
        return inner
    return _COLUMNS.get(f"{key}.{inner}") or _COLUMNS.get(key, key)
