"""`gateway discover`: drafts a table for the assets that no table maps, compiled before it is returned.

Each asset type becomes a template with the keys that are known, and each asset a line with registers behind
all that are used. A draft is a start for a person: what needs a check has a comment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gateway.errors import CommandError
from gateway.mapping.compile.automatic import Matcher, TagRequest, assign_tags, tag_from_pattern
from gateway.mapping.compile.sources import Sources, read_sources, read_table
from gateway.mapping.compiler import Compiler
from gateway.model import RegisterTable
from gateway.text import count_text
from gateway.tools.allocate_registers import FreeRegisters
from gateway.tools.draft_points import (
    DraftPoint,
    comment_text,
    draft_points,
    group_assets,
    topic_level,
    unique_name,
)
from gateway.tools.yaml_text import flow_text, string_text, wrapped_mapping

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from gateway.mapping.compile.sources import TableInputs
    from gateway.mapping.compile.templates import CompiledTemplate
    from gateway.mapping.plan import PointMap
    from gateway.records import KnownAsset
    from gateway.tools.draft_points import AssetGroup, Evidence

_SERVER = "modbus_server"
_HIGHEST_UNIT = 247  # of a Modbus device
_HEAD = """\
# yaml-language-server: $schema=../config/schema/points.schema.json
# Drafted by `gateway discover` from {source}.
# Remove what is not needed, and use the building's own names: no BMS uses these yet.
# Registers are 0-based PDU addresses from each asset's `base` on.
# A float32 shows whole numbers exactly up to 16,777,216: larger counters need float64 or uint32.

schema: gateway.points/1
site: {site}
"""


@dataclass(slots=True)
class DraftTemplate:
    """The points of one asset type; `keys` are the template's other keys."""

    title: str
    keys: dict[str, Any]
    points: dict[str, DraftPoint]


@dataclass(slots=True, kw_only=True)
class Draft:
    """The drafted table. `assets`: their keys and a remark each; `left_out`: the reason for each other asset.

    `mapped` counts the assets that the tables have already. `text` is None if there is nothing to draft.
    """

    mapped: int
    templates: dict[str, DraftTemplate] = field(default_factory=dict)
    assets: list[tuple[dict[str, Any], str]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    text: str | None = None


def discover(
    evidence: Evidence,
    inputs: TableInputs,
    *,
    organization: str,
    assets: Collection[str] | None = None,
    site: str | None = None,
    ignore_tables: bool = False,
) -> Draft:
    """Draft a table for every asset, or those with these ids, that none of the tables maps.

    `site`: None for that of the tables. Raises CommandError if they have several, or problems.
    """
    compiler, point_map = _compile(inputs, ignore_tables=ignore_tables)
    site = site or _site_of(compiler, organization)
    chosen = [one for one in evidence.assets.values() if assets is None or one.id in assets]
    unmapped = [one for one in chosen if one.id not in point_map.by_asset]
    draft = Draft(mapped=len(chosen) - len(unmapped))
    drafter = _Drafter(draft, compiler, sinks=inputs.sinks)
    drafter.draft_assets(unmapped, evidence, taken={point.tag for point in point_map.points})
    draft.left_out |= {
        asset: reason
        for asset, reason in evidence.unlisted.items()
        if (assets is None or asset in assets) and asset not in point_map.by_asset
    }
    if draft.assets:
        draft.text = draft_text(draft, source=evidence.source, site=site, sink=drafter.sink)
        _compile(inputs, draft.text, ignore_tables=ignore_tables)
    return draft


def _compile(
    inputs: TableInputs, draft: str | None = None, *, ignore_tables: bool
) -> tuple[Compiler, PointMap]:
    """Compile the tables, with the text of a further one; raise CommandError if they have problems."""
    has_tables = not ignore_tables and any(inputs.folder.glob("*.yaml"))
    sources = read_sources(inputs.folder) if has_tables else Sources([], None, [])
    if draft is not None:  # it comes last: of two tables that clash, the later one has the problem
        with TemporaryDirectory() as folder:
            file = Path(folder) / "draft.yaml"
            file.write_text(draft, encoding="utf-8")
            sources.tables.append(read_table(file))
    compiler = Compiler(sources, inputs)
    point_map = compiler.compile()
    compiler.report_missing_slots()
    if problems := sources.findings()[0]:
        where = "the point tables" if draft is None else "the draft beside the point tables"
        count = count_text(len(problems), "problem")
        raise CommandError(f"{count} in {where}", problems=[*map(str, problems)])
    return compiler, point_map


def _site_of(compiler: Compiler, organization: str) -> str:
    """Return the site of the tables, or the organization if there are none."""
    sites = sorted({table.site for _, table in compiler.tables})
    if len(sites) > 1:
        raise CommandError(f"the tables have several sites: choose one with --site, such as {sites[0]}")
    return sites[0] if sites else topic_level(organization) or "site"


class _Drafter:
    """Adds templates and assets to a draft; new registers are input registers of the first Modbus server."""

    def __init__(self, draft: Draft, compiler: Compiler, *, sinks: Mapping[str, str]) -> None:
        self.sink = next((name for name, of_type in sinks.items() if of_type == _SERVER), None)
        self._draft = draft
        self._free = FreeRegisters(compiler)
        self._unit: int | None = 1
        self._names = set(compiler.templates)
        self._tags: dict[str, str] = {}
        self._existing = [
            (used, Matcher(used.template.match))
            for used in compiler.templates.values()
            if used.template.match is not None and _accepts_assets(used, sinks)
        ]

    def draft_assets(
        self, assets: Sequence[KnownAsset], evidence: Evidence, *, taken: Collection[str]
    ) -> None:
        """Draft all assets, those of one type together. `taken`: the tags of the tables."""
        requests = [TagRequest(one.id, tag_from_pattern("{name}", one)) for one in assets]
        self._tags = assign_tags(requests, taken=taken)
        for one in assets:
            if one.id not in self._tags:
                self._draft.left_out[one.id] = "another asset has every tag that it could have"
        for group in group_assets([one for one in assets if one.id in self._tags], evidence):
            group.assets.sort(key=lambda one: self._tags[one.id])
            self._draft_group(group)

    def _draft_group(self, group: AssetGroup) -> None:
        rest = [one for one in group.assets if not self._use_existing(one)]
        points, stride = draft_points(group)
        if not points:
            self._draft.left_out |= {one.id: "no telemetry key of it is known" for one in rest}
            return
        by_unit: dict[int | None, list[tuple[KnownAsset, int | None]]] = {}
        for one in rest:
            unit, base = self._allocate(stride)
            by_unit.setdefault(unit, []).append((one, base))
        for unit, placed in by_unit.items():
            name = self._add_template(group, points, stride=stride, unit=unit, count=len(placed))
            for one, base in placed:
                self._add_asset(one, name, base)

    def _use_existing(self, one: KnownAsset) -> bool:
        """Add an asset that one existing template matches, unless its registers are full."""
        fitting = [used for used, matcher in self._existing if matcher.matches(one)]
        if len(fitting) != 1:
            return False
        used, base = fitting[0], None
        if used.footprint.areas:
            stride = used.template.stride or used.footprint.size
            base = self._free.allocate_behind(used.footprint.areas, stride)
            if base is None:
                return False
        self._add_asset(one, used.name, base)
        return True

    def _allocate(self, stride: int) -> tuple[int | None, int | None]:
        """Return unit and base of the next free registers; once a unit is full, on one that nothing uses."""
        if self.sink is None or not stride:
            return None, None
        while self._unit is not None:
            base = self._free.allocate_behind(((self.sink, self._unit, RegisterTable.INPUT),), stride)
            if base is not None:
                return self._unit, base
            unused = {*range(1, _HIGHEST_UNIT + 1)} - self._free.used_units(self.sink)
            self._unit = min(unused, default=None)
        return None, None

    def _add_template(
        self, group: AssetGroup, points: dict[str, DraftPoint], *, stride: int, unit: int | None, count: int
    ) -> str:
        """Add a template for the assets on a unit and return its name; without unit it has no registers."""
        keys: dict[str, Any] = {}
        if group.asset_type is not None:
            keys["match"] = {"asset_type": group.asset_type}
        if unit is None:
            points = {name: _without_register(point) for name, point in points.items()}
        else:
            keys |= {"defaults": {"modbus": {"unit": unit}}} if unit != 1 else {}
            keys["stride"] = stride
        name = unique_name(comment_text(group.asset_type or "") or "untyped", self._names)
        self._names.add(name)
        title = comment_text((group.of_type and group.of_type.name) or "")
        title = f"{title}: {count_text(count, 'asset')}" if title else count_text(count, "asset")
        self._draft.templates[name] = DraftTemplate(title, keys, dict(points))
        return name

    def _add_asset(self, one: KnownAsset, template: str, base: int | None) -> None:
        keys: dict[str, Any] = {"id": one.id, "tag": self._tags[one.id], "use": template}
        if base is not None:
            keys["base"] = base
        name = one.name if one.name and one.name.strip() != keys["tag"] else None
        self._draft.assets.append((keys, ", ".join(filter(None, (name, one.place)))))


def _without_register(point: DraftPoint) -> DraftPoint:
    keys = {key: value for key, value in point.keys.items() if key != "modbus"}
    return DraftPoint(keys, point.remarks)


def _accepts_assets(used: CompiledTemplate, sinks: Mapping[str, str]) -> bool:
    """Return whether a template can have a further asset.

    Its registers must move with the base, and none may be in a controller, whose free registers are unknown.
    """
    blocks = [block for draft in used.drafts.values() for block in draft.blocks]
    return all(block.is_relative and sinks[block.register.sink] == _SERVER for block in blocks)


def draft_text(draft: Draft, *, source: str, site: str, sink: str | None) -> str:
    """Return the table as YAML. `sink`: the Modbus server with its registers, if there is one."""
    lines = [_HEAD.format(source=comment_text(source), site=string_text(site))]
    if sink is not None:
        modbus = {"to": sink, "unit": 1, "table": RegisterTable.INPUT.value}
        lines += ["defaults:", f"  modbus: {flow_text(modbus)}", ""]
    if draft.templates:
        lines.append("templates:")
        for name, template in draft.templates.items():
            lines += _template_lines(name, template)
        lines.append("")
    lines.append("assets:")
    for use, group in groupby(draft.assets, key=lambda asset: str(asset[0]["use"])):
        lines.append(f"  # {comment_text(use)}")
        lines += [_with_remark(f"  - {flow_text(keys)}", remark) for keys, remark in group]
    if draft.left_out:
        lines += ["", "# Left out:"]
        lines += [f"#   {comment_text(one)}: {comment_text(why)}" for one, why in draft.left_out.items()]
    return "\n".join(lines) + "\n"


def _template_lines(name: str, template: DraftTemplate) -> Iterator[str]:
    yield _with_remark(f"  {string_text(name)}:", template.title)
    for key, value in template.keys.items():
        yield f"    {key}: {flow_text(value)}"
    yield "    points:"
    for point, drafted in template.points.items():
        if drafted.remarks:
            yield f"      # {comment_text('; '.join(drafted.remarks))}"
        yield from wrapped_mapping(f"      {string_text(point)}: ", drafted.keys)


def _with_remark(line: str, remark: str) -> str:
    return f"{line}   # {comment_text(remark)}" if remark else line
