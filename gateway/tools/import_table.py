"""`gateway import`: a spreadsheet as the text of a point table, compiled before it is returned."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gateway.config.problems import MISSING, show
from gateway.errors import ConfigError
from gateway.mapping.compiler import load_point_map
from gateway.tools.import_text import explicit_text, table_text
from gateway.tools.sheet_points import ADDRESS_COLUMNS, read_points
from gateway.tools.spreadsheet import cell_problem, read_sheet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.config.problems import Problem
    from gateway.mapping.compiler import CompiledTables
    from gateway.mapping.plan import PointMap
    from gateway.mapping.topics import TopicScheme
    from gateway.model import WriteLimits
    from gateway.tools.sheet_points import SheetPoint
    from gateway.tools.spreadsheet import Sheet

USUAL_SINK = "regs"
_PATH = re.compile(r"points\[(\d+)\](?:\.(\w+)(?:\[(\d+)\])?(?:\.(\w+))?)?")
_COLUMNS = {  # of keys that have another name in a point table
    "unit": "unit_of_measure",
    "range": "range_low",
    "modbus": "address",
    "modbus.to": "sink",
    "modbus.register": "address",
    "mqtt.topic": "own_topic",
    "cov.every": "cov_every",
}
_BLOCK_COLUMNS = frozenset({"unit", "table", "type", "order", "scale", "bit"})


@dataclass(frozen=True, slots=True)
class ImportedTable:
    """The table's text, the number of its points, and what the user should check."""

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
) -> ImportedTable:
    """Return the point table of a spreadsheet; raise ConfigError with all problems found.

    `name`: the file's. `site`: for rows that name none; of several sites, the one to import. `sinks`,
    `topics` and `limits` as for `load_point_map`; without `sinks`, all sinks that rows name are accepted.
    """
    sheet = read_sheet(data)
    points = read_points(sheet, sink=_default_sink(sinks))
    if not points and not sheet.problems:
        sheet.problems.append("there is no row below the headings")
    sheet.raise_problems()
    chosen = _choose_site(sheet, points, site)
    points = [point for point in points if point.site in {None, chosen}]
    sheet.raise_problems()
    compile_points(sheet, points, site=chosen, sinks=sinks, topics=topics, limits=limits)
    sheet.raise_problems()
    _note_defaults(sheet, points, sinks)
    text = table_text(points, site=chosen, comments=_comments(name))
    used = _sinks_of(points) if sinks is None else sinks
    if problems := _compiled(text, used, topics, limits).problems:
        raise ConfigError([f"the table made of it is wrong: {problem}" for problem in problems])
    return ImportedTable(text, len(points), tuple(sheet.notes))


def compile_points(
    sheet: Sheet,
    points: Sequence[SheetPoint],
    *,
    site: str,
    sinks: Mapping[str, str] | None = None,
    topics: Mapping[str, TopicScheme] | None = None,
    limits: Mapping[str, WriteLimits] | None = None,
) -> PointMap | None:
    """Return the compiled points; add the compiler's problems to the sheet's, by row and column."""
    text, rows = explicit_text(points, site=site)
    single = [point for point in points if point.every is None]
    compiled = _compiled(text, _sinks_of(points) if sinks is None else sinks, topics, limits)
    sheet.problems += [_sheet_problem(problem, single, rows, sheet.columns) for problem in compiled.problems]
    return compiled.point_map


def _compiled(
    text: str,
    sinks: Mapping[str, str],
    topics: Mapping[str, TopicScheme] | None,
    limits: Mapping[str, WriteLimits] | None,
) -> CompiledTables:
    with TemporaryDirectory(prefix="gateway-import-") as folder:
        (Path(folder) / "table.yaml").write_text(text, encoding="utf-8")
        return load_point_map(Path(folder), sinks, topics=topics, limits=limits)


def _comments(name: str) -> list[str]:
    shown = "".join(character for character in name if character.isprintable())
    return [
        f"Made from {shown} by `gateway import`. Registers are absolute 0-based PDU addresses.",
        "`gateway check` says what is wrong here, `gateway points` prints the list again.",
    ]


def _default_sink(sinks: Mapping[str, str] | None) -> str:
    found = [name for name, of_type in (sinks or {}).items() if of_type.startswith("modbus")]
    return found[0] if len(found) == 1 else USUAL_SINK


def _choose_site(sheet: Sheet, points: Sequence[SheetPoint], site: str | None) -> str:
    """Return the site of the table."""
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
    """Return the sinks that points name, and a broker under a name that no table can have."""
    sinks = {"(broker)": "mqtt"}
    for point in points:
        mqtt = point.keys.get("mqtt")
        sinks |= dict.fromkeys(mqtt.get("to", ()) if isinstance(mqtt, dict) else (), "mqtt")
        sinks |= {block["to"]: "modbus_server" for block in point.blocks}
    return sinks


def _note_defaults(sheet: Sheet, points: Sequence[SheetPoint], sinks: Mapping[str, str] | None) -> None:
    """Note what was assumed."""
    has_registers = any("modbus" in point.keys for point in points)
    if has_registers and sinks is None and "sink" not in sheet.columns:
        sheet.notes.append(f"there is no column sink: the Modbus sink is called {USUAL_SINK} in the table")
    if has_registers and not {"table", "modicon"} & set(sheet.columns):
        sheet.notes.append("there is no column table: all registers are input registers")
    if "topic" in sheet.columns and "own_topic" not in sheet.columns:
        sheet.notes.append("column topic follows from site, tag and point; own_topic is for another topic")


def _sheet_problem(
    problem: Problem, single: Sequence[SheetPoint], rows: Mapping[int, int], columns: Sequence[str]
) -> str:
    """Return a problem of the explicit text with its row and column in the sheet."""
    message = re.sub(
        r"\S*table\.yaml:(\d+):\d+", lambda found: f"row {rows.get(int(found[1]), '?')}", problem.message
    )
    value = None if problem.value is MISSING else problem.value
    match = _PATH.match(problem.path)
    if match is None:
        row = rows.get(problem.location.line)
        if row is not None:
            return cell_problem(message, row=row, value=value)
        shown = show(problem.value)
        return f"{problem.path}: {message}" + (f" ({shown})" if shown else "")
    point, key, index, inner = single[int(match[1])], match[2], match[3], match[4]
    row = point.rows[int(index) if key == "modbus" and index is not None else 0]
    column = _column(key, index, inner)
    if column == "address":
        column = next((one for one in ADDRESS_COLUMNS if one in columns), column)
    return cell_problem(message, row=row, column=column, value=value)


def _column(key: str | None, index: str | None, inner: str | None) -> str | None:
    if key is None:
        return None
    if key == "range" and index == "1":
        return "range_high"
    if key == "modbus" and inner in _BLOCK_COLUMNS:
        return inner
    return _COLUMNS.get(f"{key}.{inner}") or _COLUMNS.get(key, key)
