"""What the doctor says of streams, consumers and permissions that are weaker than they should be."""

from __future__ import annotations

import asyncio
import copy
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.daemon import ORGANIZATION
from support.nats_commands import CONSUMER, STREAM, NatsFiles
from support.nats_servers import NatsServer, UserKey, add_stream
from support.ports import free_port

from gateway.doctor.stream_checks import consumer_findings, stream_findings

if TYPE_CHECKING:
    from pathlib import Path

DAY_NS = 86_400_000_000_000
NOW_MS = 1_790_000_000_000
_AUTOMATIC_TABLE = """\
schema: gateway.points/1
site: hq
templates:
  iaq: {match: {asset_type: at-iaq}, auto: true, points: {ZN-T: {from: temperature, unit: degC}}}
"""
OURS = f"infodeck.{ORGANIZATION}.>"


def time_text(days_ago: float) -> str:
    """Return a time as servers write it."""
    return (
        (datetime.fromtimestamp(NOW_MS / 1000, UTC) - timedelta(days=days_ago))
        .isoformat()
        .replace("+00:00", "Z")
    )


HEALTHY: dict[str, Any] = {
    "config": {
        "name": STREAM,
        "subjects": [OURS],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "allow_batched": True,
        "duplicate_window": 120 * 10**9,
        "max_age": 7 * DAY_NS,
        "max_bytes": 10 << 30,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "num_replicas": 3,
    },
    "state": {"messages": 1_000_000, "bytes": 1 << 30, "first_ts": time_text(2), "last_ts": time_text(0)},
    "cluster": {
        "leader": "nats-1",
        "replicas": [{"name": "nats-2", "current": True}, {"name": "nats-3", "current": True}],
    },
}


def found_in(**changes: Any) -> list[tuple[str, str, str]]:
    """Return the findings about a stream whose keys differ from the healthy one."""
    stream = copy.deepcopy(HEALTHY)
    for key, value in changes.items():
        section = next((part for part in stream.values() if key in part), stream["config"])
        section[key] = value
    findings = stream_findings(
        "sinks.fan: stream INFODECK",
        stream,
        organization=ORGANIZATION,
        journal_ms=7 * 86_400_000,
        now_ms=NOW_MS,
    )
    return [(finding.level.value, finding.found, finding.remedy or "") for finding in findings]


def test_a_healthy_stream() -> None:
    """One line says what it has, and for how long a building may be away."""
    ((level, found, _),) = found_in()
    assert level == "ok"
    assert found.endswith("1,000,000 events, 3 replicas; a building may be away for 7d")


@pytest.mark.parametrize(
    ("changes", "level", "says", "advises"),
    [
        ({"subjects": ["other.>"]}, "problem", f"does not take {OURS}", "nats setup"),
        ({"allow_batched": False}, "problem", "has no `allow_batched`: events wait", "nats setup"),
        ({"storage": "memory"}, "problem", "lost when its servers restart", "make another stream"),
        ({"retention": "interest"}, "problem", "may be missing for another one", "make another stream"),
        ({"discard": "old"}, "problem", "deletes its oldest events when it is full", "refuses new events"),
        ({"max_msgs_per_subject": 1}, "problem", "older ones are deleted", "nats setup"),
        ({"no_ack": True}, "problem", "acknowledges nothing", "nats setup"),
        ({"num_replicas": 1}, "warning", "while its server is away nothing is accepted", "three servers"),
        ({"leader": ""}, "problem", "has no leader", "start the servers"),
        (
            {"replicas": [{"name": "nats-2", "offline": True}]},
            "warning",
            "nats-2 is away or behind",
            "start that server",
        ),
        ({"max_age": 0, "max_bytes": -1}, "warning", "grows until the disk of a server is full", "--max-age"),
        (
            {"max_age": DAY_NS},
            "warning",
            "keeps events for 24h: a building that is away for longer",
            "--max-age",
        ),
        ({"max_age": 14 * DAY_NS}, "warning", "the intake's journal for 7d only", "journal.retention to 14d"),
        ({"max_bytes": 1100 << 20}, "problem", "has 93 % of its 1.1GiB", "--max-bytes"),
        ({"max_bytes": 2 << 30}, "warning", "would need 3.5GiB for 7d", "--max-bytes"),
        ({"duplicate_window": 10**9}, "warning", "for 1s only", "nats setup"),
        ({"duplicate_window": 2 * DAY_NS}, "warning", "takes 129MiB of each server's memory", "two minutes"),
    ],
)
def test_a_weaker_stream(changes: dict[str, Any], level: str, says: str, advises: str) -> None:
    """Each weakness is one finding: what is wrong, what it risks, and what to do."""
    ((found_level, found, remedy),) = found_in(**changes)
    assert found_level == level
    assert says in found
    assert advises in remedy


@pytest.mark.parametrize(
    ("pending", "active_days_ago", "level", "says"),
    [
        (12, 0.1, "ok", "12 events wait for this box"),
        (60_000, 0.1, "warning", "60,000 events wait for this box"),
        (
            5,
            9.0,
            "problem",
            "it has fetched nothing for 9d, and the stream keeps events for 7d: older ones are gone",
        ),
    ],
)
def test_an_edge_that_is_behind(pending: int, active_days_ago: float, level: str, says: str) -> None:
    """Events that wait are counted; those that were deleted before it fetched them are a problem."""
    consumer = {
        "num_pending": pending,
        "num_ack_pending": 0,
        "ack_floor": {"last_active": time_text(active_days_ago)},
    }
    (finding,) = consumer_findings("source: consumer hq", consumer, HEALTHY, now_ms=NOW_MS)
    assert finding.level == level
    assert says in finding.found


def test_requests_of_two_boxes() -> None:
    """More than one request that waits means that more than one box reads the consumer."""
    consumer = {"num_pending": 0, "num_ack_pending": 0, "num_waiting": 2}
    (finding,) = consumer_findings("source: consumer hq", consumer, HEALTHY, now_ms=NOW_MS)
    assert finding.level == "problem"
    assert "2 requests for events wait there, and one box has only one" in finding.found


def test_what_is_absent_and_what_differs(tmp_path: Path) -> None:
    """By a real server: no stream, no consumer, then one with other subjects."""
    with NatsServer(tmp_path) as server:
        files = NatsFiles(tmp_path, [server.url])
        assert files.findings("intake", "NATS stream")[0][:2] == (
            "problem",
            "sinks.fan: stream INFODECK does not exist: events wait in the journal",
        )
        asyncio.run(add_stream(server.url))
        assert files.findings("edge", "NATS stream")[0][1].endswith("no event comes")
        files.setup("edge", "--apply")
        files.subjects = [f"infodeck.{ORGANIZATION}.annex.>"]
        files.write()
        found = [found for level, found, _ in files.findings("edge", "NATS stream") if level == "problem"]
        assert len(found) == 1
        assert f"infodeck.{ORGANIZATION}.hq.> -> infodeck.{ORGANIZATION}.annex.>" in found[0]


def test_an_edge_without_a_way_to_infodeck(tmp_path: Path) -> None:
    """It needs neither key nor way, so nobody is asked for one; an intake is, and an edge with `auto`."""
    files = NatsFiles(tmp_path, [f"nats://127.0.0.1:{free_port()}"])
    closed = f"http://127.0.0.1:{free_port()}"
    files.sections = {"infodeck": {"organization": ORGANIZATION, "api": closed}}
    files.write()

    def levels(box: str) -> dict[str, list[str]]:
        shown = json.loads(files.run(box, "doctor", "--format", "json").stdout)["findings"]
        return {
            check: [finding["level"] for finding in shown if finding["check"] == check]
            for check in ("API", "API key")
        }

    assert levels("edge") == {"API": ["ok"], "API key": ["ok"]}
    assert levels("intake") == {"API": ["warning"], "API key": ["warning"]}
    (tmp_path / "mappings" / "auto.yaml").write_text(_AUTOMATIC_TABLE)
    assert levels("edge")["API key"] == ["warning"]


def test_permissions(tmp_path: Path) -> None:
    """A box that may do anything is a warning; one with its own consumer only is none.

    An intake that may not publish is a problem.
    """
    edge, intake, reader = UserKey(), UserKey(), UserKey()
    own = f"$JS.API.CONSUMER.*.{STREAM}.{CONSUMER}"
    looks = '"$JS.API.STREAM.INFO.>", "$SYS.REQ.USER.INFO"'
    settings = f"""authorization {{users: [
      {{nkey: {edge.public}, permissions: {{
        publish: ["{own}", "$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}", "$SYS.REQ.USER.INFO"],
        subscribe: "_INBOX.{CONSUMER}.>"}}}},
      {{nkey: {intake.public}}},
      {{nkey: {reader.public}, permissions: {{publish: [{looks}]}}}}]}}"""
    with NatsServer(tmp_path, settings=settings) as server:
        files = NatsFiles(tmp_path, [server.url])

        def findings(box: str, key: UserKey) -> list[tuple[str, str, str]]:
            seed = tmp_path / "seed"
            seed.touch(mode=0o600)
            seed.write_text(key.seed)
            files.more = {"nkey": {"file": "seed"}}
            files.write()
            return files.findings(box, "NATS stream")

        findings("intake", intake)
        assert files.setup("intake", "--replicas", "1", "--apply").returncode == 0
        assert files.setup("edge", "--apply").returncode == 0
        assert [level for level, _, _ in findings("edge", edge)] == ["ok"]
        (danger,) = [found for level, found, _ in findings("edge", intake) if level == "warning"]
        assert "may publish events and read every building's events" in danger
        (wrong,) = [found for level, found, _ in findings("intake", reader) if level == "problem"]
        assert f"this user may not publish to {OURS}" in wrong


def test_an_account_without_jetstream(tmp_path: Path) -> None:
    """JetStream's refusal is a problem in its own words."""
    accounts = "accounts {A: {users: [{user: a, password: b}]}}\nno_auth_user: a"
    with NatsServer(tmp_path, settings=accounts) as server:
        files = NatsFiles(tmp_path, [server.url])
        for box in ("intake", "edge"):
            ((level, found, _),) = files.findings(box, "NATS stream")
            assert level == "problem"
            assert "stream INFODECK: JetStream" in found


def test_servers_that_are_away_or_sync_rarely(tmp_path: Path) -> None:
    """The server that cannot be reached is named; a rare sync_interval says what it risks."""
    away = f"nats://127.0.0.1:{free_port()}"
    with NatsServer(tmp_path) as server:
        files = NatsFiles(
            tmp_path, [server.url, away], more={"monitor": [server.monitor, "http://127.0.0.1:1"]}
        )
        found = {found: (level, remedy) for level, found, remedy in files.findings("intake", "NATS servers")}
        assert f"sinks.fan: {server.url} runs nats-server 2.15.1" in found
        assert found[f"sinks.fan: {away}: Connection refused"][0] == "warning"
        rare = next(each for each in found if "sync_interval is 2m" in each)
        assert "sync_interval: always" in found[rare][1]
        assert any(
            each.startswith("sinks.fan.monitor: http://127.0.0.1:1 can't be reached") for each in found
        )
    files = NatsFiles(tmp_path, [away])
    ((level, _, remedy), (note, unread, _)) = files.findings("intake", "NATS servers")
    assert (level, note) == ("problem", "ok")
    assert "Events are kept until it is back" in remedy
    assert "sync_interval is not looked at" in unread
