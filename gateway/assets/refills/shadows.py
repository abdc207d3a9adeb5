"""Pure: what the device shadows in an item of the API's list say, reading by reading, each with its time.

Source: Infodeck's developer documentation names `shadows` of an asset, not their inside. They are read as
AWS documents device shadows, as far as it goes, by the same code that reads them in webhooks. What has no
time is no reading here: the API shows the same value for months, and an old one must not look fresh.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from gateway.events import named_shadows, parse_time, shadow_items
from gateway.mapping.paths import split_path
from gateway.mapping.plan import MISSING
from gateway.model import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.mapping.plan import AssetPlan, PathRule

CLOCK_LEAD_MS = 300_000  # further ahead of us than this is a wrong clock, as in webhooks
_SHADOWS_PATH = ["data", "object", "shadows"]
_MOST_KEYS = 1_000  # of one shadow; a page of 100 assets is at most 8 MiB

Shadow = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PathReading:
    """What a shadow has for a point that reads an explicit path, whose `steps` begin at the event's body."""

    rule: PathRule
    steps: list[str | int]
    reading: Reading


@dataclass(slots=True)
class Found:
    """What the shadows of one asset say for its points: by key the newest reading, and by path.

    `without_time` and `clock_ahead` count what a point asks for and cannot be used.
    """

    readings: dict[str, Reading] = field(default_factory=dict)
    by_path: list[PathReading] = field(default_factory=list)
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
    for _, shadow in named_shadows(shadows):
        for key, value, own_ms in _items(shadow):
            if key in plan.by_key:
                _take(found, untimed, Reading(key, value, own_ms or item_ms or 0), now_ms=now_ms)
    found.without_time = len(untimed - found.readings.keys())
    for rule in plan.by_path:
        _take_path(found, shadows, rule, item_ms=item_ms, now_ms=now_ms)
    return found


def _take(found: Found, untimed: set[str], reading: Reading, *, now_ms: int) -> None:
    """Take a reading that has a time (not 0) which has come, if it is the newest of its key."""
    if not reading.time_ms:
        untimed.add(reading.key)
    elif reading.time_ms > now_ms + CLOCK_LEAD_MS:
        found.clock_ahead += 1
    elif reading.key not in found.readings or reading.time_ms > found.readings[reading.key].time_ms:
        found.readings[reading.key] = reading


def _take_path(
    found: Found, shadows: dict[str, Any], rule: PathRule, *, item_ms: int | None, now_ms: int
) -> None:
    """Take what stands at a path into the shadows; what other paths lead to, no shadow can tell."""
    steps = split_path(rule.point.source)
    if steps[:3] != _SHADOWS_PATH:
        return
    value = rule.get({"data": {"object": {"shadows": shadows}}})
    if value is MISSING:
        return
    time_ms = _path_time_ms(shadows, steps[3:]) or item_ms
    if time_ms is None:
        found.without_time += 1
    elif time_ms > now_ms + CLOCK_LEAD_MS:
        found.clock_ahead += 1
    else:
        found.by_path.append(PathReading(rule, steps, Reading(rule.point.source, value, time_ms)))


def _path_time_ms(shadows: dict[str, Any], steps: list[str | int]) -> int | None:
    """Return the time of the reading at a path below the shadows, None where it has none."""
    for name, shadow in named_shadows(shadows):
        if name is not None and (not steps or steps[0] != name):
            continue
        below = [str(step) for step in (steps if name is None else steps[1:])]
        if below[:2] == ["state", "reported"]:
            del below[:2]
        if below[-1:] == ["value"]:
            del below[-1]
        wanted = ".".join(below)
        return next((time_ms for key, _, time_ms in _items(shadow) if key == wanted), None) or parse_time(
            shadow.get("timestamp")
        )
    return None


def _items(shadow: Shadow) -> Iterator[tuple[str, Any, int | None]]:
    return islice(shadow_items(shadow), _MOST_KEYS)
