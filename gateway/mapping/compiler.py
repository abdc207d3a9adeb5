"""The compiler: from the point tables of a folder to a PointMap, or to everything that is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from gateway.mapping.cases import compile_case
from gateway.mapping.compile.automatic import (
    find_automatic,
    warn_of_mismatches,
    warn_of_types,
    warn_of_unknown_assets,
)
from gateway.mapping.compile.claims import (
    ONE_NAME,
    Claimant,
    Claims,
    check_ranges,
    slot_ranges,
    template_ranges,
)
from gateway.mapping.compile.computed import ComputedCompiler
from gateway.mapping.compile.drafts import draft_heartbeat, draft_point
from gateway.mapping.compile.missing import (
    RUN_LOCK,
    ObjectRequest,
    SlotRequest,
    report_missing_instances,
    report_missing_slots,
)
from gateway.mapping.compile.register_blocks import NOT_MODICON
from gateway.mapping.compile.sources import (
    MissingParts,
    Place,
    TableInputs,
    check_sinks,
    entries,
    read_sources,
)
from gateway.mapping.compile.templates import (
    CompiledTemplate,
    compile_templates,
    draft_asset,
    footprint,
)
from gateway.mapping.plan import AssetPlan, PathRule, PointMap, without_connection
from gateway.mapping.registers import HIGHEST_ADDRESS
from gateway.memory import free_in_slices
from gateway.model import source_keys
from gateway.text import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.config.decode import Document, Problem
    from gateway.mapping.compile.drafts import PointDraft
    from gateway.mapping.compile.object_drafts import ObjectDraft
    from gateway.mapping.compile.sources import Sources
    from gateway.mapping.compile.templates import Footprint
    from gateway.mapping.plan import Case, ComputedPoint, Rule
    from gateway.mapping.table import AssetEntry, Defaults, Heartbeat, SinglePoint, Table
    from gateway.model import BacnetObject, Point
    from gateway.records import AssetSnapshot, AutoTag

__all__ = ["CompiledTables", "Compiler", "TableInputs", "load_point_map"]

_SYSTEM_TAG = "$gateway"  # no table can use it, because a tag cannot start with $


@dataclass(frozen=True, slots=True)
class CompiledTables:
    """All tables of a folder. `point_map` is None if there are problems; warnings do not matter to it."""

    point_map: PointMap | None
    problems: list[Problem]
    warnings: list[Problem]


def load_point_map(inputs: TableInputs) -> CompiledTables:
    """Read and compile the tables of a folder, `*.yaml` in the order of their names. Never raises."""
    sources = read_sources(inputs.folder, with_objects=bool(inputs.bacnet_sinks))
    compiler = Compiler(sources, inputs)
    point_map = compiler.compile()
    compiler.report_missing_slots()
    if inputs.needs_instances:
        compiler.report_missing_instances()
    problems, warnings = sources.findings()
    used: list[object] = [sources, compiler]
    del sources, compiler
    free_in_slices(used)
    return CompiledTables(None if problems else point_map, problems, warnings)


class _Owner(NamedTuple):
    """Whose points are added. `base`: of relative registers, None if they have no place.

    `entry`: where an asset that uses a template is written.
    """

    site: str
    tag: str
    asset: str
    base: int | None = 0
    entry: Place | None = None


class Compiler:
    """Compiles the tables of one folder together. Problems are added to the documents that they are in.

    `slot_requests` are the assets whose relative registers have no place, `object_requests` the points whose
    BACnet objects have no instance: the result is without these.
    """

    def __init__(self, sources: Sources, inputs: TableInputs) -> None:
        self.slots = sources.slots
        self.tables = [(one, one.remains.value) for one in sources.tables if one.remains.value is not None]
        self.templates: dict[str, CompiledTemplate] = {}
        self.listed: dict[str, Place] = {}  # the first place of each asset that uses a template
        self.in_slots: set[str] = set()  # assets that use their slot
        self.slot_requests: list[SlotRequest] = []
        self.object_requests: list[ObjectRequest] = []
        self.locked = sources.object_lock
        self.claims = Claims(topics=inputs.mqtt_topics, locked=self.locked)
        self._sources = sources
        self._inputs = inputs
        self._snapshot = inputs.snapshot
        assets = {} if inputs.snapshot is None else inputs.snapshot.assets
        self._known = {asset: without_connection(known) for asset, known in assets.items()}
        self._all_are_readable = not any(one.problems for one in sources.tables)
        self._missing = MissingParts(sources.tables)
        self._is_incomplete = self._missing.points  # points or assets are missing because of other problems
        self._points: list[Point] = []
        self._by_asset: dict[str, list[Claimant]] = {}
        self._tags: dict[str, Place] = {}
        self._singles: dict[str, Place] = {}
        self._uses: dict[str, str] = {}  # the template of each listed asset
        self._read: list[tuple[str, Mapping[str, PointDraft]]] = []  # the drafts of each asset
        self._placed: set[str] = set()  # templates with an asset that has a base
        self._auto_tags: dict[str, AutoTag] = {}
        self._heartbeat: tuple[int, Point] | None = None
        self._heartbeat_place: Place | None = None
        self._computed: list[Claimant] = []

    def compile(self) -> PointMap:
        """Compile templates first, because assets may use those of other files, and automatic assets last."""
        for document, table in self.tables:
            self._add_templates(document, table)
        for document, table in self.tables:
            for place, entry in entries(document, "assets", table.assets):
                self._add_asset(entry, place, site=table.site)
        for document, table in self.tables:
            for place, single in entries(document, "points", table.points):
                self._add_single(single, place, table)
            if table.system.heartbeat is not None:
                self._add_heartbeat(table.system.heartbeat, Place(document, ("system", "heartbeat")), table)
        self._warn_of_unused_templates()
        self._check_reserved_registers()
        self._check_automatic_templates()
        cases = self._compile_cases()
        if self._snapshot is not None and self._all_are_readable:
            self._add_automatic(self._snapshot)
        computed = self._compile_computed()
        return PointMap(
            tuple(self._points),
            {asset: _plan(claimants) for asset, claimants in self._by_asset.items()},
            heartbeat=self._heartbeat,
            cases=cases,
            has_automatic=any(used.template.auto for used in self.templates.values()),
            auto_tags=self._auto_tags,
            computed=computed,
        )

    def report_missing_slots(self) -> None:
        """After `compile`: report assets without registers, unless registers.lock has problems."""
        if self._sources.has_all_slots:
            report_missing_slots(self.slot_requests, self.templates)

    def report_missing_instances(self) -> None:
        """After `compile`: report points without an instance, unless bacnet.lock has problems."""
        if self.object_requests and not self.locked.problems:
            names = {each.name for each in self._points}
            report_missing_instances(self.object_requests, self.locked, names)

    def _add_templates(self, document: Document[Table], table: Table) -> None:
        self._check_default_sinks(Place(document, ("defaults",)), table.defaults)
        for name, template in table.templates.items():
            self._check_default_sinks(Place(document, ("templates", name, "defaults")), template.defaults)
        for compiled in compile_templates(document, table, inputs=self._inputs):
            first = self.templates.setdefault(compiled.name, compiled)
            if first is not compiled:
                compiled.place.report(f"a template of this name is already at {first.place}")

    def _check_default_sinks(self, place: Place, defaults: Defaults) -> None:
        to = defaults.modbus.to
        if to is not None and (problem := self._inputs.sink_problem(to, kind="modbus")):
            place.report(problem, "modbus", "to")
        check_sinks("mqtt", place, self._inputs, written=defaults.mqtt)
        check_sinks("bacnet", place, self._inputs, written=defaults.bacnet)

    def _add_asset(self, entry: AssetEntry, place: Place, *, site: str) -> None:
        is_repeated = self._is_repeated(entry, place, site=site)
        used = self.templates.get(entry.use)
        if used is None:
            self._is_incomplete = True
            if not self._missing.templates:
                place.report(unknown_name("template", entry.use, self.templates), "use")
            return
        drafts = draft_asset(entry, place, used, inputs=self._inputs, missing=self._missing)
        if is_repeated or not place.is_whole:  # it is unclear which one is right, or where its points are
            self._is_incomplete = True
            return
        self._uses[entry.id] = entry.use
        self._read.append((entry.id, drafts))
        base = self._find_base(entry, place, used, drafts)
        if base is not None:
            self._placed.add(used.name)
        self._add(_Owner(site, entry.tag, entry.id, base, place), drafts)

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
        needed = used.footprint if drafts is used.drafts else footprint(drafts)
        base = entry.base
        if base is None and needed.areas and used.template.stride is None and entry.id not in self.slots:
            place.report(f"no `base`: write one, or give the template {used.name} a `stride` and {RUN_LOCK}")
            return None
        if base is None:
            return self._slot_base(entry.id, used, needed, place=place, tag=None)
        if base in {30_001, 40_001}:
            place.warn(NOT_MODICON, "base")
        if (last := base + needed.size - 1) > HIGHEST_ADDRESS:
            message = f"the asset would end at register {last}, the last is {HIGHEST_ADDRESS}"
            place.report(message, "base")
            return None
        return base

    def _slot_base(
        self, asset: str, used: CompiledTemplate, needed: Footprint, *, place: Place | None, tag: str | None
    ) -> int | None:
        """Return the base of an asset's slot, None if it has none that fits."""
        if not needed.areas:
            return 0
        found = self.slots.get(asset)
        if found is None:
            stride = used.template.stride or needed.size
            self.slot_requests.append(SlotRequest(asset, used.name, stride, needed.areas, place, tag))
            return None
        if problem := used.slot_problem(found.slot, needed):
            key, message = problem
            if place is None:
                found.place.warn(f"{message}. Until then it is not on Modbus", key)
            else:
                found.place.report(message, key)
            return None
        self.in_slots.add(asset)
        return found.slot.base

    def _add_single(self, single: SinglePoint, place: Place, table: Table) -> None:
        draft = draft_point(single, place, defaults=table.defaults, inputs=self._inputs, is_relative=False)
        drafts, asset = {single.point: draft}, single.asset or ""
        if asset:
            self._singles.setdefault(asset, place)
            self._read.append((asset, drafts))
        self._add(_Owner(table.site, single.tag, asset), drafts)

    def _add_heartbeat(self, heartbeat: Heartbeat, place: Place, table: Table) -> None:
        if self._heartbeat_place is not None:
            place.report(f"the gateway has only one, already at {self._heartbeat_place}")
            return
        self._heartbeat_place = place
        draft = draft_heartbeat(heartbeat, place, defaults=table.defaults, inputs=self._inputs)
        self._add(_Owner(table.site, _SYSTEM_TAG, ""), {"heartbeat": draft})
        self._heartbeat = (round(heartbeat.every * 1000), self._points[-1])

    def _claimants(self, owner: _Owner, drafts: Mapping[str, PointDraft]) -> Iterator[Claimant]:
        """Yield the points of one asset; without a base, only with registers that are not relative."""
        site, tag, asset, base, entry = owner
        known = self._known.get(asset)
        for name, draft in drafts.items():
            blocks = draft.blocks
            if base is None:
                blocks = tuple(block for block in blocks if not block.is_relative)
            point = draft.make_point(
                site=site,
                tag=tag,
                point=name,
                asset=asset,
                known=known,
                registers=tuple([block.at(base or 0) for block in blocks]),
                objects=self._objects_of(draft.bacnet, f"{tag}/{name}") if draft.bacnet else (),
            )
            yield Claimant(point, draft, blocks, entry)

    def _objects_of(self, draft: ObjectDraft, name: str) -> tuple[BacnetObject, ...]:
        """Return the BACnet objects of a point, none without an instance."""
        instance = draft.instance
        if instance is None:
            instance = self.locked.instances.get((draft.shape.type, name))
        return () if instance is None else draft.at(instance)

    def _add(self, owner: _Owner, drafts: Mapping[str, PointDraft]) -> None:
        for claimant in self._claimants(owner, drafts):
            point, bacnet = claimant.point, claimant.draft.bacnet
            self._points.append(point)
            self.claims.claim(claimant)
            if bacnet is not None and not point.objects:
                place, is_automatic = claimant.entry or claimant.draft.place, owner.asset in self._auto_tags
                request = ObjectRequest(bacnet.shape.type, point.name, place, is_automatic)
                self.object_requests.append(request)
            if claimant.draft.computation is not None:
                self._computed.append(claimant)
            if owner.asset:
                self._by_asset.setdefault(owner.asset, []).append(claimant)

    def _warn_of_unused_templates(self) -> None:
        used = {entry.use for _, table in self.tables for entry in table.assets}
        for name, compiled in self.templates.items():
            if name not in used and not compiled.template.auto and not self._missing.points:
                compiled.place.warn("no asset uses this template, so it has no effect")

    def _check_reserved_registers(self) -> None:
        slots = slot_ranges(self.slots.values(), self.templates)
        reserves = template_ranges(self.templates.values())
        check_ranges(slots, reserves)
        for ranges in (slots, reserves):
            self.claims.check_reserved(ranges, uses=self._uses, in_slots=self.in_slots)
        for slot, place in self.slots.values() if self._all_are_readable else ():
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
                trial = Claims(topics=self._inputs.mqtt_topics, locked=self.locked)
                owner = _Owner(used.site, f"{{{used.name}}}", used.name, entry=used.place)
                claimants = list(self._claimants(owner, used.drafts))
                for claimant in claimants:
                    trial.claim(claimant)
                self._try_computed(claimants)

    def _try_computed(self, claimants: Sequence[Claimant]) -> None:
        """Report what is wrong with the computed points of a template."""
        computed = [each for each in claimants if each.draft.computation is not None]
        if computed and not self._is_incomplete:
            points = [*self._points, *(each.point for each in claimants)]
            ComputedCompiler(points, automatic=(), may_grow=True).compile(computed)

    def _compile_computed(self) -> tuple[ComputedPoint, ...]:
        """Compile computed points, which have all others as members; nothing if some of these are missing."""
        if not self._computed or self._is_incomplete:
            return ()
        may_grow = any(used.template.auto for used in self.templates.values())
        compiler = ComputedCompiler(self._points, automatic=self._auto_tags, may_grow=may_grow)
        replaced, computed = compiler.compile(self._computed)
        self._points = [replaced.get(point, point) for point in self._points]
        for claimant in self._computed:
            claimant.point = replaced.get(claimant.point, claimant.point)
        return computed

    def _compile_cases(self) -> tuple[Case, ...]:
        """Compile the cases of all tables, before automatic assets, which they are not about."""
        if self._is_incomplete or not any(table.cases for _, table in self.tables):
            return ()
        by_name = {point.name: point for point in self._points}
        return tuple(
            compile_case(case, place, by_name=by_name, assets=self._by_asset)
            for document, table in self.tables
            for place, case in entries(document, "cases", table.cases)
        )

    def _add_automatic(self, snapshot: AssetSnapshot) -> None:
        """Add the assets that only Infodeck has. From here on there are only warnings."""
        warn_of_unknown_assets(self.listed, self._singles, snapshot)
        warn_of_mismatches(self.templates, snapshot, ids=self.listed, uses=self._uses)
        tags = {*self._tags, *(point.tag for point in self._points)}
        named = {*self.listed, *self._singles}
        for asset, used, auto_tag in find_automatic(
            self.templates.values(), snapshot, named=named, slots=self.slots, tags=tags
        ):
            self._read.append((asset, used.drafts))
            drafts, entry = used.drafts, used.place.at()  # an object of its own
            base = self._slot_base(asset, used, used.footprint, place=None, tag=auto_tag.tag)
            if base is None and not any(draft.computation for draft in drafts.values()):
                drafts = {name: draft for name, draft in drafts.items() if draft.mqtt or draft.bacnet}
            owner = _Owner(used.site, auto_tag.tag, asset, base, entry)
            obstacles = map(self.claims.topic_obstacle, self._claimants(owner, drafts))
            if obstacle := next(filter(None, obstacles), None):
                entry.warn(f"{asset} is left out: {obstacle}")
                continue
            self._auto_tags[asset] = auto_tag
            self._add(owner, drafts)
        warn_of_types(self._read, snapshot)


def _plan(claimants: Iterable[Claimant]) -> AssetPlan:
    """Return the plan of an asset that has these points."""
    by_key: dict[str, tuple[Rule, ...]] = {}
    by_path: list[PathRule] = []
    measured: list[Point] = []
    pseudo: list[Point] = []
    has_choices = False
    computed: list[Point] = []
    for claimant in claimants:
        point = claimant.point
        if point.is_pseudo:
            pseudo.append(point)
            continue
        if point.is_computed:
            computed.append(point)
            continue
        measured.append(point)
        rule = claimant.draft.make_rule(point)
        if isinstance(rule, PathRule):
            by_path.append(rule)
        else:
            keys = source_keys(point.source)
            has_choices |= len(keys) > 1
            for index, key in enumerate(dict.fromkeys((*keys, point.source))):  # saved under the last one
                chosen = replace(rule, preferred=frozenset(keys[:index])) if index else rule
                by_key[key] = (*by_key.get(key, ()), chosen)
    return AssetPlan(by_key, tuple(by_path), tuple(measured), tuple(pseudo), has_choices, tuple(computed))
