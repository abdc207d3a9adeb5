"""Templates: every point of a device type compiled once, whatever number of assets use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.mapping.compiling.draft import Draft, draft_point
from gateway.mapping.compiling.footprint import Footprint, footprint
from gateway.mapping.compiling.merge import merge_defaults, merge_point
from gateway.mapping.compiling.places import Layers, Place
from gateway.mapping.table import Match
from gateway.mapping.topics import names_asset
from gateway.text import unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.decode import Document
    from gateway.mapping.compiling.gaps import Gaps
    from gateway.mapping.table import AssetEntry, Defaults, Table, Template


@dataclass(frozen=True, slots=True)
class CompiledTemplate:
    """A template with the drafts of its points, by their names, and what registers they need.

    `defaults`: its own and its file's together.
    """

    name: str
    template: Template
    place: Place
    defaults: Defaults
    drafts: dict[str, Draft]
    footprint: Footprint
    site: str


def compile_templates(
    document: Document[Table], table: Table, *, sinks: Mapping[str, str]
) -> list[CompiledTemplate]:
    """Compile the templates of one file with that file's defaults."""
    compiled = []
    for name, template in table.templates.items():
        place = Place(document, ("templates", name))
        defaults = merge_defaults(table.defaults, template.defaults)
        drafts = {
            point: draft_point(
                keys,
                Layers((Place(document, (*place.path, "points", point)),)),
                defaults=defaults,
                sinks=sinks,
                is_relative=True,
            )
            for point, keys in template.points.items()
        }
        for draft in drafts.values():
            _check_stride(draft, template.stride)
        one = CompiledTemplate(name, template, place, defaults, drafts, footprint(drafts), table.site)
        _check_reserve(one)
        _check_automatic(one)
        compiled.append(one)
    return compiled


def drafts_for(
    entry: AssetEntry, place: Place, used: CompiledTemplate, *, sinks: Mapping[str, str], gaps: Gaps
) -> dict[str, Draft]:
    """Return the drafts of one asset: the template's own, except where the asset overrides something."""
    if not entry.points:
        return used.drafts
    drafts = dict(used.drafts)
    for name, override in entry.points.items():
        point = used.template.points.get(name)
        if point is None:
            if (used.name, name) not in gaps.template_points:
                place.report(unknown_name("point", name, drafts) + f" (template {used.name})", "points", name)
            continue
        own = Place(place.document, (*place.path, "points", name))
        layers = Layers((own, drafts[name].layers.bottom))
        keys = merge_point(point, override)
        drafts[name] = draft_point(keys, layers, defaults=used.defaults, sinks=sinks, is_relative=True)
        _check_stride(drafts[name], used.template.stride)
    return drafts


def _check_stride(draft: Draft, stride: int | None) -> None:
    for block in draft.blocks:
        if stride is not None and block.is_relative and block.end(0) >= stride:
            message = f"ends at register {block.end(0)}, beyond the template's stride of {stride}"
            draft.layers.report(message, *block.steps, "register")


def _check_reserve(used: CompiledTemplate) -> None:
    reserve, stride = used.template.reserve, used.template.stride
    if reserve is None:
        return
    size = reserve[1] - reserve[0] + 1
    if stride is None:
        used.place.report("`stride` is required with `reserve`: how many registers of it each asset is given")
    elif size < stride:
        used.place.report(f"has {size} registers, but the stride of a single asset is {stride}", "reserve")
    if not used.footprint.areas:
        used.place.warn("keeps nothing, for this template has no relative registers", "reserve")


def _check_automatic(used: CompiledTemplate) -> None:
    """Refuse what cannot be the same for many assets that nobody has listed."""
    template, place = used.template, used.place
    if not template.auto:
        if template.tag is not None:
            place.report("is for automatic assets: write `auto: true` and `match`, or leave it out", "tag")
        return
    if template.match is None or template.match == Match():
        place.report("needs `match` beside it, which says for what assets: asset_type, model, …", "auto")
    if used.footprint.areas and template.stride is None:
        place.report("needs `stride` beside it: how many registers each asset is given", "auto")
    for draft in used.drafts.values():
        for block in draft.blocks:
            if not block.is_relative:
                message = "must be relative with `auto` (`register`): each asset has registers of its own"
                draft.layers.report(message, *block.steps)
        topic = draft.mqtt.topic if draft.mqtt is not None else None
        if topic is not None and not names_asset(topic):
            draft.layers.report(
                "would be the same for every asset of a template with `auto`: write {tag} or {asset} into it",
                "mqtt",
                "topic",
            )
