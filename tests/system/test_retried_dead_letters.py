"""Dead letters of the real daemon: retried after a register or a broker refused them, or dropped."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from support.building import eventually, polled, retained
from support.daemon import telemetry
from support.edited_tables import post, running, swap, table
from support.mosquitto import Mosquitto, subscribe
from support.processes import run_gateway

from gateway.journal.lookup import read_dead_letters

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from support.daemon import Daemon
    from support.mosquitto import Subscriber

WORD = table("point: N, asset: a, from: n, modbus: {register: 4, type: uint16}")
LONG_WORD = table("point: N, asset: a, from: n, modbus: {register: 4, type: uint32}")
OTHER = table("point: M, asset: a, from: n, modbus: {register: 4, type: uint32}")
NOTHING_BUT_N = "topic readwrite #\ntopic deny gw/v1/hq/R/N\n"
EVERYTHING = "topic readwrite #\n"


def deadletters(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command on the daemon's settings."""
    action, *others = arguments
    return run_gateway("deadletters", action, "-c", daemon.config, *others)


def letters(daemon: Daemon) -> dict[int, tuple[str, str]]:
    """Return sink and reason of the dead letters in the journal."""
    found = read_dead_letters(daemon.folder / "journal.db")
    return {number: (letter.sink, letter.reason) for number, letter in found.items()}


async def refused(daemon: Daemon, *values: int) -> None:
    """Post values, each of which becomes a dead letter."""
    for count, value in enumerate(values, len(letters(daemon)) + 1):
        await post(daemon, f"evt_{value}", n=value)
        await asyncio.to_thread(eventually, lambda: len(letters(daemon)), count)


async def test_a_retry_succeeds_after_the_table_was_corrected(tmp_path: Path, broker: Mosquitto) -> None:
    """Before that it is refused again."""
    with running(tmp_path, broker, WORD) as daemon:
        await refused(daemon, 70000)
        assert letters(daemon)[1][0] == "regs"
        again = deadletters(daemon, "retry", "1")
        assert again.returncode == 1
        assert again.stdout.startswith(
            "1: R/N is refused again, now as dead letter 2: unit 1, input 4: 70000"
        )
        assert list(letters(daemon)) == [2]
        await swap(daemon, LONG_WORD)
        done = deadletters(daemon, "retry", "--all")
        assert (done.returncode, done.stdout) == (0, "2: R/N is delivered to regs\n")
        assert letters(daemon) == {}
        assert polled(daemon.modbus_port, 4, "3:int") == "70000"
        assert deadletters(daemon, "list").stdout == "There are no dead letters.\n"
        await asyncio.to_thread(eventually, lambda: daemon.status()["journal"]["dead_letters"], 0)


async def test_a_dead_letter_of_a_removed_point_stays(tmp_path: Path, broker: Mosquitto) -> None:
    """The command prints the reason."""
    with running(tmp_path, broker, WORD) as daemon:
        await refused(daemon, 70000)
        await swap(daemon, OTHER)
        done = deadletters(daemon, "retry", "1")
        assert done.returncode == 1
        assert done.stdout.startswith("1: nothing done: ")
        assert "R/N" in done.stdout
        assert list(letters(daemon)) == [1]


async def test_a_retried_event_goes_to_all_sinks(tmp_path: Path, broker: Mosquitto) -> None:
    """It could not be mapped before a table named the place of its readings."""
    thing = {"assetId": "a", "vendor": {"n": 70000}}
    with running(tmp_path, broker, LONG_WORD) as daemon:
        event = json.loads(telemetry("evt_1", "a", {}))
        event["data"]["object"] = thing
        assert daemon.post(json.dumps(event).encode())[0] == 200
        await asyncio.to_thread(eventually, lambda: [sink for sink, _ in letters(daemon).values()], [""])
        untouched = deadletters(daemon, "retry", "--sink", "mapping")
        assert (untouched.returncode, list(letters(daemon))) == (1, [1])
        await swap(daemon, LONG_WORD.replace("from: n", "from: $.data.object.vendor.n"))
        done = deadletters(daemon, "retry", "--sink", "mapping")
        assert (done.returncode, done.stdout) == (0, "1: event evt_1 is delivered to the sinks\n")
        assert letters(daemon) == {}
        assert polled(daemon.modbus_port, 4, "3:int") == "70000"
        assert retained(broker.port, "gw/v1/hq/R/N")["value"] == 70000


def values(subscriber: Subscriber, topic: str) -> set[int]:
    """Return what was published on the topic that ends like this."""
    return {seen.json["value"] for seen in subscriber.seen if seen.topic.endswith(topic)}


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Return the file with the topics that the broker allows."""
    path = tmp_path / "rules"
    path.write_text(NOTHING_BUT_N)
    return path


@pytest.fixture
def strict_broker(tmp_path: Path, rules: Path) -> Iterator[Mosquitto]:
    """Run mosquitto with these rules."""
    with Mosquitto(tmp_path, "allow_anonymous true", f"acl_file {rules}") as mosquitto:
        yield mosquitto


async def test_a_retried_dead_letter_survives_a_kill(
    tmp_path: Path, strict_broker: Mosquitto, rules: Path
) -> None:
    """It was retried while the broker was away, and is still stored.

    Retried again once the broker allows the topic, all readings arrive: the newest is live, the older one
    history.
    """
    with running(tmp_path, strict_broker, table("point: N, asset: a, from: n")) as daemon:
        await refused(daemon, 1, 2)
        strict_broker.kill()
        await post(daemon, "evt_3", n=3)  # so that the sink misses the broker
        await asyncio.to_thread(eventually, lambda: daemon.status()["sinks"]["bms"]["state"], "away")
        waiting = await asyncio.to_thread(deadletters, daemon, "retry", "--all")
        assert waiting.returncode == 1
        assert waiting.stdout.startswith("1: R/N waits for bms, which is away: ")
        daemon.kill()
        assert list(letters(daemon)) == [1, 2]
        await asyncio.to_thread(rules.write_text, EVERYTHING)
        strict_broker.start()
        async with subscribe(strict_broker.port) as subscriber:
            daemon.start()
            done = await asyncio.to_thread(deadletters, daemon, "retry", "--all")
            assert (done.returncode, letters(daemon)) == (0, {})
            await subscriber.wait_for(lambda: values(subscriber, "/R/N/$history") >= {1, 2})
            assert values(subscriber, "/R/N") == {3}


async def test_a_drop_is_durable(tmp_path: Path, broker: Mosquitto) -> None:
    """A kill after the command's answer changes nothing."""
    with running(tmp_path, broker, WORD) as daemon:
        await refused(daemon, 70000, 80000)
        assert deadletters(daemon, "drop", "2").stdout == "2: forgotten\n"
        daemon.kill()
        assert list(letters(daemon)) == [1]
        daemon.start()
        assert daemon.status()["journal"]["dead_letters"] == 1
        await refused(daemon, 90000)
        assert list(letters(daemon)) == [1, 3]
        assert deadletters(daemon, "drop", "2").returncode == 1
