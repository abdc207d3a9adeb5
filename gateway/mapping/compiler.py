"""Point tables into a PointMap: read every file, compile every point once, refuse what clashes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.mapping.cases import compile_case
from gateway.mapping.compiling.against_types import warn_of_types
from gateway.mapping.compiling.assembly import Assembly
from gateway.mapping.compiling.blocks import sink_problem
from gateway.mapping.compiling.claims import ONE_NAME
from gateway.mapping.compiling.draft import draft_heartbeat, draft_point
from gateway.mapping.compiling.footprint import footprint, without_relative
from gateway.mapping.compiling.gaps import Gaps
from gateway.mapping.compiling.places import Layers, Place
from gateway.mapping.compiling.templates import CompiledTemplate, compile_templates, drafts_for
from gateway.mapping.compiling.writable import check_writable
from gateway.mapping.plan import PointMap
from gateway.mapping.slots.automatic import find_automatic, warn_of_misfits, warn_of_strangers
from gateway.mapping.slots.kept import check_claims, check_ranges, reserves, slot_ranges
from gateway.mapping.slots.lock_file import misfit
from gateway.mapping.slots.needs import Need, report_needs
from gateway.mapping.sources import Sources, read_sources
from gateway.mapping.table_outputs import MqttDefaults
from gateway.mapping.topics import TopicScheme
from gateway.memory import free_in_slices
from gateway.text import unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.config.decode import Document, Problem
    from gateway.mapping.compiling.draft import Draft
    from gateway.mapping.plan import Case
    from gateway.mapping.slots.automatic import Automatic
    from gateway.mapping.slots.lock_file import Slot
    from gateway.mapping.table import AssetEntry, Defaults, Heartbeat, SinglePoint, Table
    from gateway.model import Point, WriteLimits
    from gateway.records import AssetSnapshot, AutoTag

_UNKNOWN = TopicScheme(prefix="")  # of a sink whose settings nobody knows
_LIKE_MODICON = {30_001, 40_001}  # a base that counts as Modicon numbers do
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
    topics: Mapping[str, TopicScheme] | None = None,
    snapshot: AssetSnapshot | None = None,
    limits: Mapping[str, WriteLimits] | None = None,
) -> CompiledTables:
    """Return the compiled tables of a folder, or everything that is wrong with them.

    `sinks` gives each sink's type by its name, such as mqtt or modbus_client; `topics` those of the
    MQTT sinks, so that no two points or assets share one, the usual ones where nothing is known;
    `snapshot` what Infodeck's API knows of assets, None where nobody has asked it; `limits` what each
    Modbus client may write. Reads `*.yaml` in the order of their names. Never raises for what the files
    contain.
    """
    sources = read_sources(folder)
    compiler = Compiler(sources, sinks, topics or {}, snapshot, limits or {})
    point_map = compiler.compile()
    compiler.report_needs()
    problems, warnings = sources.findings()
    used: list[object] = [sources, compiler]
    del sources, compiler
    free_in_slices(used)
    return CompiledTables(None if problems else point_map, problems, warnings)


class Compiler:
    """Compiles the tables of one folder together. Problems go to the documents they are in.

    `needs` are the assets whose relative registers have no place: they have none in the result.
    """

    def __init__(
        self,
        sources: Sources,
        sinks: Mapping[str, str],
        topics: Mapping[str, TopicScheme],
        snapshot: AssetSnapshot | None,
        limits: Mapping[str, WriteLimits],
    ) -> None:
        self.slots = sources.slots
        self.needs: list[Need] = []
        self.templates: dict[str, CompiledTemplate] = {}
        self._topics = {
            name: topics.get(name, _UNKNOWN) for name, of_type in sinks.items() if of_type == "mqtt"
        }
        self.assembly = Assembly(
            topics=self._topics,
            known=None if snapshot is None else snapshot.assets,
        )
        self.tables = [(one, one.remains.value) for one in sources.tables if one.remains.value is not None]
        self._all_are_readable = not any(one.problems for one in sources.tables)
        self._gaps = Gaps.of(sources.tables)
        self._is_incomplete = self._gaps.points  # points or assets are missing because of a problem elsewhere
        self._snapshot = snapshot
        self._sinks = sinks
        self._limits = limits
        self.listed: dict[str, Place] = {}  # the first place of each asset that uses a template
        self.in_slots: set[str] = set()  # assets that have the registers of their slots
        self._tags: dict[str, Place] = {}
        self._singles: dict[str, Place] = {}
        self._uses: dict[str, str] = {}
        self._read: list[tuple[str, Mapping[str, Draft]]] = []  # what is read of each asset
        self._placed: set[str] = set()
        self._made_tags: dict[str, AutoTag] = {}
        self._heartbeat: tuple[int, Point] | None = None
        self._heartbeat_place: Place | None = None

    def compile(self) -> PointMap:
        """Take all templates first, for assets may use those of other files; automatic assets last."""
        for document, table in self.tables:
            self._check_default_sinks(Place(document, ("defaults",)), table.defaults)
            for name, template in table.templates.items():
                self._check_default_sinks(Place(document, ("templates", name, "defaults")), template.defaults)
            self._take_templates(document, table)
        for document, table in self.tables:
            for index, entry in zip(document.remains.positions("assets"), table.assets, strict=True):
                self._take_asset(entry, Place(document, ("assets", index)), site=table.site)
        for document, table in self.tables:
            for index, single in zip(document.remains.positions("points"), table.points, strict=True):
                self._take_single(single, Place(document, ("points", index)), table)
            if table.system.heartbeat is not None:
                self._take_heartbeat(table.system.heartbeat, Place(document, ("system", "heartbeat")), table)
        self._warn_of_unused_templates()
        self._check_kept_registers()
        self._check_automatic_templates()
        cases = self._cases()
        if self._snapshot is not None and self._all_are_readable:
            self._take_automatic(self._snapshot)
        return PointMap(
            tuple(self.assembly.points),
            self.assembly.plans(),
            heartbeat=self._heartbeat,
            cases=cases,
            has_automatic=any(used.template.auto for used in self.templates.values()),
            made_tags=self._made_tags,
        )

    def report_needs(self) -> None:
        """Report assets without registers, once all is compiled: what `gateway lock` gives them."""
        report_needs(self.needs, self.templates, self.slots, left=self.left_slots())

    def left_slots(self) -> list[Slot]:
        """Return the slots of assets that no table reads any more, once all is compiled.

        Those of automatic assets are not among them while nobody knows which assets there are.
        """
        read = {*self.listed, *(asset for asset, _ in self._read)}
        return [
            slot
            for slot, _ in self.slots
            if slot.asset not in read and (slot.tag is None or self._snapshot is not None)
        ]

    def _cases(self) -> tuple[Case, ...]:
        """Compile the cases of all tables; they are about what stands there, not about automatic assets."""
        if self._is_incomplete or not any(table.cases for _, table in self.tables):
            return ()
        by_name = {point.name: point for point in self.assembly.points}
        by_asset = self.assembly.plans()
        return tuple(
            compile_case(case, Place(document, ("cases", index)), by_name=by_name, by_asset=by_asset)
            for document, table in self.tables
            for index, case in zip(document.remains.positions("cases"), table.cases, strict=True)
        )

    def _check_kept_registers(self) -> None:
        slots, kept = slot_ranges(self.slots, self.templates), reserves(self.templates.values())
        check_ranges(slots, kept)
        check_claims([*slots, *kept], self.assembly.claims, uses=self._uses, in_slots=self.in_slots)
        for slot, place in self.slots if self._all_are_readable else ():
            if slot.template not in self.templates:
                place.warn(
                    "there is no template of this name any more: its registers are kept from new slots, but"
                    " nobody checks that no point is laid over them",
                    "template",
                )

    def _check_automatic_templates(self) -> None:
        """Find clashes inside of templates that no asset with registers shows yet: a new one must not."""
        for used in self.templates.values():
            if used.template.auto and used.name not in self._placed:
                trial = Assembly(topics=self._topics)
                trial.add_asset(
                    used.drafts, used.place, site=used.site, tag=f"{{{used.name}}}", asset=used.name, base=0
                )

    def _take_automatic(self, snapshot: AssetSnapshot) -> None:
        """Take what Infodeck knows beyond the tables. From here on there are only warnings."""
        warn_of_strangers(self.listed, self._singles, snapshot)
        warn_of_misfits(self.templates, snapshot, ids=self.listed, uses=self._uses)
        tags = {*self._tags, *(point.tag for point in self.assembly.points)}
        named = {*self.listed, *self._singles}
        unplaced: dict[str, dict[str, Draft]] = {}
        for one in find_automatic(
            self.templates.values(), snapshot, named=named, slots=self.slots, tags=tags
        ):
            used = one.used
            self._read.append((one.known.id, used.drafts))
            base = self._automatic_base(one)
            if base is None and used.name not in unplaced:
                rest = without_relative(used.drafts)
                unplaced[used.name] = {name: draft for name, draft in rest.items() if draft.mqtt is not None}
            is_added = self.assembly.add_automatic(
                used.drafts if base is not None else unplaced[used.name],
                Place(used.place.document, used.place.path),
                site=used.site,
                tag=one.made.tag,
                asset=one.known.id,
                base=base or 0,
            )
            if is_added:
                self._made_tags[one.known.id] = one.made
        warn_of_types(self._read, snapshot)

    def _automatic_base(self, one: Automatic) -> int | None:
        """Return the base of the asset's slot; None where its registers have no place."""
        used, asset = one.used, one.known.id
        if not used.footprint.areas:
            return 0
        kept = self.slots.of(asset)
        if kept is None:
            stride = used.template.stride or used.footprint.size
            self.needs.append(Need(asset, used.name, stride, used.footprint.areas, None, one.made.tag))
            return None
        problem = misfit(kept.slot, template=used.name, footprint=used.footprint)
        if problem:
            key, message = problem
            kept.place.warn(f"{message}. Until then it is on MQTT only", key)
            return None
        self.in_slots.add(asset)
        return kept.slot.base

    def _check_default_sinks(self, place: Place, defaults: Defaults) -> None:
        to = defaults.modbus.to
        if to is not None and (problem := sink_problem(to, self._sinks, kind="modbus")):
            place.report(problem, "modbus", "to")
        mqtt = defaults.mqtt
        for index, name in enumerate(mqtt.to if isinstance(mqtt, MqttDefaults) else ()):
            if problem := sink_problem(name, self._sinks, kind="mqtt"):
                place.report(problem, "mqtt", "to", index)

    def _take_templates(self, document: Document[Table], table: Table) -> None:
        for compiled in compile_templates(document, table, sinks=self._sinks):
            for draft in compiled.drafts.values():
                self._check_writable(draft)
            first = self.templates.setdefault(compiled.name, compiled)
            if first is not compiled:
                compiled.place.report(f"a template of this name is already at {first.place}")

    def _warn_of_unused_templates(self) -> None:
        used = {entry.use for _, table in self.tables for entry in table.assets}
        for name, compiled in self.templates.items():
            if name not in used and not compiled.template.auto and not self._gaps.points:
                compiled.place.warn("no asset uses this template, so its points are nowhere")

    def _take_asset(self, entry: AssetEntry, place: Place, *, site: str) -> None:
        is_repeated = self._is_repeated(entry, place, site=site)
        used = self.templates.get(entry.use)
        if used is None:
            self._is_incomplete = True
            if not self._gaps.may_have(entry.use):  # otherwise it is there once something else is mended
                place.report(unknown_name("template", entry.use, self.templates), "use")
            return
        drafts = drafts_for(entry, place, used, sinks=self._sinks, gaps=self._gaps)
        for name in entry.points:
            if name in drafts:
                self._check_writable(drafts[name])
        if is_repeated or not place.is_whole:  # nobody knows which one is right, or where its points are
            self._is_incomplete = True
            return
        self._uses[entry.id] = entry.use
        self._read.append((entry.id, drafts))
        base = self._base(entry, place, used, drafts)
        if base is None:
            drafts = without_relative(drafts)
        else:
            self._placed.add(used.name)
        self.assembly.add_asset(drafts, place, site=site, tag=entry.tag, asset=entry.id, base=base or 0)

    def _base(
        self, entry: AssetEntry, place: Place, used: CompiledTemplate, drafts: Mapping[str, Draft]
    ) -> int | None:
        """Return what to add to relative registers; None where they have no place (yet)."""
        kept = self.slots.of(entry.id)
        if entry.base is not None:
            if kept is not None:
                message = (
                    "is not used, for the asset has a base of its own; delete this line when no BMS reads"
                )
                kept.place.warn(f"{message} its registers any more", "asset")
            if entry.base in _LIKE_MODICON:
                place.warn(
                    "a 0-based PDU address: what a BMS calls 30001, or 40001, is 0 in its table",
                    "base",
                )
            return entry.base
        needed = used.footprint if drafts is used.drafts else footprint(drafts)
        if not needed.areas:
            return 0
        if kept is not None:
            problem = misfit(kept.slot, template=used.name, footprint=needed)
            if problem:
                key, message = problem
                kept.place.report(message, key)
                return None
            self.in_slots.add(entry.id)
            if kept.slot.tag not in {None, entry.tag}:
                kept.place.warn(f"is not used, for the table calls this asset {entry.tag}", "tag")
            return kept.slot.base
        if used.template.stride is None:
            place.report(
                f"has no `base`: write one, or give the template {used.name} a `stride` and run"
                " `gateway lock -c …`"
            )
        else:
            self.needs.append(Need(entry.id, used.name, used.template.stride, needed.areas, place, None))
        return None

    def _is_repeated(self, entry: AssetEntry, place: Place, *, site: str) -> bool:
        first_id = self.listed.setdefault(entry.id, place)
        if first_id is not place:
            place.report(f"this asset is already at {first_id}", "id")
        first_tag = self._tags.setdefault(entry.tag, place)
        if first_tag is not place:
            other_site = site != first_tag.document.written(("site",))
            place.report(f"{ONE_NAME if other_site else ''}this tag is already at {first_tag}", "tag")
        return first_id is not place or first_tag is not place

    def _take_single(self, single: SinglePoint, place: Place, table: Table) -> None:
        draft = draft_point(
            single, Layers((place,)), defaults=table.defaults, sinks=self._sinks, is_relative=False
        )
        self._check_writable(draft)
        self._singles.setdefault(single.asset, place)
        self._read.append((single.asset, {single.point: draft}))
        self.assembly.add(draft, site=table.site, tag=single.tag, name=single.point, asset=single.asset)

    def _take_heartbeat(self, heartbeat: Heartbeat, place: Place, table: Table) -> None:
        if self._heartbeat_place is not None:
            place.report(f"there is one for the whole gateway, already at {self._heartbeat_place}")
            return
        self._heartbeat_place = place
        draft = draft_heartbeat(heartbeat, Layers((place,)), defaults=table.defaults, sinks=self._sinks)
        self._check_writable(draft)
        point = self.assembly.add(draft, site=table.site, tag=_SYSTEM_TAG, name="heartbeat", asset="")
        self._heartbeat = (round(heartbeat.every * 1000), point)

    def _check_writable(self, draft: Draft) -> None:
        check_writable(draft, sinks=self._sinks, limits=self._limits)
