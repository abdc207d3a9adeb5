"""A clock that is set while the gateway runs or is stopped, as controllers and monitors see it."""

from __future__ import annotations

import asyncio
import struct
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from support import gateway_with_clock
from support.commands import gateway
from support.daemon import Daemon
from support.edited_tables import post, until
from support.modbus_fixtures import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.modbus_fixtures import Client
    from support.mosquitto import Mosquitto

DAY_S = 24 * 3600
TABLE = """\
schema: gateway.points/1
site: hq
defaults: {stale_after: STALE_AFTER, modbus: {to: regs, table: input}}
points:
  - {tag: R, point: T, asset: a, from: t, modbus: {register: 0, type: uint16}}
  - {tag: R, point: QUAL, asset: a, from: $quality, modbus: {register: 1, type: uint16}}
  - {tag: R, point: AGE, asset: a, from: $age, modbus: {register: 2, type: uint32}}
system: {heartbeat: {every: 1s, modbus: {to: regs, register: 4, type: uint16}}}
"""
FRESH = 21
EMPTY = 0xFFFF
NO_AGE = 0xFFFF_FFFF
GOOD, STALE, FORCED = 0, 2, 4


class ClockedDaemon(Daemon):
    """A daemon whose wall clock is set by `set_clock`."""

    def set_clock(self, *, ahead_s: int) -> None:
        """Set the wall clock so many seconds ahead of the true time; negative: behind."""
        file = self.folder / "clock"
        file.touch()
        with file.open("r+b") as opened:
            opened.write(struct.pack("<q", ahead_s * 1000))


@pytest.fixture
def daemon(tmp_path: Path, broker: Mosquitto, request: pytest.FixtureRequest) -> Iterator[ClockedDaemon]:
    """Run a gateway with the test's `stale_after` and a right clock."""
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "a.yaml").write_text(TABLE.replace("STALE_AFTER", request.param))
    program = (gateway_with_clock.__file__, str(tmp_path / "clock"))
    gateway = ClockedDaemon(tmp_path, broker.port, tables=tables, program=program)
    gateway.set_clock(ahead_s=0)
    gateway.start()
    yield gateway
    gateway.kill()


async def words(client: Client) -> tuple[int, ...]:
    """Return the registers of value, quality and age."""
    return struct.unpack(">HHI", (await client.read(4, 0, 4))[-8:])


async def until_shown(client: Client, value: int, quality: int, *, within_s: float = 60) -> None:
    """Wait until value and quality are these."""
    async with asyncio.timeout(within_s):
        while (await words(client))[:2] != (value, quality):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def seconds_pass(client: Client, count: int) -> None:
    """Wait for so many heartbeats."""
    for _ in range(count):
        before = await client.read(4, 4, 1)
        async with asyncio.timeout(60):
            while await client.read(4, 4, 1) == before:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)


def healthz(daemon: Daemon) -> int:
    """Return the status of `/healthz`."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{daemon.admin_port}/healthz", timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("daemon", ["5s"], indirect=True)
async def test_a_clock_set_back_keeps_no_value_fresh(daemon: ClockedDaemon) -> None:
    """The value is stale after its five seconds, not a day later."""
    async with connect(daemon.modbus_port) as client:
        await post(daemon, "evt_1", t=FRESH)
        await until_shown(client, FRESH, GOOD)
        daemon.set_clock(ahead_s=-DAY_S)
        await until_shown(client, EMPTY, STALE)
        await seconds_pass(client, 2)
        *_, age = await words(client)
        assert age >= 5


@pytest.mark.parametrize("daemon", ["30m"], indirect=True)
async def test_a_clock_set_forward_makes_no_value_stale(daemon: ClockedDaemon) -> None:
    """A value received a moment ago stays fresh."""
    async with connect(daemon.modbus_port) as client:
        await post(daemon, "evt_1", t=FRESH)
        await until_shown(client, FRESH, GOOD)
        daemon.set_clock(ahead_s=DAY_S)
        await seconds_pass(client, 3)
        value, quality, age = await words(client)
        assert (value, quality) == (FRESH, GOOD)
        assert age < 1800


@pytest.mark.parametrize("daemon", ["30m"], indirect=True)
async def test_a_set_clock_makes_no_loop_look_stuck(daemon: ClockedDaemon, broker: Mosquitto) -> None:
    """`/healthz` and the watchdog look at progress, also of a loop that waits for its broker."""
    broker.stop()
    await post(daemon, "evt_1", t=FRESH)
    await until(lambda: daemon.status()["sinks"]["bms"]["retries"] >= 4)
    daemon.set_clock(ahead_s=DAY_S)
    answers = [await asyncio.to_thread(healthz, daemon) for _ in range(20)]
    assert answers == [200] * 20
    assert daemon.status()["sinks"]["bms"]["lag_s"] < 3600


@pytest.mark.parametrize("daemon", ["30m"], indirect=True)
async def test_an_override_lasts_as_long_as_asked(daemon: ClockedDaemon) -> None:
    """A clock set forward does not end it, a clock set back does not prolong it."""
    async with connect(daemon.modbus_port) as client:
        await post(daemon, "evt_1", t=FRESH)
        done = await asyncio.to_thread(gateway, "force", "-c", daemon.config, "R/T", "40", "--for", "20s")
        assert done.returncode == 0, done.stderr
        await until_shown(client, 40, FORCED)
        daemon.set_clock(ahead_s=DAY_S)
        await seconds_pass(client, 2)
        assert (await words(client))[:2] == (40, FORCED)
        daemon.set_clock(ahead_s=-DAY_S)
        await until_shown(client, FRESH, GOOD)


@pytest.mark.parametrize("daemon", ["30m"], indirect=True)
async def test_after_a_restart_in_the_past_no_value_looks_fresh(
    daemon: ClockedDaemon,
) -> None:
    """Ages are right once the clock is.

    Until then no value has age 0, as a new reading would.
    """
    async with connect(daemon.modbus_port) as client:
        await post(daemon, "evt_1", t=FRESH)
        await until_shown(client, FRESH, GOOD)
    await asyncio.to_thread(daemon.stop)
    daemon.set_clock(ahead_s=-DAY_S)
    await asyncio.to_thread(daemon.start)
    async with connect(daemon.modbus_port) as client:
        assert await words(client) == (EMPTY, STALE, NO_AGE)
        daemon.set_clock(ahead_s=0)
        await until_shown(client, FRESH, GOOD)
        *_, age = await words(client)
        assert age < 1800
        daemon.set_clock(ahead_s=3600)
        await until_shown(client, EMPTY, STALE)


@pytest.mark.parametrize("daemon", ["30m"], indirect=True)
async def test_an_ended_override_does_not_return(daemon: ClockedDaemon) -> None:
    """The clock was behind when it ended and is right at the next restart."""
    async with connect(daemon.modbus_port) as client:
        await post(daemon, "evt_1", t=FRESH)
        done = await asyncio.to_thread(gateway, "force", "-c", daemon.config, "R/T", "40", "--for", "1h")
        assert done.returncode == 0, done.stderr
        await until_shown(client, 40, FORCED)
    for ahead_s, expected in ((-DAY_S, (EMPTY, STALE)), (0, (FRESH, GOOD))):
        await asyncio.to_thread(daemon.stop)
        daemon.set_clock(ahead_s=ahead_s)
        await asyncio.to_thread(daemon.start)
        async with connect(daemon.modbus_port) as client:
            assert (await words(client))[:2] == expected
    (released,) = [line for line in daemon.log.splitlines() if "point.released" in line]
    assert "the clock is behind its begin" in released
