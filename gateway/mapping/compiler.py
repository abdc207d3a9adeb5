"""Point tables into a PointMap: read every file, compile every point once, refuse what clashes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.config.decode import Document, Location, Problem, read_document
from gateway.mapping.assembly import Assembly
from gateway.mapping.blocks import sink_problem
from gateway.mapping.cases import compile_case
from gateway.mapping.draft import draft_heartbeat, draft_point
from gateway.mapping.places import Layers, Place, unknown
from gateway.mapping.plan import PointMap
from gateway.mapping.table import MqttDefaults, Table
from gateway.mapping.templates import CompiledTemplate, compile_templates, drafts_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gateway.mapping.table import AssetEntry, Heartbeat, SinglePoint
    from gateway.model import AssetSnapshot, Point

_SYSTEM_TAG = "$gateway"  # no table can use it, for a tag cannot start with $


@dataclass(frozen=True, slots=True)
class CompiledTables:
    """All tables of a folder. `point_map` is None while there are problems; warnings do no harm to it."""

    point_map: PointMap | None
    problems: list[Problem]
    warnings: list[Problem]


def load_point_map(
    folder: Path,
    sinks: Mapping[str, str],
    *,
    prefixes: Mapping[str, str] | None = None,
    snapshot: AssetSnapshot | None = None,
) -> CompiledTables:
    """Return the compiled tables of a folder, or everything that is wrong with them.

    `sinks` gives each sink's type by its name: mqtt, modbus_server or modbus_client; `prefixes`
    the topic prefix of the MQTT sinks, so that a point's own topic cannot be another's usual one;
    `snapshot` what Infodeck's API knows of assets, None where nobody has asked it. Reads `*.yaml` in
    the order of their names. Never raises for what the files contain.
    """
    files, problems = _table_files(folder)
    documents = [read_document(file, Table) for file in files]
    point_map = _Compiler(documents, sinks, prefixes or {}, snapshot).compile()
    warnings: list[Problem] = []
    for document in documents:
        problems += _in_reading_order(document.problems)
        warnings += _in_reading_order(document.warnings)
    return CompiledTables(None if problems else point_map, problems, warnings)


def _table_files(folder: Path) -> tuple[list[Path], list[Problem]]:
    """Return the tables, and what there is to say about the folder."""
    start = Location(str(folder), 1, 1)
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        return [], [Problem(start, "", f"cannot be read: {error.strerror}")]
    files = [file for file in entries if file.suffix == ".yaml"]
    problems = [
        Problem(Location(str(file), 1, 1), "", "would not be read: a point table's name ends in .yaml")
        for file in entries
        if file.suffix == ".yml"
    ]
    if not files:
        problems.append(Problem(start, "", "no point table in this folder: no file ends in .yaml"))
    return files, problems


def _in_reading_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sort by place, and drop repetitions: an override is checked together with what it overrides."""
    unique = {(problem.location, problem.path, problem.message): problem for problem in problems}
    return [unique[key] for key in sorted(unique)]


class _Compiler:
    """Compiles the tables of one folder together. Problems go to the documents they are in."""

    def __init__(
        self,
        documents: list[Document[Table]],
        sinks: Mapping[str, str],
        prefixes: Mapping[str, str],
        snapshot: AssetSnapshot | None,
    ) -> None:
        self._snapshot = snapshot
        self._sinks = sinks
        self._tables = [(document, document.value) for document in documents if document.value is not None]
        self._all_are_readable = len(self._tables) == len(documents)
        self._assembly = Assembly(
            prefixes={
                name: prefixes.get(name, "") for name, of_type in sinks.items() if of_type.startswith("mqtt")
            }
        )
        self._templates: dict[str, CompiledTemplate] = {}
        self._ids: dict[str, Place] = {}
        self._tags: dict[str, Place] = {}
        self._heartbeat: tuple[int, Point] | None = None
        self._heartbeat_place: Place | None = None

    def compile(self) -> PointMap:
        """Take all templates first, for assets may use those of other files."""
        for document, table in self._tables:
            self._check_default_sinks(document, table)
            self._take_templates(document, table)
        for document, table in self._tables:
            for index, entry in enumerate(table.assets):
                self._take_asset(entry, Place(document, ("assets", index)), site=table.site)
        for document, table in self._tables:
            for index, single in enumerate(table.points):
                self._take_single(single, Place(document, ("points", index)), table)
            if table.system.heartbeat is not None:
                self._take_heartbeat(table.system.heartbeat, Place(document, ("system", "heartbeat")), table)
        self._warn_of_unused_templates()
        return self._point_map()

    def _point_map(self) -> PointMap:
        points = tuple(self._assembly.points)
        by_name = {point.name: point for point in points}
        by_asset = self._assembly.plans()
        cases = [
            compile_case(case, Place(document, ("cases", index)), by_name=by_name, by_asset=by_asset)
            for document, table in (self._tables if self._all_are_readable else ())
            for index, case in enumerate(table.cases)
        ]
        return PointMap(points, by_asset, heartbeat=self._heartbeat, cases=tuple(cases))

    def _check_default_sinks(self, document: Document[Table], table: Table) -> None:
        place = Place(document, ("defaults",))
        to = table.defaults.modbus.to
        if to is not None and (problem := sink_problem(to, self._sinks, kind="modbus")):
            place.report(problem, "modbus", "to")
        mqtt = table.defaults.mqtt
        for index, name in enumerate(mqtt.to if isinstance(mqtt, MqttDefaults) else ()):
            if problem := sink_problem(name, self._sinks, kind="mqtt"):
                place.report(problem, "mqtt", "to", index)

    def _take_templates(self, document: Document[Table], table: Table) -> None:
        for compiled in compile_templates(document, table, sinks=self._sinks):
            first = self._templates.setdefault(compiled.name, compiled)
            if first is not compiled:
                compiled.place.report(f"a template of this name is already at {first.place}")

    def _warn_of_unused_templates(self) -> None:
        used = {entry.use for _, table in self._tables for entry in table.assets}
        for name, compiled in self._templates.items():
            if name not in used and self._all_are_readable:
                compiled.place.warn("no asset uses this template, so its points are nowhere")

    def _take_asset(self, entry: AssetEntry, place: Place, *, site: str) -> None:
        if self._is_repeated(entry, place):
            return
        used = self._templates.get(entry.use)
        if used is None:
            if self._all_are_readable:  # otherwise it may be in a file that must be mended first
                place.report(unknown("template", entry.use, self._templates), "use")
            return
        drafts = drafts_for(entry, place, used, sinks=self._sinks)
        if entry.base is None and any(
            block.is_relative for draft in drafts.values() for block in draft.blocks
        ):
            message = f"`base` is required: registers of the template {entry.use} are relative to it"
            place.report(message)
            return
        self._assembly.add_asset(
            drafts, place, site=site, tag=entry.tag, asset=entry.id, base=entry.base or 0
        )

    def _is_repeated(self, entry: AssetEntry, place: Place) -> bool:
        first_id = self._ids.setdefault(entry.id, place)
        if first_id is not place:
            place.report(f"this asset is already at {first_id}", "id")
        first_tag = self._tags.setdefault(entry.tag, place)
        if first_tag is not place:
            place.report(f"this tag is already at {first_tag}", "tag")
        return first_id is not place or first_tag is not place

    def _take_single(self, single: SinglePoint, place: Place, table: Table) -> None:
        draft = draft_point(
            single, Layers((place,)), defaults=table.defaults, sinks=self._sinks, is_relative=False
        )
        self._assembly.add(draft, site=table.site, tag=single.tag, name=single.point, asset=single.asset)

    def _take_heartbeat(self, heartbeat: Heartbeat, place: Place, table: Table) -> None:
        if self._heartbeat_place is not None:
            place.report(f"there is one for the whole gateway, already at {self._heartbeat_place}")
            return
        self._heartbeat_place = place
        draft = draft_heartbeat(heartbeat, Layers((place,)), defaults=table.defaults, sinks=self._sinks)
        point = self._assembly.add(draft, site=table.site, tag=_SYSTEM_TAG, name="heartbeat", asset="")
        self._heartbeat = (round(heartbeat.every * 1000), point)
