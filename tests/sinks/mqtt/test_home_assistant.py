"""Home Assistant's entities, as mosquitto delivers them and other makers' libraries read them."""

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
    """Return a numeric point."""
    return replace(make_point(), conversion=Conversion(kind=ValueKind.NUMBER))


def door() -> Point:
    """Return a point that is open or shut."""
    conversion = Conversion(map={"shut": 0, "open": 1})
    return replace(make_point("L03-RM312/DOOR"), source="door", unit_of_measure=None, conversion=conversion)


def discovered(messages: Iterable[Seen]) -> dict[str, Entity]:
    """Return the entities of all retained discovery messages, with all other messages applied in order."""
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
    """Wait until a new subscriber finds exactly the `expected` entities; return them."""
    async with asyncio.timeout(60):
        while True:
            async with subscribe(broker.port) as late:
                if {each.topic for each in late.seen if each.topic.startswith("homeassistant/")} == set(
                    expected
                ):
                    return discovered(late.seen)


async def discovery_topics(broker: Mosquitto) -> list[str]:
    """Return the topics of all retained discovery messages, under any prefix."""
    async with subscribe(broker.port) as late:
        return [each.topic for each in late.seen if each.topic.endswith("/config")]


async def until_discovered(subscriber: Subscriber, *topics: str) -> None:
    """Wait until these discovery messages have been received."""
    await subscriber.wait_for(lambda: set(topics) <= {each.topic for each in subscriber.seen})


async def test_discovery_is_off_by_default(broker: Mosquitto) -> None:
    """Without `home_assistant`, no discovery message is published."""
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
async def test_the_state_is_the_published_number(
    broker: Mosquitto, value: float, state: str, payload: str
) -> None:
    """The template finds in the payload exactly the value that was written."""
    point = temperature()
    rig = MqttRig(broker.url, [point], payload=payload, home_assistant=ON)
    async with rig.sink:
        await rig.deliver(make_update(point, value))
        entity = (await home(broker, ROOM))[ROOM]
        assert entity.is_available
        assert float(entity.state or "nan") == value == float(state)


@pytest.mark.parametrize("payload", ["json", "value"])
async def test_a_contact_is_on_or_off(broker: Mosquitto, payload: str) -> None:
    """A point of 0 and 1 is a binary sensor that follows its value."""
    point = door()
    rig = MqttRig(broker.url, [point], payload=payload, home_assistant=ON)
    async with rig.sink:
        for value, state in ((1, "ON"), (0, "OFF")):
            await rig.deliver(make_update(point, value))
            assert (await home(broker, DOOR))[DOOR].state == state


async def test_a_value_is_unavailable_once_it_is_stale_bad_or_offline(broker: Mosquitto) -> None:
    """Only values of quality good or forced are available."""
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
    """The gateway's status is part of each entity's availability, after a clean end and after a kill."""
    point = temperature()
    rig = MqttRig(broker.url, [point], home_assistant=ON)
    async with rig.sink:
        await rig.deliver(make_update(point, 21.5))
        entity = (await home(broker, ROOM))[ROOM]
        assert entity.config["availability"][0] == {"topic": STATUS_TOPIC}
        assert entity.is_available
    assert not (await home(broker, ROOM))[ROOM].is_available


async def test_entities_follow_a_reload(broker: Mosquitto) -> None:
    """Entities are added, changed and removed with the points of the table."""
    point = temperature()
    rig = MqttRig(broker.url, [point], home_assistant=ON)
    async with rig.sink:
        await home(broker, ROOM)
        rig.swap(point, door())
        await home(broker, ROOM, DOOR)
        rig.swap(replace(point, stale_after_ms=60_000))
        async with asyncio.timeout(60):
            while (await home(broker, ROOM))[ROOM].config["expire_after"] != 60:
                pass
        rig.swap()
        await home(broker)


@pytest.mark.parametrize("layout", ["point", "asset"])
async def test_a_renamed_asset_renames_its_device(broker: Mosquitto, layout: str) -> None:
    """A new name in Infodeck changes the device; the entity stays the same."""
    point = temperature()
    rig = MqttRig(broker.url, [point], layout=layout, home_assistant=ON)
    async with rig.sink:
        before = (await home(broker, ROOM))[ROOM]
        rig.swap(replace(point, known=KnownAsset(id=point.asset, name="Room 312", location="3rd floor")))
        async with asyncio.timeout(60):
            while (after := (await home(broker, ROOM))[ROOM]).config["device"] == before.config["device"]:
                pass
    assert after.config["device"] == before.config["device"] | {
        "name": "Room 312",
        "suggested_area": "3rd floor",
    }
    assert after.config["unique_id"] == before.config["unique_id"]


async def test_a_point_that_becomes_a_binary_sensor_is_one_entity(broker: Mosquitto) -> None:
    """The sensor is cleared, and the binary sensor is published."""
    point = temperature()
    rig = MqttRig(broker.url, [point], home_assistant=ON)
    async with rig.sink:
        await home(broker, ROOM)
        rig.swap(replace(point, unit_of_measure=None, conversion=Conversion(map={"1": 1, "2": 0})))
        await home(broker, ROOM.replace("sensor", "binary_sensor"))


async def test_entities_of_a_former_run_are_cleared(broker: Mosquitto) -> None:
    """After a restart without discovery, or with another prefix, former discovery messages are cleared."""
    point, retained = temperature(), dict[str, bool]()
    async with MqttRig(broker.url, [point], retained=retained, home_assistant=ON).sink:
        await home(broker, ROOM)
    elsewhere = HomeAssistantKeys(discovery_prefix="ha/discovery")
    async with MqttRig(broker.url, [point], retained=retained, home_assistant=elsewhere).sink:
        await home(broker)
        async with subscribe(broker.port) as subscriber:
            await until_discovered(subscriber, ROOM.replace("homeassistant", "ha/discovery"))
    async with MqttRig(broker.url, [point], retained=retained).sink:
        async with asyncio.timeout(60):
            while await discovery_topics(broker):
                pass


@pytest.mark.parametrize("payload", ["json", "value"])
@pytest.mark.parametrize("layout", ["asset", "both"])
async def test_each_point_is_one_entity_in_every_layout(broker: Mosquitto, layout: str, payload: str) -> None:
    """With `asset`, its state is in the asset's message; with `both`, in the point's own."""
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


async def test_a_point_with_its_own_topic_is_one_entity(broker: Mosquitto) -> None:
    """With `layout: asset`, the state of such a point is on its own topic."""
    points = [replace(temperature(), mqtt=Mqtt(topic="plant/t")), door()]
    rig = MqttRig(broker.url, points, layout="asset", home_assistant=ON)
    async with rig.sink:
        await rig.deliver(make_update(points[0], 21.5), make_update(points[1], 1))
        entities = await home(broker, ROOM, DOOR)
        assert (entities[ROOM].config["state_topic"], entities[ROOM].state) == ("plant/t", "21.5")
        assert entities[DOOR].config["state_topic"] == TOPIC.removesuffix("/ZN-T")


async def test_a_broker_that_lost_everything_gets_all_entities_again(tmp_path: Path) -> None:
    """After the reconnection, entities, states and status are retained again."""
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
