"""The whole of a draft: which assets, in which templates, with which tags and registers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.errors import CommandError, GatewayError
from gateway.model import ByteOrder
from gateway.tools.discover.composing import Composition
from gateway.tools.discover.naming import site_name
from gateway.tools.discover.present import Present, style_of
from gateway.tools.discover.proposal import LeftOut, Proposal
from gateway.tools.discover.text import draft_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.config.problems import Problem
    from gateway.tools.discover.evidence import Evidence
    from gateway.tools.discover.present import Style, Surroundings

_MOST_ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to draft: `assets` (ids), None for all; `site`, None for that of the tables or `organization`."""

    organization: str
    assets: frozenset[str] | None = None
    site: str | None = None

    def wants(self, asset: str) -> bool:
        """Say whether an asset is to be drafted."""
        return self.assets is None or asset in self.assets


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What came of it. `text` is None where there is nothing to draft; `mapped` counts the assets left alone.

    While `problems` of the present tables are there, nothing is drafted.
    """

    text: str | None
    proposal: Proposal | None
    mapped: int
    problems: Sequence[Problem] = ()


def discover(evidence: Evidence, surroundings: Surroundings, wanted: Wanted) -> Discovery:
    """Draft a table for every wanted asset that none of the tables maps.

    Raise CommandError where the site must be chosen.
    """
    compiler, point_map, problems = surroundings.compiled(surroundings.read())
    if problems:
        return Discovery(text=None, proposal=None, mapped=0, problems=problems)
    present, style = (
        Present(compiler, point_map, sinks=surroundings.sinks),
        style_of(surroundings.sinks, point_map),
    )
    site, site_remark = _site(wanted, surroundings)
    asked = [one for one in evidence.assets.values() if wanted.wants(one.id)]
    known = [one for one in asked if one.id not in present.mapped]
    unlisted = [
        LeftOut(asset, "", reason)
        for asset, reason in evidence.unlisted.items()
        if wanted.wants(asset) and asset not in present.mapped
    ]
    draft = Composition(evidence, present, style).of(known)
    proposal = Proposal(
        source=evidence.source,
        site=site,
        site_remark=site_remark,
        modbus=None if style is None else _modbus_defaults(style),
        templates=tuple(draft.templates),
        assets=tuple(draft.assets),
        left_out=(*draft.left_out, *unlisted),
        joined=draft.joined,
    )
    text, proposal = _valid(proposal, surroundings) if proposal.assets else (None, proposal)
    return Discovery(text=text, proposal=proposal, mapped=len(asked) - len(known))


def _valid(proposal: Proposal, surroundings: Surroundings) -> tuple[str | None, Proposal]:
    """Return the text as it compiles with the present tables, without what these do not allow."""
    problems: list[Problem] = []
    for _ in range(_MOST_ROUNDS):
        if not proposal.assets:
            return None, proposal
        text = draft_text(proposal)
        problems = surroundings.problems_with(text)
        if not problems:
            return text, proposal
        proposal = proposal.without(problems)
    raise GatewayError(f"nothing that could be drafted fits the present tables: {problems[0]}")


def _site(wanted: Wanted, surroundings: Surroundings) -> tuple[str, str]:
    """Return the site, and what to say of it."""
    if wanted.site is not None:
        return wanted.site, ""
    sites = surroundings.sites()
    if len(sites) > 1:
        raise CommandError(
            f"the tables in {surroundings.folder} have several sites: choose one with --site, such as"
            f" {sites[0]}"
        )
    if sites:
        return sites[0], ""
    return site_name(wanted.organization), "the organization's id: write the building's name"


def _modbus_defaults(style: Style) -> dict[str, Any]:
    keys: dict[str, Any] = {"to": style.sink, "unit": style.unit, "table": style.table.value}
    return keys if style.order is ByteOrder.ABCD else {**keys, "order": style.order.value}
