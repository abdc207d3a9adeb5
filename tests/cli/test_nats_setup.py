"""`gateway nats setup` against real servers: what it shows, what it changes, and what it leaves alone."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest
from support.daemon import ORGANIZATION
from support.nats_commands import STREAM, NatsFiles, ask
from support.nats_servers import NatsCluster, NatsServer, UserKey, add_stream, client_of
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OURS = f"infodeck.{ORGANIZATION}.>"
DAY_NS = 86_400_000_000_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """Run one server."""
    with NatsServer(tmp_path) as running:
        yield running


def config(server: NatsServer) -> dict[str, Any] | None:
    """Return the stream's configuration as the server has it."""
    answer = asyncio.run(ask(server.url, f"STREAM.INFO.{STREAM}"))
    return answer.get("config")


def test_nothing_is_changed_without_apply(tmp_path: Path, server: NatsServer) -> None:
    """It shows what it would do, does it with --apply, and then finds nothing more to do."""
    files = NatsFiles(tmp_path, [server.url])
    shown = files.setup("intake", "--replicas", "1")
    assert shown.returncode == 1
    assert shown.stdout.startswith("stream INFODECK: not there yet\n")
    assert f"  subjects              {OURS}\n" in shown.stdout
    assert config(server) is None
    assert files.setup("intake", "--replicas", "1", "--max-bytes", "1GiB", "--apply").returncode == 0
    made = config(server)
    assert made is not None
    assert (made["subjects"], made["storage"], made["discard"]) == ([OURS], "file", "new")
    assert made["allow_batched"] is True
    assert (made["max_age"], made["max_bytes"], made["duplicate_window"]) == (
        7 * DAY_NS,
        1 << 30,
        120 * 10**9,
    )
    again = files.setup("intake", "--replicas", "1")
    assert (again.returncode, again.stdout) == (0, "stream INFODECK: as it should be\n")


def test_what_deletes_events_needs_a_second_word(tmp_path: Path, server: NatsServer) -> None:
    """A shorter age is refused with what it loses, until --narrow is given."""
    files = NatsFiles(tmp_path, [server.url])
    files.setup("intake", "--replicas", "1", "--apply")
    refused = files.setup("intake", "--replicas", "1", "--max-age", "1d", "--apply")
    assert refused.returncode == 1
    assert "max_age  7d -> 24h  older events are deleted at once" in refused.stdout
    assert "--narrow allows it" in refused.stderr
    assert (config(server) or {})["max_age"] == 7 * DAY_NS
    assert files.setup("intake", "--replicas", "1", "--max-age", "1d", "--apply", "--narrow").returncode == 0
    assert (config(server) or {})["max_age"] == DAY_NS
    assert files.setup("intake", "--replicas", "1", "--max-age", "2d", "--apply").returncode == 0


def test_a_stream_that_is_there_keeps_what_it_has(tmp_path: Path, server: NatsServer) -> None:
    """Only what could lose events is changed: subjects are added, and other keys stay.

    Other programs may rely on a stream that deletes its oldest events when full: that needs --narrow.
    """
    there: dict[str, Any] = {
        "name": STREAM,
        "subjects": ["other.>"],
        "storage": "file",
        "retention": "limits",
    }
    there |= {
        "discard": "old",
        "description": "of us all",
        "max_age": 3 * DAY_NS,
        "max_msgs": 5000,
        "metadata": {"a": "b"},
    }
    asyncio.run(ask(server.url, f"STREAM.CREATE.{STREAM}", there))
    files = NatsFiles(tmp_path, [server.url])
    refused = files.setup("intake", "--replicas", "1", "--apply")
    assert refused.returncode == 1
    assert re.search(
        r"discard +old -> new +a full stream then refuses new events, of other programs too", refused.stdout
    )
    assert (config(server) or {})["discard"] == "old"
    assert files.setup("intake", "--replicas", "1", "--apply", "--narrow").returncode == 0
    made = config(server) or {}
    assert (made["subjects"], made["discard"], made["max_msgs"]) == (["other.>", OURS], "new", -1)
    assert made["allow_batched"] is True
    assert (made["description"], made["max_age"], made["metadata"]["a"]) == ("of us all", 3 * DAY_NS, "b")


def test_wider_subjects_are_enough(tmp_path: Path, server: NatsServer) -> None:
    """A stream for all organizations needs no subject of ours."""
    asyncio.run(add_stream(server.url))
    done = NatsFiles(tmp_path, [server.url]).setup("intake", "--replicas", "1")
    assert "subjects" not in done.stdout.replace("max_msgs_per_subject", "")


def test_what_cannot_be_changed_is_said(tmp_path: Path, server: NatsServer) -> None:
    """A stream in memory stays as it is, and the advice is to make another one."""
    there = {"name": STREAM, "subjects": [OURS], "storage": "memory"}
    asyncio.run(ask(server.url, f"STREAM.CREATE.{STREAM}", there))
    done = NatsFiles(tmp_path, [server.url]).setup("intake", "--replicas", "1", "--apply", "--narrow")
    assert done.returncode == 1
    assert "make another stream, and name it in the settings instead of INFODECK" in done.stderr
    assert (config(server) or {})["discard"] == "old"


def test_an_edge_gets_its_consumer(tmp_path: Path, server: NatsServer) -> None:
    """The stream comes first; a subject that is added is noted, one that goes needs --narrow."""
    files = NatsFiles(tmp_path, [server.url])
    assert "first run this with an intake's settings" in files.setup("edge", "--apply").stderr
    files.setup("intake", "--replicas", "1", "--apply")
    assert "consumer hq: not there yet" in files.setup("edge").stdout
    assert files.setup("edge", "--apply").returncode == 0
    assert files.setup("edge").stdout == "stream INFODECK, consumer hq: as it should be\n"
    files.subjects = [*files.subjects, f"infodeck.{ORGANIZATION}.annex.>"]
    files.write()
    more = files.setup("edge", "--apply")
    assert "events that the consumer has passed already do not come" in more.stdout
    files.subjects = files.subjects[1:]
    files.write()
    fewer = files.setup("edge", "--apply")
    assert f"events of infodeck.{ORGANIZATION}.hq.> come no more" in fewer.stdout
    assert fewer.returncode == 1
    assert files.setup("edge", "--apply", "--narrow").returncode == 0
    made = asyncio.run(ask(server.url, f"CONSUMER.INFO.{STREAM}.hq"))["config"]
    assert made["filter_subjects"] == list(files.subjects)
    assert (made["ack_policy"], made["deliver_policy"], made["max_ack_pending"]) == ("explicit", "all", 500)


def test_a_user_who_may_not(tmp_path: Path) -> None:
    """The missing permission is named; --nkey and --credentials name another user's file."""
    key, other = UserKey(), UserKey()
    allowed = 'publish: ["infodeck.>", "$JS.API.STREAM.INFO.>"], subscribe: "_INBOX.>"'
    users = f"{{nkey: {key.public}, permissions: {{{allowed}}}}}, {{nkey: {other.public}}}"
    for name, seed in (("seed", key.seed), ("other", other.seed)):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(seed)
    with NatsServer(tmp_path, settings=f"authorization {{users: [{users}]}}") as server:
        files = NatsFiles(tmp_path, [server.url], more={"nkey": {"file": "seed"}})
        done = files.setup("intake", "--apply")
        assert "the user may not publish to $JS.API.STREAM.CREATE.INFODECK" in done.stderr
        absent = files.setup("intake", "--apply", "--credentials", str(tmp_path / "none"))
        assert f"{tmp_path}/none" in absent.stderr
        by_other = files.setup("intake", "--replicas", "1", "--apply", "--nkey", str(tmp_path / "other"))
        assert by_other.returncode == 0, by_other.stderr


def test_no_server_and_no_nats(tmp_path: Path) -> None:
    """A server that is away is named, as are settings without NATS."""
    port = free_port()
    done = NatsFiles(tmp_path, [f"nats://127.0.0.1:{port}"]).setup("intake")
    assert done.returncode == 1
    assert f"nats://127.0.0.1:{port}: Connection refused" in done.stderr
    files = NatsFiles(tmp_path, [f"nats://127.0.0.1:{port}"], sections={"sinks": {}})
    assert "have no sink and no source of type nats" in files.setup("intake").stderr


def test_three_servers_have_each_event(tmp_path: Path) -> None:
    """By default, a stream has three replicas, and the doctor finds nothing to say against it.

    With one server away, it says so: one more, and nothing is accepted.
    """
    with NatsCluster(tmp_path, sync_always=True) as cluster:
        more = {"monitor": [server.monitor for server in cluster.servers]}
        journal = {"url": f"sqlite://{tmp_path}/intake.db", "retention": "7d"}
        files = NatsFiles(tmp_path, cluster.urls, more=more, sections={"journal": journal})
        for _ in range(50):
            if (done := files.setup("intake", "--max-age", "7d", "--apply")).returncode == 0:
                break
        assert done.returncode == 0, done.stderr
        levels = [level for level, _, _ in files.findings("intake", "NATS servers")]
        assert levels == ["ok"] * 6
        asyncio.run(_leader(cluster))
        found = files.findings("intake", "NATS stream")
        assert found == [
            ("ok", "sinks.fan: stream INFODECK: 0 events, 3 replicas; a building may be away for 7d", "")
        ]
        cluster.servers[2].kill()
        away = [found for level, found, _ in files.findings("intake", "NATS servers") if level == "warning"]
        assert len(away) == 2  # its port, and its monitoring port
        assert away[0].startswith(f"sinks.fan: {cluster.servers[2].url}: ")


async def _leader(cluster: NatsCluster) -> None:
    async with asyncio.timeout(60), client_of(cluster.urls) as client:
        while True:
            info = await client.jetstream().stream_info(STREAM)
            peers = (info.cluster and info.cluster.replicas) or []
            if len(peers) == 2 and all(peer.current for peer in peers):
                return
            await asyncio.sleep(0.1)
