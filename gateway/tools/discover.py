"""`gateway discover`: drafts a table for the assets that no table maps, compiled before it is returned."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.errors import CommandError, GatewayError
from gateway.mapping.compile.automatic import TagRequest, assign_tags, tag_from_pattern
from gateway.model import ByteOrder
from gateway.tools.draft_points import (
    comment_text,
    draft_points,
    group_assets,
    site_name,
    template_name,
)
from gateway.tools.draft_table import DraftAsset, DraftTable, DraftTemplate, LeftOut
from gateway.tools.existing_tables import ExistingTables

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gateway.config.problems import Problem
    from gateway.mapping.compile.templates import CompiledTemplate
    from gateway.records import KnownAsset
    from gateway.tools.draft_points import AssetGroup, DraftPoint, Evidence
    from gateway.tools.existing_tables import RegisterStyle, TableFolder

_TAG_PATTERN = "{name}"
_MOST_ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """The draft and its text, None if there is nothing to draft; `mapped` counts the assets with a table.

    While the existing tables have `problems`, nothing is drafted.
    """

    text: str | None
    draft: DraftTable | None
    mapped: int
    problems: Sequence[Problem] = ()


def discover(
    evidence: Evidence,
    folder: TableFolder,
    *,
    organization: str,
    assets: Collection[str] | None = None,
    site: str | None = None,
) -> Discovery:
    """Draft a table for every asset, or those with these ids, that none of the tables maps.

    `site`: None for that of the tables. Raises CommandError if they have several.
    """
    compiler, point_map, problems = folder.compile()
    if problems:
        return Discovery(text=None, draft=None, mapped=0, problems=problems)
    tables = ExistingTables(compiler, point_map, sinks=folder.sinks)
    site, site_remark = (site, "") if site is not None else _site(folder, organization)
    modbus = None if tables.style is None else _modbus_defaults(tables.style)
    draft = DraftTable(source=evidence.source, site=site, site_remark=site_remark, modbus=modbus)
    requested = [one for one in evidence.assets.values() if assets is None or one.id in assets]
    unmapped = [one for one in requested if one.id not in tables.mapped]
    _Drafter(draft, tables).draft_assets(unmapped, evidence)
    draft.left_out += [
        LeftOut(asset, "", reason)
        for asset, reason in evidence.unlisted.items()
        if (assets is None or asset in assets) and asset not in tables.mapped
    ]
    text = _compiled_text(draft, folder)
    return Discovery(text=text, draft=draft, mapped=len(requested) - len(unmapped))


def _site(folder: TableFolder, organization: str) -> tuple[str, str]:
    """Return the site of the tables, or the organization if there are none, and a remark about it."""
    sites = folder.sites()
    if len(sites) > 1:
        raise CommandError(
            f"the tables in {folder.folder} have several sites: choose one with --site, such as {sites[0]}"
        )
    if sites:
        return sites[0], ""
    return site_name(organization), "the organization's id: write the building's name"


def _modbus_defaults(style: RegisterStyle) -> dict[str, Any]:
    keys: dict[str, Any] = {"to": style.sink, "unit": style.unit, "table": style.table.value}
    return keys if style.order is ByteOrder.ABCD else {**keys, "order": style.order.value}


def _compiled_text(draft: DraftTable, folder: TableFolder) -> str | None:
    """Return the text that compiles with the existing tables, after leaving out what they do not allow."""
    problems: list[Problem] = []
    for _ in range(_MOST_ROUNDS):
        if not draft.assets:
            return None
        text = draft.text()
        problems = folder.compile(text)[2]
        if not problems:
            return text
        draft.leave_out(problems)
    raise GatewayError(f"nothing that could be drafted fits the present tables: {problems[0]}")


class _Drafter:
    """Adds templates and assets to a draft."""

    def __init__(self, draft: DraftTable, tables: ExistingTables) -> None:
        self._draft = draft
        self._tables = tables
        self._names = set(tables.templates)
        self._tags: dict[str, str] = {}

    def draft_assets(self, assets: list[KnownAsset], evidence: Evidence) -> None:
        """Draft all assets, those of one type together."""
        requests = [
            TagRequest(one.id, tag_from_pattern(_TAG_PATTERN, one))
            for one in sorted(assets, key=lambda one: one.id)
        ]
        self._tags = assign_tags(requests, taken=self._tables.tags)
        for one in assets:
            if one.id not in self._tags:
                self._leave_out(one, "another asset has every tag that it could have")
        tagged = [one for one in assets if one.id in self._tags]
        for group in group_assets(tagged, evidence):
            group.assets.sort(key=lambda one: _natural_order(self._tags[one.id]))
            self._draft_group(group)

    def _draft_group(self, group: AssetGroup) -> None:
        rest = [one for one in group.assets if not self._join_existing(one, group)]
        if not rest:
            return
        points, stride, remarks = draft_points(group)
        if not points:
            for one in rest:
                self._leave_out(one, "; ".join(remarks) or _no_points_reason(group))
            return
        by_unit: dict[int | None, list[tuple[KnownAsset, int | None]]] = {}
        for one in rest:
            unit, base = self._tables.allocate(stride) or (None, None)
            by_unit.setdefault(unit, []).append((one, base))
        for unit, placed in by_unit.items():
            template = self._template(group, points, unit, count=len(placed))
            if unit is not None:
                template.keys["stride"] = stride
            elif self._tables.style is not None and stride:
                sink = self._tables.style.sink
                template.remarks.append(
                    f"no registers: {sink} has no {stride} free ones in a row on any unit"
                )
            template.remarks += remarks
            for one, base in placed:
                self._add_asset(one, template.name, base)

    def _join_existing(self, one: KnownAsset, group: AssetGroup) -> bool:
        """Add an asset that an existing template matches, unless its registers are full."""
        used = self._tables.template_for(one)
        if used is None:
            return False
        base = self._tables.allocate_for(used) if used.footprint.areas else None
        if used.footprint.areas and base is None:
            return False
        if used.name not in self._draft.joined:
            self._draft.joined[used.name] = _description(used, group)
        self._add_asset(one, used.name, base)
        return True

    def _template(
        self, group: AssetGroup, points: dict[str, DraftPoint], unit: int | None, *, count: int
    ) -> DraftTemplate:
        """Add a template for the assets on a unit; without one, its points have no registers."""
        style = self._tables.style
        name = group.asset_type or "untyped"
        keys: dict[str, Any] = {}
        if group.asset_type is not None:
            keys["match"] = {"asset_type": group.asset_type}
        if style is not None and unit not in {None, style.unit}:
            name = f"{name}-unit-{unit}"
            keys["defaults"] = {"modbus": {"unit": unit}}
        name = template_name(name, self._names)
        self._names.add(name)
        title = comment_text((group.of_type and group.of_type.name) or "")
        title = f"{title}{': ' if title else ''}{count} asset{'' if count == 1 else 's'}"
        if unit is None:
            points = {point: drafted.without_register() for point, drafted in points.items()}
        template = DraftTemplate(name, title, keys, dict(points), [])
        self._draft.templates.append(template)
        return template

    def _add_asset(self, one: KnownAsset, template: str, base: int | None) -> None:
        keys: dict[str, Any] = {"id": one.id, "tag": self._tags[one.id], "use": template}
        if base is not None:
            keys["base"] = base
        name = "" if one.name is None or one.name.strip() == keys["tag"] else one.name
        remark = ", ".join(filter(None, (name, one.place)))
        self._draft.assets.append(DraftAsset(keys, comment_text(remark)))

    def _leave_out(self, one: KnownAsset, reason: str) -> None:
        self._draft.left_out.append(LeftOut(one.id, one.name or "", reason))


def _description(used: CompiledTemplate, group: AssetGroup) -> str:
    """Return the place of an existing template, and the received keys that it has no point for."""
    place = used.place.document.location(used.place.path)
    sources = {draft.source for draft in used.drafts.values()}
    more = [key for key in sorted(group.samples) if key not in sources]
    unused = f"; it has no point for {', '.join(more)}" if more else ""
    return f"the template at {Path(place.file).name}:{place.line}{unused}"


def _no_points_reason(group: AssetGroup) -> str:
    if group.asset_type is None:
        return "it has never reported, and no type of it is known"
    if group.of_type is None:
        what = comment_text(group.asset_type)
        return f"nothing of its type has reported, and what {what} measures is not known"
    return "nothing of its type has reported, and the type lists no properties"


def _natural_order(tag: str) -> tuple[list[str | int], str]:
    """Return a key that sorts Room 2 before Room 10."""
    parts = re.split(r"([0-9]+)", tag.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], tag
