"""`gateway import`: a spreadsheet as the text of a point table, compiled before it is returned."""

from __future__ import annotations

import copy
import re
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gateway.config.problems import MISSING, show
from gateway.config.value_types import parse_duration
from gateway.errors import ConfigError
from gateway.mapping.compiler import load_point_map
from gateway.model import PSEUDO_SOURCES
from gateway.tools.sheet_points import ADDRESS_COLUMNS, read_points
from gateway.tools.spreadsheet import cell_problem, read_sheet
from gateway.tools.yaml_text import flow_text, string_text, wrapped_mapping

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
_STALE_AFTER = "90m"  # the compiler's default
_ON_STALE = "sentinel"
_FACTORED_BLOCK_KEYS = ("to", "unit", "table")


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
    text = _table_text(points, site=chosen, comments=_comments(name))
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
    text, rows = _explicit_text(points, site=site)
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


def _explicit_text(points: Sequence[SheetPoint], *, site: str) -> tuple[str, dict[int, int]]:
    """Return a table without defaults, one point per line, and the row number of each line."""
    lines = ["schema: gateway.points/1", f"site: {string_text(site)}"]
    rows = {}
    single = [point for point in points if point.every is None]
    lines += ["points:"] if single else []
    for point in single:
        lines.append(f"  - {flow_text(point.keys)}")
        rows[len(lines)] = point.rows[0]
    for point in points:
        if point.every is not None:
            lines += _heartbeat(point)
            rows[len(lines)] = point.rows[0]
    return "\n".join(lines) + "\n", rows


def _table_text(points: Sequence[SheetPoint], *, site: str, comments: Iterable[str]) -> str:
    """Return the table as a person would write it."""
    points = copy.deepcopy(points)
    defaults = _factor_out(points)
    lines = [*(f"# {comment}" for comment in comments), ""]
    lines += ["schema: gateway.points/1", f"site: {string_text(site)}"]
    if defaults:
        lines += ["", "defaults:", *(f"  {key}: {flow_text(value)}" for key, value in defaults.items())]
    single = [point.keys for point in points if point.every is None]
    if single:
        lines += ["", "points:"]
        for tag, group in groupby(single, key=lambda keys: keys["tag"]):
            lines.append(f"{'' if lines[-1] == 'points:' else chr(10)}  # {tag}")
            for keys in group:
                lines += wrapped_mapping("  - ", keys)
    for point in points:
        if point.every is not None:
            lines += ["", *_heartbeat(point)]
    return "\n".join(lines) + "\n"


def _heartbeat(point: SheetPoint) -> list[str]:
    return ["system:", f"  heartbeat: {flow_text({'every': point.every} | point.keys)}"]


def _factor_out(points: Sequence[SheetPoint]) -> dict[str, Any]:
    """Remove the most common values from the points, and return them as `defaults`."""
    measured = [
        point.keys for point in points if point.every is None and point.keys["from"] not in PSEUDO_SOURCES
    ]
    defaults: dict[str, Any] = {}
    for keys in measured:
        keys.setdefault("stale_after", _STALE_AFTER)
        keys.setdefault("on_stale", _ON_STALE)
        _shorten_cov(keys)
    if measured:
        defaults["stale_after"] = _remove_common(measured, "stale_after")
    pseudo = [point.on_stale for point in points if point.on_stale is not None]
    if pseudo:
        defaults["on_stale"] = _most_common(pseudo)
        _remove_equal(measured, "on_stale", defaults["on_stale"])
    elif measured:
        defaults["on_stale"] = _remove_common(measured, "on_stale")
    shared = {"mqtt": _factor_out_mqtt(points), "modbus": _factor_out_blocks(points)}
    return defaults | {key: value for key, value in shared.items() if value is not None}


def _shorten_cov(keys: dict[str, Any]) -> None:
    """Leave `every` out if it is the compiler's default: half of the time until stale."""
    cov, stale_after = keys.get("cov"), keys["stale_after"]
    if isinstance(cov, dict):
        stale_ms = 0 if stale_after == "never" else _milliseconds(stale_after)
        if _milliseconds(cov["every"]) == (stale_ms or _milliseconds(_STALE_AFTER)) // 2:
            keys["cov"] = cov["delta"]


def _milliseconds(duration: str) -> int:
    return round(parse_duration(duration) * 1000)


def _factor_out_mqtt(points: Sequence[SheetPoint]) -> Any:
    """Return False if most points are on no broker; the others then state that they are."""
    keys = [point.keys for point in points if point.every is None]
    if 2 * sum(each.get("mqtt") is False for each in keys) <= len(keys):
        return None
    for each in keys:
        if each.get("mqtt") is False:
            del each["mqtt"]
        elif "mqtt" not in each:
            modbus = each.pop("modbus", None)
            each["mqtt"] = True
            if modbus is not None:
                each["modbus"] = modbus  # last, as usual
    return False


def _factor_out_blocks(points: Sequence[SheetPoint]) -> dict[str, Any] | None:
    blocks = [block for point in points for block in point.blocks]
    if not blocks:
        return None
    defaults = {key: _remove_common(blocks, key) for key in _FACTORED_BLOCK_KEYS}
    ordered = [block for block in blocks if "order" in block]
    order = _remove_common(ordered, "order") if ordered else "ABCD"
    return defaults if order == "ABCD" else defaults | {"order": order}


def _remove_common(mappings: Sequence[dict[str, Any]], key: str) -> Any:
    value = _most_common([mapping[key] for mapping in mappings])
    _remove_equal(mappings, key, value)
    return value


def _most_common(values: Sequence[Any]) -> Any:
    """Return the most frequent value, the first of several; 1, 1.0 and true are different."""
    by_text = {flow_text(value): value for value in values}
    return by_text[Counter(map(flow_text, values)).most_common(1)[0][0]]


def _remove_equal(mappings: Iterable[dict[str, Any]], key: str, value: Any) -> None:
    for mapping in mappings:
        if flow_text(mapping[key]) == flow_text(value):
            del mapping[key]
