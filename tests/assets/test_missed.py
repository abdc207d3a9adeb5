"""Which of the API's readings are missed, and the events that they become."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from gateway.assets.refills.missed import missed_readings
from gateway.assets.refills.shadows import Found, read_shadows
from gateway.assets.refills.synthetic import history_events, refill_events
from gateway.events import asset_of, is_refilled, parse_event, read_telemetry
from gateway.mapping.live.image import PointImage
from gateway.mapping.live.readings import map_readings
from gateway.model import Event, Reading

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


def image_with(points: PointMap, *, at_ms: int, **readings: Any) -> PointImage:
    """Return an image whose asset has reported once."""
    image, plan = PointImage(points), points.by_asset["a"]
    found = [Reading(key, value, at_ms) for key, value in readings.items()]
    event = Event("evt_1", "asset.telemetry.updated", b"", {}, at_ms)
    image.accept(plan, map_readings(plan, found, event=event, time_ms=at_ms, seq=1), now_ms=NOW_MS)
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
        (600, 1, 600, 2, False),  # as old, or older: the gateway knows better
        (600, 1, 900, 2, False),
        (600, "1", 540, 1, True),
    ],
)
def test_a_reading_is_missed(
    *, points: PointMap, last_ago_s: int, last: Any, ago_s: int, value: Any, is_missed: bool
) -> None:
    """Newer by more than the tolerance; or newer at all, another, and older than the tolerance."""
    image = image_with(points, at_ms=NOW_MS - last_ago_s * 1000, t=last)
    reading = Reading("t", value, NOW_MS - ago_s * 1000)
    missed = missed_readings(
        Found({"t": reading}), points.by_asset["a"], image.measured, tolerance_ms=60_000, now_ms=NOW_MS
    )
    assert missed.readings == ([reading] if is_missed else [])
    assert missed.gaps == ({"t": NOW_MS - last_ago_s * 1000} if is_missed else {})


def test_without_any_reading_everything_is_missed(points: PointMap) -> None:
    """However old it is: its time tells. There is no gap, for there is nothing before it."""
    image = image_with(points, at_ms=NOW_MS, t=1)
    old = Reading("h", 3, NOW_MS - 10**9)
    missed = missed_readings(
        Found({"h": old, "t": Reading("t", 2, NOW_MS - 1)}),
        points.by_asset["a"],
        image.measured,
        tolerance_ms=60_000,
        now_ms=NOW_MS,
    )
    assert (missed.readings, missed.gaps) == ([old], {})


def made(points: PointMap, item: dict[str, Any], **readings: Any) -> list[Event]:
    """Return the events of what is missed of an item, where only `readings` were made, long ago."""
    plan = points.by_asset["a"]
    image = image_with(points, at_ms=NOW_MS - 10**9, **readings)
    found = read_shadows(item, plan, now_ms=NOW_MS)
    missed = missed_readings(found, plan, image.measured, tolerance_ms=60_000, now_ms=NOW_MS)
    return refill_events("a", missed.readings, missed.by_path, organization="o-1", now_ms=NOW_MS)


def test_missed_readings_of_an_asset_are_one_event(points: PointMap) -> None:
    """Its envelope says where it comes from, readings have their own times; it reads like a webhook."""
    shadow = {
        "t": {"value": 2, "timestamp": NOW_MS - 5000},
        "h": {"value": 3, "timestamp": NOW_MS - 4000},
        "other": {"value": 4, "timestamp": NOW_MS - 4000},
    }
    (event,) = made(points, {"id": "a", "shadows": {"Up": shadow}}, t=1)
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
    assert is_refilled(again)
    assert asset_of(again) == "a"
    telemetry = read_telemetry(again)
    assert telemetry is not None
    assert telemetry.readings == (Reading("h", 3, NOW_MS - 4000), Reading("t", 2, NOW_MS - 5000))


def test_the_same_again_has_the_same_id() -> None:
    """Whenever it is found; another value, time, key or asset makes another id."""
    readings = [Reading("t", 1, NOW_MS), Reading("h", 2, NOW_MS)]

    def id_of(asset: str, readings: list[Reading], now_ms: int = NOW_MS) -> str:
        (event,) = refill_events(asset, readings, organization="o-1", now_ms=now_ms)
        return event.event_id

    assert id_of("a", readings) == id_of("a", readings[::-1], NOW_MS + 9999)
    others = [
        id_of("b", readings),
        id_of("a", readings[:1]),
        id_of("a", [readings[0], Reading("h", 3, NOW_MS)]),
        id_of("a", [readings[0], Reading("h", 2, NOW_MS + 1)]),
        id_of("a", [readings[0], Reading("h", "2", NOW_MS)]),
        id_of("a", [readings[0], Reading("H", 2, NOW_MS)]),
    ]
    assert len({id_of("a", readings), *others}) == 7


def test_points_with_paths_find_their_values_where_they_look(points: PointMap) -> None:
    """Nothing else of the shadow is in the event, so that no other point is told anything anew."""
    reported = {"deep": {"x": 7, "w": 1}, "list": [0, 1, {"y": 8, "v": 2}], "t": 1}
    item = {"id": "a", "shadows": {"Up": {"state": {"reported": reported}, "timestamp": NOW_MS - 9000}}}
    (event,) = made(points, item, t=1)
    assert event.document["data"]["object"] == {
        "id": "a",
        "readings": [{"key": "t", "value": 1, "timestamp": NOW_MS - 9000}],
        "timestamp": NOW_MS - 9000,
        "shadows": {"Up": {"state": {"reported": {"deep": {"x": 7}, "list": [None, None, {"y": 8}]}}}},
    }
    plan = points.by_asset["a"]
    assert [path.get(event.document) for path in plan.by_path] == [7, 8, None]


def test_paths_of_several_times_are_several_events(points: PointMap) -> None:
    """A point that reads a path has the time of its event."""
    shadow = {
        "state": {"reported": {"deep": {"x": 7}, "list": [0, 0, {"y": 8}]}},
        "metadata": {"reported": {"deep": {"x": {"timestamp": NOW_MS - 7000}}}},
        "timestamp": NOW_MS - 3000,
    }
    first, second = made(points, {"id": "a", "shadows": {"Up": shadow}}, t=1)
    assert [each.document["data"]["object"]["timestamp"] for each in (first, second)] == [
        NOW_MS - 7000,
        NOW_MS - 3000,
    ]
    assert first.event_id != second.event_id


def test_histories_are_events_of_a_bounded_size_with_stable_ids() -> None:
    """None has more than 100 readings or is of two hours, so that later readings change no earlier id."""
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
