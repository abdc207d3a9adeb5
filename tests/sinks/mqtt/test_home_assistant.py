"""Home Assistant's view of a sink: what mosquitto really delivers, read by another maker's parts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.home_assistant import Entity
from support.mosquitto import Mosquitto, subscribe
from support.mqtt_parts import STATUS_TOPIC, MqttRig, make_point, make_update, now_ms

from gateway.model import Conversion, Mqtt, Quality, ValueKind
from gateway.records import KnownAsset
from gateway.sinks.mqtt.config import HomeAssistantKeys

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from support.mosquitto import Seen, Subscriber

    from gateway.model import Point

TOPIC = "gw/v1/hq/L03-RM312/ZN-T"
ROOM = "homeassistant/sensor/edge-1/L03-RM312__ZN-T/config"
DOOR = "homeassistant/binary_sensor/edge-1/L03-RM312__DOOR/config"
ON = HomeAssistantKeys()


def temperature() -> Point:
    """Return a point of numbers."""
    return replace(make_point(), conversion=Conversion(kind=ValueKind.NUMBER))


def door() -> Point:
    """Return a point that is open or shut."""
    conversion = Conversion(map={"shut": 0, "open": 1})
    return replace(make_point("L03-RM312/DOOR"), source="door", unit_of_measure=None, conversion=conversion)


def discovered(messages: Iterable[Seen]) -> dict[str, Entity]:
    """Return the entities of all discovery messages that stand, having received all else in order."""
    messages = list(messages)
    standing = {each.topic: each for each in messages if each.topic.startswith("homeassistant/")}
    assert all(each.retained and each.qos == 1 for each in standing.values())
    entities = {
        topic: Entity.discover(topic, each.payload) for topic, each in standing.items() if each.payload
    }
    for entity in entities.values():
        entity.receive_all((each.topic, each.payload) for each in messages)
    return entities


async def home(broker: Mosquitto, *expected: str) -> dict[str, Entity]:
    """Return what a Home Assistant knows that starts now, once it is exactly what is `expected`."""
    async with asyncio.timeout(10):
        while True:
            async with subscribe(broker.port) as late:
                if {each.topic for each in late.seen if each.topic.startswith("homeassistant/")} == set(
                    expected
                ):
                    return discovered(late.seen)


async def discovery_topics(broker: Mosquitto) -> list[str]:
    """Return the topics of all discovery messages that are retained, under whatever prefix."""
    async with subscribe(broker.port) as late:
        return [each.topic for each in late.seen if each.topic.endswith("/config")]


async def until_discovered(subscriber: Subscriber, *topics: str) -> None:
    """Wait until these discovery messages have come."""
    await subscriber.wait_for(lambda: set(topics) <= {each.topic for each in subscriber.seen})


async def test_nothing_is_told_unless_it_is_asked_for(broker: Mosquitto) -> None:
    """The profile is off by default: no topic of Home Assistant's appears."""
    point = temperature()
    rig = MqttRig(broker.url, [point])
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(make_update(point, 21.5))
        await subscriber.wait_for(lambda: bool(subscriber.meta))
        await subscriber.catch_up()
        assert await home(broker) == {}
    assert not [each.topic for each in subscriber.seen if each.topic.startswith("homeassistant")]


@pytest.mark.parametrize(
    ("value", "state"),
    [(21.5, "21.5"), (-0.25, "-0.25"), (21, "21"), (1e-7, "1e-07"), (12345678901234, "12345678901234")],
)
@pytest.mark.parametrize("payload", ["json", "value"])
async def test_the_state_is_the_number_that_was_sent(
    broker: Mosquitto, value: float, state: str, payload: str
) -> None:
    """The template finds in the payload that came exactly what the sink was given."""
    point = temperature()
    rig = MqttRig(broker.url, [point], payload=payload, home_assistant=ON)
    async with rig.sink:
        await rig.deliver(make_update(point, value))
        entity = (await home(broker, ROOM))[ROOM]
        assert entity.is_available
        assert float(entity.state or "nan") == value == float(state)


@pytest.mark.parametrize("payload", ["json", "value"])
async def test_a_contact_is_on_or_off(broker: Mosquitto, payload: str) -> None:
    """A point of 0 and 1 is a binary sensor, which follows its value."""
    point = door()
    rig = MqttRig(broker.url, [point], payload=payload, home_assistant=ON)
    async with rig.sink:
        for value, state in ((1, "ON"), (0, "OFF")):
            await rig.deliver(make_update(point, value))
            assert (await home(broker, DOOR))[DOOR].state == state


async def test_a_value_is_unavailable_once_it_is_stale_bad_or_offline(broker: Mosquitto) -> None:
    """Each quality as it comes over the broker: only good and forced values are shown."""
    point = temperature()
    rig = MqttRig(broker.url, [point], home_assistant=ON)
    async with rig.sink, subscribe(broker.port) as subscriber:
        await until_discovered(subscriber, ROOM)
        now, shown = now_ms(), []
        for number, quality in enumerate(Quality):
            await rig.deliver(make_update(point, 20.0 + number, quality=quality, time_ms=now + number))
            await subscriber.catch_up()
            entity = discovered(subscriber.seen)[ROOM]
            shown.append((quality.name, entity.is_available, entity.state, entity.attributes["quality"]))
    assert shown == [
        ("GOOD", True, "20.0", "good"),
        ("HELD", False, None, "held"),
        ("STALE", False, None, "stale"),
        ("BAD", False, None, "bad"),
        ("FORCED", True, "24.0", "forced"),
        ("OFFLINE", False, None, "offline"),
    ]


async def test_everything_is_unavailable_once_the_gateway_is_gone(broker: Mosquitto) -> None:
    """The gateway's status is part of each entity's availability, by a goodbye and by the will."""
    point = temperature()
    rig = MqttRig(broker.url, [point], home_assistant=ON)
    async with rig.sink:
        await rig.deliver(make_update(point, 21.5))
        entity = (await home(broker, ROOM))[ROOM]
        assert entity.config["availability"][0] == {"topic": STATUS_TOPIC}
        assert entity.is_available
    assert not (await home(broker, ROOM))[ROOM].is_available


async def test_a_reload_tells_what_is_new_and_clears_what_is_gone(broker: Mosquitto) -> None:
    """Entities come, change and go with the points of the table in force."""
    point = temperature()
    rig = MqttRig(broker.url, [point], home_assistant=ON)
    async with rig.sink:
        await home(broker, ROOM)
        rig.swap(point, door())
        await home(broker, ROOM, DOOR)
        rig.swap(replace(point, stale_after_ms=60_000))
        async with asyncio.timeout(10):
            while (await home(broker, ROOM))[ROOM].config["expire_after"] != 60:
                pass
        rig.swap()
        await home(broker)


@pytest.mark.parametrize("layout", ["point", "asset"])
async def test_a_renamed_asset_is_told_again(broker: Mosquitto, layout: str) -> None:
    """What the API says of an asset reaches its device by the reload that it causes; the entity stays."""
    point = temperature()
    rig = MqttRig(broker.url, [point], layout=layout, home_assistant=ON)
    async with rig.sink:
        before = (await home(broker, ROOM))[ROOM]
        rig.swap(replace(point, known=KnownAsset(id=point.asset, name="Room 312", location="3rd floor")))
        async with asyncio.timeout(10):
            while (after := (await home(broker, ROOM))[ROOM]).config["device"] == before.config["device"]:
                pass
    assert after.config["device"] == before.config["device"] | {
        "name": "Room 312",
        "suggested_area": "3rd floor",
    }
    assert after.config["unique_id"] == before.config["unique_id"]


async def test_a_point_that_becomes_another_kind_of_entity_is_told_once(broker: Mosquitto) -> None:
    """A number that a new table maps to on and off is cleared as the one and told as the other."""
    point = temperature()
    rig = MqttRig(broker.url, [point], home_assistant=ON)
    async with rig.sink:
        await home(broker, ROOM)
        rig.swap(replace(point, unit_of_measure=None, conversion=Conversion(map={"1": 1, "2": 0})))
        await home(broker, ROOM.replace("sensor", "binary_sensor"))


async def test_turned_off_the_profile_leaves_nothing_behind(broker: Mosquitto) -> None:
    """After a restart without it, or with another prefix, what a former run told is cleared."""
    point, retained = temperature(), dict[str, bool]()
    async with MqttRig(broker.url, [point], retained=retained, home_assistant=ON).sink:
        await home(broker, ROOM)
    elsewhere = HomeAssistantKeys(discovery_prefix="ha/discovery")
    async with MqttRig(broker.url, [point], retained=retained, home_assistant=elsewhere).sink:
        await home(broker)
        async with subscribe(broker.port) as subscriber:
            await until_discovered(subscriber, ROOM.replace("homeassistant", "ha/discovery"))
    async with MqttRig(broker.url, [point], retained=retained).sink:
        async with asyncio.timeout(10):
            while await discovery_topics(broker):
                pass


@pytest.mark.parametrize("payload", ["json", "value"])
@pytest.mark.parametrize("layout", ["asset", "both"])
async def test_each_point_is_one_entity_in_every_layout(broker: Mosquitto, layout: str, payload: str) -> None:
    """Where points share their asset's message, each is found there; where they have both, in its own."""
    points = [temperature(), door()]
    rig = MqttRig(broker.url, points, layout=layout, payload=payload, home_assistant=ON)
    async with rig.sink:
        await rig.deliver(make_update(points[0], 21.5), make_update(points[1], 1))
        entities = await home(broker, ROOM, DOOR)
        assert (entities[ROOM].state, entities[DOOR].state) == ("21.5", "ON")
        assert entities[ROOM].is_available
        assert entities[DOOR].is_available
        assert (entities[ROOM].config["state_topic"] == TOPIC) is (layout == "both")
        await rig.deliver(make_update(points[1], None, quality=Quality.STALE))
        entities = await home(broker, ROOM, DOOR)
        assert [each.is_available for each in entities.values()] == [
            each is entities[ROOM] for each in entities.values()
        ]


async def test_a_point_with_a_topic_of_its_own_is_told_once(broker: Mosquitto) -> None:
    """With `layout: asset`, what is also on a topic of its own is told by that."""
    points = [replace(temperature(), mqtt=Mqtt(topic="plant/t")), door()]
    rig = MqttRig(broker.url, points, layout="asset", home_assistant=ON)
    async with rig.sink:
        await rig.deliver(make_update(points[0], 21.5), make_update(points[1], 1))
        entities = await home(broker, ROOM, DOOR)
        assert (entities[ROOM].config["state_topic"], entities[ROOM].state) == ("plant/t", "21.5")
        assert entities[DOOR].config["state_topic"] == TOPIC.removesuffix("/ZN-T")


async def test_a_broker_that_lost_everything_is_told_again(tmp_path: Path) -> None:
    """Killed and started empty, the broker has entities, states and status again after the reconnection."""
    point = temperature()
    with Mosquitto(tmp_path) as broker:
        rig = MqttRig(broker.url, [point], home_assistant=ON)
        async with rig.sink:
            await rig.deliver(make_update(point, 21.5))
            await home(broker, ROOM)
            broker.kill()
            await rig.until("away")
            broker.start()
            entity = (await home(broker, ROOM))[ROOM]
            assert (entity.state, entity.is_available) == ("21.5", True)
