"""Whole events of Infodeck on MQTT: as received, in order, over outages and kills."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from support.daemon import ORGANIZATION, Daemon
from support.edited_tables import HEAD, post, until
from support.mosquitto import Mosquitto, subscribe
from support.processes import run_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.mosquitto import Subscriber

POINTS = HEAD + "points:\n  - {tag: R, point: N, asset: a, from: n, modbus: {register: 4, type: uint16}}\n"
BACKLOG = 700  # more than a batch, so that the newest values go first
_numbers = count()


def event(kind: str, *, event_id: str | None = None, size: int = 0, **fields: Any) -> bytes:
    """Return an event's body, spaced and spelled unlike what any JSON library writes."""
    event_id = event_id or f"evt_{next(_numbers)}"
    thing = {"id": "wo-1", "title": "Ventil tropft \u2013 prüfen", "notes": "x" * size}
    document = {"id": event_id, "type": kind, "organizationId": ORGANIZATION, "data": {"object": thing}}
    return json.dumps(document | fields, indent=3, ensure_ascii=False).encode()


@contextmanager
def publishing(folder: Path, broker: Mosquitto, events: str, *, table: str = POINTS) -> Iterator[Daemon]:
    """Run the gateway with `events` on its broker."""
    tables = folder / "tables"
    tables.mkdir()
    (tables / "a.yaml").write_text(table)
    gateway = Daemon(folder, broker.port, tables=tables)
    settings = gateway.config.read_text()
    gateway.config.write_text(settings.replace("{type: mqtt,", f"{{type: mqtt, events: {events},"))
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.kill()


async def send(daemon: Daemon, *bodies: bytes) -> None:
    """Post events that are accepted."""
    for body in bodies:
        assert (await asyncio.to_thread(daemon.post, body))[0] == 200


def published(subscriber: Subscriber) -> list[str]:
    """Return what came as events, in order."""
    return [seen.payload for seen in subscriber.seen if "/$events/" in seen.topic]


async def test_an_event_is_published_as_received(tmp_path: Path, broker: Mosquitto) -> None:
    """Without any point; not retained, and only events of the types that the sink names."""
    order, booking = event("workorder.status.changed", event_id="evt_order"), event("booking.created")
    others = event("visitor.registered"), event("asset.created")
    never = (
        event("workorder.created", isTest=True),
        event("workorder.created", livemode=False),
        event("workorder.created", organizationId="o-other"),
        event("webhook.test"),
    )
    with publishing(tmp_path, broker, "[workorder.*, booking.created]", table=HEAD) as daemon:
        async with subscribe(broker.port) as subscriber:
            await send(daemon, *never, *others, order, booking)
            await subscriber.wait_for(lambda: len(published(subscriber)) == 2)
            first = next(seen for seen in subscriber.seen if "/$events/" in seen.topic)
            assert first.topic == "gw/v1/$events/workorder.status.changed"
            assert (first.qos, first.retained, first.user_properties) == (1, False, {"event": "evt_order"})
            assert published(subscriber) == [order.decode(), booking.decode()]
        status = daemon.status()
    assert status["intake"]["ignored_types"] == {"visitor.registered": 1, "asset.created": 1}
    assert (status["journal"]["accepted"], status["journal"]["dead_letters"]) == (2, 0)


async def test_telemetry_is_published_beside_its_points(tmp_path: Path, broker: Mosquitto) -> None:
    """`*` is every type; one that cannot be a level of a topic is made one."""
    with publishing(tmp_path, broker, '["*"]') as daemon:
        async with subscribe(broker.port) as subscriber:
            await post(daemon, "evt_n", n=7)
            await send(daemon, event("a/+#\n$b"))
            await subscriber.wait_for(lambda: len(published(subscriber)) == 2)
            await subscriber.wait_for(lambda: "7" in str(subscriber.payloads("gw/v1/hq/R/N")))
            topics = [seen.topic for seen in subscriber.seen if "/$events/" in seen.topic]
    assert topics == ["gw/v1/$events/asset.telemetry.updated", "gw/v1/$events/a____$b"]


async def test_a_refused_event_is_a_dead_letter(tmp_path: Path) -> None:
    """`explain` says where it goes and why it did not; a retry delivers it once the broker allows it."""
    rules = tmp_path / "rules"
    rules.write_text("topic readwrite #\ntopic deny gw/v1/$events/workorder.created\n")
    order = event("workorder.created", event_id="evt_order")
    with (
        Mosquitto(tmp_path, "allow_anonymous true", f"acl_file {rules}") as broker,
        publishing(tmp_path, broker, "[workorder.*]") as daemon,
    ):
        await send(daemon, order, event("workorder.updated"))
        await until(lambda: daemon.status()["journal"]["dead_letters"] == 1)
        explained = run_gateway("explain", "-c", daemon.config, "evt_order").stdout
        assert "mqtt bms  gw/v1/$events/workorder.created" in explained
        assert "bms $events/workorder.created  dead letter 1: the broker refuses" in explained
        again = run_gateway("deadletters", "retry", "-c", daemon.config, "1").stdout
        assert again.startswith("1: $events/workorder.created is refused again, now as dead letter 2")
        rules.write_text("topic readwrite #\n")
        broker.signal(signal.SIGHUP)
        async with subscribe(broker.port) as subscriber:
            done = await asyncio.to_thread(run_gateway, "deadletters", "retry", "-c", daemon.config, "--all")
            assert done.stdout == "2: $events/workorder.created is delivered to bms\n"
            await subscriber.catch_up()
            assert published(subscriber) == [order.decode()]
        shown = run_gateway("status", "-c", daemon.config).stdout
        assert "2 for the `events` of sinks" in shown


async def test_no_event_is_lost_over_outage_and_kill(tmp_path: Path, broker: Mosquitto) -> None:
    """Each comes at least once, whatever its size, and in order, while newest values go first."""
    bodies = [event("workorder.created", size=30_000 * (number % 7 == 0)) for number in range(BACKLOG)]
    with publishing(tmp_path, broker, "[workorder.*]") as daemon:
        await until(lambda: daemon.status()["sinks"]["bms"]["connected"])
        broker.kill()
        for number, body in enumerate(bodies):
            await send(daemon, body)
            await post(daemon, f"evt_n{number}", n=number)
        daemon.kill()
        broker.start()
        async with subscribe(broker.port) as subscriber:
            daemon.launch()
            await subscriber.wait_for(lambda: len(published(subscriber)) > BACKLOG // 4)
            daemon.kill()
            await asyncio.to_thread(daemon.start)
            await until(lambda: daemon.status()["sinks"]["bms"]["lag"] == 0)
            await subscriber.catch_up()
            came = published(subscriber)
            assert list(dict.fromkeys(came)) == [body.decode() for body in bodies]
            assert len(came) < 2 * BACKLOG
            assert subscriber.last("gw/v1/hq/R/N").json["value"] == BACKLOG - 1
