"""Points put in their places: each asset's plan in the making, and what all points claim."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gateway.mapping.compiling.claims import Claims, Owner
from gateway.mapping.plan import AssetPlan, PathRule, Rule
from gateway.mapping.registers import HIGHEST_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.mapping.compiling.draft import Draft
    from gateway.mapping.compiling.places import Place
    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point
    from gateway.records import KnownAsset


@dataclass(slots=True)
class _Plan:
    by_key: dict[str, tuple[Rule, ...]] = field(default_factory=dict)
    by_path: list[PathRule] = field(default_factory=list)
    pseudo: list[Point] = field(default_factory=list)
    measured: list[Point] = field(default_factory=list)

    def add(self, point: Point, draft: Draft) -> None:
        if draft.is_pseudo:
            self.pseudo.append(point)
            return
        self.measured.append(point)
        if draft.get is not None:
            self.by_path.append(PathRule(point, draft.convert, draft.by_unit, draft.get, draft.get_unit))
        else:
            rule = Rule(point, draft.convert, draft.by_unit)
            self.by_key[draft.source] = (*self.by_key.get(draft.source, ()), rule)

    def finish(self) -> AssetPlan:
        return AssetPlan(
            by_key=self.by_key,
            by_path=tuple(self.by_path),
            measured=tuple(self.measured),
            pseudo=tuple(self.pseudo),
        )


class Assembly:
    """Takes points one by one; refuses and reports those whose name, topic or register is taken."""

    def __init__(
        self, *, topics: Mapping[str, TopicScheme], known: Mapping[str, KnownAsset] | None = None
    ) -> None:
        """`topics`: those of each MQTT sink; `known`: what Infodeck's API says of assets, by their ids."""
        self.points: list[Point] = []
        self.claims = Claims(topics=topics)
        self._plans: dict[str, _Plan] = {}
        # Whether a device is connected, and how often it reports, is nothing that a table depends on.
        self._known = {
            asset: replace(one, online=None, keep_alive=None, location_id=None)
            for asset, one in (known or {}).items()
        }

    def add(self, draft: Draft, *, site: str, tag: str, name: str, asset: str) -> Point:
        """Add a free-standing point, or with no asset one of the gateway itself."""
        known = self._known.get(asset)
        point = draft.point(site=site, tag=tag, name=name, asset=asset, base=0, known=known)
        self._add(point, draft, None)
        return point

    def add_asset(
        self, drafts: Mapping[str, Draft], entry: Place, *, site: str, tag: str, asset: str, base: int
    ) -> None:
        """Add all points of an asset that uses a template; `entry` is where the asset is written."""
        for name, draft in drafts.items():
            for block in draft.blocks:
                if block.end(base) > HIGHEST_ADDRESS:
                    message = (
                        f"{tag}/{name} would end at register {block.end(base)}, the last is {HIGHEST_ADDRESS}"
                    )
                    entry.report(message, "base")
                    return
        for point, draft in self._points(drafts, site=site, tag=tag, asset=asset, base=base):
            self._add(point, draft, entry)

    def add_automatic(
        self, drafts: Mapping[str, Draft], place: Place, *, site: str, tag: str, asset: str, base: int
    ) -> bool:
        """Add an asset that no table names, after all others; warn instead where a topic is taken.

        Its registers are known to be free: nothing else may be in its slot. `place` is of its own.
        """
        points = list(self._points(drafts, site=site, tag=tag, asset=asset, base=base))
        for point, _ in points:
            obstacle = self.claims.topic_obstacle(point)
            if obstacle is not None:
                place.warn(f"{asset} is left out: {obstacle}")
                return False
        for point, draft in points:
            self._add(point, draft, place)
        return True

    def _points(
        self, drafts: Mapping[str, Draft], *, site: str, tag: str, asset: str, base: int
    ) -> Iterator[tuple[Point, Draft]]:
        known = self._known.get(asset)
        for name, draft in drafts.items():
            point = draft.point(site=site, tag=tag, name=name, asset=asset, base=base, known=known)
            yield point, draft

    def plans(self) -> dict[str, AssetPlan]:
        """Return the plan of every asset that has points."""
        return {asset: plan.finish() for asset, plan in self._plans.items()}

    def _add(self, point: Point, draft: Draft, entry: Place | None) -> None:
        owner = Owner(point, draft, entry)
        self.points.append(point)
        if self.claims.claim_name(owner):
            self.claims.claim_topics(owner)
            self.claims.claim_registers(owner)
        if point.asset:
            plan = self._plans.get(point.asset) or self._plans.setdefault(point.asset, _Plan())
            plan.add(point, draft)
