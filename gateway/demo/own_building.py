"""The demo of a user's own point tables: the sinks that they name, and a device for each of their assets."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from gateway.config.value_types import SINK_NAME
from gateway.demo.demo_building import SimulatedAsset, SimulatedBuilding
from gateway.demo.plausible import plausible_signals
from gateway.records import AssetSnapshot, KnownAsset

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

    from gateway.config.decode import Document
    from gateway.demo.demo_building import Signal
    from gateway.mapping.plan import PointMap
    from gateway.mapping.table import Match, Table
    from gateway.model import Scalar

_AUTOMATIC_ASSETS = 3  # for each template with `auto`
_PERIOD_S = 5.0
_MOST_EVENTS_PER_S = 100  # of a large building, each asset reports the more rarely
_UNKNOWN_TYPE, _LOCATION = "at-demo", "loc-demo"


def demo_sinks(tables: Iterable[Document[Table]], *, has_instances: bool) -> dict[str, str]:
    """Return the sinks of the demo by name, each with its kind, `mqtt`, `modbus` or `bacnet`: all named ones.

    A name that no sink can have is left out. If tables name no sink of a kind, there is the demo's own; one
    of the kind `bacnet` only with `has_instances`, since every object needs an instance.
    """
    named = {name: kind for table in tables for name, kind in _named(table.written(()))}
    sinks = {name: kind for name, kind in named.items() if re.fullmatch(SINK_NAME, name)}
    if "mqtt" not in sinks.values():
        sinks["mqtt" if "bms" in sinks else "bms"] = "mqtt"
    if "modbus" not in sinks.values():
        sinks["modbus" if "regs" in sinks else "regs"] = "modbus"
    if has_instances and "bacnet" not in sinks.values():
        sinks["bacnet" if "bac" in sinks else "bac"] = "bacnet"
    return sinks


def _named(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for each in value:
            yield from _named(each)
    elif isinstance(value, dict):
        for key, inner in value.items():
            blocks = inner if isinstance(inner, list) else [inner]
            for block in blocks if key in {"mqtt", "modbus", "bacnet"} else ():
                names = block.get("to") if isinstance(block, dict) else None
                for name in names if isinstance(names, list) else [names]:
                    if isinstance(name, str):
                        yield name, key
            yield from _named(inner)


def automatic_assets(tables: Iterable[Document[Table]]) -> AssetSnapshot:
    """Return some assets for each template with `auto`, as Infodeck's API might list them."""
    found = {}
    for table in tables:
        for name, template in (table.value.templates if table.value else {}).items():
            if template.auto and template.match is not None:
                for number in range(1, _AUTOMATIC_ASSETS + 1):
                    known = _matching(template.match, template=name, number=number)
                    found[known.id] = known
    return AssetSnapshot(round(time.time() * 1000), found)


def _matching(match: Match, *, template: str, number: int) -> KnownAsset:
    pattern = match.name or f"{template} *"
    return KnownAsset(
        id=f"ast-demo-{template}-{number}",
        name=pattern.replace("*", str(number)).replace("?", str(number)),
        asset_type=match.asset_type,
        model=match.model,
        manufacturer=match.manufacturer,
        location="Demo",
    )


def own_building(points: PointMap) -> SimulatedBuilding:
    """Return a building in which every asset of the tables reports values that suit its points."""
    plans = {asset: plan for asset, plan in points.by_asset.items() if plan.measured}
    period_s = max(_PERIOD_S, len(plans) / _MOST_EVENTS_PER_S)
    began_s = time.time()
    assets = []
    for asset, plan in plans.items():
        known = plan.measured[0].known
        assets.append(
            SimulatedAsset(
                id=asset,
                type=(known and known.asset_type) or _UNKNOWN_TYPE,
                name=(known and known.name) or plan.measured[0].tag,
                location=_LOCATION,
                model=(known and known.model) or "Demo",
                period_s=period_s,
                signals={
                    source: _since(began_s, signal)
                    for source, signal in plausible_signals(plan, seed=0).items()
                },
            )
        )
    types = [
        {"id": name, "name": name, "isIotDevice": True, "properties": []}
        for name in {one.type for one in assets}
    ]
    location = {"id": _LOCATION, "name": "Demo", "parentId": None}
    return SimulatedBuilding(assets=assets, known=assets, types=types, locations=[location])


def _since(began_s: float, signal: Signal) -> Signal:
    """Return the signal by the time since `began_s` instead of Unix time."""

    def shifted(elapsed_s: float, random: Random) -> Scalar:
        return signal(began_s + elapsed_s, random)

    return shifted
