"""The connection of the MQTT sink: broker away, killed, frozen or unwilling, and the sink killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
import support
import uvloop
from support.mosquitto import Mosquitto, subscribe
from support.mqtt_parts import STATUS_TOPIC, MqttRig, make_point, make_update
from support.ports import free_port
from support.waiting import until, until_delivered

from gateway.errors import RefusedError, TransientError
from gateway.model import Quality

if TYPE_CHECKING:
    from gateway.model import Update

TESTS = Path(support.__file__).parents[1]
PROGRAM = """
import asyncio, sys
from support.mqtt_parts import MqttRig
async def main():
    async with MqttRig(sys.argv[1], []).sink:
        await asyncio.sleep(60)
asyncio.run(main())
"""


def updates_of_many_points(count: int) -> list[Update]:
    """Return one update for each of `count` points, with different values."""
    return [make_update(make_point(f"T/P{n}"), n, seq=n + 1) for n in range(count)]


async def deliver_for_sure(rig: MqttRig, *updates: Update) -> int:
    """Write until it succeeds, as the delivery loop does; return the number of retries."""
    return await until_delivered(partial(rig.deliver, *updates))


async def test_online_while_it_runs_and_offline_after_a_clean_end(broker: Mosquitto) -> None:
    """The sink publishes `online` retained, and `offline` itself before DISCONNECT."""
    rig = MqttRig(broker.url, [])
    async with subscribe(broker.port) as subscriber:
        async with rig.sink:
            await subscriber.wait_for(lambda: subscriber.payloads(STATUS_TOPIC) == ["online"])
            await rig.until("up")
        await subscriber.wait_for(lambda: subscriber.payloads(STATUS_TOPIC) == ["online", "offline"])
    assert all(message.retained and message.qos == 1 for message in subscriber.seen)
    await until(lambda: "Received DISCONNECT from gateway-edge-1-bms" in broker.log)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_online_is_published_last(broker: Mosquitto, protocol: Literal["5", "3.1.1"]) -> None:
    """Everything retained is up to date before `online`."""
    former = updates_of_many_points(300)
    points = [update.point for update in former]
    async with MqttRig(broker.url, points, protocol=protocol).sink as sink:
        await sink.write(former)
    rig = MqttRig(broker.url, points, protocol=protocol)
    rig.latest.take([replace(update, quality=Quality.STALE) for update in former])
    async with subscribe(broker.port) as subscriber:
        before = len(subscriber.seen)
        async with rig.sink:
            await subscriber.wait_for(lambda: subscriber.payloads(STATUS_TOPIC)[-1] == "online")
            *corrected, last = subscriber.seen[before:]
    assert (last.topic, last.payload) == (STATUS_TOPIC, "online")
    assert [one.json["quality"] for one in corrected] == ["stale"] * len(former)


async def test_the_broker_publishes_offline_after_a_kill(broker: Mosquitto) -> None:
    """After kill -9, the will sets the retained status to `offline`."""
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, broker.url, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        async with subscribe(broker.port) as subscriber:
            await subscriber.wait_for(lambda: subscriber.payloads(STATUS_TOPIC) == ["online"])
            process.kill()
            await subscriber.wait_for(lambda: subscriber.payloads(STATUS_TOPIC) == ["online", "offline"])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    async with subscribe(broker.port) as late_subscriber:
        assert late_subscriber.payloads(STATUS_TOPIC) == ["offline"]


async def test_nothing_is_lost_when_the_broker_is_killed(
    broker: Mosquitto,
) -> None:
    """All retained state is published again after the outage."""
    updates = updates_of_many_points(2_000)
    rig = MqttRig(broker.url, [update.point for update in updates])
    half_way = asyncio.Event()

    async def outage() -> None:
        await half_way.wait()
        broker.kill()
        await asyncio.sleep(0.3)
        await asyncio.to_thread(broker.start)

    async with rig.sink, asyncio.TaskGroup() as tasks:
        tasks.create_task(outage())
        repeated = 0
        for begin in range(0, len(updates), 100):
            if begin == 1_000:
                half_way.set()
            repeated += await deliver_for_sure(rig, *updates[begin : begin + 100])
    async with subscribe(broker.port) as subscriber:
        found = {m.topic: m.json["value"] for m in subscriber.seen if m.topic.startswith("gw/v1/hq/")}
    assert found == {f"gw/v1/hq/T/P{n}": n for n in range(2_000)}
    assert repeated > 0
    assert rig.status.reconnects == 1


async def test_a_broker_that_is_away_at_the_start(tmp_path: Path) -> None:
    """Entering succeeds, a write fails with the reason, and the broker gets all state once it is there."""
    broker = Mosquitto(tmp_path)
    point = make_point("T/P")
    rig = MqttRig(broker.url, [point])
    async with rig.sink:
        await rig.until("away")
        with pytest.raises(TransientError, match=r"^cannot connect: .*refused"):
            await rig.deliver(make_update(point, 1))
        with broker:
            await rig.until("up")
            async with subscribe(broker.port) as subscriber:
                assert subscriber.last("gw/v1/hq/T/P").json["value"] == 1
    assert rig.status.reconnects == 0
    assert "refused" in str(rig.status.last_error)


async def test_a_write_waits_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short outage causes no retry."""
    monkeypatch.setattr("gateway.sinks.connecting._RECEIVER_WAIT_S", 60.0)  # as long as a busy machine needs
    broker = Mosquitto(tmp_path)
    point = make_point("T/P")
    rig = MqttRig(broker.url, [point])
    async with rig.sink, asyncio.TaskGroup() as tasks:
        tasks.create_task(rig.deliver(make_update(point, 1)))
        await rig.until("away")
        await asyncio.to_thread(broker.start)
    broker.kill()
    assert rig.status.state == "up"


async def test_a_frozen_broker_is_detected(broker: Mosquitto) -> None:
    """A write fails after twice the keep-alive without an answer."""
    point = make_point("T/P")
    rig = MqttRig(broker.url, [point], keepalive="2s")
    async with rig.sink:
        await rig.deliver(make_update(point, 1))
        await asyncio.sleep(4)  # idle for longer than the broker's patience of 1.5 keep-alives
        assert rig.status.reconnects == 0
        broker.freeze()
        with pytest.raises(TransientError):
            async with asyncio.timeout(60):
                await rig.deliver(make_update(point, 2))
        broker.thaw()
        await deliver_for_sure(rig, make_update(point, 3))
    assert rig.status.reconnects == 1


async def test_a_refused_topic_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    """A topic that the access list forbids becomes a refusal with the reason."""
    access = tmp_path / "access"
    access.write_text("topic readwrite support/#\ntopic read gw/#\ntopic write gw/v1/hq/T/P1\n")
    updates = updates_of_many_points(3)
    with Mosquitto(tmp_path, "allow_anonymous true", f"acl_file {access}") as broker:
        rig = MqttRig(broker.url, [update.point for update in updates])
        async with rig.sink:
            with pytest.raises(RefusedError) as refused:
                await rig.deliver(*updates)
        async with subscribe(broker.port) as subscriber:
            assert [message.topic for message in subscriber.seen] == ["gw/v1/hq/T/P1"]
    assert [(refusal.update, refusal.reason) for refusal in refused.value.refusals] == [
        (updates[0], "the broker refuses gw/v1/hq/T/P0: Not authorized"),
        (updates[2], "the broker refuses gw/v1/hq/T/P2: Not authorized"),
    ]


@pytest.mark.parametrize(
    ("lacks", "words"),
    [
        ("retain_available false", "Retain not supported; have the broker keep retained messages"),
        ("max_qos 0", "QoS not supported; have the broker take messages with QoS 1"),
    ],
)
async def test_a_broker_without_retain_or_qos_1_is_away(tmp_path: Path, lacks: str, words: str) -> None:
    """Nothing is published, and the status has the reason and the remedy."""
    with Mosquitto(tmp_path, "allow_anonymous true", lacks) as broker:
        rig = MqttRig(broker.url, [])
        async with rig.sink:
            await rig.until("away")
    assert rig.status.last_error == f"the broker refuses the connection: {words}"


async def test_two_clients_with_one_id_name_the_cause(broker: Mosquitto) -> None:
    """A gateway that is disconnected by its double names the `client_id`."""
    one, other = MqttRig(broker.url, []), MqttRig(broker.url, [])
    async with one.sink:
        await one.until("up")
        async with other.sink:
            await one.until("away")
    reason = "the broker ended the connection: Session taken over; another client has the same `client_id`"
    assert one.status.last_error == reason


async def test_the_brokers_receive_maximum_is_respected(tmp_path: Path) -> None:
    """The window is the smaller of `in_flight` and the broker's limit."""
    updates = updates_of_many_points(500)
    with Mosquitto(tmp_path, "allow_anonymous true", "max_inflight_messages 3") as broker:
        rig = MqttRig(broker.url, [update.point for update in updates], in_flight=1000)
        async with rig.sink:
            await rig.deliver(*updates)  # mosquitto disconnects a client that goes beyond
    assert rig.status.reconnects == 0
    assert "Receive maximum" not in broker.log


async def test_a_message_that_the_broker_finds_too_large_is_refused(tmp_path: Path) -> None:
    """It is refused before it is sent, since the broker would disconnect each time."""
    long, short = make_point("T/LONG"), make_point("T/SHORT")
    with Mosquitto(tmp_path, "allow_anonymous true", "max_packet_size 300") as broker:
        rig = MqttRig(broker.url, [long, short])
        async with rig.sink:
            with pytest.raises(RefusedError) as refused:
                await rig.deliver(make_update(long, "x" * 300), make_update(short, "x" * 50))
        async with subscribe(broker.port) as subscriber:
            assert subscriber.last("gw/v1/hq/T/SHORT").json["value"] == "x" * 50
    (refusal,) = refused.value.refusals
    assert refusal.reason == "the broker refuses gw/v1/hq/T/LONG: Packet too large, at most 300 bytes"
    assert rig.status.reconnects == 0


async def test_an_unexpected_error_ends_the_sink(broker: Mosquitto) -> None:
    """It is raised to the caller, and the will sets the status to `offline`."""
    rig = MqttRig(broker.url, [make_point()])
    rig.latest.latest = lambda _point: 1 // 0  # type: ignore[assignment, return-value]
    with pytest.raises(ExceptionGroup) as failed:
        async with rig.sink:
            await asyncio.sleep(10)
    assert [type(error) for error in failed.value.exceptions] == [ZeroDivisionError]


async def test_no_more_than_in_flight_messages_are_unacknowledged() -> None:
    """A listener that acknowledges only `online` gets `in_flight` messages."""
    received: list[int] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                kind = (await reader.readexactly(1))[0]
                body = await reader.readexactly((await reader.readexactly(1))[0])
                if kind >> 4 == 1:
                    writer.write(bytes([0x20, 2, 0, 0]))
                elif kind >> 4 == 3 and 3 not in received:
                    topic_length = int.from_bytes(body[:2], "big")
                    writer.write(bytes([0x40, 2]) + body[2 + topic_length : 4 + topic_length])
                received.append(kind >> 4)
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", port := free_port())
    updates = updates_of_many_points(100)
    points = [update.point for update in updates]
    rig = MqttRig(f"mqtt://127.0.0.1:{port}", points, protocol="3.1.1", in_flight=7, payload="value")
    async with server, rig.sink:
        await rig.until("up")
        write = asyncio.create_task(rig.deliver(*updates))
        await asyncio.sleep(0.2)
        assert received.count(3) == 1 + 7
        write.cancel()


async def test_a_burst_does_not_block_the_event_loop(broker: Mosquitto) -> None:
    """5,000 updates at once arrive, and other tasks run meanwhile."""
    updates = updates_of_many_points(5_000)
    rig = MqttRig(broker.url, [update.point for update in updates], in_flight=1000)
    pauses = 0

    async def watch() -> None:
        nonlocal pauses
        while True:
            await asyncio.sleep(0)
            pauses += 1

    async with rig.sink, subscribe(broker.port) as subscriber:
        watcher = asyncio.create_task(watch())
        await rig.deliver(*updates)
        watcher.cancel()
        await subscriber.catch_up()
    values = {m.topic: m.json["value"] for m in subscriber.seen if m.topic.startswith("gw/v1/hq/")}
    assert values == {f"gw/v1/hq/T/P{n}": n for n in range(5_000)}
    assert pauses > 100


def test_it_runs_on_uvloop(broker: Mosquitto) -> None:
    """The sink connects, publishes and ends on uvloop."""

    async def deliver() -> None:
        point = make_point("T/P")
        rig = MqttRig(broker.url, [point])
        async with subscribe(broker.port) as subscriber:
            async with rig.sink:
                await rig.deliver(make_update(point, 1))
                await rig.deliver(*(make_update(point, n) for n in range(100)))
            await subscriber.wait_for(lambda: "offline" in subscriber.payloads(STATUS_TOPIC))
        assert subscriber.last("gw/v1/hq/T/P").json["value"] == 99

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(deliver())
