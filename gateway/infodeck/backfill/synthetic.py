"""Pure: events that the gateway makes itself, of readings that only Infodeck's API told.

They go the same way as webhooks. Their envelope has a `source`: `reconcile` for newest values, `history` for
what was between them. The id is made of what they say, so that the same again is a duplicate.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import groupby
from typing import TYPE_CHECKING, Any

import orjson

from gateway.events import TELEMETRY
from gateway.model import BACKFILL_ID_PREFIX, Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.model import Reading

_HISTORY = "history"
_ID_DIGITS = 32
_MOST_READINGS = 100
_HOUR_MS = 3_600_000

Thing = dict[str, Any]


def refill_event(
    asset: str, readings: Iterable[Reading], *, told_to: str, organization: str, now_ms: int
) -> Event:
    """Return what the missed readings of an asset are as an event.

    The key of a reading is its telemetry key, or the path that a point reads it from. `told_to` stands for
    the tables in force and is part of the id: what other tables' points were told is no duplicate for these.
    """
    written = [_written(each) for each in sorted(readings, key=lambda each: each.key)]
    thing = {"readings": written}
    return _event(asset, thing, source="reconcile", told_to=told_to, organization=organization, now_ms=now_ms)


def history_events(
    asset: str, readings: Iterable[Reading], *, organization: str, now_ms: int
) -> Iterator[Event]:
    """Yield what an asset's history is as events: a bounded number of readings each, none of two hours.

    `readings` are in order of time. The hours keep ids the same where more of a history is known later.
    """
    for _, hour in groupby(readings, key=lambda each: each.time_ms // _HOUR_MS):
        written = [_written(each) for each in hour]
        for start in range(0, len(written), _MOST_READINGS):
            thing = {"readings": written[start : start + _MOST_READINGS]}
            yield _event(asset, thing, source=_HISTORY, told_to="", organization=organization, now_ms=now_ms)


def is_history(event: Event) -> bool:
    """Say whether the gateway has made an event of the API's history."""
    return event.is_backfilled and event.document.get("source") == _HISTORY


def _written(reading: Reading) -> Thing:
    written = {"key": reading.key, "value": reading.value, "timestamp": reading.time_ms}
    return written if reading.unit_of_measure is None else written | {"unit": reading.unit_of_measure}


def _event(asset: str, thing: Thing, *, source: str, told_to: str, organization: str, now_ms: int) -> Event:
    thing = {"id": asset} | thing
    digest = sha256(orjson.dumps([thing, told_to], option=orjson.OPT_SORT_KEYS)).hexdigest()
    event_id = BACKFILL_ID_PREFIX + digest[:_ID_DIGITS]
    document: Thing = {
        "id": event_id,
        "type": TELEMETRY,
        "source": source,
        "organizationId": organization,
        "created": now_ms // 1000,
        "data": {"object": thing},
    }
    return Event(event_id, TELEMETRY, orjson.dumps(document), document, now_ms)
