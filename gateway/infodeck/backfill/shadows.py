"""Pure: what the device shadows in an item of the API's list say, reading by reading, each with its time.

Source: Infodeck's developer documentation names `shadows` of an asset, not their inside. They are read as
AWS documents device shadows, as far as it goes, by the same code that reads them in webhooks. What has no
time is no reading here: the API shows the same value for months, and an old one must not look fresh.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from gateway.events import named_shadows, parse_time, shadow_items, shadow_time_ms
from gateway.mapping.paths import NOT_FOUND, split_path
from gateway.model import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.mapping.plan import AssetPlan
    from gateway.model import Scalar

CLOCK_LEAD_MS = 300_000  # further ahead of us than this is a wrong clock, as in webhooks
_SHADOWS_PATH = ["data", "object", "shadows"]
_MOST_KEYS = 1_000  # of one shadow; a page of 100 assets is at most 8 MiB


@dataclass(slots=True)
class Found:
    """What the shadows of one asset say for its points, by telemetry key or path: the newest reading.

    `without_time` and `clock_ahead` count what a point asks for and cannot be used.
    """

    readings: dict[str, Reading] = field(default_factory=dict)
    without_time: int = 0
    clock_ahead: int = 0


def read_shadows(
    item: dict[str, Any],
    plan: AssetPlan,
    *,
    now_ms: int,
    item_time: Callable[[Any], Any] | None = None,
) -> Found:
    """Return what an item says for the points of its asset; `item_time` gets the time of the whole item."""
    found = Found()
    shadows = item.get("shadows")
    if not isinstance(shadows, dict):
        return found
    item_ms = None if item_time is None else parse_time(item_time(item))
    untimed: set[str] = set()
    for key, value, own_ms, unit in _asked_for(shadows, plan):
        _take(found, untimed, Reading(key, value, own_ms or item_ms or 0, unit), now_ms=now_ms)
    found.without_time = len(untimed - found.readings.keys())
    return found


def _take(found: Found, untimed: set[str], reading: Reading, *, now_ms: int) -> None:
    """Take a reading that has a time (not 0) which has come, if it is the newest of its key."""
    if not reading.time_ms:
        untimed.add(reading.key)
    elif reading.time_ms > now_ms + CLOCK_LEAD_MS:
        found.clock_ahead += 1
    elif reading.key not in found.readings or reading.time_ms > found.readings[reading.key].time_ms:
        found.readings[reading.key] = reading


def _asked_for(
    shadows: dict[str, Any], plan: AssetPlan
) -> Iterator[tuple[str, Scalar, int | None, str | None]]:
    """Yield what stands at the keys and paths that points read, with its time and unit, None for neither."""
    for _, shadow in named_shadows(shadows):
        for key, value, time_ms, unit in islice(shadow_items(shadow), _MOST_KEYS):
            if key in plan.by_key:
                yield key, value, time_ms, unit
    body = {"data": {"object": {"shadows": shadows}}}
    for source, rule in {rule.point.source: rule for rule in plan.by_path}.items():
        steps = split_path(source)
        if steps[:3] != _SHADOWS_PATH:  # of what other paths lead to, a shadow tells nothing
            continue
        value = rule.get(body)
        if value is not NOT_FOUND:
            yield source, value, _path_time_ms(shadows, steps[3:]), rule.stated_unit(body)


def _path_time_ms(shadows: dict[str, Any], steps: Sequence[str | int]) -> int | None:
    """Return the time of what stands at a path below the shadows, None where it has none."""
    for name, shadow in named_shadows(shadows):
        if name is None:
            return shadow_time_ms(shadow, steps)
        if steps[:1] == [name]:
            return shadow_time_ms(shadow, steps[1:])
    return None
