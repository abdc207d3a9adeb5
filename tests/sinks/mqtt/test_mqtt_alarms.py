"""The current alarms on MQTT."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from support.mosquitto import Mosquitto, subscribe
from support.mqtt_parts import STATUS_TOPIC, MqttRig, make_point, make_update

from gateway.alarms import Alarms

if TYPE_CHECKING:
    from pathlib import Path

    from support.mosquitto import Subscriber

ALARMS_TOPIC = "gw/v1/$gateway/edge-1/alarms"
SINCE_MS = 1_795_507_200_700
SILENT = {"alarm": "webhook-silent", "since": "2026-11-24T08:00:00Z", "reason": "nothing has come"}


def make_alarms() -> Alarms:
    """Return alarms that all begin at one time; none holds yet."""
    return Alarms(clock_ms=lambda: SINCE_MS)


async def until_published(subscriber: Subscriber, *alarms: dict[str, str]) -> None:
    """Wait until these are the alarms in the last message."""

    def is_last() -> bool:
        payloads = subscriber.payloads(ALARMS_TOPIC)
        return bool(payloads) and subscriber.last(ALARMS_TOPIC).json == {"alarms": list(alarms)}

    await subscriber.wait_for(is_last)


async def test_alarms_are_published_at_each_change(broker: Mosquitto) -> None:
    """The message is retained and lists all current alarms; it is published once per change."""
    alarms = make_alarms()
    rig = MqttRig(broker.url, [], alarms=alarms)
    async with rig.sink, subscribe(broker.port) as subscriber:
        await until_published(subscriber)
        alarms.set("webhook-silent", "nothing has come")
        await until_published(subscriber, SILENT)
        alarms.set("webhook-silent", "nothing has come")
        alarms.set("webhook-silent", "still nothing")
        await until_published(subscriber, SILENT | {"reason": "still nothing"})
        alarms.set("webhook-silent", None)
        await until_published(subscriber)
        assert len(subscriber.payloads(ALARMS_TOPIC)) == 4
        assert subscriber.last(ALARMS_TOPIC).retained
    async with subscribe(broker.port) as later:
        assert later.last(ALARMS_TOPIC).json == {"alarms": []}


async def test_alarms_are_published_again_after_an_outage(tmp_path: Path) -> None:
    """Changes during the outage are published after the reconnection, also on an empty broker."""
    alarms = make_alarms()
    with Mosquitto(tmp_path) as broker:
        rig = MqttRig(broker.url, [], alarms=alarms)
        async with rig.sink:
            async with subscribe(broker.port) as subscriber:
                await until_published(subscriber)
            await asyncio.to_thread(broker.kill)
            await rig.until("away")
            alarms.set("webhook-silent", "nothing has come")
            await asyncio.to_thread(broker.start)
            await rig.until("up")
            async with subscribe(broker.port) as subscriber:
                await until_published(subscriber, SILENT)


async def test_another_prefix_clears_the_former_topics(broker: Mosquitto) -> None:
    """Alarms and status under the former prefix are cleared."""
    alarms = make_alarms()
    retained: dict[str, bool] = {}
    alarms.set("webhook-silent", "nothing has come")
    async with MqttRig(broker.url, [], alarms=alarms, retained=retained).sink, subscribe(broker.port) as seen:
        await until_published(seen, SILENT)
    assert retained == {STATUS_TOPIC: False, ALARMS_TOPIC: False}
    point = make_point()
    rig = MqttRig(broker.url, [point], alarms=alarms, retained=retained, prefix="other")
    topic = "other/$gateway/edge-1/alarms"
    async with subscribe(broker.port) as seen, rig.sink:
        await rig.deliver(make_update(point, 21.5))
        for gone in (ALARMS_TOPIC, STATUS_TOPIC):
            await seen.wait_for(lambda gone=gone: seen.payloads(gone)[-1:] == [""])  # type: ignore[misc]
        await seen.wait_for(lambda: bool(seen.payloads(topic)))
    async with subscribe(broker.port) as later:
        assert later.payloads(ALARMS_TOPIC) == later.payloads(STATUS_TOPIC) == []
        assert later.payloads("other/$gateway/edge-1/status") == ["offline"]
        assert later.last(topic).json == {"alarms": [SILENT]}


async def test_a_lost_connection_is_unsubscribed_from_the_alarms(broker: Mosquitto) -> None:
    """Each connection subscribes to changes once, and unsubscribes when it is lost."""
    alarms = make_alarms()
    for _ in range(3):
        async with MqttRig(broker.url, [], alarms=alarms).sink, subscribe(broker.port) as subscriber:
            await until_published(subscriber)
    assert alarms._listeners == []


async def test_any_reason_can_be_published(broker: Mosquitto) -> None:
    """Reasons with surrogates or of any length do not stop the sink."""
    alarms = make_alarms()
    point = make_point()
    rig = MqttRig(broker.url, [point], alarms=alarms)
    async with rig.sink, subscribe(broker.port) as subscriber:
        alarms.set(
            "reconcile-failing", "a redirect to http://caf\udce9/\x1b[2J: Straße, 室温" + "x" * 100_000
        )
        await subscriber.wait_for(lambda: "Straße, 室温" in last_reason(subscriber))
        assert last_reason(subscriber).startswith("a redirect to http://caf / [2J: Straße, 室温xxx")
        assert len(last_reason(subscriber)) <= 2000
        await rig.deliver(make_update(point, 21.5))


def last_reason(subscriber: Subscriber) -> str:
    """Return the reason of the alarm in the last message; empty if there is none."""
    if not subscriber.payloads(ALARMS_TOPIC):
        return ""
    alarms = subscriber.last(ALARMS_TOPIC).json["alarms"]
    return str(alarms[-1]["reason"]) if alarms else ""
