"""A drafted table as text, with a comment wherever something is to be looked at."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from gateway.tools.discover.layout import EXACT_TO
from gateway.tools.discover.naming import one_line
from gateway.tools.yaml_text import flow_text, string_text, wrapped_mapping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.tools.discover.proposal import LeftOut, Proposal, ProposedTemplate

_EDITORS = "# yaml-language-server: $schema=../config/schema/points.schema.json"
_LONGEST_REMARK = 400


def draft_text(proposal: Proposal) -> str:
    """Return the table."""
    lines = [*_head(proposal)]
    if proposal.templates:
        lines += ["", "templates:"]
    for template in proposal.templates:
        lines += _template(template)
    lines += ["", "assets:"]
    for use, group in groupby(proposal.assets, key=lambda asset: str(asset.keys["use"])):
        lines.append(f"  # {one_line(use)}" + _remark_of(proposal.joined.get(use, "")))
        lines += [_with_remark(f"  - {flow_text(asset.keys)}", asset.remark) for asset in group]
    if proposal.left_out:
        lines += ["", "# Left out:", *map(_left_out, proposal.left_out)]
    return "\n".join(lines) + "\n"


def _head(proposal: Proposal) -> Iterator[str]:
    yield _EDITORS
    yield f"# Drafted by `gateway discover` from {one_line(proposal.source)}."
    yield "# Take out what nobody needs, and name things as the building does: no BMS knows them yet."
    yield "# `range`, `cov`, `map` and points such as `from: $quality` are described in docs/point-tables.md."
    has_registers = proposal.modbus is not None and any("base" in asset.keys for asset in proposal.assets)
    if has_registers:
        yield "# Registers are 0-based PDU addresses from each asset's `base` on, behind all that are taken."
        yield f"# A float32 takes any number, and shows whole ones exactly up to {EXACT_TO:,}."
    yield ""
    yield "schema: gateway.points/1"
    yield _with_remark(f"site: {string_text(proposal.site)}", proposal.site_remark)
    if has_registers:
        yield ""
        yield "defaults:"
        yield f"  modbus: {flow_text(proposal.modbus)}"


def _template(template: ProposedTemplate) -> Iterator[str]:
    yield _with_remark(f"  {string_text(template.name)}:", template.title)
    for remark in template.remarks:
        yield f"    # {one_line(remark, longest=_LONGEST_REMARK)}"
    for key, value in template.keys.items():
        yield f"    {key}: {flow_text(value)}"
    yield "    points:"
    for point in template.points:
        if point.remarks:
            yield f"      # {one_line('; '.join(point.remarks), longest=_LONGEST_REMARK)}"
        yield from wrapped_mapping(f"      {string_text(point.name)}: ", point.keys)


def _remark_of(joined: str) -> str:
    return f": {one_line(joined, longest=_LONGEST_REMARK)}" if joined else ""


def _left_out(one: LeftOut) -> str:
    name = f" ({one_line(one.name)})" if one.name else ""
    return f"#   {one_line(one.asset)}{name}: {one_line(one.reason, longest=_LONGEST_REMARK)}"


def _with_remark(line: str, remark: str) -> str:
    return f"{line}   # {one_line(remark)}" if remark else line
