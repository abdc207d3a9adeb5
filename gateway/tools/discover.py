"""`gateway discover`: drafts a table for the assets that no table maps, compiled before it is returned.

Each asset type becomes a template with the keys that are known, and each asset a line with registers behind
all that are used. A draft is a start for a person: what needs a check has a comment.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gateway.errors import CommandError
from gateway.mapping.compile.automatic import (
    TagRequest,
    as_level,
    assign_tags,
    disagreements,
    tag_from_pattern,
)
from gateway.mapping.compile.sources import Sources, read_sources, read_table
from gateway.mapping.compiler import Compiler
from gateway.model import RegisterTable
from gateway.text import count_text
from gateway.tools.allocate_registers import FreeRegisters
from gateway.tools.draft_points import comment_text, draft_points, group_assets, unique_name
from gateway.tools.yaml_text import flow_text, string_text, wrapped_mapping

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gateway.mapping.compile.sources import TableInputs
    from gateway.mapping.compile.templates import CompiledTemplate
    from gateway.mapping.plan import PointMap
    from gateway.records import KnownAsset
    from gateway.tools.draft_points import AssetGroup, DraftPoint, Evidence

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


@dataclass(frozen=True, slots=True)
class Draft:
    """The text of the drafted table, None if there is nothing to draft, and the number of assets in it.

    `mapped` counts the assets that the tables have already; `left_out`: the reason for each other asset.
    """

    text: str | None
    assets: int
    mapped: int
    left_out: dict[str, str]


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

    `site`: None for that of the tables, also of ignored ones. Raises CommandError if they have several, or
    problems.
    """
    compiler, point_map = _compile(inputs, ignore_tables=ignore_tables)
    site = site or _site_of(inputs.folder, organization)
    chosen = [one for one in evidence.snapshot.assets.values() if assets is None or one.id in assets]
    unmapped = [one for one in chosen if one.id not in point_map.by_asset]
    drafter = _Drafter(compiler, sinks=inputs.sinks)
    drafter.draft_assets(unmapped, evidence, used_tags={point.tag for point in point_map.points})
    text = drafter.text(source=evidence.source, site=site) if drafter.count else None
    if text is not None:
        _compile(inputs, text, ignore_tables=ignore_tables)
    return Draft(text, drafter.count, len(chosen) - len(unmapped), drafter.left_out)


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


def _site_of(folder: Path, organization: str) -> str:
    """Return the site of the tables, or the organization if there are none."""
    tables = [document.remains.value for document in read_sources(folder).tables]
    sites = sorted({table.site for table in tables if table is not None})
    if len(sites) > 1:
        raise CommandError(f"the tables have several sites: choose one with --site, such as {sites[0]}")
    return sites[0] if sites else as_level(organization) or "site"


class _Drafter:
    """Writes templates and assets; new registers are input registers of the first Modbus server."""

    def __init__(self, compiler: Compiler, *, sinks: Mapping[str, str]) -> None:
        self.count = 0
        self.left_out: dict[str, str] = {}
        self._sink = next((name for name, of_type in sinks.items() if of_type == _SERVER), None)
        self._has_objects = "bacnet" in sinks.values()
        self._free = FreeRegisters(compiler)
        self._unit: int | None = 1
        self._names = set(compiler.templates)
        self._templates: list[str] = []
        self._assets: list[str] = []
        self._existing = [
            used
            for used in compiler.templates.values()
            if used.template.match is not None and _accepts_assets(used, sinks)
        ]

    def draft_assets(
        self, assets: Sequence[KnownAsset], evidence: Evidence, *, used_tags: Collection[str]
    ) -> None:
        """Draft all assets, those of one type together."""
        requests = [TagRequest(one.id, tag_from_pattern("{name}", one)) for one in assets]
        tags = assign_tags(requests, taken=used_tags)
        self.left_out |= {
            one.id: "another asset has every tag that it could have" for one in assets if one.id not in tags
        }
        for group in group_assets([one for one in assets if one.id in tags], evidence):
            group.assets.sort(key=lambda one: tags[one.id])
            self._draft_group(group, tags)

    def _draft_group(self, group: AssetGroup, tags: Mapping[str, str]) -> None:
        points, stride = draft_points(group)
        placed: dict[tuple[str, int | None], list[tuple[KnownAsset, int | None]]] = {}
        for one in group.assets:
            if (existing := self._use_existing(one)) is not None:
                name, base = existing
                placed.setdefault((name, None), []).append((one, base))
            elif points:
                unit, base = self._allocate(stride)
                placed.setdefault(("", unit), []).append((one, base))
            else:
                self.left_out[one.id] = "no telemetry key of it is known"
        for (existing_name, unit), assets in placed.items():
            count = count_text(len(assets), "asset")
            name = existing_name or self._add_template(group, points, stride=stride, unit=unit, title=count)
            self._assets.append(f"  # {comment_text(name)}")
            for one, base in assets:
                self._add_asset(one, tags[one.id], name, base)

    def _use_existing(self, one: KnownAsset) -> tuple[str, int | None] | None:
        """Return name and base of the only existing template that matches, unless its registers are full."""
        fitting = [used for used in self._existing if not disagreements(used.template.match, one)]
        if len(fitting) != 1:
            return None
        used = fitting[0]
        if not used.footprint.areas:
            return used.name, None
        base = self._free.allocate_behind(used.footprint.areas, used.template.stride or used.footprint.size)
        return None if base is None else (used.name, base)

    def _allocate(self, stride: int) -> tuple[int | None, int | None]:
        """Return unit and base of the next free registers; once a unit is full, on one that nothing uses."""
        if self._sink is None or not stride:
            return None, None
        while self._unit is not None:
            base = self._free.allocate_behind(((self._sink, self._unit, RegisterTable.INPUT),), stride)
            if base is not None:
                return self._unit, base
            unused = {*range(1, _HIGHEST_UNIT + 1)} - self._free.used_units(self._sink)
            self._unit = min(unused, default=None)
        return None, None

    def _add_template(
        self,
        group: AssetGroup,
        points: Mapping[str, DraftPoint],
        *,
        stride: int,
        unit: int | None,
        title: str,
    ) -> str:
        """Write a template for the assets on a unit and return its name; without unit it has no registers."""
        name = unique_name(comment_text(group.asset_type or "") or "untyped", self._names)
        self._names.add(name)
        type_name = comment_text((group.of_type and group.of_type.name) or "")
        lines = [f"  {string_text(name)}:   # {f'{type_name}: ' if type_name else ''}{title}"]
        if group.asset_type is not None:
            lines.append(f"    match: {flow_text({'asset_type': group.asset_type})}")
        if unit not in {None, 1}:
            lines.append(f"    defaults: {flow_text({'modbus': {'unit': unit}})}")
        if unit is not None:
            lines.append(f"    stride: {stride}")
        lines.append("    points:")
        unused = {"modbus": unit is None, "bacnet": not self._has_objects}
        for point_name, point in points.items():
            keys = {key: value for key, value in point.keys.items() if not unused.get(key)}
            lines += [f"      # {comment_text('; '.join(point.remarks))}"] if point.remarks else []
            lines += wrapped_mapping(f"      {string_text(point_name)}: ", keys)
        self._templates += lines
        return name

    def _add_asset(self, one: KnownAsset, tag: str, template: str, base: int | None) -> None:
        keys = {"id": one.id, "tag": tag, "use": template} | ({} if base is None else {"base": base})
        name = one.name if one.name and one.name.strip() != tag else None
        remark = comment_text(", ".join(filter(None, (name, one.place))))
        self._assets.append(f"  - {flow_text(keys)}" + (f"   # {remark}" if remark else ""))
        self.count += 1

    def text(self, *, source: str, site: str) -> str:
        """Return the table as YAML."""
        lines = [_HEAD.format(source=comment_text(source), site=string_text(site))]
        if self._sink is not None:
            modbus = {"to": self._sink, "unit": 1, "table": RegisterTable.INPUT.value}
            lines += ["defaults:", f"  modbus: {flow_text(modbus)}", ""]
        lines += ["templates:", *self._templates, ""] if self._templates else []
        lines += ["assets:", *self._assets]
        if self.left_out:
            lines += ["", "# Left out:"]
            lines += [f"#   {comment_text(one)}: {comment_text(why)}" for one, why in self.left_out.items()]
        return "\n".join(lines) + "\n"


def _accepts_assets(used: CompiledTemplate, sinks: Mapping[str, str]) -> bool:
    """Return whether a template can have a further asset.

    Its registers must move with the base, and none may be in a controller, whose free registers are unknown.
    """
    blocks = [block for draft in used.drafts.values() for block in draft.blocks]
    return all(block.is_relative and sinks[block.register.sink] == _SERVER for block in blocks)
