"""Metadata topics beside the values."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from support.latest_values import DictLatestValues
from support.mosquitto import Mosquitto, subscribe
from support.mqtt_parts import make_point, make_update
from support.waiting import until

from gateway.mapping.topics import TopicScheme
from gateway.sinks.broker.mqtt_connection import connect
from gateway.sinks.broker.paho_client import Message
from gateway.sinks.mqtt.config import MqttConfig
from gateway.sinks.mqtt.home_assistant import HomeAssistantDiscovery
from gateway.sinks.mqtt.message_builder import MessageBuilder
from gateway.sinks.mqtt.metadata import MetadataPublisher
from gateway.sinks.mqtt.value_topics import TopicMap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.model import Point


ENTITIES = HomeAssistantDiscovery(prefix="ha", gateway="edge-1", status_topic="status", bare=False)


def topics_of(*points: Point, has_entities: bool = True) -> TopicMap:
    """Return the topics of points for the sink `bms`."""
    discovery = ENTITIES if has_entities else None
    return TopicMap(points, sink="bms", topics=TopicScheme(prefix="gw/v1"), bare=False, discovery=discovery)


class Publisher:
    """A metadata publisher with its own connection; every point has a value."""

    def __init__(self, topics: TopicMap, retained: dict[str, bool]) -> None:
        self.now_s = 0.0
        self.latest = DictLatestValues()
        self.latest.take([make_update(point, 1) for point in (ONE, OTHER)])
        self.builder = MessageBuilder(topics, self.latest, has_history=True, retained=retained)
        self.metadata = MetadataPublisher(self.builder, sink="bms", clock_s=lambda: self.now_s)

    @asynccontextmanager
    async def open(self, broker: Mosquitto) -> AsyncIterator[Publisher]:
        """Connect and publish everything."""
        config = MqttConfig(type="mqtt", url=broker.url)  # type: ignore[arg-type]  # parsed from text
        connection = await connect(config, client_id="publisher")
        self.metadata.mark_all_dirty()
        task = asyncio.create_task(self.metadata.run(connection.publish))
        try:
            yield self
        finally:
            task.cancel()
            await connection.close(Message("publisher", b"", retain=True))

    def swap(self, topics: TopicMap) -> None:
        """Change the table as a reload does."""
        changed = topics.changes_from(self.builder.topics)
        self.builder.topics = topics
        self.metadata.mark_dirty(changed)


async def until_retained(broker: Mosquitto, *expected: str) -> None:
    """Wait until exactly these topics are retained."""
    async with asyncio.timeout(60):
        found: set[str] = set()
        while found != set(expected):
            async with subscribe(broker.port) as late:
                found = {message.topic for message in (*late.seen, *late.meta) if message.payload}


ONE, OTHER = make_point("T/ONE"), make_point("T/OTHER")
ONES = ("gw/v1/hq/T/ONE/$meta", "ha/sensor/edge-1/T__ONE/config")
OTHERS = ("gw/v1/hq/T/OTHER/$meta", "ha/sensor/edge-1/T__OTHER/config")


async def test_metadata_follows_its_point(broker: Mosquitto) -> None:
    """Metadata is retained, and cleared by the reload that removes its point."""
    retained: dict[str, bool] = {}
    async with Publisher(topics_of(ONE, OTHER), retained).open(broker) as publisher:
        await until_retained(broker, *ONES, *OTHERS)
        publisher.swap(topics_of(ONE))
        await until_retained(broker, *ONES)
    assert retained == dict.fromkeys((*ONES, *OTHERS), False)


async def test_metadata_of_a_former_run_is_cleared(broker: Mosquitto) -> None:
    """After a restart without discovery, its messages are cleared; `$meta` stays."""
    retained: dict[str, bool] = {}
    async with Publisher(topics_of(ONE, OTHER), retained).open(broker):
        await until_retained(broker, *ONES, *OTHERS)
    async with Publisher(topics_of(ONE, has_entities=False), retained).open(broker):
        await until_retained(broker, "gw/v1/hq/T/ONE/$meta")
    assert retained == dict.fromkeys((*ONES, *OTHERS), False)


async def test_metadata_is_published_at_each_connection(tmp_path: Path) -> None:
    """An empty broker gets all metadata, though it is stored as retained."""
    retained: dict[str, bool] = {}
    with Mosquitto(tmp_path) as before:
        async with Publisher(topics_of(ONE), retained).open(before):
            await until_retained(before, *ONES)
    with Mosquitto(tmp_path) as after:
        async with Publisher(topics_of(ONE), retained).open(after):
            await until_retained(after, *ONES)


async def test_a_cleared_topic_is_stored_for_an_hour(broker: Mosquitto) -> None:
    """After that it is forgotten, unless it is in use again."""
    retained: dict[str, bool] = {}
    publisher = Publisher(topics_of(ONE, OTHER), retained)
    async with publisher.open(broker):
        await until_retained(broker, *ONES, *OTHERS)
        publisher.swap(topics_of(ONE))
        await until_retained(broker, *ONES)
        publisher.now_s += 3599
        publisher.swap(topics_of(OTHER))
        await until_retained(broker, *OTHERS)
        assert set(retained) == {*ONES, *OTHERS}
        publisher.swap(topics_of(ONE))
        await until_retained(broker, *ONES)
        publisher.now_s += 3600
        publisher.swap(topics_of())
        await until_retained(broker)
        await until(lambda: set(retained) == {*ONES})
