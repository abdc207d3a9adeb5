"""`gateway simulate` against an endpoint that counts, and against a real gateway with its building."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from support.building import eventually, gateway, polled, retained
from support.daemon import ORGANIZATION, REPOSITORY, SECRET, Daemon
from support.edited_tables import running, table
from support.mosquitto import Mosquitto
from support.ports import free_port
from support.processes import run_gateway
from support.webhook_receiver import Receiver, listening

from gateway.events import is_test, parse_event, read_telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ROOMS = table(
    *(f"point: P{number}, asset: ast-{number}, from: temperature, unit: degC" for number in range(5)),
)


def settings_for(folder: Path, receiver: Receiver, tables: str = ROOMS) -> Path:
    """Write the settings of a gateway in whose place the receiver listens."""
    (folder / "tables").mkdir()
    (folder / "tables" / "a.yaml").write_text(tables)
    daemon = Daemon(folder, 1883, tables=folder / "tables", intake_port=urlsplit(receiver.url).port or 0)
    return daemon.config


@asynccontextmanager
async def simulating(
    config: Path, *options: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """Run the command; after the context, the list has its output and its errors."""
    printed: list[str] = []
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        "simulate",
        "-c",
        str(config),
        *options,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process, printed
        async with asyncio.timeout(120):
            printed += [text.decode() for text in await process.communicate()]
    finally:
        if process.returncode is None:
            process.kill()


async def simulate(config: Path, *options: str) -> tuple[int, str, str]:
    """Run the command to its end; return exit code, output and errors."""
    done = await asyncio.to_thread(run_gateway, "simulate", "-c", config, *options)
    return done.returncode, done.stdout, done.stderr


def counted(out: str, name: str) -> int:
    """Return a number of the summary."""
    found = re.search(rf"^{name} +(\d+)\b", out, re.MULTILINE)
    assert found is not None, out
    return int(found[1])


async def test_every_asset_reports_in_turns_at_the_rate_and_the_end_is_told(tmp_path: Path) -> None:
    """50 events in a second, ten of each asset, all signed and accepted; a busy machine may do a few less."""
    for attempt in range(10):  # a machine that stands still for a moment sends far less, but not each time
        async with listening(Receiver(secret=SECRET.encode())) as receiver:
            (tmp_path / str(attempt)).mkdir()
            config = settings_for(tmp_path / str(attempt), receiver)
            code, out, errors = await simulate(config, "--rate", "50", "--for", "1s")
        assert code == 0, errors
        if counted(out, "sent") >= 35:
            break
    by_asset = Counter(event["data"]["object"]["assetId"] for event, _, _ in receiver.requests)
    assert set(by_asset) == {f"ast-{number}" for number in range(5)}
    assert max(by_asset.values()) <= min(by_asset.values()) + 1
    sent = counted(out, "sent")
    assert 35 <= sent <= 50
    assert sent == counted(out, "accepted") == len(set(receiver.ids())) == len(receiver.requests)
    assert re.search(rf"^sent      {sent} events of 5 assets in \d+\.\d", out, re.MULTILINE)
    assert re.search(r"\nrefused   0\nrate      \d\d\.\d\d events/s, 50\.00 asked for\n", out)
    assert re.search(r"\nanswered  within [\d.]+ ms \(half of them\), .* \(95%\), .* \(99%\)\n", out)
    assert "reach the building as real ones, on bms, regs" in errors
    event, body, _ = receiver.requests[0]
    assert event["organizationId"] == ORGANIZATION
    telemetry = read_telemetry(parse_event(body, received_ms=int(time.time() * 1000)))
    assert telemetry is not None
    assert [reading.key for reading in telemetry.readings] == ["temperature"]


async def test_test_events_are_marked_and_need_no_warning(tmp_path: Path) -> None:
    """With `--test` no event can reach the building, so nothing is said of it."""
    async with listening(Receiver()) as receiver:
        config = settings_for(tmp_path, receiver)
        code, _, errors = await simulate(
            config, "--rate", "20", "--for", "500ms", "--test", "--asset", "ast-3"
        )
    assert (code, errors) == (0, "")
    events = [parse_event(body, received_ms=0) for _, body, _ in receiver.requests]
    assert 0 < len(events) <= 10
    assert all(is_test(event) for event in events)
    assert {event.document["data"]["object"]["assetId"] for event in events} == {"ast-3"}


async def test_refusals_are_counted_by_code_and_reason(tmp_path: Path) -> None:
    """Another secret here than there: every event is refused, and the exit code is 1."""
    async with listening(Receiver(secret=b"another one")) as receiver:
        config = settings_for(tmp_path, receiver)
        code, out, _ = await simulate(config, "--rate", "20", "--for", "500ms")
    assert code == 1
    sent = counted(out, "sent")
    assert f"accepted  0\nrefused   {sent}\n  {sent} x 401" in out


class Slow(Receiver):
    """Answers after a pause, and knows how many requests were open at once."""

    def __init__(self, *, pause_s: float) -> None:
        super().__init__()
        self.pause_s = pause_s
        self.open = self.most_open = 0

    async def handle(self, request: Any) -> Any:
        """Answer after the pause."""
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await asyncio.sleep(self.pause_s)
        self.open -= 1
        return await super().handle(request)


async def test_slow_answers_do_not_open_more_and_more_connections(tmp_path: Path) -> None:
    """400 events a second that take two seconds each: 50 at a time, and that the rate is missed is said."""
    receiver = Slow(pause_s=2.0)
    async with listening(receiver):
        config = settings_for(tmp_path, receiver)
        code, out, _ = await simulate(config, "--rate", "400", "--for", "2s")
    assert code == 0
    assert receiver.most_open == 50
    assert "answers came too slowly for this rate" in out


async def test_after_a_stall_there_is_no_burst(tmp_path: Path) -> None:
    """While nothing is answered at most 50 events are under way; afterwards it goes on at the old pace."""
    receiver = Slow(pause_s=1.0)
    async with listening(receiver):
        config = settings_for(tmp_path, receiver)
        async with simulating(config, "--rate", "100", "--for", "3s") as (process, _):
            await receiver.until(lambda: len(receiver.requests) >= 1)
            receiver.pause_s = 0.0
    assert process.returncode == 0
    sent_ms = [event["data"]["object"]["timestamp"] for event, _, _ in receiver.requests]
    half_seconds = Counter((each_ms - min(sent_ms)) // 500 for each_ms in sent_ms)
    assert max(half_seconds.values()) <= 75  # 50 at this rate, and some for a busy machine


async def test_ctrl_c_ends_it_with_its_summary(tmp_path: Path) -> None:
    """Without `--for` it goes on until then; that is no failure."""
    async with listening(Receiver()) as receiver:
        config = settings_for(tmp_path, receiver)
        async with simulating(config, "--rate", "20") as (process, printed):
            await receiver.until(lambda: len(receiver.requests) >= 5)
            process.send_signal(signal.SIGINT)
    out, errors = printed
    assert (process.returncode, "Traceback" in errors) == (0, False)
    assert counted(out, "accepted") == len(receiver.requests)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rate", "0"], "a rate is a number of events per second"),
        (["--rate", "nan"], "a rate is a number of events per second"),
        (["--for", "soon"], "90s, 15m or 2h"),
        (["--asset", "ast-33"], "there is no asset of this name, did you mean `ast-3`?"),
    ],
)
async def test_what_cannot_be_done_is_said(tmp_path: Path, options: list[str], message: str) -> None:
    """Before anything is sent, in one line."""
    async with listening(Receiver()) as receiver:
        code, _, errors = await simulate(settings_for(tmp_path, receiver), *options)
    assert code in {1, 2}
    assert message in errors
    assert "Traceback" not in errors
    assert receiver.requests == []


async def test_without_a_gateway_it_says_so(tmp_path: Path) -> None:
    """Nobody listens there."""
    receiver = Receiver()
    receiver.url = f"http://127.0.0.1:{free_port()}/"
    code, _, errors = await simulate(settings_for(tmp_path, receiver))
    assert code == 1
    assert "no answer; is the gateway running?" in errors


async def test_ten_thousand_assets(tmp_path: Path) -> None:
    """By default each reports once a minute: 167 events a second, each of another asset."""
    assets = "".join(f"  - {{id: ast-{n}, tag: T{n}, use: iaq}}\n" for n in range(10_000))
    text = (
        "schema: gateway.points/1\nsite: hq\ntemplates:\n  iaq:\n    points:\n"
        "      T: {from: temperature, unit: degC}\n      H: {from: humidity, unit: percent}\n"
        "      E: {from: energy, unit: kWh}\n      O: {from: occupancy, map: {vacant: 0, occupied: 1}}\n"
        f"assets:\n{assets}"
    )
    async with listening(Receiver()) as receiver:
        code, out, errors = await simulate(settings_for(tmp_path, receiver, text), "--for", "2s")
    assert code == 0, errors
    assert "166.67 asked for" in out
    assert len(receiver.requests) == len(
        {event["data"]["object"]["assetId"] for event, _, _ in receiver.requests}
    )
    assert 20 < len(receiver.requests) <= 334


def test_the_building_sees_the_values(tmp_path: Path) -> None:
    """Numbers, words, switches and paths arrive on MQTT and in registers, and every quality is good."""
    text = table(
        "point: T, asset: a, from: t, unit: degC, range: [15, 30], modbus: {register: 0, type: float32}",
        "point: O, asset: a, from: occ, map: {vacant: 3, occupied: 4}, modbus: {register: 2, type: uint16}",
        "point: E, asset: a, from: energy, unit: kWh, modbus: {register: 3, type: uint32}",
        "point: D, asset: b, from: '$.data.object.sensors[1].value', range: [5, 6]",
    )
    with Mosquitto(tmp_path) as broker, running(tmp_path, broker, text) as daemon:
        done = gateway(daemon, "simulate", "--rate", "20", "--for", "1s")
        assert done.returncode == 0, done.stdout + done.stderr
        eventually(lambda: {sink["lag"] for sink in daemon.status()["sinks"].values()}, {0})
        seen = {name: retained(broker.port, f"gw/v1/hq/R/{name}") for name in "TOED"}
        assert {message["quality"] for message in seen.values()} == {"good"}
        assert 15 <= seen["T"]["value"] <= 30
        assert seen["O"]["value"] in {3, 4}
        assert seen["E"]["value"] > 0
        assert 5 <= seen["D"]["value"] <= 6
        eventually(lambda: polled(daemon.modbus_port, 2, "3"), str(seen["O"]["value"]))
        assert 15 <= float(polled(daemon.modbus_port, 0, "3:float")) <= 30
        done = gateway(daemon, "simulate", "--rate", "20", "--for", "1s", "--test")
        assert done.returncode == 0
        assert daemon.status()["intake"]["test_events"] == counted(done.stdout, "accepted") > 0
        assert retained(broker.port, "gw/v1/hq/R/T") == seen["T"]
