"""`/metrics` of the real daemon, read as Prometheus reads it."""

from __future__ import annotations

import asyncio
import subprocess
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.daemon import Daemon, sign, telemetry
from support.mosquitto import Mosquitto
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOM = "ast-a1b2c3d4"


@contextmanager
def running(folder: Path) -> Iterator[Daemon]:
    """Run a daemon with a broker and the example tables."""
    with Mosquitto(folder) as broker:
        gateway = Daemon(folder, broker.port)
        gateway.start()
        yield gateway
        gateway.kill()


@pytest.fixture
def new_daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Run a daemon for one test, whose counters begin at 0."""
    with running(tmp_path) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Run one daemon for the other tests."""
    with running(tmp_path_factory.mktemp("metrics")) as gateway:
        yield gateway


def scrape(daemon: Daemon, accept: str = "") -> tuple[str, str]:
    """Return the text and its content type."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{daemon.admin_port}/metrics", headers={"Accept": accept}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode(), answer.headers["Content-Type"]


def samples(daemon: Daemon) -> dict[str, float]:
    """Return every sample, named like `gateway_sink_up{sink=bms}`."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(scrape(daemon)[0]):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def test_what_happens_to_events_is_counted(new_daemon: Daemon) -> None:
    """Answers, refusals, duplicates, mapped and unmapped events, and updates written by each sink."""
    assert new_daemon.post(telemetry("evt_1", ROOM, {"temperature": 21.5}))[0] == 200
    assert new_daemon.post(telemetry("evt_1", ROOM, {"temperature": 21.5}))[0] == 200
    assert new_daemon.post(telemetry("evt_2", "ast-unknown", {"temperature": 1}))[0] == 200
    assert new_daemon.post(telemetry("evt_3", ROOM, {"temperature": 9}), "t=1,v1=00")[0] == 401
    await until(lambda: samples(new_daemon)["gateway_sink_written_updates_total{sink=bms}"] > 0)
    await until(lambda: samples(new_daemon)["gateway_sink_lag_events{sink=regs}"] == 0)
    samples_now = samples(new_daemon)
    expected = {
        "gateway_ready": 1,
        "gateway_intake_requests_total{code=200}": 3,
        "gateway_intake_requests_total{code=401}": 1,
        "gateway_intake_refused_total{reason=malformed}": 1,
        "gateway_journal_up": 1,
        "gateway_journal_events_total": 2,
        "gateway_journal_duplicates_total": 1,
        "gateway_mapping_events_total{outcome=mapped}": 1,
        "gateway_mapping_events_total{outcome=unmapped}": 1,
        "gateway_points{quality=good}": samples_now["gateway_points{quality=good}"],
        "gateway_sink_up{sink=bms}": 1,
        "gateway_sink_up{sink=regs}": 1,
        "gateway_tables_up": 1,
        "gateway_alarm{alarm=webhook-missed}": 0,
    }
    assert {name: samples_now.get(name) for name in expected} == expected
    assert samples_now["gateway_points{quality=good}"] >= 1
    assert samples_now["gateway_journal_limit_bytes"] == 2 << 30
    shown = sum(value for name, value in samples_now.items() if name.startswith("gateway_points{"))
    assert shown == new_daemon.status()["tables"]["points"]


async def test_commits_are_timed(daemon: Daemon) -> None:
    """The buckets of the histogram add up to its count."""
    for number in range(5):
        assert daemon.post(telemetry(f"evt_{number}", ROOM, {"temperature": 20 + number}))[0] == 200
    samples_now = samples(daemon)
    name = "gateway_journal_commit_seconds"
    buckets = [value for sample, value in samples_now.items() if sample.startswith(f"{name}_bucket")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == samples_now[f"{name}_count"] >= 5
    assert 0 < samples_now[f"{name}_sum"] < 60


def test_names_follow_prometheus_conventions(daemon: Daemon) -> None:
    """`promtool check metrics` has no objection."""
    text, content_type = scrape(daemon)
    assert content_type.startswith("text/plain")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_open_metrics_is_available(daemon: Daemon) -> None:
    """It has an end mark, so that half an answer is noticed."""
    text, content_type = scrape(daemon, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


async def test_alarms_and_absent_sinks_have_metrics(tmp_path: Path) -> None:
    """Alerts can watch both."""
    broker = Mosquitto(tmp_path)
    daemon = Daemon(tmp_path, broker.port)
    daemon.start()
    try:
        for number in range(4):
            body = telemetry(f"evt_{number}", ROOM, {"temperature": 20})
            assert daemon.post(body, sign(body, secret="another"))[0] == 401
        assert samples(daemon)["gateway_sink_up{sink=bms}"] == 0
        await until(lambda: samples(daemon)["gateway_alarm{alarm=signature-failing}"] == 1)
        await asyncio.to_thread(daemon.stop)
    finally:
        daemon.kill()


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text; version=new", "text/plain; version=;", "-"]
)
def test_an_invalid_accept_header_gets_the_oldest_format(daemon: Daemon, accept: str) -> None:
    """It is answered with 200, and nothing is logged."""
    text, content_type = scrape(daemon, accept)
    assert "gateway_ready 1.0" in text
    assert content_type.startswith("text/plain")
    assert "Traceback" not in daemon.log
