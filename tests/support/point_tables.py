"""Point tables written to a folder and loaded as the gateway loads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.mapping.topics import TopicScheme

if TYPE_CHECKING:
    from gateway.mapping.plan import PointMap

EXAMPLES = Path(__file__).parents[2] / "mappings"
SINKS = {"bms": "mqtt", "regs": "modbus_server"}
TOPICS = {"bms": TopicScheme(prefix="gw/v1", gateway="edge-1")}
HEAD = """\
schema: gateway.points/1
site: hq
defaults: {modbus: {to: regs, table: input}}
"""
"""Three lines that a table can begin with."""


def load_tables(folder: Path, *tables: str) -> tuple[PointMap | None, list[str]]:
    """Load tables as a.yaml, b.yaml …; problems as lines, with names of files in place of paths."""
    for name, text in zip("abcdefgh", tables, strict=False):
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    compiled = load_point_map(TableInputs(folder, SINKS, topics=TOPICS))
    return compiled.point_map, [str(problem).replace(f"{folder}/", "") for problem in compiled.problems]


def load_good_tables(folder: Path, *tables: str) -> PointMap:
    """Load tables without problems."""
    point_map, problems = load_tables(folder, *tables)
    assert problems == []
    assert point_map is not None
    return point_map


def table_of_points(*points: str) -> str:
    """Return a table whose single points start on line 5; each one reads `t` of asset `a`."""
    return f"{HEAD}points:\n" + "".join(f"  - {{asset: a, from: t, {keys}}}\n" for keys in points)


def warnings_of(folder: Path, *tables: str) -> list[str]:
    """Load tables and return their warnings, as lines like problems."""
    load_tables(folder, *tables)
    compiled = load_point_map(TableInputs(folder, SINKS, topics=TOPICS))
    return [str(warning).replace(f"{folder}/", "") for warning in compiled.warnings]
