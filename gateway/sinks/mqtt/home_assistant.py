"""How points are told to Home Assistant by its MQTT discovery: one retained message per point. Pure.

What this relies on, from https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery and the pages
sensor.mqtt and binary_sensor.mqtt beside it, looked up in the code (homeassistant/components/mqtt, 2025.12
and 2026.11) where they are silent:

- The topic is `<prefix>/<component>/<node_id>/<object_id>/config`, ids of letters, digits, `_` and `-` only;
  an empty retained message there removes the entity.
- `unique_id` makes an entity known again; `default_entity_id` proposes its name in automations.
- A template sees the payload as `value`, and as `value_json` only where it is JSON. A template that fails
  leaves an entity as available as it was: none here may fail, on no payload.
- With `availability_mode: all`, an entity is available once each topic of `availability` has said so.
- `expire_after` (s) counts from when a message is received, not from when a value was measured. It is the
  last resort, for a broker that was cut off from this one: a stale value is told by its quality before.
- The state `None` is "unknown". Numbers are expected where there is a unit or a device class.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from gateway import __version__
from gateway.model import ValueKind
from gateway.records import KnownAsset
from gateway.sinks.mqtt.home_assistant_words import kind_of, unit_of_measurement

if TYPE_CHECKING:
    from gateway.model import Point, Scalar

_ORIGIN = {"name": "building-gateway", "sw_version": __version__}
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9-]")
_NOT_IN_SLUGS = re.compile(r"[^a-z0-9]+")
_TRUSTED = "['good', 'forced']"  # qualities; what is held is no longer fresh either


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What one sink tells Home Assistant.

    `prefix` is where Home Assistant listens, `gateway` this gateway's name, `status_topic` where its
    `online` and `offline` stand. `plain`: messages are the bare values, without their quality.
    """

    prefix: str
    gateway: str
    status_topic: str
    plain: bool

    def tell(self, point: Point, *, topic: str, in_asset: bool = False) -> tuple[str, bytes] | None:
        """Return topic and payload for a point whose value stands on `topic`; None where it is not told.

        `in_asset`: the message there is of the whole asset, with the point under its name. An age is not
        told: in MQTT it moves only when its asset reports, and Home Assistant counts from then by itself.
        """
        if point.source == "$age":
            return None
        component = "binary_sensor" if _is_binary(point) else "sensor"
        node, item = _plain_id(self.gateway), f"{_plain_id(point.tag)}__{_plain_id(point.point)}"
        told = {
            "unique_id": f"{node}__{item}",
            "default_entity_id": f"{component}.{_slug(point.name)}",
            "name": point.description or point.point,
            "device": self._device(point),
            "origin": _ORIGIN,
            "qos": 1,
            "entity_category": "diagnostic" if point.is_pseudo else None,
            **_traits(point),
            **self._state(point, topic=topic, place=self._place(point, in_asset=in_asset)),
        }
        payload = orjson.dumps({key: value for key, value in told.items() if value is not None})
        return f"{self.prefix}/{component}/{node}/{item}/config", payload

    def _device(self, point: Point) -> dict[str, str | list[str]]:
        """Return what the point belongs to: a device has one tag and is one asset."""
        known = point.known or KnownAsset(id=point.asset)
        parts = (self.gateway, point.tag, point.asset)
        said = {
            "name": known.name or point.tag,
            "model": known.model,
            "manufacturer": known.manufacturer,
            "suggested_area": known.location,
        }
        identifiers = ["__".join(_plain_id(part) for part in parts if part)]
        return {"identifiers": identifiers, **{key: text for key, text in said.items() if text}}

    def _place(self, point: Point, *, in_asset: bool) -> _Place:
        key = ascii(point.point)  # which templates read as Python does
        if self.plain and in_asset:
            entry = f"value_json[{key}]"
            return _Place(
                entry, entry, f"value_json is mapping and {key} in value_json and {entry} is not none"
            )
        if self.plain:
            return _Place("value", "value_json", "value not in ['', 'null']")
        entry, is_there = "value_json", "value_json is mapping"
        if in_asset:
            entry = f"value_json.points[{key}]"
            is_there += f" and value_json.points is mapping and {entry} is mapping"
        value, quality = f"{entry}.value", f"{entry}.quality"
        is_there += f" and {quality} is string"
        return _Place(value, value, f"{is_there} and {quality} in {_TRUSTED}", quality, is_there)

    def _state(self, point: Point, *, topic: str, place: _Place) -> dict[str, Any]:
        """Return where the state is, and the templates that find it and say whether it can be trusted."""
        state = f"('ON' if {place.truth} else 'OFF')" if _is_binary(point) else place.value
        found: dict[str, Any] = {
            "state_topic": topic,
            # The state is looked at before its availability is, so it must not be shown even that long.
            "value_template": _template(f"{state} if {place.is_trusted} else None"),
            "availability_mode": "all",
            "availability": [
                {"topic": self.status_topic},
                {
                    "topic": topic,
                    "value_template": _template(f"'online' if {place.is_trusted} else 'offline'"),
                },
            ],
            "expire_after": _expire_after_s(point),
        }
        if place.quality is not None:
            attributes = f"{{'quality': {place.quality}}} if {place.is_there} else {{}}"
            found["json_attributes_topic"] = topic
            found["json_attributes_template"] = _template(f"({attributes}) | tojson")
        return found


class _Place(NamedTuple):
    """Where in a message a value stands, as expressions of a template.

    `truth` is the value as a condition. `is_there` says whether `quality` can be read; None: never said.
    """

    value: str
    truth: str
    is_trusted: str
    quality: str | None = None
    is_there: str = ""


def _template(expression: str) -> str:
    return f"{{{{ {expression} }}}}"


def _traits(point: Point) -> dict[str, Any]:
    """Return what kind of state it is, as far as that is certain."""
    if point.source == "$online":
        return {"device_class": "connectivity"}
    if _is_binary(point):
        return {"device_class": kind_of(None, point.tags).device_class}
    words = _words(point)
    if words is not None:
        return {"device_class": "enum", "options": words}
    if not _is_number(point):
        return {}
    kind = kind_of(point.unit_of_measure, point.tags)
    unit = point.unit_of_measure
    return {
        "unit_of_measurement": None if unit is None else unit_of_measurement(unit),
        "device_class": kind.device_class,
        "state_class": kind.state_class,
        "suggested_display_precision": point.conversion.decimals,
    }


def _is_binary(point: Point) -> bool:
    """Say whether a point is on or off, and nothing else."""
    if point.source == "$online":
        return True
    conversion = point.conversion
    if point.is_pseudo or point.unit_of_measure is not None or conversion.calculates:
        return False
    if conversion.map is None:
        return conversion.kind is ValueKind.SWITCH
    return _outputs(point).keys() == {0, 1}


def _words(point: Point) -> list[str] | None:
    """Return the words that a point shows, where a map leads to words only."""
    words = [output for output in _outputs(point) if isinstance(output, str)]
    return words if words and len(words) == len(_outputs(point)) else None


def _is_number(point: Point) -> bool:
    conversion = point.conversion
    if conversion.map is None:
        return point.is_pseudo or conversion.kind is ValueKind.NUMBER
    return all(isinstance(output, int | float) and not isinstance(output, bool) for output in _outputs(point))


def _outputs(point: Point) -> dict[Scalar, None]:
    """Return what the point's map leads to, in order; nothing where there is none."""
    outputs = (point.conversion.map or {}).values()
    return dict.fromkeys(output for output in outputs if output is not None)


def _expire_after_s(point: Point) -> int | None:
    """Return for how long no message is a bad sign: within a deadband, readings are not sent at once."""
    if point.stale_after_ms is None:
        return None
    longest_ms = point.stale_after_ms + (point.cov.every_ms if point.cov is not None else 0)
    return -(-longest_ms // 1000)


def _plain_id(text: str) -> str:
    """Write any text as an id: the bytes of what may not stand there in hexadecimal after a `_`.

    Different texts give different ids, and none has two `_` in a row.
    """
    return _NOT_IN_IDS.sub(lambda found: "".join(f"_{byte:02x}" for byte in found[0].encode()), text)


def _slug(text: str) -> str:
    """Write any text as Home Assistant writes the names of entities; different texts may give the same."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return _NOT_IN_SLUGS.sub("_", plain).strip("_") or "point"
