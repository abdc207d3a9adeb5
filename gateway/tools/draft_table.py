"""The table that `gateway discover` drafts, as data and as text with a comment wherever a check is needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from gateway.errors import GatewayError
from gateway.tools.draft_points import EXACT_UP_TO, comment_text
from gateway.tools.yaml_text import flow_text, string_text, wrapped_mapping

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.config.problems import Problem
    from gateway.tools.draft_points import DraftPoint

_SCHEMA_COMMENT = "# yaml-language-server: $schema=../config/schema/points.schema.json"
_LONGEST_REMARK = 400


@dataclass(slots=True)
class DraftTemplate:
    """The points of one asset type; `keys` are the template's other keys."""

    name: str
    title: str
    keys: dict[str, Any]
    points: dict[str, DraftPoint]
    remarks: list[str]


@dataclass(frozen=True, slots=True)
class DraftAsset:
    """An asset as in a point table; `remark`: its name and location."""

    keys: dict[str, Any]
    remark: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An asset that is not in the draft, and why."""

    asset: str
    name: str
    reason: str


@dataclass(slots=True, kw_only=True)
class DraftTable:
    """The whole draft. `joined`: the place of each existing template that assets of the draft use."""

    source: str
    site: str
    site_remark: str
    modbus: dict[str, Any] | None
    templates: list[DraftTemplate] = field(default_factory=list)
    assets: list[DraftAsset] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    joined: dict[str, str] = field(default_factory=dict)

    def leave_out(self, problems: Sequence[Problem]) -> None:
        """Remove the assets and points that have these problems, and keep the reasons.

        Clashes with the topics of a broker or with another table show only in compiled tables. Raises
        GatewayError for any other problem.
        """
        reasons: dict[int, str] = {}
        templates = {template.name: template for template in self.templates}
        for problem in problems:
            match problem.steps:
                case ("assets", int(index), *_):
                    reasons.setdefault(index, problem.message)
                case ("templates", str(name), "points", str(point), *_):
                    if name in templates and (removed := templates[name].points.pop(point, None)):
                        remark = f"{removed.keys['from']} is left out: {problem.message}"
                        templates[name].remarks.append(remark)
                case _:
                    raise GatewayError(f"nothing that could be drafted fits the present tables: {problem}")
        for index, asset in enumerate(self.assets):
            template = templates.get(asset.keys["use"])
            if template is not None and not template.points:
                reasons.setdefault(index, "none of its points can be drafted")
        for index in sorted(reasons):
            keys = self.assets[index].keys
            self.left_out.append(LeftOut(keys["id"], keys["tag"], reasons[index]))
        self.assets = [asset for index, asset in enumerate(self.assets) if index not in reasons]
        used = {asset.keys["use"] for asset in self.assets}
        self.templates = [template for template in self.templates if template.name in used]

    def text(self) -> str:
        """Return the table as YAML."""
        lines = [*self._head()]
        if self.templates:
            lines += ["", "templates:"]
        for template in self.templates:
            lines += _template_lines(template)
        lines += ["", "assets:"]
        for use, group in groupby(self.assets, key=lambda asset: str(asset.keys["use"])):
            joined = self.joined.get(use)
            place = f": {comment_text(joined, longest=_LONGEST_REMARK)}" if joined else ""
            lines.append(f"  # {comment_text(use)}{place}")
            lines += [_with_remark(f"  - {flow_text(asset.keys)}", asset.remark) for asset in group]
        if self.left_out:
            lines += ["", "# Left out:", *map(_left_out_line, self.left_out)]
        return "\n".join(lines) + "\n"

    def _head(self) -> Iterator[str]:
        yield _SCHEMA_COMMENT
        yield f"# Drafted by `gateway discover` from {comment_text(self.source)}."
        yield "# Remove what is not needed, and use the building's own names: no BMS uses these yet."
        yield (
            "# `range`, `cov`, `map` and points such as `from: $quality` are described in"
            " docs/point-tables.md."
        )
        has_registers = self.modbus is not None and any("base" in asset.keys for asset in self.assets)
        if has_registers:
            yield (
                "# Registers are 0-based PDU addresses from each asset's `base` on,"
                " behind all that are taken."
            )
            yield f"# A float32 takes any number, and shows whole ones exactly up to {EXACT_UP_TO:,}."
        yield ""
        yield "schema: gateway.points/1"
        yield _with_remark(f"site: {string_text(self.site)}", self.site_remark)
        if has_registers:
            yield ""
            yield "defaults:"
            yield f"  modbus: {flow_text(self.modbus)}"


def _template_lines(template: DraftTemplate) -> Iterator[str]:
    yield _with_remark(f"  {string_text(template.name)}:", template.title)
    for remark in template.remarks:
        yield f"    # {comment_text(remark, longest=_LONGEST_REMARK)}"
    for key, value in template.keys.items():
        yield f"    {key}: {flow_text(value)}"
    yield "    points:"
    for name, point in template.points.items():
        if point.remarks:
            yield f"      # {comment_text('; '.join(point.remarks), longest=_LONGEST_REMARK)}"
        yield from wrapped_mapping(f"      {string_text(name)}: ", point.keys)


def _left_out_line(one: LeftOut) -> str:
    name = f" ({comment_text(one.name)})" if one.name else ""
    return f"#   {comment_text(one.asset)}{name}: {comment_text(one.reason, longest=_LONGEST_REMARK)}"


def _with_remark(line: str, remark: str) -> str:
    return f"{line}   # {comment_text(remark)}" if remark else line
