"""The alarms that hold, as a subscriber sees them on MQTT."""

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
    """Return alarms that begin at one time, none of which holds yet."""
    return Alarms(clock_ms=lambda: SINCE_MS)


async def until_told(subscriber: Subscriber, *alarms: dict[str, str]) -> None:
    """Wait until these are the alarms that were told last."""

    def told() -> bool:
        payloads = subscriber.payloads(ALARMS_TOPIC)
        return bool(payloads) and subscriber.last(ALARMS_TOPIC).json == {"alarms": list(alarms)}

    await subscriber.wait_for(told)


async def test_alarms_are_retained_and_told_as_they_change(broker: Mosquitto) -> None:
    """None at first, then each change once, with the whole list: name, time since when, reason."""
    alarms = make_alarms()
    rig = MqttRig(broker.url, [], alarms=alarms)
    async with rig.sink, subscribe(broker.port) as subscriber:
        await until_told(subscriber)
        alarms.set("webhook-silent", "nothing has come")
        await until_told(subscriber, SILENT)
        alarms.set("webhook-silent", "nothing has come")
        alarms.set("webhook-silent", "still nothing")
        await until_told(subscriber, SILENT | {"reason": "still nothing"})
        alarms.set("webhook-silent", None)
        await until_told(subscriber)
        assert len(subscriber.payloads(ALARMS_TOPIC)) == 4
        assert subscriber.last(ALARMS_TOPIC).retained
    async with subscribe(broker.port) as later:
        assert later.last(ALARMS_TOPIC).json == {"alarms": []}


async def test_a_broker_that_was_away_is_told_all(tmp_path: Path) -> None:
    """What changed meanwhile is there after the connection; a broker that lost everything has it again."""
    alarms = make_alarms()
    with Mosquitto(tmp_path) as broker:
        rig = MqttRig(broker.url, [], alarms=alarms)
        async with rig.sink:
            async with subscribe(broker.port) as subscriber:
                await until_told(subscriber)
            await asyncio.to_thread(broker.kill)
            await rig.until("away")
            alarms.set("webhook-silent", "nothing has come")
            await asyncio.to_thread(broker.start)
            await rig.until("up")
            async with subscribe(broker.port) as subscriber:
                await until_told(subscriber, SILENT)


async def test_another_prefix_takes_the_topic_along(broker: Mosquitto) -> None:
    """What stood at the old place is cleared, the status too, and what stands at the new one stays."""
    alarms = make_alarms()
    retained: dict[str, bool] = {}
    alarms.set("webhook-silent", "nothing has come")
    async with MqttRig(broker.url, [], alarms=alarms, retained=retained).sink, subscribe(broker.port) as seen:
        await until_told(seen, SILENT)
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


async def test_a_sink_of_a_connection_that_is_over_listens_no_more(broker: Mosquitto) -> None:
    """Connections come and go; what is left of each of them is nothing."""
    alarms = make_alarms()
    for _ in range(3):
        async with MqttRig(broker.url, [], alarms=alarms).sink, subscribe(broker.port) as subscriber:
            await until_told(subscriber)
    assert alarms._listeners == []


async def test_whatever_a_reason_says_the_sink_goes_on(broker: Mosquitto) -> None:
    """Reasons have words of others in them: what no JSON can hold, or no end, is told as far as it goes."""
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
    """Return the reason of the alarm that was told last, empty while there is none."""
    if not subscriber.payloads(ALARMS_TOPIC):
        return ""
    told = subscriber.last(ALARMS_TOPIC).json["alarms"]
    return str(told[-1]["reason"]) if told else ""
