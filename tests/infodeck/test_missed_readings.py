"""Which of the API's readings are missed, and the events made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from gateway.events import asset_of, parse_event, read_telemetry
from gateway.infodeck.backfill import newest_event
from gateway.infodeck.history import history_events
from gateway.infodeck.shadows import ShadowReadings, find_missed, read_shadows
from gateway.model import Event, Reading, Telemetry
from gateway.state.building_state import BuildingState
from gateway.state.readings import map_telemetry

if TYPE_CHECKING:
    from gateway.mapping.plan import PointMap

NOW_MS = 1_790_000_000_000
TABLE = """\
schema: gateway.points/1
site: hq
points:
  - {tag: R, point: T, asset: a, from: t, refill: history}
  - {tag: R, point: H, asset: a, from: h}
  - {tag: R, point: X, asset: a, from: $.data.object.shadows.Up.state.reported.deep.x}
  - {tag: R, point: Y, asset: a, from: "$.data.object.shadows.Up.state.reported.list[2].y"}
  - {tag: R, point: Z, asset: a, from: $.data.object.shadows.Up.state.reported.deep}
"""


def state_with(points: PointMap, *, at_ms: int, **readings: Any) -> BuildingState:
    """Return a state whose asset has reported once."""
    image, plan = BuildingState(points), points.by_asset["a"]
    found = tuple(Reading(key, value, at_ms) for key, value in readings.items())
    event = Event("evt_1", "asset.telemetry.updated", b"", {}, at_ms)
    updates = map_telemetry(plan, Telemetry("a", at_ms, found), event=event, seq=1)
    image.apply_updates(plan, updates, now_ms=NOW_MS)
    return image


@pytest.mark.parametrize(
    ("last_ago_s", "last", "ago_s", "value", "is_missed"),
    [
        (600, 1, 539, 1, True),  # newer by more than the tolerance, whatever it says
        (600, 1, 10, 1, True),
        (600, 1, 540, 1, False),  # a little newer, and the same
        (600, 1, 540, 2, True),  # a little newer, another, and no webhook is on its way any more
        (90, 1, 60, 2, False),  # one may be
        (90, 1, 61, 2, True),
        (600, 1, 600, 2, False),  # as old, or older
        (600, 1, 900, 2, False),
        (600, "1", 540, 1, True),
    ],
)
def test_a_reading_is_missed(
    *, points: PointMap, last_ago_s: int, last: Any, ago_s: int, value: Any, is_missed: bool
) -> None:
    """It is newer by more than the tolerance, or newer, different and old enough."""
    image = state_with(points, at_ms=NOW_MS - last_ago_s * 1000, t=last)
    reading = Reading("t", value, NOW_MS - ago_s * 1000)
    missed = find_missed(
        ShadowReadings({"t": reading}),
        points.by_asset["a"],
        image.measured,
        tolerance_ms=60_000,
        now_ms=NOW_MS,
    )
    assert missed.readings == ([reading] if is_missed else [])
    assert missed.gaps == ({"t": NOW_MS - last_ago_s * 1000} if is_missed else {})


def test_without_any_reading_everything_is_missed(points: PointMap) -> None:
    """Without an earlier reading there is no gap."""
    image = state_with(points, at_ms=NOW_MS, t=1)
    old = Reading("h", 3, NOW_MS - 10**9)
    missed = find_missed(
        ShadowReadings({"h": old, "t": Reading("t", 2, NOW_MS - 1)}),
        points.by_asset["a"],
        image.measured,
        tolerance_ms=60_000,
        now_ms=NOW_MS,
    )
    assert (missed.readings, missed.gaps) == ([old], {})


def made(points: PointMap, item: dict[str, Any], **readings: Any) -> Event:
    """Return the event of missed readings, where `readings` were reported long ago."""
    plan = points.by_asset["a"]
    image = state_with(points, at_ms=NOW_MS - 10**9, **readings)
    found = read_shadows(item, plan, now_ms=NOW_MS)
    missed = find_missed(found, plan, image.measured, tolerance_ms=60_000, now_ms=NOW_MS)
    return newest_event("a", missed.readings, tables_id="x", organization="o-1", now_ms=NOW_MS)


def test_missed_readings_of_an_asset_are_one_event(points: PointMap) -> None:
    """Its envelope names the source; readings have their own times."""
    shadow = {
        "t": {"value": 2, "timestamp": NOW_MS - 5000},
        "h": {"value": 3, "timestamp": NOW_MS - 4000},
        "other": {"value": 4, "timestamp": NOW_MS - 4000},
    }
    event = made(points, {"id": "a", "shadows": {"Up": shadow}}, t=1)
    assert orjson.loads(event.body) == {
        "id": event.event_id,
        "type": "asset.telemetry.updated",
        "source": "reconcile",
        "organizationId": "o-1",
        "created": NOW_MS // 1000,
        "data": {
            "object": {
                "id": "a",
                "readings": [
                    {"key": "h", "value": 3, "timestamp": NOW_MS - 4000},
                    {"key": "t", "value": 2, "timestamp": NOW_MS - 5000},
                ],
            }
        },
    }
    again = parse_event(event.body, received_ms=NOW_MS)
    assert again == event
    assert again.is_backfilled
    assert asset_of(again) == "a"
    telemetry = read_telemetry(again)
    assert telemetry is not None
    assert telemetry.readings == (Reading("h", 3, NOW_MS - 4000), Reading("t", 2, NOW_MS - 5000))


def test_a_stated_unit_is_kept() -> None:
    """The unit of measure of a reading is kept."""
    reading = Reading("t", 70, NOW_MS, "°F")
    event = newest_event("a", [reading], tables_id="x", organization="o-1", now_ms=NOW_MS)
    telemetry = read_telemetry(parse_event(event.body, received_ms=NOW_MS))
    assert telemetry is not None
    assert telemetry.readings == (reading,)


def test_equal_readings_have_the_same_id() -> None:
    """The id depends on asset, keys, values, times and tables only."""
    readings = [Reading("t", 1, NOW_MS), Reading("h", 2, NOW_MS)]

    def id_of(asset: str, readings: list[Reading], now_ms: int = NOW_MS, tables_id: str = "x") -> str:
        return newest_event(asset, readings, tables_id=tables_id, organization="o-1", now_ms=now_ms).event_id

    assert id_of("a", readings) == id_of("a", readings[::-1], NOW_MS + 9999)
    others = [
        id_of("b", readings),
        id_of("a", readings[:1]),
        id_of("a", [readings[0], Reading("h", 3, NOW_MS)]),
        id_of("a", [readings[0], Reading("h", 2, NOW_MS + 1)]),
        id_of("a", [readings[0], Reading("h", "2", NOW_MS)]),
        id_of("a", [readings[0], Reading("H", 2, NOW_MS)]),
        id_of("a", readings, tables_id="y"),
    ]
    assert len({id_of("a", readings), *others}) == 8


def test_points_with_paths_get_the_values_of_their_paths(points: PointMap) -> None:
    """The event has the values of points' paths, each with its time, and nothing else."""
    shadow = {
        "state": {
            "reported": {
                "deep": {"x": 7, "w": 1},
                "list": [0, 1, {"y": 8, "v": 2}],
                "t": 1,
                "timestamp": NOW_MS - 3000,
            }
        },
        "metadata": {"reported": {"deep": {"x": {"timestamp": NOW_MS - 7000}}}},
    }
    event = made(points, {"id": "a", "shadows": {"Up": shadow}}, t=1)
    up = "$.data.object.shadows.Up.state.reported"
    assert event.document["data"]["object"] == {
        "id": "a",
        "readings": [
            {"key": f"{up}.deep", "value": None, "timestamp": NOW_MS - 3000},
            {"key": f"{up}.deep.x", "value": 7, "timestamp": NOW_MS - 7000},
            {"key": f"{up}.list[2].y", "value": 8, "timestamp": NOW_MS - 3000},
            {"key": "t", "value": 1, "timestamp": NOW_MS - 3000},
        ],
    }
    telemetry = read_telemetry(event)
    assert telemetry is not None
    updates = map_telemetry(points.by_asset["a"], telemetry, event=event, seq=2)
    assert [(update.point.name, update.raw, update.time_ms) for update in updates] == [
        ("R/T", 1, NOW_MS - 3000),
        ("R/X", 7, NOW_MS - 7000),
        ("R/Y", 8, NOW_MS - 3000),
        ("R/Z", None, NOW_MS - 3000),
    ]


def test_histories_are_events_of_a_bounded_size_with_stable_ids() -> None:
    """An event has at most 100 readings, all of one hour."""
    readings = [Reading("t", number, NOW_MS + number * 20_000) for number in range(1000)]
    events = list(history_events("a", readings, organization="o-1", now_ms=NOW_MS))
    things = [event.document["data"]["object"] for event in events]
    assert [reading for thing in things for reading in thing["readings"]] == [
        {"key": "t", "value": each.value, "timestamp": each.time_ms} for each in readings
    ]
    assert max(len(thing["readings"]) for thing in things) == 100
    shorter = list(history_events("a", readings[:500], organization="o-1", now_ms=NOW_MS + 1))
    assert [event.event_id for event in shorter[:-1]] == [
        event.event_id for event in events[: len(shorter) - 1]
    ]
