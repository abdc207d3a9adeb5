"""The tables that are there already: what they name, and which registers they leave free."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from gateway.config.decode import read_document
from gateway.mapping.compiler import Compiler
from gateway.mapping.slots.automatic import Fit
from gateway.mapping.slots.lock_file import Slots
from gateway.mapping.sources import NO_TABLE, Sources, read_sources
from gateway.mapping.table import PARTS, Table, may_be_null
from gateway.model import ByteOrder, RegisterTable
from gateway.tools.allocation import Room

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.config.problems import Problem
    from gateway.mapping.compiling.footprint import Area
    from gateway.mapping.compiling.templates import CompiledTemplate
    from gateway.mapping.plan import PointMap
    from gateway.mapping.topics import TopicScheme
    from gateway.model import WriteLimits
    from gateway.records import AssetSnapshot, KnownAsset

_T = TypeVar("_T")
_SERVER = "modbus_server"
_WORD_TABLES = frozenset({RegisterTable.INPUT, RegisterTable.HOLDING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What tables are compiled with, as for `load_point_map`. `is_alone`: without the tables there are."""

    folder: Path
    is_alone: bool
    sinks: Mapping[str, str]
    topics: Mapping[str, TopicScheme]
    limits: Mapping[str, WriteLimits]
    snapshot: AssetSnapshot | None

    def compiled(self, sources: Sources) -> tuple[Compiler, PointMap, list[Problem]]:
        """Compile files that were read; return everything that is wrong with them, too."""
        compiler = Compiler(sources, self.sinks, self.topics, self.snapshot, self.limits)
        point_map = compiler.compile()
        compiler.report_needs()
        return compiler, point_map, sources.findings()[0]

    def read(self) -> Sources:
        """Read the tables; a folder that has none yet, or is not there, is no problem here."""
        if self.is_alone:
            return Sources([], Slots(None), [])
        return self._read()

    def sites(self) -> list[str]:
        """Return the sites of the tables there are, also of those that the draft is not to stand beside."""
        values = [document.remains.value for document in self._read().tables]
        return list(dict.fromkeys(table.site for table in values if table is not None))

    def _read(self) -> Sources:
        if not self.folder.exists():
            return Sources([], Slots(None), [])
        sources = read_sources(self.folder)
        problems = [problem for problem in sources.problems if problem.message != NO_TABLE]
        return Sources(sources.tables, sources.slots, problems)

    def problems_with(self, text: str) -> list[Problem]:
        """Return what would be wrong if a further table with this text were there."""
        sources = self.read()
        with TemporaryDirectory() as folder:
            file = Path(folder) / "draft.yaml"
            file.write_text(text, encoding="utf-8")
            draft = read_document(file, Table, parts=PARTS, may_be_null=may_be_null)
        # The draft comes last: of two that clash, the later one has the problem.
        together = Sources([*sources.tables, draft], sources.slots, sources.problems)
        return self.compiled(together)[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """Where registers usually are here: the sink and unit, and how numbers stand there."""

    sink: str
    unit: int = 1
    table: RegisterTable = RegisterTable.INPUT
    order: ByteOrder = ByteOrder.ABCD

    def area(self, unit: int) -> Area:
        """Return the place of its registers on a unit."""
        return self.sink, unit, self.table


class Present:
    """The tables that are there, compiled."""

    def __init__(self, compiler: Compiler, point_map: PointMap, *, sinks: Mapping[str, str]) -> None:
        """Take tables without problems; `sinks`: name → type."""
        self.mapped = frozenset(point_map.by_asset)
        self.tags = frozenset(point.tag for point in point_map.points)
        self.templates = compiler.templates
        self.room = Room(compiler)
        self._areas = {area for area, _ in compiler.assembly.claims.addresses()}
        for used in compiler.templates.values():
            self._areas |= used.footprint.areas
        self._fits = [
            (used, Fit(used.template.match))
            for used in compiler.templates.values()
            if used.template.match is not None and _is_for_many(used, sinks)
        ]

    def template_for(self, known: KnownAsset) -> CompiledTemplate | None:
        """Return the one template of these tables that is made for such assets."""
        fitting = [used for used, fit in self._fits if fit.takes(known)]
        return fitting[0] if len(fitting) == 1 else None

    def has_unit(self, sink: str, unit: int) -> bool:
        """Say whether anything is, or may come to be, on this unit."""
        return any(area[:2] == (sink, unit) for area in self._areas)


def _is_for_many(used: CompiledTemplate, sinks: Mapping[str, str]) -> bool:
    """Say whether a template can have one more asset.

    Its registers move with the base, and none is of a controller, where nobody knows what is free.
    """
    blocks = [block for draft in used.drafts.values() for block in draft.blocks]
    return all(block.is_relative and sinks[block.register.sink] == _SERVER for block in blocks)


def style_of(sinks: Mapping[str, str], point_map: PointMap) -> Style | None:
    """Return how the registers of these tables are on the first Modbus server, None where there is none."""
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
        return Style(sink=sink)
    unit, table = _most([(register.unit, register.table) for register in registers])
    wide = [register.order for register in registers if register.words > 1 and register.type != "string"]
    return Style(sink=sink, unit=unit, table=table, order=_most(wide) if wide else ByteOrder.ABCD)


def _most(values: Sequence[_T]) -> _T:
    return Counter(values).most_common(1)[0][0]
