"""A whole gateway with a NATS sink: from webhook to stream, over outages, edits and dead letters."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from support.daemon import ORGANIZATION, Daemon, telemetry
from support.nats_servers import NatsServer, add_stream, client_of, read_stream, stream_holds
from support.processes import run_gateway
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLE = """\
schema: gateway.points/1
site: {site}
points:
  - {{tag: R, point: N, asset: ast-1, from: n}}
"""


@contextmanager
def forwarding(folder: Path, server: NatsServer, *, acknowledge: str = "journal") -> Iterator[Daemon]:
    """Run a gateway whose only sink is of type nats, and `intake.acknowledge` as given."""
    tables = folder / "tables"
    tables.mkdir()
    (tables / "a.yaml").write_text(TABLE.format(site="hq"))
    gateway = Daemon(folder, broker_port=0, tables=tables)
    lines = gateway.config.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("  ")]
    sink = f"  fan: {{type: nats, servers: ['{server.url}'], stream: INFODECK}}"
    kept.insert(kept.index("sinks:") + 1, sink)
    written = "\n".join(kept).replace("signing_secrets", f"acknowledge: {acknowledge}, signing_secrets")
    gateway.config.write_text(written)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.kill()


async def post(gateway: Daemon, *bodies: bytes) -> None:
    """Post events that are accepted."""
    for body in bodies:
        assert (await asyncio.to_thread(gateway.post, body))[0] == 200


def other(event_id: str, kind: str, size: int = 0) -> bytes:
    """Return an event that is no telemetry."""
    thing = {"id": "wo-1", "notes": "x" * size}
    document = {"id": event_id, "type": kind, "organizationId": ORGANIZATION, "data": {"object": thing}}
    return json.dumps(document).encode()


async def test_every_event_reaches_the_stream_once(tmp_path: Path) -> None:
    """Events of all types, in and out of tables; over an outage and kills of the gateway, and an edit."""
    with NatsServer(tmp_path) as server, forwarding(tmp_path, server) as gateway:
        await add_stream(server.url)
        first = [telemetry(f"evt_{number}", "ast-1", {"n": number}) for number in range(3)]
        await post(gateway, *first, telemetry("evt_3", "ast-2", {"n": 3}), other("evt_4", "booking.created"))
        await stream_holds(server.url, 5)
        await until(lambda: gateway.status()["sinks"]["fan"]["lag"] == 0)
        assert gateway.status()["sinks"]["fan"]["written"] == 5  # events alone, no points
        server.kill()
        await until(lambda: gateway.status()["sinks"]["fan"]["state"] == "away")
        await post(gateway, *(telemetry(f"evt_{number}", "ast-1", {"n": number}) for number in range(5, 9)))
        gateway.kill()
        server.start()
        gateway.start()
        await stream_holds(server.url, 9)
        (tmp_path / "tables/a.yaml").write_text(TABLE.format(site="Annex 2"))
        await until(lambda: gateway.status()["tables"]["reloads"] == 1)
        await post(gateway, telemetry("evt_9", "ast-1", {"n": 9}))
        await stream_holds(server.url, 10)
        await until(lambda: gateway.status()["sinks"]["fan"]["lag"] == 0)
        found = await read_stream(server.url)
        report = run_gateway("explain", "-c", gateway.config, "evt_4").stdout
        in_no_table = run_gateway("explain", "-c", gateway.config, "evt_3").stdout
    assert [message.json["id"] for message in found] == [f"evt_{number}" for number in range(10)]
    assert [message.body for message in found[:3]] == first
    places = [message.subject.removeprefix(f"infodeck.{ORGANIZATION}.") for message in found]
    assert places == [*3 * ["hq.ast-1"], "_.ast-2", "_._", *4 * ["hq.ast-1"], "Annex%202.ast-1"]
    assert found[0].headers["Gateway-Verified-By"] == "test-box"
    assert f"nats fan  infodeck.{ORGANIZATION}._._" in report
    assert "fan  done" in report
    assert "reaches no point" in in_no_table
    assert f"nats fan  infodeck.{ORGANIZATION}._.ast-2" in in_no_table
    assert gateway.log.count("sink.away") == 1


async def test_an_event_that_is_too_large_waits_as_a_dead_letter(tmp_path: Path) -> None:
    """The others go on; once the stream accepts it, a retry publishes it."""
    with NatsServer(tmp_path) as server, forwarding(tmp_path, server) as gateway:
        await add_stream(server.url, largest_bytes=3_000)
        await post(
            gateway, other("evt_1", "workorder.created", size=4_000), telemetry("evt_2", "a", {"n": 2})
        )
        await until(lambda: gateway.status()["journal"]["dead_letters"] == 1)  # on disk
        await stream_holds(server.url, 1)
        shown = run_gateway("deadletters", "show", "-c", gateway.config, "1").stdout
        assert "larger than the stream INFODECK accepts (its max_msg_size)" in shown
        async with client_of(server.url) as client:
            info = await client.jetstream().stream_info("INFODECK")
            info.config.max_msg_size = -1
            await client.jetstream().update_stream(info.config)
        retried = run_gateway("deadletters", "retry", "-c", gateway.config, "1")
        assert retried.returncode == 0, retried.stderr
        await stream_holds(server.url, 2)
        assert [message.json["id"] for message in await read_stream(server.url)] == ["evt_2", "evt_1"]
        await until(
            lambda: "no dead letters" in run_gateway("deadletters", "list", "-c", gateway.config).stdout
        )


async def test_what_was_answered_outlives_the_machine(tmp_path: Path) -> None:
    """With `acknowledge: {forwarded: fan}`, all that was answered with 200 is in the stream.

    So the loss of the intake's machine, killed here under deliveries, loses nothing. While the server hangs,
    nothing is answered.
    """
    answered: list[int] = []

    async def deliver(gateway: Daemon, numbers: range) -> None:
        for number in numbers:
            with suppress(OSError):  # killed meanwhile
                body = telemetry(f"evt_{number}", f"ast-{number % 7}", {"n": number})
                code, _ = await asyncio.to_thread(gateway.post, body)
                answered.extend([number] if code == 200 else [])

    with (
        NatsServer(tmp_path, sync_always=True) as server,
        forwarding(tmp_path, server, acknowledge="{forwarded: fan}") as gateway,
    ):
        await add_stream(server.url)
        async with asyncio.TaskGroup() as tasks:
            for first in range(0, 8000, 1000):
                tasks.create_task(deliver(gateway, range(first, first + 1000)))
            await until(lambda: len(answered) > 50)
            server.freeze()
            before = len(answered)
            await asyncio.sleep(1)
            assert len(answered) <= before + 8  # one of each sender may have been under way
            server.thaw()
            await until(lambda: len(answered) > before + 50)
            gateway.kill()
        found = {message.json["id"] for message in await read_stream(server.url)}
    assert {f"evt_{number}" for number in answered} <= found
