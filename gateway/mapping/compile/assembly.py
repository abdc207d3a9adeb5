"""Points of all assets, put together: each asset's plan in the making, and the claims of all points."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gateway.mapping.compile.claims import Claimant, Claims
from gateway.mapping.plan import AssetPlan, PathRule, Rule
from gateway.mapping.registers import HIGHEST_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mapping.compile.drafts import PointDraft
    from gateway.mapping.compile.file_places import Place
    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point
    from gateway.records import KnownAsset


class Assembly:
    """Adds points one by one. Reports those whose name, topic or registers belong to another point."""

    def __init__(
        self, *, topics: Mapping[str, TopicScheme], known: Mapping[str, KnownAsset] | None = None
    ) -> None:
        """`topics`: those of each MQTT sink; `known`: assets by id, as Infodeck's API describes them."""
        self.points: list[Point] = []
        self.claims = Claims(topics=topics)
        self._plans: dict[str, _PlanDraft] = {}
        # Without the device's connection, which changes often and which no point shows.
        self._known = {
            asset: replace(one, online=None, keep_alive=None, location_id=None)
            for asset, one in (known or {}).items()
        }

    def add(self, draft: PointDraft, *, site: str, tag: str, name: str, asset: str) -> Point:
        """Add a single point; without an asset, one of the gateway itself."""
        (point,) = self._points({name: draft}, site=site, tag=tag, asset=asset, base=0)
        self._add(point, draft, None)
        return point

    def add_asset(
        self, drafts: Mapping[str, PointDraft], entry: Place, *, site: str, tag: str, asset: str, base: int
    ) -> None:
        """Add all points of an asset that uses a template. `entry`: where the asset is written."""
        for name, draft in drafts.items():
            for block in draft.blocks:
                last = block.last_address(base)
                if last > HIGHEST_ADDRESS:
                    message = f"{tag}/{name} would end at register {last}, the last is {HIGHEST_ADDRESS}"
                    entry.report(message, "base")
                    return
        points = self._points(drafts, site=site, tag=tag, asset=asset, base=base)
        for point, draft in zip(points, drafts.values(), strict=True):
            self._add(point, draft, entry)

    def add_automatic(
        self, drafts: Mapping[str, PointDraft], place: Place, *, site: str, tag: str, asset: str, base: int
    ) -> bool:
        """Add an asset that no table names, after all others. Warn and return False if a topic is taken.

        Its registers are free, because nothing else can be in its slot. `place` is an object of its own.
        """
        points = self._points(drafts, site=site, tag=tag, asset=asset, base=base)
        for point in points:
            obstacle = self.claims.topic_obstacle(point)
            if obstacle is not None:
                place.warn(f"{asset} is left out: {obstacle}")
                return False
        for point, draft in zip(points, drafts.values(), strict=True):
            self._add(point, draft, place)
        return True

    def plans(self) -> dict[str, AssetPlan]:
        """Return the plan of every asset that has points."""
        return {asset: plan.finish() for asset, plan in self._plans.items()}

    def _points(
        self, drafts: Mapping[str, PointDraft], *, site: str, tag: str, asset: str, base: int
    ) -> list[Point]:
        known = self._known.get(asset)
        return [
            draft.point(site=site, tag=tag, name=name, asset=asset, base=base, known=known)
            for name, draft in drafts.items()
        ]

    def _add(self, point: Point, draft: PointDraft, entry: Place | None) -> None:
        claimant = Claimant(point, draft, entry)
        self.points.append(point)
        if self.claims.claim_name(claimant):
            self.claims.claim_topics(claimant)
            self.claims.claim_registers(claimant)
        if point.asset:
            plan = self._plans.get(point.asset) or self._plans.setdefault(point.asset, _PlanDraft())
            plan.add(point, draft)


@dataclass(slots=True)
class _PlanDraft:
    by_key: dict[str, tuple[Rule, ...]] = field(default_factory=dict)
    by_path: list[PathRule] = field(default_factory=list)
    pseudo: list[Point] = field(default_factory=list)
    measured: list[Point] = field(default_factory=list)

    def add(self, point: Point, draft: PointDraft) -> None:
        if point.is_pseudo:
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
