"""Topics of points that are added, removed, moved or changed by a reload."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.latest_values import DictLatestValues
from support.mosquitto import Mosquitto, subscribe
from support.mqtt_parts import MqttRig, make_point, make_update

from gateway.model import Mqtt
from gateway.records import KnownAsset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.mosquitto import Seen, Subscriber

    from gateway.model import Point


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """Return an empty mosquitto that keeps its state over a restart."""
    with Mosquitto(tmp_path, is_persistent=True) as mosquitto:
        yield mosquitto


def topic(point: Point) -> str:
    """Return the default topic of a point."""
    return f"gw/v1/hq/{point.name}"


async def retained(broker: Mosquitto) -> dict[str, Seen]:
    """Return the retained messages by topic."""
    async with subscribe(broker.port) as subscriber:
        return {message.topic: message for message in (*subscriber.seen, *subscriber.meta)}


async def until_retained(broker: Mosquitto, *expected: str) -> dict[str, Seen]:
    """Wait until exactly these topics and the gateway's status are retained; return the messages."""
    async with asyncio.timeout(60):
        while True:
            found = {
                topic: seen for topic, seen in (await retained(broker)).items() if "$gateway" not in topic
            }
            if set(found) == set(expected):
                return found


async def wait_for_meta(subscriber: Subscriber, *topics: str) -> None:
    """Wait until `$meta` of each of these topics was received."""
    await subscriber.wait_for(
        lambda: {f"{each}/$meta" for each in topics} <= {m.topic for m in subscriber.meta}
    )


async def test_meta_describes_a_point(broker: Mosquitto) -> None:
    """`$meta` is retained and has no empty fields."""
    tags = {"brick": "Zone_Air_Temperature_Sensor", "haystack": ["zone", "air", "temp"]}
    rich = replace(make_point("L03/ZN-T"), description="Room temperature", tags=tags)
    bare = replace(make_point("L03/X", mqtt=Mqtt(topic="plant/x")), unit_of_measure=None)
    rig = MqttRig(broker.url, [rich, bare, make_point("L03/OFF", mqtt=None)])
    async with rig.sink:
        found = await until_retained(broker, f"{topic(rich)}/$meta", "plant/x/$meta")
    assert found[f"{topic(rich)}/$meta"].json == {
        "asset": "ast-a1b2c3d4",
        "tag": "L03",
        "point": "ZN-T",
        "description": "Room temperature",
        "unit": "degC",
        "tags": tags,
    }
    assert found["plant/x/$meta"].json == {"asset": "ast-a1b2c3d4", "tag": "L03", "point": "X"}
    assert found["plant/x/$meta"].expiry_s is None


async def test_meta_has_name_and_location_from_infodeck(broker: Mosquitto) -> None:
    """A renamed asset gets a new `$meta`, and no new value."""
    point = replace(
        make_point("T/P"), known=KnownAsset(id="ast-a1b2c3d4", name="Room 3", location="East wing")
    )
    rig = MqttRig(broker.url, [point])
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(make_update(point, 1))
        await wait_for_meta(subscriber, topic(point))
        assert subscriber.meta[0].json == {
            "asset": "ast-a1b2c3d4",
            "name": "Room 3",
            "location": "East wing",
            "tag": "T",
            "point": "P",
            "unit": "degC",
        }
        await subscriber.catch_up()
        seen = len(subscriber.seen)
        rig.swap(replace(point, known=KnownAsset(id="ast-a1b2c3d4", name="Room 4")))
        await subscriber.wait_for(lambda: len(subscriber.meta) == 2)
        assert "location" not in subscriber.meta[1].json
        assert subscriber.meta[1].json["name"] == "Room 4"
        await subscriber.catch_up()
        assert len(subscriber.seen) == seen


async def test_topics_without_a_point_are_cleared(broker: Mosquitto) -> None:
    """If a point is removed, renamed, moved or taken off MQTT, its value and `$meta` are cleared."""
    kept, gone, moved, off = (make_point(f"T/{name}") for name in ("KEPT", "GONE", "MOVED", "OFF"))
    rig = MqttRig(broker.url, [kept, gone, moved, off])
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(*(make_update(point, 1) for point in (kept, gone, moved, off)))
        await wait_for_meta(subscriber, *map(topic, (kept, gone, moved, off)))
        await subscriber.catch_up()
        now_moved, now_off = replace(moved, mqtt=Mqtt(topic="plant/moved")), replace(off, mqtt=None)
        seen = len(subscriber.seen)
        rig.swap(replace(kept), now_moved, now_off)
        await rig.deliver(make_update(now_moved, 1), make_update(now_off, 1))
        places = (topic(kept), "plant/moved")
        await until_retained(broker, *places, *(f"{place}/$meta" for place in places))
        later = [(message.topic, message.payload) for message in subscriber.seen[seen:]]
        assert (topic(gone), "") in later
        assert topic(kept) not in dict(later)
    assert rig.status.reconnects == 0


async def test_a_topic_is_cleared_after_an_outage(broker: Mosquitto) -> None:
    """A point removed while the broker is away is cleared after the reconnection."""
    kept, gone = make_point("T/KEPT"), make_point("T/GONE")
    rig = MqttRig(broker.url, [kept, gone])
    async with rig.sink:
        await rig.deliver(make_update(kept, 1), make_update(gone, 1))
        places = (topic(kept), topic(gone))
        await until_retained(broker, *places, *(f"{place}/$meta" for place in places))
        broker.stop()
        await rig.until("away")
        rig.swap(replace(kept))
        broker.start()
        await until_retained(broker, topic(kept), f"{topic(kept)}/$meta")


async def test_a_topic_that_comes_back_is_not_cleared(broker: Mosquitto) -> None:
    """Removed by one reload and added by the next, while the broker is away."""
    point = make_point("T/P")
    rig = MqttRig(broker.url, [point])
    async with rig.sink:
        await rig.deliver(make_update(point, 1))
        broker.stop()
        await rig.until("away")
        again = replace(point)
        rig.swap()
        rig.swap(again)
        broker.start()
        await rig.until("up")
        await rig.deliver(make_update(again, 2))
        found = await until_retained(broker, topic(point), f"{topic(point)}/$meta")
        assert found[topic(point)].json["value"] == 2


async def test_an_update_of_the_old_table_is_never_published_as_one_of_the_new(broker: Mosquitto) -> None:
    """A value in the old unit must not appear with the new one."""
    old = make_point("T/P")
    new = replace(old, unit_of_measure="degF")
    rig = MqttRig(broker.url, [old])
    async with rig.sink, subscribe(broker.port) as subscriber:
        rig.swap(new)
        await rig.deliver(make_update(old, 20))
        await rig.deliver(make_update(new, 68))
        await subscriber.catch_up()
        shown = [(m.json["value"], m.json["unit"]) for m in subscriber.seen if m.topic == topic(old)]
    assert shown == [(68, "degF")]


async def test_only_changed_metadata_is_published(broker: Mosquitto) -> None:
    """A reload publishes `$meta` only if it differs."""
    one, other = make_point("T/ONE"), make_point("T/OTHER")
    rig = MqttRig(broker.url, [one, other])
    async with rig.sink, subscribe(broker.port) as subscriber:
        await wait_for_meta(subscriber, topic(one), topic(other))
        before = len(subscriber.meta)
        rig.swap(replace(one, description="Supply air"), replace(other))
        await subscriber.wait_for(lambda: len(subscriber.meta) > before)
        await subscriber.catch_up()
        assert [(m.topic, m.json["description"]) for m in subscriber.meta[before:]] == [
            (f"{topic(one)}/$meta", "Supply air")
        ]


async def test_a_point_without_a_value_is_cleared(broker: Mosquitto) -> None:
    """Such as the `$quality` of an asset that has no reading."""
    changed, quality = make_point("T/P"), make_point("T/Q")
    rig = MqttRig(broker.url, [changed, quality])
    async with rig.sink:
        await rig.deliver(make_update(changed, 1), make_update(quality, 0))
        metas = [f"{topic(each)}/$meta" for each in (changed, quality)]
        await until_retained(broker, topic(changed), topic(quality), *metas)
        rig.latest = DictLatestValues()
        rig.swap(replace(changed, source="other"), quality)
        await until_retained(broker, *metas)
