"""Pure: the events that the gateway makes of readings from Infodeck's API. They go the same way as webhooks.

Their envelope has a `source`: `reconcile` for newest values, `history` for what was between them. The id is
made of the contents, so that the same again is a duplicate.
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


def newest_event(
    asset: str, readings: Iterable[Reading], *, tables_id: str, organization: str, now_ms: int
) -> Event:
    """Return an event with missed readings of an asset. Their keys are telemetry keys, or points' paths.

    `tables_id` stands for the tables in force: for the points of other tables, it is no duplicate.
    """
    in_order = sorted(readings, key=lambda each: each.key)
    return _event("reconcile", asset, in_order, tables_id, organization=organization, now_ms=now_ms)


def history_events(
    asset: str, readings: Iterable[Reading], *, organization: str, now_ms: int
) -> Iterator[Event]:
    """Yield events with an asset's history, each of at most 100 readings, all of one hour.

    `readings` are in order of time. An hour has the same ids if more of the history is fetched later.
    """
    for _, group in groupby(readings, key=lambda each: each.time_ms // _HOUR_MS):
        hour = list(group)
        for start in range(0, len(hour), _MOST_READINGS):
            part = hour[start : start + _MOST_READINGS]
            yield _event(_HISTORY, asset, part, "", organization=organization, now_ms=now_ms)


def is_history(event: Event) -> bool:
    """Whether the gateway made an event of the API's history."""
    return event.is_backfilled and event.document.get("source") == _HISTORY


def _event(
    source: str, asset: str, readings: list[Reading], tables_id: str, *, organization: str, now_ms: int
) -> Event:
    resource = {"id": asset, "readings": [_written(each) for each in readings]}
    digest = sha256(orjson.dumps([resource, tables_id], option=orjson.OPT_SORT_KEYS)).hexdigest()
    event_id = BACKFILL_ID_PREFIX + digest[:_ID_DIGITS]
    document: dict[str, Any] = {
        "id": event_id,
        "type": TELEMETRY,
        "source": source,
        "organizationId": organization,
        "created": now_ms // 1000,
        "data": {"object": resource},
    }
    return Event(event_id, TELEMETRY, orjson.dumps(document), document, now_ms)


def _written(reading: Reading) -> dict[str, Any]:
    written = {"key": reading.key, "value": reading.value, "timestamp": reading.time_ms}
    return written if reading.unit_of_measure is None else written | {"unit": reading.unit_of_measure}
