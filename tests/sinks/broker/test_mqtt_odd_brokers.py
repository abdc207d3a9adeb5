"""Brokers that break MQTT's rules, refuse one topic or disconnect at it: nothing else is lost or delayed."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.link import Link
from support.mosquitto import Mosquitto
from support.mqtt_parts import MqttRig, make_point, make_update
from support.odd_broker import Disconnect, odd_broker
from support.sparkplug_parts import SparkplugRig
from support.sparkplug_payloads import decode
from support.waiting import until, until_delivered

from gateway.errors import RefusedError, TransientError
from gateway.sinks.broker import skipped_topics
from gateway.sinks.mqtt import sink as mqtt_sink

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model import Point, Update

_GARBAGE = {
    "SUBACK of nothing": b"\x90\x00",
    "SUBACK for nobody": b"\x90\x04\xff\xf0\x00\x00",
    "UNSUBACK for nobody": b"\xb0\x04\xff\xf0\x00\x00",
    "PUBACK with half a property": b"\x40\x05\x00\x01\x00\x02\x1f",
    "PUBLISH without a topic": b"\x30\x00",
    "properties that are none": b"\x30\x06\x00\x01T\x02\xee\xee",
    "a type that is none": b"\x00\x00",
}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses before retries and before a suspect is published."""
    monkeypatch.setattr(mqtt_sink, "_RETRY_PAUSES_S", (0.05, 0.1, 0.2, 0.4))
    monkeypatch.setattr(skipped_topics, "_QUIET_S", 0.2)


def record_unhandled() -> list[dict[str, Any]]:
    """Return a list that collects exceptions of callbacks on this event loop."""
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    return unhandled


async def test_an_unknown_packet_identifier_ends_the_connection() -> None:
    """SUBACK and UNSUBACK with unknown numbers: the sink is away with the reason, and reconnects."""
    unhandled = record_unhandled()
    async with odd_broker(wrong_ids=True) as broker:
        rig = SparkplugRig(broker.url, [make_point()])
        async with rig.sink:
            await until(lambda: broker.connections >= 2)
            assert rig.status.state == "away"
            assert "does not keep to MQTT" in str(rig.status.last_error)
    assert not unhandled


async def test_a_puback_for_another_packet_is_ignored() -> None:
    """A PUBACK that answers a subscription proves nothing; the connection goes on."""
    point = make_point()
    async with odd_broker(wrong_acks=True) as broker:
        rig = SparkplugRig(broker.url, [point])
        async with rig.sink:
            await rig.until("up")
            await rig.deliver(make_update(point, 21.5))
    assert (broker.connections, rig.status.last_error) == (1, None)


@pytest.mark.parametrize("garbage", _GARBAGE.values(), ids=_GARBAGE)
async def test_malformed_packets_end_the_connection(garbage: bytes) -> None:
    """The status has the reason, and no callback raises."""
    unhandled = record_unhandled()
    async with odd_broker(garbage=garbage) as broker:
        rig = MqttRig(broker.url, [make_point()])
        async with rig.sink:
            await until(lambda: broker.connections >= 2)
            assert "does not keep to MQTT" in str(rig.status.last_error)
    assert not unhandled


def rooms(*names: str) -> list[Point]:
    """Return points with topics of their own."""
    return [make_point(f"T/{name}") for name in names]


async def refused_points(rig: MqttRig | SparkplugRig, *updates: Update) -> list[str]:
    """Write as the delivery loop does; return the points whose updates became dead letters."""
    rig.latest.take(updates)
    found: list[str] = []

    async def write() -> None:
        try:
            await rig.sink.write(updates)
        except RefusedError as error:
            found.extend(refusal.update.point.name for refusal in error.refusals)

    await until_delivered(write)
    return found


async def test_a_topic_that_is_always_over_quota_delays_no_other() -> None:
    """Only its message is retried; after some retries it is a dead letter."""
    points = rooms("A", "ODD", "B")

    def answer(topic: str, _: bytes) -> int:
        return 0x97 if topic.endswith("T/ODD") else 0

    async with odd_broker(answer) as broker:
        rig = MqttRig(broker.url, points)
        async with rig.sink:
            await rig.until("up")
            assert await refused_points(rig, *(make_update(point, 1) for point in points)) == ["T/ODD"]
            assert len(broker.payloads("gw/v1/hq/T/A")) == 1
            assert len(broker.payloads("gw/v1/hq/T/B")) == 1
            tried = len(broker.payloads("gw/v1/hq/T/ODD"))
            assert tried > 2
            assert await refused_points(rig, *(make_update(point, 2, seq=2) for point in points)) == ["T/ODD"]
            assert len(broker.payloads("gw/v1/hq/T/ODD")) == tried + 1  # once is enough from then on
    assert rig.status.reconnects == 0


async def test_a_quota_delays_messages_and_loses_none() -> None:
    """Refused messages are retried until they are accepted; accepted ones are not repeated."""
    points = rooms(*(f"P{number}" for number in range(60)))
    accepted: list[str] = []
    asked = itertools.count()

    def answer(topic: str, _: bytes) -> int:
        if "$" in topic:
            return 0
        if next(asked) % 3:
            return 0x97
        accepted.append(topic)
        return 0

    async with odd_broker(answer) as broker:
        rig = MqttRig(broker.url, points)
        async with rig.sink:
            await rig.until("up")
            assert await refused_points(rig, *(make_update(point, 1) for point in points)) == []
    assert sorted(accepted) == sorted(f"gw/v1/hq/{point.name}" for point in points)


async def test_a_broker_that_accepts_nothing_gets_the_batch_again() -> None:
    """If every message is refused for now, no topic is at fault."""
    points = rooms("A", "B")
    busy = [True]

    def answer(_: str, __: bytes) -> int:
        return 0x97 if busy[0] else 0

    async with odd_broker(answer) as broker:
        rig = MqttRig(broker.url, points)
        busy[0] = False
        async with rig.sink:
            await rig.until("up")
            busy[0] = True
            with pytest.raises(TransientError, match="Quota exceeded"):
                await rig.deliver(*(make_update(point, 1) for point in points))
            busy[0] = False
            assert await refused_points(rig, *(make_update(point, 1) for point in points)) == []


@pytest.mark.parametrize(("protocol", "reason"), [("5", 0x87), ("3.1.1", None)])
async def test_a_topic_at_which_the_broker_disconnects_is_skipped(protocol: str, reason: int | None) -> None:
    """Its readings become dead letters, all others arrive, also after a reconnection."""
    points = rooms(*(f"P{number}" for number in range(50)), "ODD")

    def answer(topic: str, _: bytes) -> int:
        if topic.endswith("T/ODD"):
            raise Disconnect(reason)
        return 0

    async with odd_broker(answer) as broker:
        rig = MqttRig(broker.url, points, protocol=protocol)
        async with rig.sink:
            await rig.until("up")
            assert await refused_points(rig, *(make_update(point, 1) for point in points)) == ["T/ODD"]
            connections = broker.connections
            assert await refused_points(rig, *(make_update(point, 2, seq=2) for point in points)) == ["T/ODD"]
            assert broker.connections == connections
            broker.drop()
            await until(lambda: broker.connections == connections + 1 and rig.status.state == "up")
            assert await refused_points(rig, *(make_update(point, 3, seq=3) for point in points)) == ["T/ODD"]
            assert broker.connections == connections + 1
        for point in points[:-1]:
            values = [orjson.loads(payload)["value"] for payload in broker.payloads(f"gw/v1/hq/{point.name}")]
            assert values[-1] == 3


async def test_a_breaking_network_has_no_topic_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each short connection loses a message; in the end all arrive."""
    monkeypatch.setattr(skipped_topics, "_QUIET_S", 1.0)  # longer than connections last
    points = rooms("A", "B", "C")
    with Mosquitto(tmp_path) as broker:
        async with Link(broker.port, delay_s=0.1, breaks_after_s=0.5) as link:
            rig = MqttRig(f"mqtt://127.0.0.1:{link.port}", points)
            rig.latest.take([make_update(point, 1) for point in points])
            async with rig.sink:
                await until(lambda: link.connections >= 7)
                link.breaks_after_s = None
                assert await refused_points(rig, *(make_update(point, 2, seq=2) for point in points)) == []


async def test_only_the_history_topic_is_skipped() -> None:
    """If the broker disconnects at `$history`, the live topic of the point goes on."""
    point = make_point("T/P")

    def answer(topic: str, _: bytes) -> int:
        if topic.endswith("$history"):
            raise Disconnect
        return 0

    async with odd_broker(answer) as broker:
        rig = MqttRig(broker.url, [point])
        async with rig.sink:
            await rig.until("up")
            await rig.deliver(make_update(point, 2, time_ms=2_000))
            assert await refused_points(rig, make_update(point, 1, time_ms=1_000)) == ["T/P"]
            assert await refused_points(rig, make_update(point, 3, time_ms=3_000)) == []
    assert orjson.loads(broker.payloads("gw/v1/hq/T/P")[-1])["value"] == 3


async def test_a_metadata_topic_is_skipped() -> None:
    """A topic that no write waits for is found and skipped, too."""
    points = rooms("A", "ODD", "B")

    def answer(topic: str, _: bytes) -> int:
        if topic.endswith("T/ODD/$meta"):
            raise Disconnect
        return 0

    async with odd_broker(answer) as broker:
        rig = MqttRig(broker.url, points)
        async with rig.sink:
            await until(lambda: bool(broker.payloads("gw/v1/hq/T/B/$meta")))
            assert await refused_points(rig, *(make_update(point, 1) for point in points)) == []
            assert rig.status.state == "up"


@pytest.mark.parametrize("verb", ["DBIRTH", "DDATA"])
async def test_a_sparkplug_device_is_skipped(verb: str) -> None:
    """Its readings become dead letters; the sequence of all other messages has no gap."""
    points = [make_point(f"R{number}/T") for number in range(6)]
    odd = f"spBv1.0/hq/{verb}/edge-1/R3"

    def answer(topic: str, _: bytes) -> int:
        if topic == odd:
            raise Disconnect
        return 0

    async with odd_broker(answer) as broker:
        rig = SparkplugRig(broker.url, points)
        async with rig.sink:
            for value in range(9):  # a value that a birth has sent is not refused
                if await refused_points(rig, *(make_update(point, value) for point in points)) == ["R3/T"]:
                    break
            connections = broker.connections
            broker.received.clear()
            assert await refused_points(rig, *(make_update(point, 9) for point in points)) == ["R3/T"]
            await until(lambda: len(broker.received) == 5)
            assert broker.connections == connections
            numbers = [decode(payload).seq or 0 for _, payload in broker.received]
            assert [number - numbers[0] for number in numbers] == list(range(5))
