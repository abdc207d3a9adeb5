"""Pure: the readings in the device shadows that the API lists, and which of them webhooks missed.

Source: Infodeck's developer documentation names `shadows` of an asset, not their contents. They are read as
AWS documents device shadows, by the same code as in webhooks. A value without a time is not used: the API
shows the same value for months, and an old one must not look fresh.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from gateway.events import CLOCK_LEAD_MS, named_shadows, parse_time, shadow_items, shadow_time_ms
from gateway.mapping.paths import NOT_FOUND, split_path
from gateway.model import Reading, source_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gateway.infodeck.api_client import Item
    from gateway.mapping.plan import AssetPlan
    from gateway.model import Point, Scalar, Update

    Measured = Callable[[Point], Update | None]

_SHADOWS_PATH = ["data", "object", "shadows"]
_MOST_KEYS = 1_000  # of one shadow; a page of 100 assets is at most 8 MiB


@dataclass(slots=True)
class ShadowReadings:
    """The newest reading of each telemetry key or path that the points of one asset use.

    `without_time` and `clock_ahead` count readings that points use and whose time cannot be used.
    """

    readings: dict[str, Reading] = field(default_factory=dict)
    without_time: int = 0
    clock_ahead: int = 0

    @property
    def newest_ms(self) -> int:
        """The time of the newest reading, 0 if there is none."""
        return max((reading.time_ms for reading in self.readings.values()), default=0)


def read_page(
    items: Iterable[Item],
    plans: Mapping[str, AssetPlan],
    *,
    now_ms: int,
    item_time: Callable[[Any], Any] | None,
) -> dict[str, ShadowReadings]:
    """Return the readings in a page of the API's list, by asset, of those that have points."""
    return {
        asset: read_shadows(item, plans[asset], now_ms=now_ms, item_time=item_time)
        for item in items
        if isinstance(asset := item.get("id"), str) and asset in plans
    }


def read_shadows(
    item: dict[str, Any],
    plan: AssetPlan,
    *,
    now_ms: int,
    item_time: Callable[[Any], Any] | None = None,
) -> ShadowReadings:
    """Return the readings in an item for the points of its asset."""
    found = ShadowReadings()
    shadows = item.get("shadows")
    if not isinstance(shadows, dict):
        return found
    item_ms = None if item_time is None else parse_time(item_time(item))
    untimed: set[str] = set()
    for key, value, own_ms, unit in _used_values(shadows, plan):
        time_ms = own_ms or item_ms
        if not time_ms:
            untimed.add(key)
        elif time_ms > now_ms + CLOCK_LEAD_MS:
            found.clock_ahead += 1
        elif key not in found.readings or time_ms > found.readings[key].time_ms:
            found.readings[key] = Reading(key, value, time_ms, unit)
    found.without_time = len(untimed - found.readings.keys())
    return found


def _used_values(
    shadows: dict[str, Any], plan: AssetPlan
) -> Iterator[tuple[str, Scalar, int | None, str | None]]:
    """Yield each value at a key or path that points use, with its time and unit, None if it has none."""
    for _, shadow in named_shadows(shadows):
        for key, value, time_ms, unit in islice(shadow_items(shadow), _MOST_KEYS):
            if key in plan.by_key:
                yield key, value, time_ms, unit
    body = {"data": {"object": {"shadows": shadows}}}
    for source, rule in {rule.point.source: rule for rule in plan.by_path}.items():
        steps = split_path(source)
        if steps[:3] != _SHADOWS_PATH:  # other parts of an event are not in a shadow
            continue
        value = rule.get(body)
        if value is not NOT_FOUND:
            yield source, value, _path_time_ms(shadows, steps[3:]), rule.stated_unit(body)


def _path_time_ms(shadows: dict[str, Any], steps: Sequence[str | int]) -> int | None:
    for name, shadow in named_shadows(shadows):
        if name is None:
            return shadow_time_ms(shadow, steps)
        if steps[:1] == [name]:
            return shadow_time_ms(shadow, steps[1:])
    return None


@dataclass(frozen=True, slots=True)
class MissedReadings:
    """The readings of one asset that webhooks missed, and will not bring any more.

    `gaps` has the time of the last reading before, by key, for points whose history is backfilled.
    """

    readings: list[Reading]
    gaps: dict[str, int]


def find_missed(
    found: ShadowReadings, plan: AssetPlan, measured: Measured, *, tolerance_ms: int, now_ms: int
) -> MissedReadings:
    """Compare the shadows of an asset with the newest reading of each of its points."""
    missed: dict[str, Reading] = {}
    for point in plan.measured:
        of_keys = (found.readings.get(key) for key in source_keys(point.source))
        reading = next(filter(None, of_keys), None)
        if reading is not None and _is_missed(
            reading, measured(point), tolerance_ms=tolerance_ms, now_ms=now_ms
        ):
            missed[reading.key] = reading
    gaps: dict[str, int] = {}
    for key, reading in missed.items():
        points = [rule.point for rule in plan.by_key.get(key, ()) if rule.point.backfill]
        last_ms = max((last.time_ms for point in points if (last := measured(point))), default=None)
        if last_ms is not None and last_ms < reading.time_ms:
            gaps[key] = last_ms
    return MissedReadings([*missed.values()], gaps)


def _is_missed(reading: Reading, last: Update | None, *, tolerance_ms: int, now_ms: int) -> bool:
    if last is None:
        return True
    newer_ms = reading.time_ms - last.time_ms
    if newer_ms > tolerance_ms:
        return True
    # A little newer: its webhook may be on its way, or state another time. Not for ever.
    return newer_ms > 0 and reading.value != last.raw and now_ms - reading.time_ms > tolerance_ms
