"""The NATS sink on real servers: every event once and in order per asset, whatever happens to the servers."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING

import pytest
from support.link import Link
from support.nats_parts import ORGANIZATION, RECEIVED_MS, NatsRig, by_asset, make_copies, make_copy
from support.nats_servers import (
    NatsCluster,
    NatsServer,
    add_stream,
    client_of,
    leader_of,
    read_stream,
    stream_holds,
)

from gateway.errors import RefusedError
from gateway.model import Origin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """Run one server."""
    with NatsServer(tmp_path) as running:
        yield running


async def test_an_event_is_published_as_received(server: NatsServer) -> None:
    """Its body is unchanged; subject and headers say what it is, who verified it and when it came."""
    await add_stream(server.url)
    relayed = make_copy(2, "ast-ü.1", origin=Origin("other box", RECEIVED_MS - 5))
    rig = NatsRig(server.url)
    async with rig.sink:
        await rig.deliver([make_copy(1, "ast-1"), relayed])
    first, second = await read_stream(server.url)
    assert first.subject == f"infodeck.{ORGANIZATION}._.ast-1"
    assert first.body == make_copy(1, "ast-1").body
    assert dict(first.headers) == {
        "Nats-Msg-Id": "evt_1",
        "Nats-Expected-Stream": "INFODECK",
        "Gateway-Verified-By": "edge-1",
        "Gateway-Received": str(RECEIVED_MS + 1),
    }
    assert second.subject == f"infodeck.{ORGANIZATION}._.ast-%C3%BC%2E1"
    assert second.headers["Gateway-Verified-By"] == "other%20box"
    assert second.headers["Gateway-Received"] == str(RECEIVED_MS - 5)


async def test_every_event_arrives_once_and_in_order(server: NatsServer) -> None:
    """A batch has the events of many assets, of each one after the other; a batch may be one event."""
    await add_stream(server.url)
    rig = NatsRig(server.url)
    async with rig.sink:
        assert await rig.deliver(make_copies(1, 2_000, assets=7)) == 0
        assert await rig.deliver(make_copies(2_001, 2_001)) == 0
    found = by_asset(await read_stream(server.url))
    assert sorted(chain(*found.values())) == list(range(1, 2_002))
    assert all(numbers == sorted(numbers) for numbers in found.values())


async def test_a_server_killed_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    """The same batch again, once the server is back, gives every event once and in order."""
    with NatsServer(tmp_path, sync_always=True) as server:  # so that a batch takes a while
        await add_stream(server.url)
        rig = NatsRig(server.url)
        async with rig.sink:
            for first in (1, 1_501):
                delivering = asyncio.create_task(rig.deliver(make_copies(first, first + 1_499)))
                await stream_holds(server.url, first + 100)
                server.kill()
                await rig.until_state("away")
                server.start()
                assert await delivering > 0
        assert rig.status.reconnects == 2
        found = by_asset(await read_stream(server.url))
    assert all(numbers == sorted(set(numbers)) for numbers in found.values())
    assert sum(map(len, found.values())) == 3_000


async def test_a_connection_that_breaks_often_is_soon_back(server: NatsServer) -> None:
    """Where the stream accepted events, pauses do not grow, as answers may wait for the sink."""
    await add_stream(server.url)
    async with Link(server.port) as link:
        rig = NatsRig(f"nats://127.0.0.1:{link.port}")
        async with rig.sink, asyncio.timeout(60):
            for number in range(1, 11):
                await rig.deliver([make_copy(number, "ast-1")])
                await link.cut()
                await rig.until_state("away")
                await link.mend()


async def test_a_slow_connection_that_breaks(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection publishes some events, although it ends before all are through; none comes twice."""
    monkeypatch.setattr("gateway.sinks.nats.publisher._STALL_S", 1.5)
    await add_stream(server.url)
    async with Link(server.port, delay_s=0.04, chunk_bytes=1_000, breaks_after_s=2) as link:
        rig = NatsRig(f"nats://127.0.0.1:{link.port}")
        async with rig.sink:
            assert await rig.deliver(make_copies(1, 120)) > 0
    found = by_asset(await read_stream(server.url))
    assert sorted(chain(*found.values())) == list(range(1, 121))
    assert all(numbers == sorted(numbers) for numbers in found.values())


async def test_a_repeated_batch_takes_few_round_trips(server: NatsServer) -> None:
    """Over a distant link, a gateway that was killed is not held up by the events that it repeats."""
    await add_stream(server.url)
    async with Link(server.port, delay_s=0.1) as link:
        for _ in range(2):
            rig = NatsRig(f"nats://127.0.0.1:{link.port}")
            async with rig.sink, asyncio.timeout(20):
                await rig.deliver(make_copies(1, 300))  # 60 s if each waited for the one before it
    assert len(await read_stream(server.url)) == 300


async def test_a_leader_killed_under_load(tmp_path: Path) -> None:
    """With three servers, publishing goes on with the next leader; nothing is lost or out of order."""
    with NatsCluster(tmp_path) as cluster:
        await add_stream(cluster.urls, replicas=3)
        rig = NatsRig(cluster.urls)

        async def deliver() -> int:
            return sum([await rig.deliver(make_copies(first, first + 49)) for first in range(1, 2_001, 50)])

        async with rig.sink:
            leader = cluster.server(await leader_of(cluster.urls))
            delivering = asyncio.create_task(deliver())
            await stream_holds(cluster.urls, 100)
            leader.kill()
            assert await delivering > 0
            leader.start()
        found = by_asset(await read_stream(cluster.urls))
        assert set(chain(*found.values())) == set(range(1, 2_001))
        for numbers in found.values():
            assert list(dict.fromkeys(numbers)) == sorted(set(numbers))


async def test_a_repeat_of_what_one_server_has_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again, over new connections too, until most servers have the batch."""
    monkeypatch.setattr("gateway.sinks.nats.publisher._STALL_S", 0.5)
    with NatsCluster(tmp_path) as cluster:
        await add_stream(cluster.urls, replicas=3)
        leader = cluster.server(await leader_of(cluster.urls))
        others = [server for server in cluster.servers if server is not leader]
        rig = NatsRig(leader.url)
        async with rig.sink:
            await rig.deliver(make_copies(1, 5))
            for server in others:
                server.freeze()
            await rig.until_error(make_copies(6, 9), "acknowledged nothing")
            await rig.until_error(make_copies(6, 9), "duplicate message id is in process")
            for server in others:
                server.thaw()
            await rig.deliver(make_copies(6, 9))
        messages = await read_stream(cluster.urls)
        assert [message.json["id"] for message in messages] == [f"evt_{number}" for number in range(1, 10)]


async def test_no_server_at_the_start(tmp_path: Path) -> None:
    """The sink starts, says where it cannot connect, and delivers once there is a server with the stream."""
    server = NatsServer(tmp_path)
    rig = NatsRig(server.url)
    async with rig.sink:
        reason = await rig.until_error(make_copies(1, 5), "refused")
        assert reason == f"{server.url}: Connection refused"
        assert rig.status.state == "away"
        with server:
            await add_stream(server.url)
            await rig.deliver(make_copies(1, 5))
            assert len(await read_stream(server.url)) == 5


async def test_a_server_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that acknowledges nothing is left for another connection."""
    monkeypatch.setattr("gateway.sinks.nats.publisher._STALL_S", 0.5)
    with NatsServer(tmp_path) as server:
        await add_stream(server.url)
        rig = NatsRig(server.url)
        async with rig.sink:
            await rig.deliver(make_copies(1, 5))
            server.freeze()
            await rig.until_error(make_copies(6, 9), "acknowledged nothing")
            server.thaw()
            await rig.deliver(make_copies(6, 9))
        assert [message.seq for message in await read_stream(server.url)] == list(range(1, 10))


async def test_a_full_stream_keeps_the_events_waiting(server: NatsServer) -> None:
    """Events that find no room come once there is some; those before are not published again."""
    await add_stream(server.url, max_messages=30, duplicate_window_s=0.2)
    rig = NatsRig(server.url)
    async with rig.sink:
        batch = make_copies(1, 50)
        reason = await rig.until_error(batch, "full")
        assert reason == "the stream INFODECK is full (maximum messages exceeded): raise its limits"
        await asyncio.sleep(0.5)  # until the server has forgotten the ids
        await rig.until_error(batch, "full")
        before = by_asset(await read_stream(server.url))
        async with client_of(server.url) as client:
            await client.jetstream().purge_stream("INFODECK")
        await rig.deliver(batch)
    after = by_asset(await read_stream(server.url))
    assert sorted(chain(*before.values(), *after.values())) == list(range(1, 51))


async def test_a_missing_stream_says_what_to_do(server: NatsServer) -> None:
    """No stream, or one without our subjects, is named; events come once it is there."""
    rig = NatsRig(server.url)
    async with rig.sink:
        reason = await rig.until_error(make_copies(1, 5), "no stream")
        assert reason == "there is no stream INFODECK: `gateway nats setup` shows what to do"
        await add_stream(server.url, subjects="infodeck.other.>")
        reason = await rig.until_error(make_copies(1, 5), "does not take")
        assert reason.endswith(", only infodeck.other.>: `gateway nats setup` shows what to do")
        async with client_of(server.url) as client:
            await client.jetstream().delete_stream("INFODECK")
        await add_stream(server.url, stream="OTHER")
        await rig.until_error(make_copies(1, 5), "another stream than INFODECK takes infodeck.o-x._.ast-")
        async with client_of(server.url) as client:
            await client.jetstream().delete_stream("OTHER")
        await add_stream(server.url, batched=False)
        reason = await rig.until_error(make_copies(1, 5), "allow_batched")
        assert reason.endswith("INFODECK has no `allow_batched`: `gateway nats setup` shows what to do")
        async with client_of(server.url) as client:
            await client.jetstream().delete_stream("INFODECK")
        await add_stream(server.url)
        await rig.deliver(make_copies(1, 5))
    assert len(await read_stream(server.url)) == 5


async def test_an_event_without_a_stream_holds_up_those_behind_it(server: NatsServer) -> None:
    """Those before it are published once; it and those behind it come once the stream takes its subject."""
    await add_stream(server.url, subjects="infodeck.o-x._.a", duplicate_window_s=0.2)
    batch = [make_copy(1, "a"), make_copy(2, "b"), make_copy(3, "a")]
    rig = NatsRig(server.url)
    async with rig.sink:
        for _ in range(2):
            await rig.until_error(batch, "does not take infodeck.o-x._.b")
            await asyncio.sleep(0.5)  # until the server has forgotten the ids
        assert by_asset(await read_stream(server.url)) == {"a": [1]}
        async with client_of(server.url) as client:
            config = (await client.jetstream().stream_info("INFODECK")).config
            await client.jetstream().update_stream(config.evolve(subjects=["infodeck.>"]))
        await rig.deliver(batch)
    assert by_asset(await read_stream(server.url)) == {"a": [1, 3], "b": [2]}


@pytest.mark.parametrize(
    ("largest", "words"),
    [({"settings": "max_payload: 8192"}, "`max_payload`"), ({"largest_bytes": 2_000}, "max_msg_size")],
)
async def test_too_large_an_event_does_not_stop_the_others(
    tmp_path: Path, largest: dict[str, str | int], words: str
) -> None:
    """It is refused with the limit to raise; events before and after it arrive, those of its asset too."""
    with NatsServer(tmp_path, settings=str(largest.get("settings", ""))) as server:
        await add_stream(server.url, largest_bytes=int(largest.get("largest_bytes", -1)))
        batch = [make_copy(1, "a"), make_copy(2, "a", size=9_000), make_copy(3, "a"), make_copy(4, "b")]
        rig = NatsRig(server.url)
        async with rig.sink:
            with pytest.raises(RefusedError, match=words) as raised:
                await rig.sink.write(batch)
            assert [refusal.update for refusal in raised.value.refusals] == [batch[1]]
        assert by_asset(await read_stream(server.url)) == {"a": [1, 3], "b": [4]}


async def test_hostile_ids_and_names_break_no_header(server: NatsServer) -> None:
    """Line ends, long and foreign letters in ids of event and asset: each event is a message of its own."""
    await add_stream(server.url)
    ids = ["a\r\nNats-Rollup: all", " ", "\u5bbf" * 200, "evt_1", "%20"]
    assets = ["a.>", "*", "\u5bbf" * 200, "x" * 5_000, "%2A"]
    rig = NatsRig(server.url)
    async with rig.sink:
        await rig.deliver([make_copy(n, assets[n], event_id=each) for n, each in enumerate(ids)])
    found = await read_stream(server.url)
    assert sorted(message.json["id"] for message in found) == sorted(ids)
    assert all(set(message.headers) == set(found[0].headers) for message in found)
    assert {len(message.subject.split(".")) for message in found} == {4}
