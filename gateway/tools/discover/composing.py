"""Templates and assets put together: tags and registers handed out, and who is left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.mapping.tags import Wish, choose_tags, wished_tag
from gateway.tools.discover.drafting import draft_points
from gateway.tools.discover.grouping import groups_of
from gateway.tools.discover.naming import one_line, template_name
from gateway.tools.discover.placing import Places, base_in
from gateway.tools.discover.proposal import LeftOut, ProposedAsset, ProposedTemplate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.mapping.compiling.templates import CompiledTemplate
    from gateway.records import KnownAsset
    from gateway.tools.discover.drafting import Drafted
    from gateway.tools.discover.evidence import Evidence
    from gateway.tools.discover.grouping import Group
    from gateway.tools.discover.placing import Spot
    from gateway.tools.discover.present import Present, Style

_TAG = "{name}"


class Composition:
    """Collects templates, assets and what is left out."""

    def __init__(self, evidence: Evidence, present: Present, style: Style | None) -> None:
        self.templates: list[ProposedTemplate] = []
        self.assets: list[ProposedAsset] = []
        self.left_out: list[LeftOut] = []
        self.joined: dict[str, str] = {}
        self._evidence = evidence
        self._present = present
        self._style = style
        self._places = None if style is None else Places(present, style)
        self._names = set(present.templates)
        self._tags: dict[str, str] = {}

    def of(self, known: list[KnownAsset]) -> Composition:
        """Take all assets that are to be drafted, once."""
        wishes = [Wish(one.id, wished_tag(_TAG, one)) for one in sorted(known, key=lambda one: one.id)]
        self._tags = choose_tags(wishes, taken=self._present.tags)
        for one in known:
            if one.id not in self._tags:
                self._leave_out(one, "another asset has every tag that it could have")
        tagged = [one for one in known if one.id in self._tags]
        for group in groups_of(tagged, self._evidence):
            group.assets.sort(key=lambda one: _natural(self._tags[one.id]))
            self._take(group)
        return self

    def _take(self, group: Group) -> None:
        """Add a group: to a template that is there for it, or with one of its own."""
        rest = [one for one in group.assets if not self._join(one, group)]
        if not rest:
            return
        drafted = draft_points(group)
        if not drafted.points:
            for one in rest:
                self._leave_out(one, _why_nothing(group, drafted))
            return
        by_unit: dict[int | None, list[tuple[KnownAsset, Spot | None]]] = {}
        for one in rest:
            spot = None if self._places is None or not drafted.stride else self._places.take(drafted.stride)
            by_unit.setdefault(spot and spot.unit, []).append((one, spot))
        for unit, placed in by_unit.items():
            template = self._template(group, drafted, unit, count=len(placed))
            self.templates.append(template)
            for one, spot in placed:
                self._list(one, template.name, None if spot is None else spot.base)

    def _join(self, one: KnownAsset, group: Group) -> bool:
        """Let an asset use the template that the tables have for its kind, if that has registers left."""
        used = self._present.template_for(one)
        if used is None:
            return False
        base = base_in(self._present, used, one.id) if used.footprint.areas else None
        if used.footprint.areas and base is None:
            return False
        if used.name not in self.joined:
            self.joined[used.name] = _about(used, group)
        self._list(one, used.name, base)
        return True

    def _template(self, group: Group, drafted: Drafted, unit: int | None, *, count: int) -> ProposedTemplate:
        style = self._style
        wish = group.asset_type or "untyped"
        is_elsewhere = style is not None and unit not in {None, style.unit}
        name = template_name(f"{wish}-unit-{unit}" if is_elsewhere else wish, taken=self._names)
        self._names.add(name)
        keys: dict[str, Any] = {}
        if group.asset_type is not None:
            keys["match"] = {"asset_type": group.asset_type}
        if is_elsewhere:
            keys["defaults"] = {"modbus": {"unit": unit}}
        if unit is not None:
            keys["stride"] = drafted.stride
        return ProposedTemplate(
            name=name,
            title=f"{group.title}{': ' if group.title else ''}{count} asset{'' if count == 1 else 's'}",
            keys=keys,
            points=drafted.points if unit is None else drafted.with_registers(),
            remarks=(*self._register_remarks(drafted, unit), *drafted.remarks),
        )

    def _register_remarks(self, drafted: Drafted, unit: int | None) -> Iterator[str]:
        if self._style is not None and unit is None and drafted.stride:
            yield f"no registers: {self._style.sink} has no {drafted.stride} free ones in a row on any unit"

    def _list(self, one: KnownAsset, template: str, base: int | None) -> None:
        keys: dict[str, Any] = {"id": one.id, "tag": self._tags[one.id], "use": template}
        if base is not None:
            keys["base"] = base
        where = one.place or ""
        name = "" if one.name is None or one.name.strip() == keys["tag"] else one.name
        self.assets.append(ProposedAsset(keys, one_line(", ".join(filter(None, (name, where))))))

    def _leave_out(self, one: KnownAsset, reason: str) -> None:
        self.left_out.append(LeftOut(one.id, one.name or "", reason))


def _about(used: CompiledTemplate, group: Group) -> str:
    """Say where a template is, and which keys that were seen it has no point for."""
    place = used.place.document.location(used.place.path)
    sources = {draft.source for draft in used.drafts.values()}
    more = [key for key in sorted(group.samples) if key not in sources]
    unused = f"; it has no point for {', '.join(more)}" if more else ""
    return f"the template at {Path(place.file).name}:{place.line}{unused}"


def _why_nothing(group: Group, drafted: Drafted) -> str:
    if drafted.remarks:
        return "; ".join(drafted.remarks)
    if group.asset_type is None:
        return "it has never reported, and no type of it is known"
    if group.of_type is None:
        return (
            f"nothing of its type has reported, and what {one_line(group.asset_type)} measures is not known"
        )
    return "nothing of its type has reported, and the type lists no properties"


def _natural(tag: str) -> tuple[list[str | int], str]:
    """Sort Room 2 before Room 10."""
    parts = re.split(r"([0-9]+)", tag.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], tag
