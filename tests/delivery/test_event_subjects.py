"""Copies of events for NATS: the received bytes, and a subject by tables and inventory as they are now."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.point_tables import load_good_tables

from gateway.delivery.event_copies import EventCopies, subject_of
from gateway.errors import GatewayError
from gateway.events import EventPatterns, parse_event
from gateway.mapping.plan import PointMap
from gateway.model import EventCopy, Record
from gateway.records import AssetSnapshot, DeadLetter, KnownAsset, StoredDeadLetter

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model import Event

TABLE = """\
schema: gateway.points/1
site: HQ
points:
  - {tag: R, point: T, asset: ast-1, from: t, modbus: {to: regs, table: input, register: 0, type: uint16}}
"""
LOCATED = {
    "ast-1": KnownAsset(id="ast-1", location_path=("Elsewhere",)),
    "ast-2": KnownAsset(id="ast-2", location_path=("North Tower", "Level 1")),
}


def event(kind: str, thing: dict[str, Any], *, event_id: str = "evt_1") -> Event:
    """Return an event about something."""
    body = json.dumps({"id": event_id, "type": kind, "data": {"object": thing}}, indent=2).encode()
    return parse_event(body, received_ms=1)


class House:
    """The tables and the inventory of a gateway, which may change."""

    def __init__(self) -> None:
        self.points = PointMap((), {})
        self.inventory: AssetSnapshot | None = None

    def subject(self, kind: str, thing: dict[str, Any]) -> str:
        """Return the subject of an event."""
        return self.subject_of(event(kind, thing))

    def subject_of(self, one: Event) -> str:
        """Return the subject of an event."""
        return subject_of(one, organization="o-x", points=self.points, inventory=self.inventory)


def test_the_site_is_that_of_the_table_or_else_the_topmost_location(tmp_path: Path) -> None:
    """A table that names the asset counts before Infodeck's locations; either is used once it is there."""
    house, telemetry = House(), "asset.telemetry.updated"
    one, two = {"id": "ast-1", "t": 1}, {"assetId": "ast-2", "t": 1}
    assert house.subject(telemetry, one) == "infodeck.o-x._.ast-1"
    house.inventory = AssetSnapshot(1, LOCATED)
    assert house.subject(telemetry, one) == "infodeck.o-x.Elsewhere.ast-1"
    assert house.subject(telemetry, two) == "infodeck.o-x.North%20Tower.ast-2"
    house.points = load_good_tables(tmp_path, TABLE)
    assert house.subject(telemetry, one) == "infodeck.o-x.HQ.ast-1"
    assert house.subject(telemetry, two) == "infodeck.o-x.North%20Tower.ast-2"


def test_an_event_about_something_else_has_the_asset_that_it_names() -> None:
    """The id of a work order is no asset's."""
    house = House()
    house.inventory = AssetSnapshot(1, LOCATED)
    order = {"id": "wo-1", "assetId": "ast-2"}
    assert house.subject("workorder.created", order) == "infodeck.o-x.North%20Tower.ast-2"
    assert house.subject("booking.created", {"id": "bk-1"}) == "infodeck.o-x._._"


def test_every_event_is_copied_for_nats_and_only_named_ones_for_mqtt() -> None:
    """A copy has the received bytes themselves; a large one counts as several updates."""
    patterns = {"bms": EventPatterns(["workorder.*"])}
    for_all = EventCopies(patterns, subject_of=House().subject_of)
    for_some = EventCopies(patterns)
    backfilled = event("asset.telemetry.updated", {"id": "a"}, event_id="reconcile_1")
    booking = event("booking.created", {"id": "b", "notes": "x" * 5_000})
    order = event("workorder.created", {"id": "wo-1"})
    for each, size, wanted in ((backfilled, 1, False), (booking, 6, False), (order, 1, True)):
        (copy,), counted = for_all.with_copy((), Record(7, each))
        assert isinstance(copy, EventCopy)
        assert (copy.body is each.body, copy.seq, copy.event_id) == (True, 7, each.event_id)
        assert counted == size
        assert bool(for_some.with_copy((), Record(7, each))[0]) is wanted


def test_a_dead_letter_is_copied_for_its_sink_again() -> None:
    """One of a sink that publishes everything, of any type; for others, the type must still be named."""
    published = {"bms": EventPatterns(["workorder.*"]), "fan": EventPatterns(["*"])}
    copies = EventCopies(published, subject_of=House().subject_of)
    booking = event("booking.created", {"id": "b"})

    def stored(sink: str) -> StoredDeadLetter:
        return StoredDeadLetter(
            1, DeadLetter(sink, 7, "evt_1", "$events/booking.created", "", 5), booking.body
        )

    again = copies.map_letter(stored("fan"))
    assert (again.body, again.subject) == (booking.body, "infodeck.o-x._._")
    with pytest.raises(GatewayError, match="bms does not publish"):
        copies.map_letter(stored("bms"))
