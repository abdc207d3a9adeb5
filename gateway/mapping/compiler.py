"""The compiler: from the point tables of a folder to a PointMap, or to everything that is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.mapping.cases import compile_case
from gateway.mapping.compile.assembly import Assembly
from gateway.mapping.compile.automatic import find_automatic
from gateway.mapping.compile.claims import ONE_NAME
from gateway.mapping.compile.drafts import draft_heartbeat, draft_point
from gateway.mapping.compile.file_places import Place, PointPlaces
from gateway.mapping.compile.infodeck_warnings import (
    warn_of_mismatches,
    warn_of_types,
    warn_of_unknown_assets,
)
from gateway.mapping.compile.lock_file import slot_problem
from gateway.mapping.compile.register_blocks import SinkTypes
from gateway.mapping.compile.reserved import (
    SlotRequest,
    check_claims,
    check_ranges,
    report_missing_slots,
    slot_ranges,
    template_ranges,
)
from gateway.mapping.compile.sources import MissingParts, Sources, read_sources
from gateway.mapping.compile.templates import (
    CompiledTemplate,
    compile_templates,
    draft_asset,
    footprint,
    without_relative,
)
from gateway.mapping.plan import PointMap
from gateway.mapping.table import MqttDefaults
from gateway.mapping.topics import TopicScheme
from gateway.memory import free_in_slices
from gateway.text import unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.config.decode import Document, Problem
    from gateway.mapping.compile.automatic import AutomaticAsset
    from gateway.mapping.compile.drafts import PointDraft
    from gateway.mapping.compile.lock_file import Slot
    from gateway.mapping.plan import Case
    from gateway.mapping.table import AssetEntry, Defaults, Heartbeat, SinglePoint, Table
    from gateway.model import Point, WriteLimits
    from gateway.records import AssetSnapshot, AutoTag

_UNKNOWN_TOPICS = TopicScheme(prefix="")  # of a sink whose settings are not at hand
_LIKE_MODICON = {30_001, 40_001}  # a base in the numbers of a BMS
_SYSTEM_TAG = "$gateway"  # no table can use it, because a tag cannot start with $


@dataclass(frozen=True, slots=True)
class CompiledTables:
    """All tables of a folder. `point_map` is None if there are problems; warnings do not matter to it."""

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
    """Read and compile the tables of a folder, `*.yaml` in the order of their names. Never raises.

    `sinks` has each sink's type by its name, such as mqtt or modbus_client. `topics` are those of the MQTT
    sinks, so that no two points share one; the default ones if unknown. `snapshot` has the assets in
    Infodeck, None if the API was not asked. `limits` are what each Modbus client may write.
    """
    sources = read_sources(folder)
    compiler = Compiler(sources, sinks, topics or {}, snapshot, limits or {})
    point_map = compiler.compile()
    compiler.report_missing_slots()
    problems, warnings = sources.findings()
    used: list[object] = [sources, compiler]
    del sources, compiler
    free_in_slices(used)
    return CompiledTables(None if problems else point_map, problems, warnings)


class Compiler:
    """Compiles the tables of one folder together. Problems are added to the documents that they are in.

    `slot_requests` are the assets whose relative registers have no place: the result is without these.
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
        self.slot_requests: list[SlotRequest] = []
        self.templates: dict[str, CompiledTemplate] = {}
        self._topics = {
            name: topics.get(name, _UNKNOWN_TOPICS) for name, of_type in sinks.items() if of_type == "mqtt"
        }
        self.assembly = Assembly(topics=self._topics, known=None if snapshot is None else snapshot.assets)
        self.tables = [(one, one.remains.value) for one in sources.tables if one.remains.value is not None]
        self._all_are_readable = not any(one.problems for one in sources.tables)
        self._missing = MissingParts.from_tables(sources.tables)
        self._is_incomplete = self._missing.points  # points or assets are missing because of other problems
        self._snapshot = snapshot
        self._sinks = SinkTypes(sinks, limits)
        self.listed: dict[str, Place] = {}  # the first place of each asset that uses a template
        self.in_slots: set[str] = set()  # assets that use their slot
        self._tags: dict[str, Place] = {}
        self._singles: dict[str, Place] = {}
        self._uses: dict[str, str] = {}
        self._read: list[tuple[str, Mapping[str, PointDraft]]] = []  # the drafts of each asset
        self._placed: set[str] = set()  # templates with an asset that has a base
        self._auto_tags: dict[str, AutoTag] = {}
        self._heartbeat: tuple[int, Point] | None = None
        self._heartbeat_place: Place | None = None

    def compile(self) -> PointMap:
        """Compile templates first, because assets may use those of other files, and automatic assets last."""
        for document, table in self.tables:
            self._add_templates(document, table)
        for document, table in self.tables:
            for index, entry in zip(document.remains.positions("assets"), table.assets, strict=True):
                self._add_asset(entry, Place(document, ("assets", index)), site=table.site)
        for document, table in self.tables:
            for index, single in zip(document.remains.positions("points"), table.points, strict=True):
                self._add_single(single, Place(document, ("points", index)), table)
            if table.system.heartbeat is not None:
                self._add_heartbeat(table.system.heartbeat, Place(document, ("system", "heartbeat")), table)
        self._warn_of_unused_templates()
        self._check_reserved_registers()
        self._check_automatic_templates()
        cases = self._compile_cases()
        if self._snapshot is not None and self._all_are_readable:
            self._add_automatic(self._snapshot)
        return PointMap(
            tuple(self.assembly.points),
            self.assembly.plans(),
            heartbeat=self._heartbeat,
            cases=cases,
            has_automatic=any(used.template.auto for used in self.templates.values()),
            auto_tags=self._auto_tags,
        )

    def report_missing_slots(self) -> None:
        """After `compile`: report assets without registers, to which `gateway lock` gives slots."""
        report_missing_slots(self.slot_requests, self.templates, self.slots, unused=self.unused_slots())

    def unused_slots(self) -> list[Slot]:
        """After `compile`: return the slots of assets that no table reads any more.

        Slots of automatic assets are left out while it is unknown which assets there are.
        """
        read = {*self.listed, *(asset for asset, _ in self._read)}
        return [
            slot
            for slot, _ in self.slots
            if slot.asset not in read and (slot.tag is None or self._snapshot is not None)
        ]

    def _add_templates(self, document: Document[Table], table: Table) -> None:
        self._check_default_sinks(Place(document, ("defaults",)), table.defaults)
        for name, template in table.templates.items():
            self._check_default_sinks(Place(document, ("templates", name, "defaults")), template.defaults)
        for compiled in compile_templates(document, table, sinks=self._sinks):
            first = self.templates.setdefault(compiled.name, compiled)
            if first is not compiled:
                compiled.place.report(f"a template of this name is already at {first.place}")

    def _check_default_sinks(self, place: Place, defaults: Defaults) -> None:
        to = defaults.modbus.to
        if to is not None and (problem := self._sinks.problem(to, kind="modbus")):
            place.report(problem, "modbus", "to")
        mqtt = defaults.mqtt
        for index, name in enumerate(mqtt.to if isinstance(mqtt, MqttDefaults) else ()):
            if problem := self._sinks.problem(name, kind="mqtt"):
                place.report(problem, "mqtt", "to", index)

    def _add_asset(self, entry: AssetEntry, place: Place, *, site: str) -> None:
        is_repeated = self._is_repeated(entry, place, site=site)
        used = self.templates.get(entry.use)
        if used is None:
            self._is_incomplete = True
            if not self._missing.may_have(entry.use):
                place.report(unknown_name("template", entry.use, self.templates), "use")
            return
        drafts = draft_asset(entry, place, used, sinks=self._sinks, missing=self._missing)
        if is_repeated or not place.is_whole:  # it is unclear which one is right, or where its points are
            self._is_incomplete = True
            return
        self._uses[entry.id] = entry.use
        self._read.append((entry.id, drafts))
        base = self._find_base(entry, place, used, drafts)
        if base is None:
            drafts = without_relative(drafts)
        else:
            self._placed.add(used.name)
        self.assembly.add_asset(drafts, place, site=site, tag=entry.tag, asset=entry.id, base=base or 0)

    def _is_repeated(self, entry: AssetEntry, place: Place, *, site: str) -> bool:
        first_id = self.listed.setdefault(entry.id, place)
        if first_id is not place:
            place.report(f"this asset is already at {first_id}", "id")
        first_tag = self._tags.setdefault(entry.tag, place)
        if first_tag is not place:
            other_site = site != first_tag.document.written(("site",))
            place.report(f"{ONE_NAME if other_site else ''}this tag is already at {first_tag}", "tag")
        return first_id is not place or first_tag is not place

    def _find_base(
        self, entry: AssetEntry, place: Place, used: CompiledTemplate, drafts: Mapping[str, PointDraft]
    ) -> int | None:
        """Return the base of relative registers: the asset's own or its slot's, None if it has neither."""
        slot_entry = self.slots.find(entry.id)
        if entry.base is not None:
            if slot_entry is not None:
                slot_entry.place.warn(
                    "is not used, because the asset has a `base`; delete this line when no BMS reads its"
                    " registers any more",
                    "asset",
                )
            if entry.base in _LIKE_MODICON:
                place.warn(
                    "a 0-based PDU address: what a BMS calls 30001, or 40001, is 0 in its table", "base"
                )
            return entry.base
        needed = used.footprint if drafts is used.drafts else footprint(drafts)
        if not needed.areas:
            return 0
        if slot_entry is not None:
            slot = slot_entry.slot
            if problem := slot_problem(slot, template=used.name, footprint=needed):
                key, message = problem
                slot_entry.place.report(message, key)
                return None
            self.in_slots.add(entry.id)
            if slot.tag not in {None, entry.tag}:
                slot_entry.place.warn(f"is not used: in the table, this asset is {entry.tag}", "tag")
            return slot.base
        if used.template.stride is None:
            place.report(
                f"has no `base`: write one, or give the template {used.name} a `stride` and run"
                " `gateway lock -c …`"
            )
        else:
            request = SlotRequest(entry.id, used.name, used.template.stride, needed.areas, place, None)
            self.slot_requests.append(request)
        return None

    def _add_single(self, single: SinglePoint, place: Place, table: Table) -> None:
        places = PointPlaces((place,))
        draft = draft_point(single, places, defaults=table.defaults, sinks=self._sinks, is_relative=False)
        self._singles.setdefault(single.asset, place)
        self._read.append((single.asset, {single.point: draft}))
        self.assembly.add(draft, site=table.site, tag=single.tag, name=single.point, asset=single.asset)

    def _add_heartbeat(self, heartbeat: Heartbeat, place: Place, table: Table) -> None:
        if self._heartbeat_place is not None:
            place.report(f"the gateway has only one, already at {self._heartbeat_place}")
            return
        self._heartbeat_place = place
        draft = draft_heartbeat(heartbeat, PointPlaces((place,)), defaults=table.defaults, sinks=self._sinks)
        point = self.assembly.add(draft, site=table.site, tag=_SYSTEM_TAG, name="heartbeat", asset="")
        self._heartbeat = (round(heartbeat.every * 1000), point)

    def _warn_of_unused_templates(self) -> None:
        used = {entry.use for _, table in self.tables for entry in table.assets}
        for name, compiled in self.templates.items():
            if name not in used and not compiled.template.auto and not self._missing.points:
                compiled.place.warn("no asset uses this template, so it has no effect")

    def _check_reserved_registers(self) -> None:
        slots, reserves = slot_ranges(self.slots, self.templates), template_ranges(self.templates.values())
        check_ranges(slots, reserves)
        check_claims([*slots, *reserves], self.assembly.claims, uses=self._uses, in_slots=self.in_slots)
        for slot, place in self.slots if self._all_are_readable else ():
            if slot.template not in self.templates:
                place.warn(
                    "there is no template of this name any more: new slots avoid its registers, but overlaps"
                    " with points are not checked",
                    "template",
                )

    def _check_automatic_templates(self) -> None:
        """Report clashes inside templates before the first asset shows them: a new asset must not."""
        for used in self.templates.values():
            if used.template.auto and used.name not in self._placed:
                trial = Assembly(topics=self._topics)
                trial.add_asset(
                    used.drafts, used.place, site=used.site, tag=f"{{{used.name}}}", asset=used.name, base=0
                )

    def _compile_cases(self) -> tuple[Case, ...]:
        """Compile the cases of all tables, before automatic assets, which they are not about."""
        if self._is_incomplete or not any(table.cases for _, table in self.tables):
            return ()
        by_name = {point.name: point for point in self.assembly.points}
        by_asset = self.assembly.plans()
        return tuple(
            compile_case(case, Place(document, ("cases", index)), by_name=by_name, by_asset=by_asset)
            for document, table in self.tables
            for index, case in zip(document.remains.positions("cases"), table.cases, strict=True)
        )

    def _add_automatic(self, snapshot: AssetSnapshot) -> None:
        """Add the assets that only Infodeck has. From here on there are only warnings."""
        warn_of_unknown_assets(self.listed, self._singles, snapshot)
        warn_of_mismatches(self.templates, snapshot, ids=self.listed, uses=self._uses)
        tags = {*self._tags, *(point.tag for point in self.assembly.points)}
        named = {*self.listed, *self._singles}
        unplaced: dict[str, dict[str, PointDraft]] = {}
        for automatic in find_automatic(
            self.templates.values(), snapshot, named=named, slots=self.slots, tags=tags
        ):
            used, asset = automatic.used, automatic.known.id
            self._read.append((asset, used.drafts))
            base = self._automatic_base(automatic)
            if base is None and used.name not in unplaced:
                rest = without_relative(used.drafts)
                unplaced[used.name] = {name: one for name, one in rest.items() if one.prototype.mqtt}
            is_added = self.assembly.add_automatic(
                used.drafts if base is not None else unplaced[used.name],
                Place(used.place.document, used.place.path),
                site=used.site,
                tag=automatic.auto_tag.tag,
                asset=asset,
                base=base or 0,
            )
            if is_added:
                self._auto_tags[asset] = automatic.auto_tag
        warn_of_types(self._read, snapshot)

    def _automatic_base(self, automatic: AutomaticAsset) -> int | None:
        """Return the base of the asset's slot; None if its registers have no place."""
        used, asset = automatic.used, automatic.known.id
        if not used.footprint.areas:
            return 0
        entry = self.slots.find(asset)
        if entry is None:
            stride = used.template.stride or used.footprint.size
            tag = automatic.auto_tag.tag
            self.slot_requests.append(SlotRequest(asset, used.name, stride, used.footprint.areas, None, tag))
            return None
        if problem := slot_problem(entry.slot, template=used.name, footprint=used.footprint):
            key, message = problem
            entry.place.warn(f"{message}. Until then it is on MQTT only", key)
            return None
        self.in_slots.add(asset)
        return entry.slot.base
