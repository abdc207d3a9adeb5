"""`gateway import`: a spreadsheet as the text of a point table, compiled before it is returned."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gateway.config.problems import MISSING
from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.mapping.computed_keys import COMPUTED_KEYS
from gateway.model import PSEUDO_SOURCES
from gateway.text import sanitise_line
from gateway.tools.sheet_layout import ADDRESS_COLUMNS
from gateway.tools.sheet_points import read_points
from gateway.tools.yaml_text import flow_text, string_text, wrapped_mapping

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.config.problems import Problem
    from gateway.mapping.plan import PointMap
    from gateway.tools.sheet_points import SheetPoint
    from gateway.tools.spreadsheet import Sheet

USUAL_SINK = "regs"
USUAL_DEVICE = "(device)"
"""A BACnet sink under a name that no table can have."""
_COLUMNS: dict[tuple[str | int, ...], str] = {  # of keys with another name in a point table
    ("unit",): "unit_of_measure",
    ("range", 1): "range_high",
    ("range",): "range_low",
    ("mqtt", "topic"): "own_topic",
    ("bacnet", "object"): "object_type",
    ("bacnet", "instance"): "object_instance",
    ("cov", "every"): "cov_every",
    **{(kind,): "from" for kind in COMPUTED_KEYS},
}
_BLOCK_COLUMNS = {"to": "sink", "register": "address", "modicon": "address"}
_ON_STALE = "sentinel"  # the compiler's default
_HEAD = """\
# Made from {name} by `gateway import`. Registers are absolute 0-based PDU addresses.
# `gateway check` says what is wrong here, `gateway points` prints the list again.
"""
_TO_DO = {
    "asset": "# To do: the sheet names no assets, so `asset` is the tag. Write the ids, such as ast-1.",
    "from": "# To do: the sheet names no telemetry keys, so `from` is the name of the point. Write the keys.",
}


@dataclass(frozen=True, slots=True)
class ImportedTable:
    """The table's text, the number of its points, and what the user should check."""

    text: str
    points: int
    notes: tuple[str, ...]


def import_points(
    sheet: Sheet, *, name: str, site: str | None = None, inputs: TableInputs | None = None
) -> ImportedTable:
    """Return the point table of a sheet; raise ConfigError with all problems found.

    `name`: the file's. `site`: for rows that name none; of several sites, the one to import. Without
    `inputs`, all sinks that rows name are accepted.
    """
    servers = (
        [sink for sink, of_type in inputs.sinks.items() if of_type.startswith("modbus")] if inputs else []
    )
    points = read_points(sheet, sink=servers[0] if len(servers) == 1 else USUAL_SINK)
    sheet.raise_problems()
    chosen = _choose_site(sheet, points, site)
    sheet.raise_problems()
    points = [point for point in points if point.site in {None, chosen}]
    text, _ = compile_points(sheet, points, site=chosen, inputs=inputs)
    sheet.raise_problems()
    head = _HEAD.format(name=sanitise_line(name, longest=100))
    head += "".join(f"{line}\n" for key, line in _TO_DO.items() if key in sheet.layout.stand_ins)
    return ImportedTable(f"{head}\n{text}", len(points), tuple(sheet.notes))


def compile_points(
    sheet: Sheet, points: Sequence[SheetPoint], *, site: str, inputs: TableInputs | None = None
) -> tuple[str, PointMap | None]:
    """Return the table's text and its points; add the compiler's problems to those of the sheet.

    BACnet objects need no instance: they get theirs from `gateway lock` once the table is in place.
    """
    lines, rows = _table_lines(points, site=site)
    text = "\n".join(lines) + "\n"
    inputs = inputs or TableInputs(Path(), _sinks_of(points))
    with TemporaryDirectory(prefix="gateway-import-") as folder:
        (Path(folder) / "table.yaml").write_text(text, encoding="utf-8")
        compiled = load_point_map(replace(inputs, folder=Path(folder), needs_instances=False))
    for problem in compiled.problems:
        _report(sheet, problem, [point for point in points if point.every is None], rows)
    return text, compiled.point_map


def _choose_site(sheet: Sheet, points: Sequence[SheetPoint], site: str | None) -> str:
    """Return the site of the table."""
    named = list(dict.fromkeys(point.site for point in points if point.site is not None))
    if site is None and len(named) > 1:
        sheet.report(f"there are rows of several sites: choose one with --site, one of {', '.join(named)}")
    elif site is None and not named:
        sheet.report("the site is not known: add a column `site`, or say --site NAME")
    chosen = site or "".join(named[:1])
    left_out = sum(point.site not in {None, chosen} for point in points)
    if left_out == len(points) and not sheet.problems:
        sheet.report(f"there is no row of site {chosen}" if points else "there is no row below the headings")
    elif left_out:
        sheet.notes.append(f"{left_out} points of other sites are left out")
    return chosen


def _sinks_of(points: Sequence[SheetPoint]) -> dict[str, str]:
    """Return the sinks that points name, and others for all points, under names that no table can have."""
    sinks = {"(broker)": "mqtt"}
    if any("instance" in (point.keys.get("bacnet") or {}) for point in points):
        sinks[USUAL_DEVICE] = "bacnet"
    for point in points:
        for kind in ("mqtt", "bacnet"):
            keys = point.keys.get(kind)
            sinks |= dict.fromkeys(keys.get("to", ()) if isinstance(keys, dict) else (), kind)
        sinks |= {block["to"]: "modbus_server" for block in point.blocks}
    return sinks


def _report(sheet: Sheet, problem: Problem, points: Sequence[SheetPoint], rows: Sequence[int | None]) -> None:
    """Add a problem of the table to the sheet's, with its row and column there. `rows`: of each line."""
    message = re.sub(
        r"\S*table\.yaml:(\d+):\d+", lambda found: f"row {rows[int(found[1]) - 1]}", problem.message
    )
    row, column = rows[problem.location.line - 1] if problem.location.line else None, None
    match problem.steps:
        case ("points", int(index), *keys):
            row, column = points[index].row_of(keys), _column(keys)
    if column == "address":
        column = next((one for one in ADDRESS_COLUMNS if one in sheet.columns), column)
    sheet.report(message, row=row, column=column, value=None if problem.value is MISSING else problem.value)


def _column(keys: Sequence[str | int]) -> str | None:
    """Return the column of a key of a point."""
    names = [key for key in keys if isinstance(key, str)]
    if not names:
        return None
    if names[0] in {"modbus", "quality"}:
        return _BLOCK_COLUMNS.get(names[-1], names[-1]) if len(names) > 1 else "address"
    return _COLUMNS.get(tuple(keys)) or _COLUMNS.get((names[0],), names[0])


def _table_lines(points: Sequence[SheetPoint], *, site: str) -> tuple[list[str], list[int | None]]:
    """Return the lines of the table, and the row of the sheet that each one is made from."""
    lines = ["schema: gateway.points/1", f"site: {string_text(site)}"]
    pseudo = [point.on_stale for point in points if point.on_stale is not None]
    if pseudo:
        lines += ["", "defaults:", f"  on_stale: {flow_text(pseudo[0])}"]
    rows: list[int | None] = [None] * len(lines)

    def add(new: Iterable[str], row: int | None = None) -> None:
        lines.extend(new)
        rows.extend([row] * (len(lines) - len(rows)))

    single = [point for point in points if point.every is None]
    if single:
        add(["", "points:"])
    for tag, group in groupby(single, key=lambda point: str(point.keys["tag"])):
        add([f"  # {string_text(tag)}"])
        for point in group:
            keys = point.keys
            if pseudo and keys.get("from") not in PSEUDO_SOURCES:
                keys = keys | {"on_stale": keys.get("on_stale", _ON_STALE)}
            add(wrapped_mapping("  - ", keys), point.rows[0])
    for point in points:
        if point.every is not None:
            heartbeat = flow_text({"every": point.every} | point.keys)
            add(["", "system:", f"  heartbeat: {heartbeat}"], point.rows[0])
    return lines, rows
