"""A fleet under load: whatever is killed, each building's journal gets its own events, once and in order."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from support.daemon import telemetry
from support.fleet_ledger import journalled, wait_for
from support.many_buildings import STREAM, ManyBuildings, asset_ids
from support.nats_servers import NatsServer, client_of, leader_of
from support.processes import run_gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from support.fleet_ledger import DeliveryLedger
    from support.many_buildings import FleetBox, Part

ASSETS = 8
DOWN_S = 0.2


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManyBuildings]:
    """Run the fleet for all tests of this file; answers wait for the stream at first."""
    folder = tmp_path_factory.mktemp("fleet")
    with ManyBuildings(folder, acknowledge="{forwarded: fan}", assets=ASSETS) as fleet:
        yield fleet


@asynccontextmanager
async def load(fleet: ManyBuildings, name: str) -> AsyncIterator[DeliveryLedger]:
    """Post to the fleet within the context, about assets of every site.

    At its end all is answered, and every gateway that was killed is there again.
    """
    ledger = fleet.ledger(name)
    running = asyncio.create_task(ledger.run())
    yield ledger
    await ledger.until_answered(30)
    ledger.stop()
    await running
    for box in fleet.boxes:
        if box.process is not None:
            await asyncio.to_thread(box.wait_until_ready, box.process)


async def kill(ledger: DeliveryLedger, *parts: Part) -> None:
    """Kill parts at one random moment under load, and start them again a little later."""
    await ledger.until_answered(30)
    await asyncio.sleep(random.uniform(0, 0.2))
    for part in parts:
        part.kill()
    await asyncio.sleep(DOWN_S)
    for part in parts:
        part.launch()
    for part in parts:
        if isinstance(part, NatsServer):
            await asyncio.to_thread(part.wait_ready)


async def test_kills_of_each_part_in_turn(fleet: ManyBuildings) -> None:
    """An event answered once the stream had it is in its edge's journal exactly once, in order per asset."""
    leader = fleet.cluster.server(await leader_of(fleet.cluster.urls))
    others: list[Part] = [part for part in fleet.parts if part is not leader]
    async with load(fleet, "turn") as ledger:
        for part in others:
            await kill(ledger, part)
        await kill(ledger, leader, fleet.intakes[0], fleet.edges[0])  # an election takes some seconds
    for edge in fleet.edges:
        ledger.until_in(edge.journal, site=edge.name)
        assert ledger.seen_by(edge.journal) == ledger.expected_at(edge.name)


async def test_kills_where_the_journal_answers(fleet: ManyBuildings) -> None:
    """With `acknowledge: journal` nothing is lost while disks last; each intake's order is kept per asset."""
    for intake in fleet.intakes:
        intake.kill()
        intake.acknowledge = "journal"
        intake.write_settings()
        intake.launch()
    async with load(fleet, "journal") as ledger:
        await kill(ledger, fleet.intakes[0], fleet.edges[1])
        await kill(ledger, fleet.intakes[1], fleet.edges[0])
    received = [ledger.seen_by(intake.journal) for intake in fleet.intakes]
    for edge in fleet.edges:
        ledger.until_in(edge.journal, site=edge.name)
        seen = ledger.seen_by(edge.journal)
        for asset, events in ledger.expected_at(edge.name).items():
            assert sorted(seen[asset]) == sorted(events)
            first, second = (there[asset] for there in received)
            for own, other in ((first, second), (second, first)):
                alone = [event_id for event_id in own if event_id not in other and event_id in events]
                assert [event_id for event_id in seen[asset] if event_id in alone] == alone


def test_one_event_through_two_intakes(fleet: ManyBuildings) -> None:
    """Both intakes have it, and the edge has it once."""
    edge = fleet.edges[0]
    (asset,) = asset_ids(edge.name, 1)
    for intake in fleet.intakes:
        assert intake.post(telemetry("evt_twice", asset, {"temperature": 20}))[0] == 200
        until_published(intake)
        assert journalled(intake.journal, ["evt_twice"]).count("evt_twice") == 1
    assert fleet.intakes[1].post(telemetry("evt_last", asset, {"temperature": 20}))[0] == 200
    wait_for(lambda: "evt_last" in journalled(edge.journal, ["evt_last"]))
    assert journalled(edge.journal, ["evt_twice"]).count("evt_twice") == 1


async def test_a_deleted_stream_is_filled_again(fleet: ManyBuildings) -> None:
    """`gateway nats republish` brings an edge that was away what only the intakes' journals still have.

    What the other edge has already is one event there, as before.
    """
    away, present = fleet.edges
    away.kill()
    async with load(fleet, "deleted") as ledger:
        pass
    ledger.until_in(present.journal, site=present.name)
    async with client_of(fleet.cluster.urls) as client:
        await client.jetstream().delete_stream(STREAM)
    for box in (fleet.intakes[0], *fleet.edges):
        fleet.set_up(box)
    for intake in fleet.intakes:
        done = run_gateway("nats", "republish", "-c", intake.config, "--since", "1h")
        assert done.returncode == 0, done.stdout + done.stderr
    away.launch()
    for edge in fleet.edges:
        ledger.until_in(edge.journal, site=edge.name)
        seen = ledger.seen_by(edge.journal)
        assert {asset: sorted(events) for asset, events in seen.items()} == {
            asset: sorted(events) for asset, events in ledger.expected_at(edge.name).items()
        }


def until_published(intake: FleetBox) -> None:
    """Return once an intake has published all that it has."""
    wait_for(lambda: intake.status()["sinks"]["fan"]["lag"] == 0)
