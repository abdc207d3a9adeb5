"""Templates: every point of a device type compiled once, whatever number of assets use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.mapping.draft import Draft, draft_point
from gateway.mapping.merge import merge_defaults, merge_point
from gateway.mapping.places import Layers, Place, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.decode import Document
    from gateway.mapping.gaps import Gaps
    from gateway.mapping.table import AssetEntry, Defaults, Table, Template


@dataclass(frozen=True, slots=True)
class CompiledTemplate:
    """A template with the drafts of its points, by their names; `defaults`: its own and its file's."""

    name: str
    template: Template
    place: Place
    defaults: Defaults
    drafts: dict[str, Draft]


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
        compiled.append(CompiledTemplate(name, template, place, defaults, drafts))
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
                place.report(unknown("point", name, drafts) + f" (template {used.name})", "points", name)
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
