"""Messages of whole assets: always the whole state."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.mosquitto import Mosquitto, subscribe
from support.mqtt_parts import MqttRig, make_point, make_update, now_ms
from support.mqtt_rooms import ROOM, on, retained, room, until_retained, values

from gateway.errors import RefusedError
from gateway.model import Cov, Mqtt, Quality

if TYPE_CHECKING:
    from pathlib import Path


HISTORY = f"{ROOM}/$history"
AT_MS = 1_795_507_200_000  # 2026-11-24 08:00 UTC


async def test_one_message_has_the_whole_state(broker: Mosquitto) -> None:
    """A message has the values of its event and of earlier ones; points without a value are left out."""
    temperature, humidity, quality, unread = room("ZN-T", "ZN-RH", "QUAL", "CO2", lasting=True)
    humidity = replace(humidity, unit_of_measure="percent")
    quality = replace(quality, unit_of_measure=None, source="$quality")
    rig = MqttRig(broker.url, [temperature, humidity, quality, unread], layout="asset")
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(make_update(humidity, 40, time_ms=AT_MS - 60_000, seq=1))
        await rig.deliver(
            make_update(temperature, 21.5, time_ms=AT_MS, seq=2),
            make_update(quality, 0, time_ms=AT_MS + 7, seq=0),
        )
        await subscriber.catch_up()
        first, second = on(subscriber, ROOM)
        assert values(first) == {"ZN-RH": 40}
        assert json.loads(second.payload) == {
            "ts": "2026-11-24T08:00:00.000Z",
            "event": "evt_2",
            "points": {
                "ZN-T": {"value": 21.5, "unit": "degC", "quality": "good", "ts": "2026-11-24T08:00:00.000Z"},
                "ZN-RH": {
                    "value": 40,
                    "unit": "percent",
                    "quality": "good",
                    "ts": "2026-11-24T07:59:00.000Z",
                },
                "QUAL": {"value": 0, "unit": None, "quality": "good", "ts": "2026-11-24T08:00:00.007Z"},
            },
        }
        assert (second.retained, second.qos) == (True, 1)
        assert second.user_properties == {"event": "evt_2", "asset": "ast-a1b2c3d4"}
        assert set(await retained(broker)) == {ROOM, f"{ROOM}/$meta"}


async def test_payload_value_is_an_object_of_bare_values(broker: Mosquitto) -> None:
    """With `payload: value`, a message has the bare values, `null` for no value."""
    points = room("T", "STATE", "BAD")
    rig = MqttRig(broker.url, points, layout="asset", payload="value")
    async with rig.sink, subscribe(broker.port) as subscriber:
        bad = replace(make_update(points[2], None), quality=Quality.BAD)
        await rig.deliver(make_update(points[0], 21.5), make_update(points[1], "on"), bad)
        await subscriber.catch_up()
    assert [message.payload for message in on(subscriber, ROOM)] == ['{"T":21.5,"STATE":"on","BAD":null}']


async def test_late_readings_are_one_history_message_per_event(broker: Mosquitto) -> None:
    """`$history` gets the late readings in order, those of one event in one message."""
    one, other = room("A", "B")
    rig = MqttRig(broker.url, [one, other], layout="asset")
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(
            make_update(one, 9, time_ms=AT_MS, seq=9), make_update(other, 9, time_ms=AT_MS, seq=9)
        )
        await rig.deliver(
            make_update(one, 1, time_ms=AT_MS - 3, seq=1),
            make_update(other, 1, time_ms=AT_MS - 3, seq=1),
            make_update(one, 2, time_ms=AT_MS - 2, seq=2),
            make_update(one, 3, time_ms=AT_MS - 1, seq=2),
            make_update(other, 10, time_ms=AT_MS + 1, seq=10),
        )
        await subscriber.catch_up()
    past = on(subscriber, HISTORY)
    assert [(values(message), message.json["event"]) for message in past] == [
        ({"A": 1, "B": 1}, "evt_1"),
        ({"A": 2}, "evt_2"),
        ({"A": 3}, "evt_2"),
    ]
    assert not any(message.retained for message in past)
    assert past[0].json["ts"] == "2026-11-24T07:59:59.997Z"
    assert [values(message) for message in on(subscriber, ROOM)] == [{"A": 9, "B": 9}, {"A": 9, "B": 10}]


async def test_a_batch_of_many_events_is_one_message_with_the_newest(broker: Mosquitto) -> None:
    """The live topic gets the newest state only; older readings of the batch are history."""
    one, other = room("A", "B")
    rig = MqttRig(broker.url, [one, other], layout="asset")
    batch = [make_update(point, n, time_ms=AT_MS + n, seq=n) for n in range(1, 6) for point in (one, other)]
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(*batch)
        await subscriber.catch_up()
    assert [values(message) for message in on(subscriber, ROOM)] == [{"A": 5, "B": 5}]
    assert [values(message) for message in on(subscriber, HISTORY)] == [{"A": n, "B": n} for n in range(1, 5)]


async def test_one_point_beyond_its_deadband_publishes_all(broker: Mosquitto) -> None:
    """Small changes are published with the first large change of any point."""
    cov = Cov(delta=1.0, every_ms=3_600_000)
    one, other = (replace(point, cov=cov) for point in room("A", "B"))
    rig = MqttRig(broker.url, [one, other], layout="asset")
    now = now_ms()
    async with rig.sink, subscribe(broker.port) as subscriber:
        for step, (point, value) in enumerate(
            [(one, 20), (other, 40), (one, 20.4), (other, 40.9), (one, 21.5)]
        ):
            await rig.deliver(make_update(point, value, time_ms=now + step, seq=step))
        await subscriber.catch_up()
        assert [values(message) for message in on(subscriber, ROOM)] == [
            {"A": 20},
            {"A": 20, "B": 40},
            {"A": 21.5, "B": 40.9},
        ]
        await rig.deliver(make_update(other, 41.5, time_ms=now + 9, seq=9))  # from 40.9, which was shown
        await subscriber.catch_up()
        assert len(on(subscriber, ROOM)) == 3


async def test_a_message_expires_with_the_first_of_its_good_values(broker: Mosquitto) -> None:
    """A late subscriber never finds a state with a value that is no longer fresh."""
    points = [
        make_point("R1/LONG", stale_after_ms=3_600_000),
        make_point("R1/SHORT", stale_after_ms=600_000),
        make_point("R1/NEVER", stale_after_ms=None),
        make_point("R1/HELD", stale_after_ms=1_000),
    ]
    rig = MqttRig(broker.url, points, layout="asset")
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(make_update(points[2], 1))
        held = make_update(points[3], 1, quality=Quality.HELD)
        await rig.deliver(*(make_update(point, 1) for point in points[:2]), held)
        await subscriber.catch_up()
    first, second = on(subscriber, ROOM)
    assert first.expiry_s is None
    assert second.expiry_s in range(590, 601)


async def test_layout_both_has_points_and_assets(broker: Mosquitto) -> None:
    """Each point is on its topic, and the whole state on `asset_topic`."""
    points = room("A", "B")
    rig = MqttRig(broker.url, points, layout="both", asset_topic="{prefix}/rooms/{tag}")
    async with rig.sink:
        await rig.deliver(*(make_update(point, 1) for point in points))
        places = (f"{ROOM}/A", f"{ROOM}/B", "gw/v1/rooms/R1")
        found = await until_retained(broker, *places, *(f"{place}/$meta" for place in places))
    assert values(found["gw/v1/rooms/R1"]) == {"A": 1, "B": 1}
    assert found[f"{ROOM}/A"].json["value"] == 1


async def test_a_point_with_its_own_topic_is_in_the_asset_too(broker: Mosquitto) -> None:
    """`mqtt.topic` adds a topic; the asset's message still has the point."""
    (usual,) = room("A")
    own = make_point("R1/OWN", mqtt=Mqtt(topic="plant/{tag}/own"))
    elsewhere = make_point("R1/ELSEWHERE", mqtt=Mqtt(sinks=frozenset({"other"})))
    rig = MqttRig(broker.url, [usual, own, elsewhere], layout="asset")
    async with rig.sink:
        await rig.deliver(*(make_update(point, 1) for point in (usual, own, elsewhere)))
        found = await until_retained(broker, ROOM, "plant/R1/own", f"{ROOM}/$meta", "plant/R1/own/$meta")
    assert values(found[ROOM]) == {"A": 1, "OWN": 1}


async def test_devices_of_one_tag_share_its_message(broker: Mosquitto) -> None:
    """Points of several devices under one tag are in one message; `$meta` names the device of each."""
    supply, back = room("SUPPLY", "RETURN", lasting=True)
    back = replace(back, asset="ast-2", description="Return")
    rig = MqttRig(broker.url, [supply, back], layout="asset")
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(make_update(supply, 6, time_ms=AT_MS), make_update(back, 12, time_ms=AT_MS + 1))
        await subscriber.catch_up()
        (message,) = on(subscriber, ROOM)
        found = await until_retained(broker, ROOM, f"{ROOM}/$meta")
    assert values(message) == {"SUPPLY": 6, "RETURN": 12}
    assert message.user_properties["asset"] == "ast-2"
    assert found[f"{ROOM}/$meta"].json == {
        "tag": "R1",
        "points": {
            "SUPPLY": {"asset": "ast-a1b2c3d4", "unit": "degC"},
            "RETURN": {"asset": "ast-2", "unit": "degC", "description": "Return"},
        },
    }


async def test_a_value_that_json_cannot_hold_is_left_out_and_refused(broker: Mosquitto) -> None:
    """The value becomes a dead letter, and the asset is published without it."""
    huge, fine = room("HUGE", "FINE")
    rig = MqttRig(broker.url, [huge, fine], layout="asset")
    async with rig.sink:
        await rig.deliver(make_update(huge, 1, seq=1))
        with pytest.raises(RefusedError) as refused:
            await rig.deliver(make_update(huge, 1 << 70, seq=2), make_update(fine, 1, seq=2))
        with pytest.raises(RefusedError) as late:
            await rig.deliver(make_update(huge, 1 << 70, time_ms=1), make_update(fine, 0, time_ms=1))
        assert values((await retained(broker))[ROOM]) == {"FINE": 1}
    assert [refusal.update.point for refusal in refused.value.refusals] == [huge]
    assert refused.value.refusals[0].reason == f"cannot be written to {ROOM}: JSON cannot hold the value"
    assert [refusal.update.point for refusal in late.value.refusals] == [huge]


async def test_a_refused_asset_is_a_dead_letter_of_every_update_in_it(tmp_path: Path) -> None:
    """If the broker refuses a topic, all updates in the message are refused; other assets are published."""
    access = tmp_path / "access"
    access.write_text("topic readwrite support/#\ntopic read gw/#\ntopic write gw/v1/hq/R2\n")
    kept_off, let_in = room("A", "B"), room("A", tag="R2")
    with Mosquitto(tmp_path, "allow_anonymous true", f"acl_file {access}") as broker:
        rig = MqttRig(broker.url, [*kept_off, *let_in], layout="asset")
        async with rig.sink:
            with pytest.raises(RefusedError) as refused:
                await rig.deliver(*(make_update(point, 1) for point in (*kept_off, *let_in)))
            assert values((await retained(broker))["gw/v1/hq/R2"]) == {"A": 1}
    assert [(refusal.update.point, refusal.reason) for refusal in refused.value.refusals] == [
        (point, f"the broker refuses {ROOM}: Not authorized") for point in kept_off
    ]


async def test_assets_are_published_again_after_an_outage(broker: Mosquitto) -> None:
    """States and metadata are retained again on a broker that came back empty."""
    one, two = room("A", "B"), room("A", tag="R2")
    rig = MqttRig(broker.url, [*one, *two], layout="asset")
    async with rig.sink:
        await rig.deliver(*(make_update(point, 1) for point in (*one, *two)))
        broker.kill()
        await rig.until("away")
        broker.start()
        await rig.until("up")
        places = (ROOM, "gw/v1/hq/R2")
        found = await until_retained(broker, *places, *(f"{place}/$meta" for place in places))
    assert values(found[ROOM]) == {"A": 1, "B": 1}
