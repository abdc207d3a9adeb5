"""The point tables that exist already: what they map, and where further registers may be."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from gateway.config.decode import read_document
from gateway.mapping.compile.automatic import Matcher
from gateway.mapping.compile.lock_file import Slots
from gateway.mapping.compile.sources import NO_TABLE, Sources, read_sources
from gateway.mapping.compiler import Compiler
from gateway.mapping.table import PARTS, Table, may_be_null
from gateway.model import ByteOrder, RegisterTable
from gateway.tools.allocate_registers import FreeRegisters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.config.problems import Problem
    from gateway.mapping.compile.templates import Area, CompiledTemplate
    from gateway.mapping.plan import PointMap
    from gateway.mapping.topics import TopicScheme
    from gateway.model import WriteLimits
    from gateway.records import AssetSnapshot, KnownAsset

_T = TypeVar("_T")
_SERVER = "modbus_server"
_WORD_TABLES = frozenset({RegisterTable.INPUT, RegisterTable.HOLDING})
_HIGHEST_UNIT = 247  # of a Modbus device


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFolder:
    """A folder of point tables, and what they are compiled with, as for `load_point_map`.

    `is_ignored`: its tables play no part, apart from their site.
    """

    folder: Path
    is_ignored: bool
    sinks: Mapping[str, str]
    topics: Mapping[str, TopicScheme]
    limits: Mapping[str, WriteLimits]
    snapshot: AssetSnapshot | None

    def compile(self, draft: str | None = None) -> tuple[Compiler, PointMap, list[Problem]]:
        """Compile the tables, with the text of a further one; return all problems, too."""
        sources = Sources([], Slots(None), []) if self.is_ignored else self._read()
        if draft is not None:
            with TemporaryDirectory() as folder:
                file = Path(folder) / "draft.yaml"
                file.write_text(draft, encoding="utf-8")
                document = read_document(file, Table, parts=PARTS, may_be_null=may_be_null)
            # The draft comes last: of two that clash, the later one has the problem.
            sources = Sources([*sources.tables, document], sources.slots, sources.problems)
        compiler = Compiler(sources, self.sinks, self.topics, self.snapshot, self.limits)
        point_map = compiler.compile()
        compiler.report_missing_slots()
        return compiler, point_map, sources.findings()[0]

    def sites(self) -> list[str]:
        """Return the sites of the tables, also if they are ignored."""
        values = [document.remains.value for document in self._read().tables]
        return list(dict.fromkeys(table.site for table in values if table is not None))

    def _read(self) -> Sources:
        """Read the tables; a folder that has none, or does not exist, is no problem here."""
        if not self.folder.exists():
            return Sources([], Slots(None), [])
        sources = read_sources(self.folder)
        problems = [problem for problem in sources.problems if problem.message != NO_TABLE]
        return Sources(sources.tables, sources.slots, problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterStyle:
    """Where the registers of a building are and how numbers stand there."""

    sink: str
    unit: int = 1
    table: RegisterTable = RegisterTable.INPUT
    order: ByteOrder = ByteOrder.ABCD


class ExistingTables:
    """Compiled tables without problems, and the registers that they leave free."""

    def __init__(self, compiler: Compiler, point_map: PointMap, *, sinks: Mapping[str, str]) -> None:
        self.mapped = frozenset(point_map.by_asset)
        self.tags = frozenset(point.tag for point in point_map.points)
        self.templates = compiler.templates
        self.style = _style(sinks, point_map)
        self._free = FreeRegisters(compiler)
        areas = {area for area, _ in compiler.assembly.claims.addresses()}
        areas.update(*(used.footprint.areas for used in compiler.templates.values()))
        self._used_units = {(sink, unit) for sink, unit, _ in areas}
        self._units = [] if self.style is None else [self.style.unit]
        self._fits = [
            (used, Matcher(used.template.match))
            for used in compiler.templates.values()
            if used.template.match is not None and _accepts_assets(used, sinks)
        ]

    def template_for(self, known: KnownAsset) -> CompiledTemplate | None:
        """Return the only template that matches such assets, or None."""
        fitting = [used for used, fit in self._fits if fit.matches(known)]
        return fitting[0] if len(fitting) == 1 else None

    def allocate_for(self, used: CompiledTemplate) -> int | None:
        """Return the base for a further asset of a template, or None if it is full."""
        stride, areas = used.template.stride or used.footprint.size, used.footprint.areas
        if used.template.reserve is not None:
            return self._free.allocate(used.name, areas, stride)
        return self._free.allocate_behind(areas, stride)

    def allocate(self, stride: int) -> tuple[int, int] | None:
        """Return unit and base of free registers, on a further unit if one is full, or None."""
        style = self.style
        if style is None or not stride:
            return None
        for unit in [*self._units, self._unused_unit(style.sink)]:
            if unit is None:
                continue
            area: Area = (style.sink, unit, style.table)
            base = self._free.allocate_behind((area,), stride)
            if base is not None:
                if unit not in self._units:
                    self._units.append(unit)
                return unit, base
        return None

    def _unused_unit(self, sink: str) -> int | None:
        """Return a unit that no table uses for anything."""
        return next(
            (
                unit
                for unit in range(1, _HIGHEST_UNIT + 1)
                if unit not in self._units and (sink, unit) not in self._used_units
            ),
            None,
        )


def _accepts_assets(used: CompiledTemplate, sinks: Mapping[str, str]) -> bool:
    """Return whether a template can have a further asset.

    Its registers must move with the base, and none may be in a controller, whose free registers are unknown.
    """
    blocks = [block for draft in used.drafts.values() for block in draft.blocks]
    return all(block.is_relative and sinks[block.register.sink] == _SERVER for block in blocks)


def _style(sinks: Mapping[str, str], point_map: PointMap) -> RegisterStyle | None:
    """Return the most frequent style on the first Modbus server, or None if there is none."""
    sink = next((name for name, of_type in sinks.items() if of_type == _SERVER), None)
    if sink is None:
        return None
    registers = [
        register
        for point in point_map.points
        for register in point.registers
        if register.sink == sink and register.table in _WORD_TABLES and point.asset
    ]
    if not registers:
        return RegisterStyle(sink=sink)
    unit, table = _most_common([(register.unit, register.table) for register in registers])
    wide = [register.order for register in registers if register.words > 1 and register.type != "string"]
    order = _most_common(wide) if wide else ByteOrder.ABCD
    return RegisterStyle(sink=sink, unit=unit, table=table, order=order)


def _most_common(values: Sequence[_T]) -> _T:
    return Counter(values).most_common(1)[0][0]
