"""A drafted point table as data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.config.problems import Problem


@dataclass(frozen=True, slots=True)
class ProposedPoint:
    """A point as a table has it; `remarks` are for whoever edits it."""

    name: str
    keys: dict[str, Any]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedTemplate:
    """The points of one asset type; `keys` is what a table has of it beside them."""

    name: str
    title: str
    keys: dict[str, Any]
    points: tuple[ProposedPoint, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProposedAsset:
    """An asset as a table has it; `remark` says what and where it is."""

    keys: dict[str, Any]
    remark: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An asset that is not in the draft, and why."""

    asset: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """The whole draft; its text is valid together with the tables that are there.

    `joined` says of each template that the tables have already and assets of the draft use where it is, and
    what it leaves out.
    """

    source: str
    site: str
    site_remark: str
    modbus: dict[str, Any] | None
    templates: tuple[ProposedTemplate, ...]
    assets: tuple[ProposedAsset, ...]
    left_out: tuple[LeftOut, ...] = ()
    joined: Mapping[str, str] = field(default_factory=dict)

    def without(self, problems: Sequence[Problem]) -> Proposal:
        """Return the draft without the assets and points that have these problems.

        What a broker's own topics or another table's forbid shows only when everything is compiled. Raise
        GatewayError for a problem of another kind.
        """
        assets: dict[int, str] = {}
        points: dict[tuple[str, str], str] = {}
        for problem in problems:
            match problem.steps:
                case ("assets", int(index), *_):
                    assets.setdefault(index, problem.message)
                case ("templates", str(template), "points", str(point), *_):
                    points.setdefault((template, point), problem.message)
                case _:
                    raise GatewayError(f"nothing that could be drafted fits the present tables: {problem}")
        templates = tuple(_without_points(template, points) for template in self.templates)
        gone = {template.name for template in templates if not template.points}
        for index, asset in enumerate(self.assets):
            if asset.keys["use"] in gone:
                assets.setdefault(index, "none of its points can be drafted")
        left = [
            LeftOut(self.assets[index].keys["id"], self.assets[index].keys["tag"], reason)
            for index, reason in sorted(assets.items())
        ]
        kept = tuple(asset for index, asset in enumerate(self.assets) if index not in assets)
        used = {asset.keys["use"] for asset in kept}
        return replace(
            self,
            templates=tuple(template for template in templates if template.name in used),
            assets=kept,
            left_out=(*self.left_out, *left),
        )


def _without_points(template: ProposedTemplate, gone: dict[tuple[str, str], str]) -> ProposedTemplate:
    kept = tuple(point for point in template.points if (template.name, point.name) not in gone)
    remarks = tuple(
        f"{point.keys['from']} is left out: {gone[template.name, point.name]}"
        for point in template.points
        if (template.name, point.name) in gone
    )
    return replace(template, points=kept, remarks=(*template.remarks, *remarks))
