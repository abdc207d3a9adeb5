"""Kills under load: every event answered with 200 is delivered."""

from __future__ import annotations

import asyncio
import json
import random
import struct
import subprocess
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest
from pymodbus.client import AsyncModbusTcpClient
from support.daemon import sign, telemetry
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.daemon import Daemon
    from support.mosquitto import Mosquitto

ROUNDS = 6
SENDERS = 20
ASSETS = ("ast-a1b2c3d4", "ast-b7c8d9e0")
BASES = {"ast-a1b2c3d4": 1000, "ast-b7c8d9e0": 1016}
OFFSETS = {"ast-a1b2c3d4": 0.0, "ast-b7c8d9e0": -0.4}  # as hq-iaq.yaml has them


class Load:
    """Posts events until stopped; stores the answered ones with their values."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answered: set[str] = set()
        self.sent: dict[str, tuple[str, int, float]] = {}  # id: asset, time in ms, temperature

    async def run(self, is_over: asyncio.Event) -> None:
        """Post over many connections until it is over; a broken connection is opened again."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            await asyncio.gather(*(self._send(session, is_over) for _ in range(SENDERS)))

    async def _send(self, session: aiohttp.ClientSession, is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            number = len(self.sent)
            event_id, asset = f"evt_{number}", ASSETS[number % len(ASSETS)]
            moment_ms, value = time.time_ns() // 1_000_000, 10 + number % 400 / 16
            self.sent[event_id] = (asset, moment_ms, value)
            body = telemetry(event_id, asset, {"temperature": value}, time_ms=moment_ms)
            try:
                headers = {"x-infodeck-signature": sign(body)}
                async with session.post(self.url, data=body, headers=headers) as answer:
                    if answer.status == 200:
                        self.answered.add(event_id)
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.02)


def delivered(path: Path) -> set[str]:
    """Return the ids of all events seen on ZN-T, live or as history."""
    messages = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return {message["event"] for message in messages if "event" in message}  # not of $meta


def wait_for_all(answered: set[str], path: Path) -> set[str]:
    """Return the delivered ids once all answered ones are among them, or after a minute."""
    deadline = time.monotonic() + 60
    while not answered <= (seen := delivered(path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return seen


def newest_values(load: Load, seen: set[str], asset: str) -> set[float]:
    """Return the values that the register may show: those of the asset's newest time."""
    sent = [(moment_ms, value) for at, moment_ms, value in map(load.sent.__getitem__, seen) if at == asset]
    newest_ms = max(moment_ms for moment_ms, _ in sent)
    return {value + OFFSETS[asset] for moment_ms, value in sent if moment_ms == newest_ms}


async def read_float(port: int, address: int) -> float:
    """Read one float32 with an independent client."""
    async with AsyncModbusTcpClient("127.0.0.1", port=port) as client:
        answer = await client.read_input_registers(address, count=2, device_id=1)
    return float(struct.unpack(">f", struct.pack(">HH", *answer.registers))[0])


async def until_newest_is_shown(daemon: Daemon, load: Load, path: Path, asset: str) -> None:
    """Wait until the register shows the newest event, which may be one that was never answered."""
    async with asyncio.timeout(60):
        while True:
            shown = await read_float(daemon.modbus_port, BASES[asset])
            if any(abs(shown - value) < 1e-4 for value in newest_values(load, delivered(path), asset)):
                return
            await asyncio.sleep(0.1)


@pytest.fixture
def seen_path(broker: Mosquitto, tmp_path: Path) -> Iterator[Path]:
    """Let a subscriber write every message on ZN-T, live or history, into a file."""
    path = tmp_path / "seen"
    command = ["mosquitto_sub", "-p", str(broker.port), "-t", "gw/v1/hq-tower/+/ZN-T/#", "-q", "1"]
    with path.open("wb") as out:
        subscriber = subprocess.Popen(command, stdout=out)
    yield path
    subscriber.terminate()
    subscriber.wait()


async def test_kill_nine_under_load(daemon: Daemon, seen_path: Path) -> None:
    """SIGKILLs under load lose no event that was answered with 200."""
    load = Load(daemon.url)
    for number in range(1, ROUNDS + 1):
        is_over = asyncio.Event()
        running = asyncio.create_task(load.run(is_over))
        await asyncio.sleep(random.uniform(0.2, 0.6))
        await until(lambda: len(load.answered) > 10 * number)  # noqa: B023 - called in this turn
        await asyncio.to_thread(daemon.kill)
        is_over.set()
        await running
        await asyncio.to_thread(daemon.start)
    seen = await asyncio.to_thread(wait_for_all, load.answered, seen_path)
    missing = load.answered - seen
    print(  # noqa: T201 - the counts are the point
        f"\n{ROUNDS} kills: {len(load.sent)} posted, {len(load.answered)} answered with 200,"
        f" {len(seen)} delivered, {len(missing)} lost"
    )
    assert not missing
    for asset in ASSETS:
        await until_newest_is_shown(daemon, load, seen_path, asset)
