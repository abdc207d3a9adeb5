"""How long an event takes until it is answered, until MQTT has it, and until its register shows it.

The real daemon in a process of its own and a real mosquitto, each rate in turns with a bare aiohttp handler,
which shows what HTTP alone takes. At a rate, events come at random times, as those of independent sensors,
and time runs from when one is due; at full load, from when it is sent. mosquitto_sub stamps what it gets.
The registers are read every millisecond, which adds up to a millisecond.

    python bench/latency.py [--rates 1 20 200] [--for-s 10] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import struct
import sys
import tempfile
import time
from collections import defaultdict, deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from _load import ORGANIZATION, PATH, SECRET, ConnectionPool, random_times
from _servers import bare_handler, broker, subscribed, wait_for
from whole_path import ask, free_port, running, wait_until_delivered, write_files

from gateway.app import new_event_loop
from gateway.intake.signature import HEADER, sign

_ASSETS = 60  # two registers each, which one request reads
_CONNECTIONS = 50  # at full load
_FULL_LOAD_S = 5.0
_FEWEST = 20  # events of a round, however slow the rate
_READ_EVERY_S = 0.001
_WITHIN_S = 60.0
_STAMPED_WITHIN_S = 0.5
_STEP = 0.001  # event n has the value n times this, which says in a register which event is there


@dataclass
class Times:
    """When each event was due, answered, published and shown by its register, in Unix seconds."""

    due: dict[int, float] = field(default_factory=dict)
    answer: dict[int, float] = field(default_factory=dict)
    mqtt: dict[int, float] = field(default_factory=dict)
    register: dict[int, float] = field(default_factory=dict)

    def latencies_ms(self, stage: dict[int, float]) -> list[float]:
        """Return how long each event took until a stage."""
        return [1000 * (at - self.due[event]) for event, at in stage.items()]


def table() -> str:
    """Return a table of one float32 point per asset."""
    lines = ["schema: gateway.points/1", "site: bench", "defaults: {modbus: {to: regs, table: input}}"]
    lines.append("templates: {t: {points: {V: {from: v, modbus: {register: 0, type: float32}}}}}")
    lines.append("assets:")
    lines += [f"  - {{id: ast-{n}, tag: RM{n}, use: t, base: {2 * n}}}" for n in range(_ASSETS)]
    return "\n".join(lines) + "\n"


def make_request(event: int) -> bytes:
    """Return the signed request of one event, made now."""
    now_s = int(time.time())
    reading = {"assetId": f"ast-{event % _ASSETS}", "telemetry": {"v": round(event * _STEP, 3)}}
    document = {
        "id": f"evt_{event:024d}",
        "type": "asset.telemetry.updated",
        "organizationId": ORGANIZATION,
        "created": now_s,
        "livemode": True,
        "data": {"object": reading},
    }
    body = json.dumps(document).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"{HEADER}: {sign(body, SECRET, now_s)}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def post(connections: ConnectionPool, event: int, times: Times) -> None:
    """Send an event, and record when it was answered."""
    await connections.post(make_request(event))
    times.answer[event] = time.time()


async def send_at_rate(port: int, times: Times, *, rate: float, for_s: float) -> None:
    """Send events at random times, so many a second, whether or not earlier ones are answered."""
    due_s = random_times(max(_FEWEST, round(rate * for_s)), rate, now_s=time.time())
    async with ConnectionPool(port) as connections, asyncio.TaskGroup() as tasks:
        for event, due in enumerate(due_s, 1):
            await asyncio.sleep(max(0.0, due - time.time()))
            times.due[event] = due
            tasks.create_task(post(connections, event, times))


async def send_at_full_load(port: int, times: Times) -> None:
    """Send over many connections as fast as events are answered."""
    events, deadline = count(1), time.time() + _FULL_LOAD_S

    async def send() -> None:
        while time.time() < deadline:
            event = next(events)
            times.due[event] = time.time()
            await post(connections, event, times)

    async with ConnectionPool(port, _CONNECTIONS) as connections, asyncio.TaskGroup() as tasks:
        for _ in range(_CONNECTIONS):
            tasks.create_task(send())


async def read_registers(port: int, times: Times) -> None:
    """Read all registers again and again; a register shows an event if it has its value or a later one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    waiting: dict[int, deque[int]] = defaultdict(deque)
    known = 0
    while True:
        writer.write(struct.pack(">HHHBBHH", 1, 0, 6, 1, 4, 0, 2 * _ASSETS))
        answer = await reader.readexactly(9 + 4 * _ASSETS)
        now = time.time()
        for event in range(known + 1, len(times.due) + 1):
            waiting[event % _ASSETS].append(event)
        known = len(times.due)
        for asset, value in enumerate(struct.unpack(f">{_ASSETS}f", answer[9:])):
            queue = waiting[asset]
            while queue and value >= (queue[0] - 0.5) * _STEP:  # NaN before the first value is not
                times.register[queue.popleft()] = now
        await asyncio.sleep(_READ_EVERY_S)


def read_mqtt(file: Path, times: Times) -> None:
    """Take the times of messages from mosquitto_sub's file."""
    for line in file.read_text().splitlines():
        stamp, _, payload = line.partition(" ")
        event = json.loads(payload).get("event")
        if event is not None:
            times.mqtt.setdefault(int(event.removeprefix("evt_")), float(stamp))


async def send(port: int, times: Times, rate: float | None, for_s: float) -> None:
    """Send at a rate, or without one at full load."""
    if rate is None:
        await send_at_full_load(port, times)
    else:
        await send_at_rate(port, times, rate=rate, for_s=for_s)


async def send_and_read(ports: dict[str, int], times: Times, rate: float | None, for_s: float) -> None:
    """Send events while the registers are read, until every register shows its last event."""
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read_registers(ports["modbus"], times))
        async with asyncio.timeout(_WITHIN_S + 2 * for_s):
            await send(ports["intake"], times, rate, for_s)
            while len(times.register) < len(times.due):  # noqa: ASYNC110 - what another task counts
                await asyncio.sleep(0.01)
        reading.cancel()


def measure_gateway(rate: float | None, for_s: float) -> Times:
    """Start the gateway and measure one rate."""
    times, ports = Times(), {name: free_port() for name in ("intake", "mqtt", "modbus", "admin")}
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="tmp") as name, ExitStack() as stack:
        folder = Path(name)
        settings, received = write_files(folder, ports, table=table()), folder / "received"
        stack.enter_context(broker(folder, ports["mqtt"]))
        stack.enter_context(running(sys.executable, "-m", "gateway", "run", "-c", settings))
        wait_for(lambda: bool(ask(ports["admin"], "/readyz").get("ready")))
        stack.enter_context(subscribed(ports["mqtt"], received, line="%U %p"))
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(send_and_read(ports, times, rate, for_s))
        wait_until_delivered(ports["admin"], len(times.due))
        time.sleep(_STAMPED_WITHIN_S)
        read_mqtt(received, times)
    return times


def measure_bare_handler(rate: float | None, for_s: float) -> Times:
    """Start a bare aiohttp handler and measure its answers."""
    times, port = Times(), free_port()
    with bare_handler(port), asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(send(port, times, rate, for_s))
    return times


def percentiles(values_ms: list[float]) -> str:
    """Return p50, p99 and maximum."""
    ordered = sorted(values_ms)
    at = [ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1]]
    return "/".join(f"{value:.1f}" for value in at)


def measure(rate: float | None, for_s: float, rounds: int) -> str:
    """Measure one rate in turns with the bare handler; return the line to print."""
    stages: dict[str, list[float]] = {"answer": [], "MQTT": [], "register": [], "bare handler": []}
    ratios = []
    for _ in range(rounds):
        ours, bare = measure_gateway(rate, for_s), measure_bare_handler(rate, for_s)
        answers, bare_answers = ours.latencies_ms(ours.answer), bare.latencies_ms(bare.answer)
        ratios.append(statistics.median(answers) / statistics.median(bare_answers))
        stages["answer"] += answers
        stages["MQTT"] += ours.latencies_ms(ours.mqtt)
        stages["register"] += ours.latencies_ms(ours.register)
        stages["bare handler"] += bare_answers
    title = "full load" if rate is None else f"{rate:g} events/s"
    shown = ", ".join(f"{name} {percentiles(values)}" for name, values in stages.items())
    return (
        f"{title}, p50/p99/max in ms of {len(stages['answer'])} events: {shown}; median answer"
        f" {statistics.median(ratios):.1f} times the bare handler's ({min(ratios):.1f} to {max(ratios):.1f})"
    )


def main() -> None:
    """Measure, and print one line for each rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=float, nargs="*", default=[1.0, 20.0, 200.0])
    parser.add_argument("--for-s", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for rate in (*arguments.rates, None):
        print(measure(rate, arguments.for_s, arguments.rounds), flush=True)


if __name__ == "__main__":
    main()
