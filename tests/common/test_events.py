"""Reading events in every shape that Infodeck may send."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import EventError
from gateway.events import asset_of, is_test, parse_event, parse_time, read_online, read_telemetry
from gateway.model import Origin, Reading, Telemetry
from gateway.records import OnlineState

if TYPE_CHECKING:
    from gateway.model import Event, Scalar

CREATED = 1_771_911_526
RECEIVED_MS = (CREATED + 2) * 1000


def event(thing: Any, **envelope: Any) -> Event:
    """Return a telemetry event around `thing` as `data.object`."""
    document = {
        "id": "evt_1",
        "type": "asset.telemetry.updated",
        "organizationId": "o-1",
        "created": CREATED,
        "data": {"object": thing},
        **envelope,
    }
    return parse_event(orjson.dumps(document), received_ms=RECEIVED_MS)


def read(thing: Any) -> dict[str, Scalar]:
    """Return the readings in `thing` by key."""
    telemetry = read_telemetry(event({"assetId": "ast-1", **thing}))
    return {} if telemetry is None else {reading.key: reading.value for reading in telemetry.readings}


def times(thing: Any) -> dict[str, int]:
    """Return the readings' times by key."""
    telemetry = read_telemetry(event({"assetId": "ast-1", **thing}))
    assert telemetry is not None
    return {reading.key: reading.time_ms for reading in telemetry.readings}


VALUES = {"temperature": 22.5, "humidity": "48", "occupied": True, "mode": "eco", "co2": None}


@pytest.mark.parametrize(
    ("thing", "container"),
    [
        *(({name: VALUES}, name) for name in ("telemetry", "readings", "data", "values", "properties")),
        ({"readings": [{"key": key, "value": value} for key, value in VALUES.items()]}, "readings[]"),
        ({"data": [{"name": key, "value": value} for key, value in VALUES.items()]}, "data[]"),
        ({"values": [{"metric": key, "value": value} for key, value in VALUES.items()]}, "values[]"),
        ({"shadow": {"DeviceUplink": {"state": {"reported": VALUES}}}}, "shadow.DeviceUplink.state.reported"),
        ({"shadows": {"DeviceUplink": VALUES}}, "shadows.DeviceUplink"),
        ({"shadow": {"state": {"reported": VALUES}}}, "shadow.state.reported"),
    ],
)
def test_every_container_is_read(thing: dict[str, Any], container: str) -> None:
    """Maps, lists and shadows give the same readings, and the container is named."""
    telemetry = read_telemetry(event({"id": "ast-1", **thing}))
    assert telemetry is not None
    assert (telemetry.asset, telemetry.container) == ("ast-1", container)
    assert {reading.key: reading.value for reading in telemetry.readings} == VALUES


@pytest.mark.parametrize("name", ["metric", "key"])
def test_one_reading_is_read(name: str) -> None:
    """A lone `{metric, value}` is one reading."""
    assert read({name: "co2", "value": 640, "unit": "ppm"}) == {"co2": 640}


def test_nested_values() -> None:
    """`{value, unit, timestamp}` gives its value at its own time; keys of objects are joined by dots."""
    thing = {
        "telemetry": {
            "t": {"value": 21.5, "unit": "°C", "timestamp": CREATED - 10},
            "air": {"co2": 400, "pm": {"pm25": {"value": 3}}},
            "listed": [1, 2],
        }
    }
    assert read(thing) == {"t": 21.5, "air.co2": 400, "air.pm.pm25": 3, "listed": None}
    assert times(thing)["t"] == (CREATED - 10) * 1000
    assert times(thing)["air.co2"] == CREATED * 1000


OLDER = {"value": 20.5, "unit": "°C", "timestamp": CREATED - 60}
NEWER = {"value": 21.5, "unit": "°C", "timestamp": (CREATED - 10) * 1000}


@pytest.mark.parametrize(
    "thing",
    [
        {"telemetry": {"t": [OLDER, NEWER]}},
        {"telemetry": {"t": [NEWER, OLDER]}},
        {"telemetry": {"t": {"value": [NEWER, OLDER], "unit": "°F", "timestamp": CREATED}}},
        {"readings": [{"key": "t", "value": [NEWER, OLDER]}]},
        {"key": "t", "value": [NEWER, OLDER]},
        {"shadow": {"state": {"reported": {"t": [NEWER, OLDER]}}}},
        {
            "shadows": {
                "Config": {"state": {"reported": {"t": [OLDER]}}},
                "DeviceUplink": {"state": {"reported": {"t": [NEWER, OLDER]}}},
            }
        },
    ],
)
def test_a_list_of_values_with_times_gives_several_readings(thing: dict[str, Any]) -> None:
    """They come in the order of their times, each with its own time and unit, wherever the list is."""
    telemetry = read_telemetry(event({"assetId": "ast-1", **thing}))
    assert telemetry is not None
    assert telemetry.readings == (
        Reading("t", 20.5, (CREATED - 60) * 1000, "°C"),
        Reading("t", 21.5, (CREATED - 10) * 1000, "°C"),
    )


@pytest.mark.parametrize(
    "listed",
    [
        [OLDER, {"value": 22}],
        [OLDER, {"value": 22, "timestamp": "soon"}],
        [OLDER, {"timestamp": CREATED}],
        [OLDER, 22],
        [[OLDER]],
        [],
    ],
)
def test_a_list_with_an_entry_without_value_or_time_is_no_value(listed: list[Any]) -> None:
    """There is one reading, without a value, at the event's time."""
    assert read({"telemetry": {"t": listed}}) == {"t": None}
    assert times({"telemetry": {"t": listed}}) == {"t": CREATED * 1000}


def test_of_a_very_long_list_the_newest_readings_are_read() -> None:
    """A body of the largest size cannot hold up the gateway."""
    listed = [{"value": second, "timestamp": CREATED - second} for second in range(1500)]
    telemetry = read_telemetry(event({"assetId": "ast-1", "telemetry": {"t": listed}}))
    assert telemetry is not None
    assert [reading.value for reading in telemetry.readings] == [*range(999, -1, -1)]


@pytest.mark.parametrize(
    "thing",
    [
        {"telemetry": {"position": {"x": 1, "y": {"value": 2}}, "t": 21.5}},
        {"telemetry": {"position": {"value": {"x": 1, "y": 2}}, "t": {"value": {"value": 21.5}}}},
        {
            "readings": [
                {"key": "position", "value": {"x": 1, "y": {"value": 2}}},
                {"key": "t", "value": 21.5},
            ]
        },
        {
            "readings": [
                {"key": "t", "value": {"value": 21.5}},
                {"key": "position", "value": {"x": 1, "y": 2}},
            ]
        },
    ],
)
def test_a_value_that_is_an_object_gives_several_readings(thing: dict[str, Any]) -> None:
    """Its keys are joined by dots, in a map as in a list."""
    assert read(thing) == {"position.x": 1, "position.y": 2, "t": 21.5}


def test_one_reading_may_be_an_object() -> None:
    """A lone reading is read like one in a list; an empty object has none."""
    lone = {"key": "position", "value": {"x": 1, "y": 2, "timestamp": CREATED - 5}, "timestamp": CREATED - 9}
    assert read(lone) == {"position.x": 1, "position.y": 2}
    assert set(times(lone).values()) == {(CREATED - 5) * 1000}
    assert read({"key": "position", "value": {}}) == {}


def test_static_properties_are_no_readings() -> None:
    """A list that describes properties, without values, does not hide the shadow beside it."""
    thing = {
        "properties": [{"key": "Power", "name": "Power", "type": "integer", "unit": "W"}],
        "shadows": {"DeviceUplink": {"state": {"reported": {"Power": 7}}}},
    }
    assert read(thing) == {"Power": 7}


@pytest.mark.parametrize(
    "timestamp",
    [
        CREATED - 60,
        float(CREATED - 60),
        (CREATED - 60) * 1000,
        (CREATED - 60) * 1_000_000,
        (CREATED - 60) * 1_000_000_000,
        str(CREATED - 60),
        str((CREATED - 60) * 1000),
        "2026-02-24T05:37:46Z",
        "2026-02-24T06:37:46+01:00",
        "2026-02-24T05:37:46",
    ],
)
def test_times_in_every_notation(timestamp: object) -> None:
    """Seconds, milliseconds, finer units and ISO 8601 give the same moment."""
    expected = (CREATED - 60) * 1000
    assert parse_time(timestamp) == expected
    assert times({"telemetry": {"a": 1}, "timestamp": timestamp}) == {"a": expected}
    assert times({"telemetry": {"a": 1, "timestamp": timestamp}}) == {"a": expected}
    assert times({"readings": [{"key": "a", "value": 1, "timestamp": timestamp}]}) == {"a": expected}


def test_a_shadow_has_times_of_its_own() -> None:
    """A reading's own time counts, else that of its key in the metadata, else the shadow's."""
    shadow = {
        "state": {
            "reported": {
                "own": {"value": 1, "timestamp": CREATED - 40},
                "kept": 2,
                "deep": {"x": 3, "y": 4},
                "plain": 5,
                "odd": {"value": 6, "timestamp": "soon"},
            }
        },
        "metadata": {
            "reported": {
                "own": {"timestamp": CREATED - 30},
                "kept": {"timestamp": CREATED - 20},
                "deep": {"x": {"timestamp": CREATED - 15}, "y": 7},
                "plain": [],
            }
        },
        "timestamp": CREATED - 10,
    }
    ago = {"own": 40, "kept": 20, "deep.x": 15, "deep.y": 10, "plain": 10, "odd": 10}
    expected = {key: (CREATED - seconds) * 1000 for key, seconds in ago.items()}
    assert times({"shadows": {"DeviceUplink": shadow}}) == expected
    assert times({"shadow": shadow}) == expected


def test_all_named_shadows_are_read() -> None:
    """Of a key in several shadows the newest reading counts, in any order of the shadows."""
    config = {"state": {"reported": {"interval": 60, "a": 1, "c": 8}}, "timestamp": CREATED - 500}
    uplink = {"state": {"reported": {"a": 2, "b": 3}}, "timestamp": CREATED - 10}
    untimed = {"c": 9, "d": 4}
    for shadows in (
        {"Config": config, "DeviceUplink": uplink, "Other": untimed},
        {"Other": untimed, "DeviceUplink": uplink, "Config": config},
    ):
        telemetry = read_telemetry(event({"assetId": "ast-1", "shadows": shadows}))
        assert telemetry is not None
        assert {each.key: (each.value, each.time_ms // 1000) for each in telemetry.readings} == {
            "interval": (60, CREATED - 500),
            "a": (2, CREATED - 10),
            "b": (3, CREATED - 10),
            "c": (8, CREATED - 500),
            "d": (4, CREATED),
        }
        assert len(telemetry.readings) == 5
        for name in ("shadows.Config.state.reported", "shadows.DeviceUplink.state.reported", "shadows.Other"):
            assert name in telemetry.container


@pytest.mark.parametrize("timestamp", [0, -1, True, "soon", "", None, 1e300, [], {}, "nan", 12345])
def test_impossible_times_are_replaced_by_the_events_time(timestamp: object) -> None:
    """A sensor without a clock does not make its readings old."""
    assert times({"readings": [{"key": "a", "value": 1, "timestamp": timestamp}]}) == {"a": CREATED * 1000}


def test_future_times_are_replaced_by_the_time_of_receipt() -> None:
    """A fast clock cannot block newer readings for years; it is counted."""
    future = event({"id": "ast-1", "readings": [{"key": "a", "value": 1, "timestamp": CREATED + 86_400}]})
    telemetry = read_telemetry(future)
    assert telemetry is not None
    assert telemetry.readings[0].time_ms == RECEIVED_MS
    assert telemetry.clock_ahead == 1
    ahead = read_telemetry(event({"id": "ast-1", "telemetry": {"a": 1}}, created=CREATED * 10))
    assert ahead is not None
    assert ahead.readings[0].time_ms == RECEIVED_MS


def test_asset_id_is_found() -> None:
    """`assetId` is preferred, since `id` may be the reading's own; `asset.id` counts, too."""
    assert asset_of(event({"assetId": "ast-1", "id": "r-9"})) == "ast-1"
    assert asset_of(event({"id": "ast-2"})) == "ast-2"
    assert asset_of(event({"asset": {"id": "ast-3"}, "id": "r-9"})) == "ast-3"
    assert asset_of(event({"id": 7})) is None


@pytest.mark.parametrize("thing", [{}, {"telemetry": 5}, {"readings": []}, {"readings": [1, {"value": 2}]}])
def test_unreadable_telemetry_has_no_readings(thing: dict[str, Any]) -> None:
    """Asset and time are known all the same."""
    telemetry = read_telemetry(event({"id": "ast-1", **thing}))
    assert telemetry == Telemetry("ast-1", CREATED * 1000)


def test_an_event_that_names_no_asset_has_no_telemetry() -> None:
    """`read_telemetry` returns None."""
    assert read_telemetry(event({"telemetry": {"t": 1}})) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"[{}]",
        b"null",
        b'"evt_1"',
        b"{}",
        b'{"id":"evt_1"}',
        b'{"id":1,"type":"x"}',
        b'{"id":"","type":"x"}',
        b'{"id":"evt_1","type":null}',
        b'{"id":"evt_1","type":"asset.telemetry.updated"}',
        b'{"id":"evt_1","type":"asset.telemetry.updated","data":{"object":[]}}',
        b'{"id":"evt_1","type":"x","v":NaN}',
        b'{"id":"\xff\xfe","type":"x"}',
        b'{"id":"' + b"e" * 300 + b'","type":"x"}',
        b'{"id":"evt_1","type":"x","v":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_a_body_without_an_event_is_refused(body: bytes) -> None:
    """Broken and hostile bodies raise EventError and nothing else."""
    with pytest.raises(EventError):
        parse_event(body, received_ms=RECEIVED_MS)


def test_test_events_are_recognised() -> None:
    """`webhook.test`, `isTest` and `livemode: false` each mark a test event."""
    assert is_test(event({}, type="webhook.test"))
    assert is_test(event({}, isTest=True))
    assert is_test(event({}, livemode=False))
    assert not is_test(event({}, livemode=True))
    assert not is_test(event({}))


@pytest.mark.parametrize(
    ("thing", "online"),
    [
        ({"status": "Online"}, True),
        ({"status": " OFFLINE "}, False),
        ({"connectionStatus": True, "status": "Offline"}, True),
        ({"connectionStatus": False}, False),
        ({"connectionStatus": "true", "status": "offline"}, False),
        ({"status": "Maintenance"}, None),
        ({"status": None}, None),
        ({"connectionStatus": 1}, None),
        ({}, None),
    ],
)
def test_a_status_event_has_the_devices_connection(*, thing: dict[str, Any], online: bool | None) -> None:
    """`connectionStatus` counts if it is a boolean, otherwise the two known words of `status`."""
    state = read_online(event({"id": "ast-1", **thing}, type="asset.status.changed"))
    assert state == (None if online is None else OnlineState("ast-1", online, CREATED * 1000))


@pytest.mark.parametrize("data", [None, 1, [], {"object": []}, {"object": {"status": "Online"}}])
def test_a_status_event_without_an_asset_has_no_connection(data: Any) -> None:
    """`read_online` returns None."""
    assert read_online(event({}, type="asset.status.changed", data=data)) is None


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**53), 2**53)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["value", "timestamp", "key", "name", "state", "reported", "telemetry", "shadow", "a"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(
    thing=st.dictionaries(
        st.sampled_from(["assetId", "telemetry", "readings", "shadow", "value", "key"]), json_values
    )
)
def test_any_object_is_read_without_error(thing: dict[str, Any]) -> None:
    """Any `data.object` gives scalars with possible times, or None."""
    telemetry = read_telemetry(event(thing))
    for reading in telemetry.readings if telemetry else ():
        assert reading.value is None or isinstance(reading.value, str | int | float | bool)
        assert 946_684_800_000 <= reading.time_ms <= RECEIVED_MS + 300_000


@pytest.mark.parametrize(
    ("stated_ms", "expected_ms"),
    [
        (None, RECEIVED_MS),
        (RECEIVED_MS - 1000, RECEIVED_MS - 1000),
        (RECEIVED_MS + 24 * 3_600_000, RECEIVED_MS),  # ahead of the first receipt, though not of ours
    ],
)
def test_readings_of_a_relayed_event_are_as_old_as_its_first_receipt(
    stated_ms: int | None, expected_ms: int
) -> None:
    """An event that another gateway received days ago never looks as if it were from today."""
    own = {} if stated_ms is None else {"timestamp": stated_ms}
    body = {"id": "evt_1", "type": "asset.telemetry.updated"}
    thing = {"assetId": "ast-1", "telemetry": {"t": 1, **own}}
    relayed = parse_event(
        orjson.dumps({**body, "data": {"object": thing}}),
        received_ms=RECEIVED_MS + 3 * 24 * 3_600_000,
        origin=Origin("intake-1", RECEIVED_MS),
    )
    telemetry = read_telemetry(relayed)
    assert telemetry is not None
    assert [reading.time_ms for reading in telemetry.readings] == [expected_ms]


def test_no_origin_dates_an_event_after_our_own_receipt() -> None:
    """The clock of the other gateway may be ahead: what has arrived here is not of tomorrow."""
    relayed = replace(event({"assetId": "ast-1", "telemetry": {"t": 1}}), origin=Origin("i", RECEIVED_MS + 9))
    assert relayed.dated_ms == RECEIVED_MS
