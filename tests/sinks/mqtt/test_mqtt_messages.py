"""Messages of points, received by mosquitto_sub from a real mosquitto."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.mosquitto import Mosquitto, subscribe
from support.mqtt_parts import MqttRig, make_point, make_update, now_ms

from gateway.errors import RefusedError
from gateway.model import Cov, Mqtt, Quality, Update
from gateway.sinks.mqtt.value_topics import time_json

if TYPE_CHECKING:
    from gateway.model import Scalar

TOPIC = "gw/v1/hq/L03-RM312/ZN-T"
HISTORY = f"{TOPIC}/$history"


async def test_a_good_value_is_a_retained_json_message_with_qos_1(broker: Mosquitto) -> None:
    """The retained message has value, unit, quality, time and event."""
    point = make_point(stale_after_ms=None)  # of whatever time it is
    rig = MqttRig(broker.url, [point])
    async with rig.sink:
        await rig.deliver(make_update(point, 21.5, time_ms=1_795_507_200_000))
    async with subscribe(broker.port) as subscriber:
        message = subscriber.last(TOPIC)
    assert message.payload == (
        '{"value":21.5,"unit":"degC","quality":"good","ts":"2026-11-24T08:00:00.000Z","event":"evt_1"}'
    )
    assert message.retained
    assert message.user_properties == {"event": "evt_1", "asset": "ast-a1b2c3d4"}


@pytest.mark.parametrize("odd", ["\0", "\n", "\x7f", "\x85", "\ufffe", "\ufdd0"])
async def test_an_id_with_control_characters_is_no_user_property(broker: Mosquitto, odd: str) -> None:
    """Brokers disconnect at such properties; the id is in the payload only."""
    point = make_point()
    rig = MqttRig(broker.url, [replace(point, asset=f"ast{odd}")])
    (point,) = rig.table.points
    async with rig.sink:
        await rig.deliver(replace(make_update(point, 21.5), event_id=f"evt{odd}"))
    async with subscribe(broker.port) as subscriber:
        message = subscriber.last(TOPIC)
    assert message.json["event"] == f"evt{odd}"
    assert message.user_properties == {}
    assert rig.status.reconnects == 0


@given(st.lists(st.integers(0, 253_402_300_799_999)))
def test_times_sort_as_text(times_ms: list[int]) -> None:
    """All times have milliseconds, so that they have one width."""
    texts = [time_json(make_update(make_point(), 1, time_ms=time_ms)) for time_ms in sorted(times_ms)]
    assert texts == sorted(texts)
    assert {len(text) for text in texts} <= {len(b'2026-11-24T08:00:00.000Z"')}


async def test_a_time_keeps_its_milliseconds(broker: Mosquitto) -> None:
    """Trailing zeros are kept."""
    point = make_point()
    rig = MqttRig(broker.url, [point])
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(Update(point, None, None, Quality.BAD, 1_795_507_200_007, 0, None))
        await subscriber.catch_up()
    assert subscriber.last(TOPIC).json == {
        "value": None,
        "unit": "degC",
        "quality": "bad",
        "ts": "2026-11-24T08:00:00.007Z",
        "event": None,
    }
    assert subscriber.last(TOPIC).qos == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(21.5, "21.5"), (1, "1"), (True, "true"), ("vacant", "vacant"), (None, "null"), ("", "null")],
)
async def test_payload_value_is_the_bare_scalar(broker: Mosquitto, value: Scalar, text: str) -> None:
    """`payload: value` publishes the value as text, and never an empty text, which would clear the topic."""
    point = make_point()
    rig = MqttRig(broker.url, [point], payload="value")
    async with rig.sink:
        await rig.deliver(make_update(point, value))
    async with subscribe(broker.port) as subscriber:
        assert subscriber.payloads(TOPIC) == [text]


async def test_a_late_reading_goes_to_history_and_never_to_the_live_topic(broker: Mosquitto) -> None:
    """The live topic only moves forward in event time; equal times count as new."""
    point = make_point()
    rig = MqttRig(broker.url, [point])
    now = now_ms()
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(make_update(point, 20.0, time_ms=now))
        await rig.deliver(make_update(point, 19.0, time_ms=now - 60_000))
        await rig.deliver(make_update(point, 20.5, time_ms=now))
        await subscriber.catch_up()
    assert [m.json["value"] for m in subscriber.seen if m.topic == TOPIC] == [20.0, 20.5]
    assert [(m.json["value"], m.retained) for m in subscriber.seen if m.topic == HISTORY] == [(19.0, False)]


async def test_of_a_batch_only_the_newest_reading_of_a_point_is_live(broker: Mosquitto) -> None:
    """Older readings of the batch are history, in order."""
    point = make_point()
    rig = MqttRig(broker.url, [point])
    now = now_ms()
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(*(make_update(point, float(n), time_ms=now + n) for n in range(4)))
        await subscriber.catch_up()
    assert [m.json["value"] for m in subscriber.seen if m.topic == HISTORY] == [0.0, 1.0, 2.0]
    assert [m.json["value"] for m in subscriber.seen if m.topic == TOPIC] == [3.0]


@pytest.mark.parametrize("quality", [Quality.FORCED, Quality.OFFLINE, Quality.HELD, Quality.STALE])
async def test_stand_ins_neither_expire_nor_are_history(broker: Mosquitto, quality: Quality) -> None:
    """Values that replace a reading stay visible with their quality, and are not published late."""
    point = make_point(stale_after_ms=600_000)
    rig = MqttRig(broker.url, [point])
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(make_update(point, 20.0, quality=quality))
        await rig.deliver(make_update(point, 19.0, time_ms=1, quality=quality))
        await subscriber.catch_up()
    assert [(m.json["quality"], m.expiry_s) for m in subscriber.seen if m.topic == TOPIC] == [
        (quality.name.lower(), None)
    ]
    assert subscriber.payloads(HISTORY) == []


async def test_history_can_be_turned_off(broker: Mosquitto) -> None:
    """With `history: false`, a late reading is not published."""
    point = make_point()
    rig = MqttRig(broker.url, [point], history=False)
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(make_update(point, 20.0), make_update(point, 19.0, time_ms=1))
        await subscriber.catch_up()
    assert subscriber.payloads(HISTORY) == []


async def test_a_good_value_expires_when_it_is_no_longer_fresh(broker: Mosquitto) -> None:
    """The expiry is the rest of `stale_after`, at least a second."""
    fresh, late, unlimited, held = (
        make_point("T/FRESH", stale_after_ms=600_000),
        make_point("T/LATE", stale_after_ms=60_000),
        make_point("T/UNLIMITED", stale_after_ms=None),
        make_point("T/HELD", stale_after_ms=600_000),
    )
    rig = MqttRig(broker.url, [fresh, late, unlimited, held])
    now = now_ms()
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(
            make_update(fresh, 1.0, time_ms=now - 100_000),
            make_update(late, 1.0, time_ms=now - 3_600_000),
            make_update(unlimited, 1.0),
            make_update(held, 1.0, time_ms=now - 100_000, quality=Quality.HELD),
        )
        await subscriber.catch_up()
    expiries = {
        m.topic.rpartition("/")[2]: m.expiry_s for m in subscriber.seen if m.topic.startswith("gw/v1/hq")
    }
    assert expiries.pop("FRESH") in range(495, 501)
    assert expiries == {"LATE": 1, "UNLIMITED": None, "HELD": None}


async def test_mqtt_3_1_1_carries_the_same_values(broker: Mosquitto) -> None:
    """Topics and payloads are the same, without properties."""
    point = make_point()
    rig = MqttRig(broker.url, [point], protocol="3.1.1")
    async with rig.sink:
        await rig.deliver(make_update(point, 21.5))
    async with subscribe(broker.port) as subscriber:
        message = subscriber.last(TOPIC)
    assert (message.json["value"], message.retained) == (21.5, True)
    assert (message.expiry_s, message.user_properties) == (None, {})
    assert "as gateway-edge-1-bms (p2," in broker.log


async def test_a_point_can_have_its_own_topic_or_no_topic(broker: Mosquitto) -> None:
    """`mqtt.topic` is the whole topic, `mqtt.to` names sinks, and `mqtt: false` publishes nothing."""
    own = make_point("T/OWN", mqtt=Mqtt(topic="plant/chiller"))
    here = make_point("T/HERE", mqtt=Mqtt(sinks=frozenset({"bms", "other"})))
    elsewhere = make_point("T/ELSEWHERE", mqtt=Mqtt(sinks=frozenset({"other"})))
    off = make_point("T/OFF", mqtt=None)
    rig = MqttRig(broker.url, [own, here, elsewhere, off])
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(*(make_update(point, 1) for point in (own, here, elsewhere, off)))
        await subscriber.catch_up()
    assert {m.topic for m in subscriber.seen if "$gateway" not in m.topic} == {
        "plant/chiller",
        "gw/v1/hq/T/HERE",
    }


async def test_changes_within_the_deadband_are_not_sent(broker: Mosquitto) -> None:
    """With `cov`, a number is published after a change by delta, another quality, or `every`."""
    point = make_point(cov=Cov(delta=0.1, every_ms=60_000))
    rig = MqttRig(broker.url, [point])
    now = now_ms() - 120_000
    steps = [(21.6, 0), (21.65, 1_000), (21.7, 2_000), (21.61, 3_000), (21.62, 62_000)]
    async with rig.sink, subscribe(broker.port) as subscriber:
        for value, later_ms in steps:
            await rig.deliver(make_update(point, value, time_ms=now + later_ms))
        await rig.deliver(make_update(point, 21.62, time_ms=now + 63_000, quality=Quality.HELD))
        await rig.deliver(make_update(point, 21.62, time_ms=now + 64_000, quality=Quality.HELD))
        await subscriber.catch_up()
    sent = [(m.json["value"], m.json["quality"]) for m in subscriber.seen if m.topic == TOPIC]
    assert sent == [(21.6, "good"), (21.7, "good"), (21.62, "good"), (21.62, "held")]


async def test_with_a_deadband_a_text_is_sent_when_it_differs(broker: Mosquitto) -> None:
    """The same text again is not published."""
    point = make_point(cov=Cov(delta=0.1, every_ms=60_000))
    rig = MqttRig(broker.url, [point])
    now = now_ms()
    async with rig.sink, subscribe(broker.port) as subscriber:
        values: list[Scalar] = ["vacant", "vacant", "occupied", True, False]
        for step, value in enumerate(values):
            await rig.deliver(make_update(point, value, time_ms=now + step))
        await subscriber.catch_up()
    sent = [m.json["value"] for m in subscriber.seen if m.topic == TOPIC]
    assert sent == ["vacant", "occupied", True, False]


async def test_a_value_that_json_cannot_hold_is_refused_and_the_others_go_on(broker: Mosquitto) -> None:
    """The value becomes a dead letter; other values are published."""
    huge, fine = make_point("T/HUGE"), make_point("T/FINE")
    rig = MqttRig(broker.url, [huge, fine])
    async with rig.sink:
        with pytest.raises(RefusedError) as refused:
            await rig.deliver(make_update(huge, 1 << 70), make_update(fine, 1))
    async with subscribe(broker.port) as subscriber:
        assert subscriber.last("gw/v1/hq/T/FINE").json["value"] == 1
    assert [refusal.update.point for refusal in refused.value.refusals] == [huge]
    assert "gw/v1/hq/T/HUGE" in refused.value.refusals[0].reason
