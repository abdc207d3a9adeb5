"""`gateway retained`: the retained topics of a retired sink are listed and cleared."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support.building import eventually
from support.commands import gateway
from support.daemon import Daemon, telemetry
from support.mosquitto import Mosquitto, subscribe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLD = '  old: {type: mqtt, url: "mqtt://127.0.0.1:%d", prefix: old/v1, home_assistant: {}}\n'
TOPIC = "hq-tower/L03-RM312/ZN-T"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """Run a broker."""
    with Mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
def daemon(tmp_path: Path, broker: Mosquitto) -> Iterator[Daemon]:
    """Run a gateway whose settings had a sink `old` until its last restart."""
    daemon = Daemon(tmp_path, broker.port)
    now = daemon.config.read_text()
    daemon.config.write_text(now.replace("sinks:\n", "sinks:\n" + OLD % broker.port))
    daemon.start()
    try:
        assert daemon.post(telemetry("evt_1", "ast-a1b2c3d4", {"temperature": 21.5}))[0] == 200
        eventually(lambda: f"old/v1/{TOPIC}" in retained(broker), expected=True)
        eventually(lambda: f"gw/v1/{TOPIC}/$meta" in retained(broker), expected=True)
        daemon.stop()
        daemon.config.write_text(now)
        daemon.start()
        yield daemon
    finally:
        daemon.kill()


def retained(broker: Mosquitto) -> set[str]:
    """Return the topics with a retained message, apart from whether gateways run."""

    async def look() -> set[str]:
        async with subscribe(broker.port) as late:
            return {message.topic for message in (*late.seen, *late.meta) if message.payload}

    return asyncio.run(look())


def is_old(topic: str) -> bool:
    """Return whether a topic belonged to the retired sink."""
    return topic.startswith(("old/v1/", "homeassistant/"))


def test_topics_of_a_retired_sink_are_cleared(daemon: Daemon, broker: Mosquitto) -> None:
    """Values, metadata, alarms, status and entities are listed first, and cleared with --yes."""
    before = retained(broker)
    left = {topic for topic in before if is_old(topic)}
    assert {f"old/v1/{TOPIC}", "old/v1/$gateway/test-box/status"} < left
    listed = gateway("retained", "list", "-c", daemon.config, "old").stdout.splitlines()
    assert set(listed) >= left
    asked = gateway("retained", "clear", "-c", daemon.config, "old", "--via", "bms")
    assert (asked.returncode, asked.stdout.splitlines()) == (1, listed)
    assert asked.stderr == f"{len(listed)} topics to be cleared at {broker.url}: add --yes\n"
    assert retained(broker) >= before
    done = gateway("retained", "clear", "-c", daemon.config, "old", "--via", "bms", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"{len(listed)} topics of old cleared at {broker.url}\n")
    after = retained(broker)
    assert after >= before - left
    assert not any(map(is_old, after))
    names = [line.split()[0] for line in gateway("retained", "list", "-c", daemon.config).stdout.splitlines()]
    assert names == ["sink", "bms"]


def test_topics_of_a_renamed_sink_stay(daemon: Daemon, broker: Mosquitto) -> None:
    """Only topics that no present sink uses are cleared."""
    daemon.stop()
    daemon.config.write_text(daemon.config.read_text().replace("  bms:", "  main:"))
    daemon.start()
    eventually(lambda: "main" in gateway("retained", "list", "-c", daemon.config).stdout, expected=True)
    before = retained(broker)
    done = gateway("retained", "clear", "-c", daemon.config, "bms", "--via", "main", "--yes")
    assert done.returncode == 0
    assert f"gw/v1/{TOPIC}" in before
    assert retained(broker) >= before


def test_wrong_names_are_errors(daemon: Daemon) -> None:
    """A present sink, an unknown one, and a broker without a sink."""
    clear = ("retained", "clear", "-c", daemon.config)
    assert "bms is in the settings: it clears by itself" in gateway(*clear, "bms", "--via", "bms").stderr
    assert "did you mean `old`?" in gateway(*clear, "olt", "--via", "bms").stderr
    listed = gateway("retained", "list", "-c", daemon.config, "regs")
    assert listed.stderr.endswith("regs has left nothing\n")
    assert "--via regs: the name of an MQTT sink" in gateway(*clear, "old", "--via", "regs").stderr
    with_old = daemon.config.read_text()
    daemon.stop()
    daemon.config.write_text(with_old.replace("sinks:\n", "sinks:\n" + OLD % daemon.broker_port))
    daemon.start()
    daemon.config.write_text(with_old)
    assert "the gateway still runs with old" in gateway(*clear, "old", "--via", "bms", "--yes").stderr
