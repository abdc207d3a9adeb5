"""What does not change while a table is in force: each point's names, unit and places. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from gateway.mapping.notation import modicon_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mapping.plan import PointMap
    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point, Register
    from gateway.records import KnownAsset

_ENCODED_AT_ONCE = 500  # points, half a millisecond


def describe_points(points: PointMap, *, topics: Mapping[str, TopicScheme]) -> bytes:
    """Return every point in the order of the tables, which is its number, as a JSON list.

    `topics` are of MQTT sinks by name. Call it in a thread: it is made in pieces, between which others have
    their turns, for encoding a large building at once would hold up the event loop for a tenth of a second.
    """
    every = points.points
    starts = range(0, len(every), _ENCODED_AT_ONCE)
    pieces = [
        orjson.dumps([_described(point, topics) for point in every[first : first + _ENCODED_AT_ONCE]])
        for first in starts
    ]
    return b"[%b]" % b",".join(piece[1:-1] for piece in pieces)


def _described(point: Point, topics: Mapping[str, TopicScheme]) -> dict[str, Any]:
    known, mqtt = point.known, point.mqtt
    goes_to = [name for name in topics if mqtt is not None and mqtt.goes_to(name)]
    return {
        "name": point.name,
        "site": point.site,
        "description": point.description,
        "unit": point.unit_of_measure,
        "asset": point.asset or None,
        "asset_name": known.name if known is not None else None,
        "location": _location(known),
        "from": point.source,
        "stale_after_s": None if point.stale_after_ms is None else point.stale_after_ms / 1000,
        "topics": [
            {"sink": name, "topic": topic} for name in goes_to for topic in topics[name].topics(point)
        ],
        "registers": [_place(register) for register in point.registers],
    }


def _location(known: KnownAsset | None) -> str | None:
    """Return where an asset is, from the outermost location to its own."""
    if known is None:
        return None
    return known.place


def _place(register: Register) -> dict[str, Any]:
    """Return where it is and how it is read, by the PDU's 0-based address and as BMS software counts."""
    return {
        "sink": register.sink,
        "unit": register.unit,
        "table": register.table,
        "address": register.address,
        "modicon": modicon_text(register.table, register.address),
        "type": register.type,
        "bit": register.bit,
        "order": register.order,
        "scale": register.scale,
    }
