"""Readings in the API's shadows: none without a time, none from the future."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.infodeck.shadows import ShadowReadings, read_shadows
from gateway.mapping.paths import compile_path
from gateway.model import Reading

if TYPE_CHECKING:
    from gateway.mapping.plan import PointMap

NOW_S = 1_790_000_000
NOW_MS = NOW_S * 1000
PATH = "$.data.object.shadows.DeviceUplink.state.reported.path"
VALUE = "$.data.object.shadows.Other.level.value"
ITEM = "$.data.object.shadows.DeviceUplink.state.reported.list[1].x"
TABLE = f"""\
schema: gateway.points/1
site: hq
points:
  - {{tag: R, point: T, asset: a, from: temperature}}
  - {{tag: R, point: H, asset: a, from: humidity}}
  - {{tag: R, point: X, asset: a, from: deep.x}}
  - {{tag: R, point: PATH, asset: a, from: {PATH}}}
  - {{tag: R, point: VALUE, asset: a, from: {VALUE}}}
  - {{tag: R, point: ITEM, asset: a, from: "{ITEM}"}}
  - {{tag: R, point: ELSE, asset: a, from: $.data.object.status}}
"""


def found(points: PointMap, shadows: Any, *, time: str | None = None, **item: Any) -> ShadowReadings:
    """Read an item with these shadows."""
    return read_shadows(
        {"id": "a", "shadows": shadows, "status": "Online"} | item,
        points.by_asset["a"],
        now_ms=NOW_MS,
        item_time=None if time is None else compile_path(time),
    )


def aws(reported: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return one named shadow as AWS has it."""
    return {"DeviceUplink": {"state": {"reported": reported}, **more}}


def test_each_reading_has_the_time_that_is_nearest_to_it(points: PointMap) -> None:
    """Its own, else its key's in the metadata, else that of all reported values."""
    shadows = aws(
        {
            "temperature": {"value": 21.5, "unit": "°C", "timestamp": NOW_S - 30},
            "humidity": 48,
            "deep": {"x": "on"},
            "other": 1,
            "timestamp": NOW_S - 10,
        },
        metadata={"reported": {"humidity": {"timestamp": NOW_S - 20}}},
    )
    assert found(points, shadows).readings == {
        "temperature": Reading("temperature", 21.5, NOW_MS - 30_000, "°C"),
        "humidity": Reading("humidity", 48, NOW_MS - 20_000),
        "deep.x": Reading("deep.x", "on", NOW_MS - 10_000),
    }


def test_without_any_time_a_value_is_not_used(points: PointMap) -> None:
    """It is counted, and `refill.time` supplies a time."""
    item: dict[str, Any] = {
        "shadows": aws({"temperature": 21.5, "other": 3, "path": 1}),
        "updatedAt": NOW_S - 60,
    }
    untimed = found(points, **item)
    assert (untimed.readings, untimed.without_time) == ({}, 2)
    timed = found(points, **item, time="$.updatedAt")
    assert timed.readings == {
        "temperature": Reading("temperature", 21.5, NOW_MS - 60_000),
        PATH: Reading(PATH, 1, NOW_MS - 60_000),
    }
    assert timed.without_time == 0
    assert found(points, **item, time="$.nowhere").without_time == 2


def test_the_time_of_the_answer_is_used_by_setting(points: PointMap) -> None:
    """A shadow's own `timestamp` is used only by setting."""
    shadows = aws({"temperature": 21.5, "path": 1}, timestamp=NOW_S - 10)
    assert (found(points, shadows).readings, found(points, shadows).without_time) == ({}, 2)
    named = found(points, shadows, time="$.shadows.DeviceUplink.timestamp")
    assert {key: reading.time_ms for key, reading in named.readings.items()} == {
        "temperature": NOW_MS - 10_000,
        PATH: NOW_MS - 10_000,
    }


def test_a_time_in_the_future_is_not_used(points: PointMap) -> None:
    """Up to five minutes ahead are accepted."""
    shadows = aws({"temperature": 21.5, "timestamp": NOW_S + 301})
    assert (found(points, shadows).readings, found(points, shadows).clock_ahead) == ({}, 1)
    assert found(points, aws({"temperature": 21.5, "timestamp": NOW_S + 300})).clock_ahead == 0


def test_of_several_shadows_the_newest_reading_counts(points: PointMap) -> None:
    """Their order does not matter; a shadow without a time is ignored."""
    newer, older = (
        {"temperature": {"value": value, "timestamp": NOW_S - ago}} for value, ago in ((2, 10), (1, 20))
    )
    for shadows in ({"A": newer, "B": older}, {"B": older, "A": newer, "C": {"temperature": 3}}):
        seen = found(points, shadows)
        assert seen.readings == {"temperature": Reading("temperature", 2, NOW_MS - 10_000)}
        assert seen.without_time == 0


def test_a_path_into_the_shadows_is_read_with_its_time(points: PointMap) -> None:
    """Paths to other places find nothing."""
    shadows = {
        "DeviceUplink": {
            "state": {"reported": {"path": 7}},
            "metadata": {"reported": {"path": {"timestamp": NOW_S - 50}}},
            "timestamp": NOW_S,
        },
        "Other": {"level": {"value": 8, "timestamp": NOW_S - 40}},
    }
    assert found(points, shadows).readings == {
        PATH: Reading(PATH, 7, NOW_MS - 50_000),
        VALUE: Reading(VALUE, 8, NOW_MS - 40_000),
    }


def test_the_nearest_time_wins(points: PointMap) -> None:
    """A time nearer to the reading wins."""
    shadows = aws(
        {
            "temperature": {"value": 21.5, "unit": "°C"},
            "humidity": 48,
            "path": 7,
            "list": [1, {"x": 2}],
            "timestamp": NOW_S - 40,
        },
        metadata={
            "reported": {
                "temperature": {"value": {"timestamp": NOW_S - 90}, "unit": {"timestamp": NOW_S - 95}},
                "list": [{"timestamp": NOW_S - 70}, {"x": {"timestamp": NOW_S - 80}}],
            }
        },
        timestamp=NOW_S,
    )
    seen = found(points, shadows).readings
    assert {key: (NOW_MS - reading.time_ms) // 1000 for key, reading in seen.items()} == {
        "temperature": 90,
        "humidity": 40,
        PATH: 40,
        ITEM: 80,
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["value", "timestamp", "state", "reported", "metadata", "temperature", "Other"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(shadows=json_values)
def test_any_shadows_are_read(points: PointMap, shadows: Any) -> None:
    """Any JSON as shadows yields readings with past times, or none."""
    seen = found(points, shadows, time="$.updatedAt", updatedAt=shadows)
    assert all(0 < reading.time_ms <= NOW_MS + 300_000 for reading in seen.readings.values())
