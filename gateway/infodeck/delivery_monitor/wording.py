"""Pure: the alarms about webhooks in words: what is wrong, since when, and what to do."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from gateway.text import second_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gateway.infodeck.delivery_monitor.arrivals import Arrivals
    from gateway.infodeck.delivery_monitor.silence import Silence
    from gateway.infodeck.delivery_monitor.undelivered import Undelivered
    from gateway.status import IntakeStatus

_SAMPLE = 3
_HOUR_MS = 3_600_000
_IS_IT_THERE = "is the webhook there, active, and its URL this gateway's?"
_REFUSED = "deliveries come, but are refused for their signatures: see the alarm signature-failing."
_SET_HIGHER = "If the devices themselves are silent for so long, set infodeck.silence higher."


def missed_text(undelivered: Undelivered, arrivals: Arrivals, *, are_refused: bool) -> str:
    """Say what the API has more than webhooks brought; there is something.

    `are_refused`: an alarm tells that signatures do not fit.
    """
    missed: Mapping[str, int] = undelivered.missed
    sample = ", ".join(islice(missed, _SAMPLE)) + (", …" if len(missed) > _SAMPLE else "")
    found = (
        f"Infodeck's API has newer data of {_counted(missed)} than any webhook brought ({sample}),"
        f" since {second_text(min(missed.values()))}"
    )
    if not undelivered.is_total:
        return f"{found}, while those of others come: do its event filters leave these out?"
    return f"{found}{_late(arrivals)}: {_REFUSED if are_refused else _IS_IT_THERE}"


def silence_text(
    silence: Silence,
    arrivals: Arrivals,
    intake: IntakeStatus,
    *,
    started_ms: int,
    can_ask: bool,
    are_refused: bool,
) -> str:
    """Say what has not come for too long. `are_refused`: see `missed_text`."""
    since = _since(silence.last_used_ms, started_ms)
    if silence.is_unreadable:
        return (
            f"telemetry comes by webhook, but none in which a reading is found {since}: has its shape"
            " changed? See `gateway deadletters list`, and `gateway explain` with an event's id; a point"
            " table can say where values stand (`from: $.data.object…`)."
        )
    if silence.is_of_no_use:
        return (
            "telemetry of assets in the point tables comes by webhook, but none with a reading that a point"
            f" asks for {since}: have its keys changed? See `gateway explain` with an event's id."
            f" {_SET_HIGHER}"
        )
    if silence.others_come:
        return (
            f"no telemetry of any asset in the point tables has come by webhook {since}, while that of others"
            " comes: do the webhook's event filters leave these out, or do events name them by other ids than"
            f" the tables? {_SET_HIGHER}"
        )
    nothing = f"no telemetry has come by webhook {_since(silence.last_ms, started_ms)}"
    if silence.is_excused:
        return (
            f"{nothing}, and Infodeck's API has nothing newer either: are the devices, their network and its"
            f" connection to Infodeck alive? {_SET_HIGHER}"
        )
    if are_refused:
        return f"{nothing}: {_REFUSED}"
    others = sum(intake.ignored_types.values())
    beside = f", but {others} events of other types: see the webhook's list of events" if others else ""
    strange = intake.other_organization
    wrong = f"; {strange} events were of another organization than infodeck.organization" if strange else ""
    without_api = "" if can_ask else " Infodeck's API could tell, but cannot be asked."
    return f"{nothing}{_late(arrivals)}{beside}{wrong}: {_IS_IT_THERE} {_SET_HIGHER}{without_api}"


def _since(last_ms: int | None, started_ms: int) -> str:
    return (
        f"since {second_text(last_ms)}"
        if last_ms
        else f"as far as is known; the gateway runs since {second_text(started_ms)}"
    )


def _late(arrivals: Arrivals) -> str:
    """Say that what comes is old, where that is so."""
    hours = round(arrivals.late_ms / _HOUR_MS)
    return f" (the last that came was {hours} h late: Infodeck repeats what failed)" if hours else ""


def _counted(assets: Collection[str]) -> str:
    return "1 asset" if len(assets) == 1 else f"{len(assets)} assets"
