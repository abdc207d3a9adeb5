"""From an event to the updates of its asset's points, by the tables that an image belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.events import asset_of, parse_event, read_telemetry
from gateway.logs import internal_error_text
from gateway.model import Record
from gateway.state.readings import map_telemetry

if TYPE_CHECKING:
    from gateway.mapping.plan import AssetPlan
    from gateway.model import Event, Telemetry, Update
    from gateway.records import StoredDeadLetter
    from gateway.state.building_state import BuildingState


def plan_of(image: BuildingState, event: Event) -> AssetPlan | None:
    """Return the plan of the event's asset, None where no table has one."""
    asset = asset_of(event)
    return image.points.by_asset.get(asset) if asset is not None else None


def map_event(plan: AssetPlan, telemetry: Telemetry | None, record: Record) -> list[Update]:
    """Return what an event means for its asset's points."""
    if telemetry is None:
        return []
    return map_telemetry(plan, telemetry, event=record.event, seq=record.seq)


def map_letter(image: BuildingState, stored: StoredDeadLetter) -> tuple[AssetPlan, list[Update]]:
    """Return what a dead letter's event means for its point, or for all where it never came so far.

    Raise `GatewayError` with the reason where that is nothing.
    """
    letter = stored.letter
    point = image.points.by_name.get(letter.point)
    if letter.point and point is None:
        raise GatewayError(f"{letter.point} is not in the point tables any more")
    if stored.body is None:
        raise GatewayError("its event is not kept any more")
    event = parse_event(stored.body, received_ms=letter.at_ms)
    event.event_id = letter.event_id  # not always the one in its body
    plan = plan_of(image, event)
    if plan is None:
        raise GatewayError(f"no point table names its asset {asset_of(event)}")
    try:
        mapped = map_event(plan, read_telemetry(event), Record(letter.seq, event))
    except Exception as error:
        raise GatewayError(f"internal error while mapping: {internal_error_text(error)}") from error
    updates = [update for update in mapped if point is None or update.point is point]
    if not updates:
        raise GatewayError(f"its event has no reading for {letter.point or 'any point of its asset'}")
    for update in updates:
        _keep_order(image, update)
    return plan, updates


def _keep_order(image: BuildingState, update: Update) -> None:
    """Let a reading without a time of its own be no newer than it was.

    It is given the time of receipt, for which only the time of the letter is known here.
    """
    newest = image.measured(update.point)
    if newest is not None and newest.seq >= update.seq:
        update.time_ms = min(update.time_ms, newest.time_ms)
