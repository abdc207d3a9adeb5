"""A gateway whose events come from a JetStream stream: order, duplicates, poison, kills, a full journal."""

from __future__ import annotations

import asyncio
import os
import random
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support import gateway_with_clock
from support.commands import Done, gateway
from support.daemon import ORGANIZATION, telemetry
from support.nats_box import CONSUMER, STREAM, SourceBox, add_consumer, headers_of, publish
from support.nats_commands import ask
from support.nats_servers import NatsServer, UserKey, client_of
from support.waiting import until

from gateway.errors import TransientError
from gateway.intake import pull_consumer
from gateway.intake.pull_consumer import PullConsumer
from gateway.intake.source_config import NatsSourceConfig
from gateway.jetstream.config import parse_nats_url
from gateway.jetstream.connection import open_connection
from gateway.journal.lookup import newest_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from gateway.model import Event

PAUSE = f"CONSUMER.PAUSE.{STREAM}.{CONSUMER}"

Message = tuple[str, bytes, dict[str, str]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """Start a nats-server with the stream and the box's consumer."""
    with NatsServer(tmp_path) as running:
        await add_consumer(running.url)
        yield running


@contextmanager
def box_of(folder: Path, server: NatsServer, **settings: Any) -> Iterator[SourceBox]:
    """Run a box without sinks on the server's stream."""
    tables = folder / "tables"
    tables.mkdir()
    (tables / "hq.yaml").write_text("schema: gateway.points/1\nsite: hq-tower\n")
    box = SourceBox(folder, servers=[server.url], tables=tables, **{"has_sinks": False, **settings})
    try:
        box.start()
        yield box
    finally:
        box.kill()


def message(number: int, *, asset: str | None = None, **headers: Any) -> Message:
    """Return event `evt_<number>` as an intake publishes it; every fifth is of the same asset."""
    name, event_id = asset or f"ast-{number % 5}", f"evt_{number}"
    return name, telemetry(event_id, name, {"temperature": number}), headers_of(event_id, **headers)


def journalled(box: SourceBox) -> list[Event]:
    """Return the events of the box's journal, the oldest first."""
    return list(newest_events(box.folder / "journal.db", limit=1_000_000))[::-1]


def ids(box: SourceBox) -> list[str]:
    """Return their ids."""
    return [event.event_id for event in journalled(box)]


async def has_got(box: SourceBox, messages: int) -> None:
    """Wait until the source has acknowledged so many messages since the box's start."""
    await until(lambda: box.status()["source"]["messages"] >= messages)


async def command(*arguments: str | Path) -> Done:
    """Run a command while the test goes on."""
    return await asyncio.to_thread(gateway, *arguments)


async def unacknowledged(server: NatsServer) -> int:
    """Return how many messages the consumer has yet to deliver, or to get acknowledged."""
    async with client_of(server.url) as client:
        info = await client.jetstream().consumer_info(STREAM, CONSUMER)
        return (info.num_pending or 0) + (info.num_ack_pending or 0)


async def until_acknowledged(server: NatsServer) -> None:
    """Wait until all is acknowledged."""
    async with asyncio.timeout(60):
        while await unacknowledged(server):  # noqa: ASYNC110 - the server does not tell
            await asyncio.sleep(0.05)


async def test_what_waited_in_the_stream_is_journalled_in_order(tmp_path: Path, server: NatsServer) -> None:
    """A box that starts late gets everything, in order, says who verified it, and acknowledges all."""
    await publish(server.url, [message(n, by=f"intake-{n % 2}") for n in range(2000)])
    with box_of(tmp_path, server) as box:
        await has_got(box, 2000)
        await publish(server.url, [message(2000, received_ms=1_790_000_000_000)])
        await has_got(box, 2001)
        source = box.status()["source"]
        assert (source["connected"], source["pending"], source["connections"]) == (True, 0, 1)
        assert source["verified_by"] == {"intake-0": 1000, "intake-1": 1001}
        assert source["last_origin_ms"] == 1_790_000_000_000
        assert ids(box) == [f"evt_{n}" for n in range(2001)]
        shown = (await command("explain", "-c", box.config, "evt_2000")).stdout
        assert "by intake-1, which received it 2026-09-21" in shown
        metrics = await asyncio.to_thread(box.metrics)
        assert "gateway_source_up 1.0" in metrics
        assert 'gateway_source_verified_events_total{gateway="intake-0"} 1000.0' in metrics
        shown = (await command("status", "-c", box.config)).stdout
        assert f"nats {STREAM}, consumer {CONSUMER}, up; nothing waits" in shown
        for name, arguments in {"send": ["--asset", "a", "t=1"], "simulate": ["--rate", "1"]}.items():
            refused = await command(name, "-c", box.config, *arguments)
            assert (refused.returncode, "this gateway has no intake" in refused.stderr) == (1, True)
        assert box.stop() == 0
    assert await unacknowledged(server) == 0


async def test_what_is_no_event_for_us_blocks_nothing(tmp_path: Path, server: NatsServer) -> None:
    """Such messages are counted, logged once for each reason, and acknowledged; the next event comes."""
    name, body, headers = message(1)
    foreign = orjson.dumps(orjson.loads(body) | {"organizationId": "o-other"})
    test_event = orjson.dumps(orjson.loads(body) | {"isTest": True})
    poison: list[Message] = [
        (name, body, {"Nats-Msg-Id": "1"}),
        (name, body, {**headers, "Gateway-Verified-By": "\x7f "}),
        (name, body, {**headers, "Gateway-Received": "9" * 30}),
        (name, body, {**headers, "Gateway-Received": "-1"}),
        (name, b"", headers),
        (name, b"no JSON", headers),
        (name, b"[" * 100_000, headers),
        (name, b'{"id": "\xff", "type": "asset.telemetry.updated"}', headers),
        (name, foreign, headers),
        (name, test_event, headers),
    ]
    sent = [(asset, raw, {**found, "Nats-Msg-Id": str(n)}) for n, (asset, raw, found) in enumerate(poison)]
    with box_of(tmp_path, server) as box:
        await publish(server.url, [*sent, message(2)])
        await has_got(box, len(poison) + 1)
        status = box.status()
        assert ids(box) == ["evt_2"]
        assert status["source"]["unusable"] == {
            "not published by a gateway's intake: no Gateway-Verified-By and Gateway-Received": 4,
            "the body is not JSON": 4,
            "of another organization": 1,
        }
        assert status["intake"]["test_events"] == 1
        assert box.log.count("source.unusable") == 3
    assert await unacknowledged(server) == 0


@pytest.mark.parametrize("headers", [b"NATS/1.0", b"garbage\r", b"NATS/1.0 \xff\xfe\xfd\r\n\r\n"])
async def test_broken_headers_block_nothing(tmp_path: Path, server: NatsServer, headers: bytes) -> None:
    """A client without a library may publish any bytes as headers: it is one more unusable message."""
    name, body, _ = message(1)
    sizes = f"{len(headers)} {len(headers) + len(body)}"
    with box_of(tmp_path, server) as box:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        publishing = (
            f'CONNECT {{"headers": true}}\r\nHPUB infodeck.{ORGANIZATION}.hq-tower.{name} {sizes}\r\n'
        )
        writer.write(publishing.encode() + headers + body + b"\r\nPING\r\n")
        while b"PONG" not in await reader.readline():
            pass
        writer.close()
        await publish(server.url, [message(2)])
        await has_got(box, 2)
        assert ids(box) == ["evt_2"]
        assert "Traceback" not in box.log


async def test_an_event_of_two_publishers_is_one(tmp_path: Path, server: NatsServer) -> None:
    """Two intakes publish the same event under different message ids: it is journalled once."""
    _, body, headers = message(1)
    twins = [
        ("ast-1", body, {**headers, "Nats-Msg-Id": f"{n}", "Gateway-Verified-By": f"i-{n}"}) for n in "ab"
    ]
    with box_of(tmp_path, server) as box:
        await publish(server.url, [*twins, message(2)])
        await has_got(box, 3)
        assert ids(box) == ["evt_1", "evt_2"]
        assert box.status()["journal"]["duplicates"] == 1
        assert journalled(box)[0].origin == ("i-a", int(headers["Gateway-Received"]))


async def test_large_events_do_not_end_the_connection(tmp_path: Path, server: NatsServer) -> None:
    """More than the 64 MiB that a server lets wait for a connection come over one, and without a gap."""
    notes = "x" * 900_000
    small = [message(n) for n in range(120)]
    large = [(name, orjson.dumps({**orjson.loads(body), "notes": notes}), head) for name, body, head in small]
    await publish(server.url, large, at_once=20)
    with box_of(tmp_path, server) as box:
        await has_got(box, 120)
        source = box.status()["source"]
        assert (source["connections"], source["last_error"]) == (1, None)
        assert ids(box) == [f"evt_{n}" for n in range(120)]


async def test_kills_of_box_and_server_lose_nothing(tmp_path: Path, server: NatsServer) -> None:
    """Box, server or both are killed in the middle of batches: each event comes once, in order."""
    await publish(server.url, [message(n) for n in range(30_000)])
    chance = random.Random(17)
    with box_of(tmp_path, server) as box:
        for kill in ("box", "server", "both", "box"):
            goal = min(30_000, len(ids(box)) + chance.randrange(1_000, 5_000))
            await until(lambda goal=goal: len(ids(box)) >= goal)  # type: ignore[misc]
            if kill != "server":
                box.kill()
            if kill != "box":
                server.kill()
                server.start()
            if kill != "server":
                box.start()
        await until(lambda: len(ids(box)) == 30_000)
        await until_acknowledged(server)
        assert ids(box) == [f"evt_{n}" for n in range(30_000)]


async def test_events_without_acknowledgement_come_again(tmp_path: Path) -> None:
    """A box that may not acknowledge says so; what it has journalled is one event when it comes again."""
    box_key = UserKey()

    def users(acknowledge: str) -> str:
        api = [f"$JS.API.CONSUMER.{name}.{STREAM}.{CONSUMER}" for name in ("INFO", "RESET", "MSG.NEXT")]
        published = ", ".join(f'"{subject}"' for subject in (*api, acknowledge))
        permissions = f'{{publish: [{published}], subscribe: "_INBOX.test-box.>"}}'
        return f"authorization {{users: [{{nkey: {box_key.public}, permissions: {permissions}}}]}}"

    with NatsServer(tmp_path) as server:
        await add_consumer(server.url)
        await publish(server.url, [message(n) for n in range(3)])
        server.kill()
        secured = server.configuration.read_text()
        server.configuration.write_text(f"{secured}\n{users('$JS.ACK.none')}\n")
        server.start()
        seed = tmp_path / "seed"
        seed.touch(mode=0o600)
        seed.write_text(box_key.seed)
        with box_of(tmp_path, server, login=", nkey: {file: seed}") as box:
            await until(lambda: "may not publish to $js.ack." in str(box.status()["source"]["last_error"]))
            assert ids(box) == ["evt_0", "evt_1", "evt_2"]
            box.kill()
            server.kill()
            server.configuration.write_text(f"{secured}\n{users(f'$JS.ACK.{STREAM}.{CONSUMER}.>')}\n")
            server.start()
            box.start()
            await until(lambda: box.status()["source"]["messages"] == 3)
            assert ids(box) == ["evt_0", "evt_1", "evt_2"]
            assert box.status()["journal"]["duplicates"] == 3


async def test_a_full_journal_leaves_events_in_the_stream(tmp_path: Path, server: NatsServer) -> None:
    """Nothing is acknowledged that found no room; with more room everything comes, in order."""
    large = [
        (asset, body[:-1] + b',"padding":"' + b"x" * 900_000 + b'"}', headers)
        for asset, body, headers in (message(n) for n in range(25))
    ]
    full = {"has_sinks": True, "bms": ', events: ["*"]', "journal": ", max_size: 16MiB"}
    with box_of(tmp_path, server, **full) as box:
        await publish(server.url, large, at_once=4)
        await until(lambda: box.status()["source"]["waits_for_journal"] is not None)
        assert await unacknowledged(server) > 0
        assert box.status()["journal"]["state"] == "the journal is full"
        assert box.stop() == 0
        box.journal = ""
        box.write_settings()
        box.start()
        await until(lambda: len(ids(box)) == 25)
        assert ids(box) == [f"evt_{n}" for n in range(25)]


async def test_a_box_starts_without_nats_and_says_what_is_missing(tmp_path: Path) -> None:
    """It is ready without a server, names what is missing step by step, and goes on by itself."""
    server = NatsServer(tmp_path)
    with box_of(tmp_path, server) as box:
        assert box.is_ready()

        async def says(words: str) -> None:
            await until(lambda: words in str(box.status()["source"]["last_error"]))

        await says(os.strerror(111))
        assert not box.status()["source"]["connected"]
        assert (await command("status", "-c", box.config)).returncode == 1
        examined = (await command("doctor", "--offline", "-c", box.config)).stdout
        assert f"the source is away: {server.url}: {os.strerror(111)}" in examined
        assert "bearer" not in examined
        with server:
            await says("the stream INFODECK does not exist: `gateway nats setup`")
            await add_consumer(server.url, consumer="other")
            await says("has no consumer hq-tower: `gateway nats setup`")
            await add_consumer(server.url)
            await publish(server.url, [message(1)])
            await has_got(box, 1)
        await until(lambda: box.status()["source"]["state"] == "away")
        assert box.log.count("source.away") == 2
        assert box.log.count("source.up") == 1


async def test_a_consumer_of_another_kind_loses_nothing(tmp_path: Path, server: NatsServer) -> None:
    """A consumer that sends no bodies is named, nothing is acknowledged, and setup puts it right."""
    odd: dict[str, Any] = {"headers_only": True, "inactive_threshold": 300.0}
    async with client_of(server.url) as client:
        await client.jetstream().delete_consumer(STREAM, CONSUMER)
    await add_consumer(server.url, **odd)
    await publish(server.url, [message(1)])
    with box_of(tmp_path, server) as box:
        await until(lambda: "headers_only" in str(box.status()["source"]["last_error"]))
        done = await command("nats", "setup", "-c", box.config, "--apply")
        assert done.returncode == 0, done.stderr
        shown = dict(line.split(maxsplit=1) for line in done.stdout.splitlines()[1:3])
        assert shown == {"headers_only": "true -> false", "inactive_threshold": "5m -> unlimited"}
        await has_got(box, 1)
        assert ids(box) == ["evt_1"]


async def test_two_boxes_with_one_consumer_are_noticed(tmp_path: Path, server: NatsServer) -> None:
    """Each would get a part of the events: the boxes say so, and so does the doctor."""
    (tmp_path / "other").mkdir()
    with box_of(tmp_path, server) as box, box_of(tmp_path / "other", server) as other:
        for n in range(50):
            await publish(server.url, [message(n)])
            if "another gateway reads" in str(
                [each.status()["source"]["last_error"] for each in (box, other)]
            ):
                break
        else:
            pytest.fail("neither box has noticed the other")
        shown = [(await command("doctor", "--offline", "-c", each.config)).stdout for each in (box, other)]
        assert any("another gateway reads the consumer hq-tower too" in each for each in shown)


async def test_a_paused_consumer_is_named(tmp_path: Path, server: NatsServer) -> None:
    """Its server sends nothing and says nothing waits: status and doctor say why, until it is resumed."""
    await ask(server.url, PAUSE, {"pause_until": "2126-12-01T08:00:00Z"})
    await publish(server.url, [message(1)])
    with box_of(tmp_path, server) as box:
        await until(
            lambda: "is paused until 2126-12-01T08:00:00Z" in str(box.status()["source"]["last_error"])
        )
        assert not box.status()["source"]["connected"]
        shown = (await command("doctor", "--offline", "-c", box.config)).stdout
        assert "source: consumer hq-tower is paused until 2126-12-01T08:00:00Z" in shown
        assert "nats consumer resume INFODECK hq-tower" in shown
        await ask(server.url, PAUSE, {})
        await has_got(box, 1)


async def test_a_consumer_that_is_paused_later_is_noticed(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that ends without a message is a reason to look at the consumer."""
    monkeypatch.setattr(pull_consumer, "_EXPIRES_S", 0.5)
    monkeypatch.setattr(pull_consumer, "_HEARTBEAT_S", 0.2)
    config = NatsSourceConfig(
        type="nats", servers=(parse_nats_url(server.url),), stream=STREAM, consumer=CONSUMER, subjects=("a",)
    )
    async with open_connection(config, setting="source", name="hq") as client:
        consumer = PullConsumer(client, stream=STREAM, consumer=CONSUMER, arrived=asyncio.Event())
        await consumer.start()
        await consumer.next_messages()
        await ask(server.url, PAUSE, {"pause_until": "2126-12-01T08:00:00Z"})

        async def fetch() -> None:
            while True:
                assert await consumer.next_messages() == []

        with pytest.raises(TransientError, match="hq-tower is paused until"):
            await asyncio.wait_for(fetch(), 60)


@pytest.mark.parametrize(("stream", "consumer"), [("OTHER", CONSUMER), (STREAM, "other")])
async def test_what_another_consumer_sends_is_no_event(
    tmp_path: Path, server: NatsServer, stream: str, consumer: str
) -> None:
    """Messages of another stream or consumer that are directed to the box are reported, not journalled."""
    request = "$JS.API.CONSUMER.MSG.NEXT"
    async with client_of(server.url) as intruder:
        jetstream = intruder.jetstream()
        if stream != STREAM:
            await jetstream.add_stream(name=stream, subjects=["other.>"])
        elsewhere = "other.ast-1" if stream != STREAM else f"infodeck.{ORGANIZATION}.annex.ast-1"
        await jetstream.add_consumer(stream, durable_name=consumer, filter_subject=elsewhere)
        _, body, headers = message(1)
        await jetstream.publish(elsewhere, body, headers=headers)
        requests = await intruder.subscribe(f"{request}.{STREAM}.{CONSUMER}")
        await intruder.flush()
        with box_of(tmp_path, server) as box:
            inbox = (await requests.next_msg(timeout=30)).reply
            await intruder.publish(f"{request}.{stream}.{consumer}", b"1", reply=inbox)
            await until(lambda: "who publishes to our inbox?" in box.log)
            await publish(server.url, [message(2)])
            await has_got(box, 1)
            assert ids(box) == ["evt_2"]
            assert box.status()["source"]["connections"] == 2


async def test_a_server_that_hangs_is_given_up(tmp_path: Path, server: NatsServer) -> None:
    """Without a sign of life the connection counts as lost; the gateway itself stays healthy."""
    with box_of(tmp_path, server) as box:
        await until(lambda: box.status()["source"]["connected"])
        server.freeze()
        await until(lambda: not box.status()["source"]["connected"])
        assert box.is_ready()
        server.thaw()
        await publish(server.url, [message(1)])
        await has_got(box, 1)


async def test_a_clock_that_is_behind_lets_nothing_old_look_fresh(tmp_path: Path, server: NatsServer) -> None:
    """A box whose clock is an hour behind accepts no event, says so, and goes on once it is right."""
    clock = tmp_path / "clock"
    clock.write_bytes(struct.pack("<q", -3_600_000))
    await publish(server.url, [message(0)])
    with box_of(tmp_path, server, program=(gateway_with_clock.__file__, str(clock))) as box:
        await until(lambda: "59 minutes behind" in str(box.status()["source"]["last_error"]))
        assert ids(box) == []
        clock.write_bytes(struct.pack("<q", 0))
        await until(lambda: ids(box) == ["evt_0"])
