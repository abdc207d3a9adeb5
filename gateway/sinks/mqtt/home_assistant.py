"""Home Assistant's MQTT discovery: one retained message per point that makes it an entity. Pure.

What this relies on is at https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery, or else in the code
(homeassistant/components/mqtt, sensor/const.py, const.py; 2025.12 and 2026.11):

- Ids have letters, digits, `_` and `-` only; an empty retained message removes the entity.
- `unique_id` makes an entity known again; `default_entity_id` proposes its name in automations.
- A template sees the payload as `value`, and as `value_json` only where it is JSON. A template that fails
  leaves an entity as available as it was: none here may fail, on no payload.
- `expire_after` (s) counts from when a message is received, not from when a value was measured. It is the
  last resort, for a broker that was cut off from this one: a stale value is marked by its quality before.
- The state `None` is "unknown". Numbers are expected where there is a unit or a device class.
- An entity whose device class and unit are no pair in `DEVICE_CLASS_UNITS` is refused whole.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from gateway import __version__
from gateway.model import ValueKind
from gateway.records import KnownAsset

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.model import Point, Scalar

_ORIGIN = {"name": "building-gateway", "sw_version": __version__}

_SPELLINGS = {  # units as Home Assistant writes them, and as point tables do
    "°C": "degC|deg C|delta_degC",
    "°F": "degF|deg F|delta_degF",
    "%": "percent|%RH|%rH|pct|perc",
    "μg/m³": "ug/m3|μg/m3",
    "mg/m³": "mg/m3",
    "g/m³": "g/m3",
    "m³": "m3",
    "m²": "m2",
    "W/m²": "W/m2",
    "ft³": "ft3",
    "ft²": "ft2",
    "L": "l",
    "m³/h": "m3/h|CMH|cmh",
    "m³/s": "m3/s",
    "m³/min": "m3/min",
    "L/s": "l/s|LPS|lps",
    "L/min": "l/min|LPM|lpm",
    "L/h": "l/h",
    "ft³/min": "ft3/min|CFM|cfm",
    "gal/min": "GPM|gpm",
    "inH₂O": "inWC|inWG|inwc|inwg|in.w.c.|inH2O",
    "BTU/h": "BTUH|BTUh|Btuh",
    "var": "VAr",
    "kvar": "kVAr",
    "varh": "VArh",
    "kvarh": "kVArh",
}
_UNITS_OF_CLASSES = {  # for units that leave no doubt about the device class
    "temperature": "°C °F",
    "power": "W kW MW",
    "energy": "Wh kWh MWh GWh kJ MJ GJ",
    "apparent_power": "VA kVA",
    "reactive_power": "var kvar",
    "pressure": "Pa hPa kPa mbar bar psi inHg mmHg inH₂O",
    "voltage": "mV V kV",
    "current": "mA A",
    "frequency": "Hz kHz",
    "illuminance": "lx",
    "signal_strength": "dBm",
    "speed": "m/s km/h mph",
    "volume_flow_rate": "m³/h m³/min m³/s L/h L/min L/s ft³/min gal/min",
}
# These units leave the device class open, but what they measure never adds up.
_NEVER_ADD_UP = frozenset(["%", "ppm", "ppb", "μg/m³", "mg/m³", "g/m³", "K"])
_COUNTED = "energy"  # its unit leaves open whether the count only rises
_DIFFERENCE = "temperature_delta"
_CLASSES_BY_WORD = (  # of a Brick class or a Haystack marker, with the units that go with it
    ("humidity", "%", "humidity"),
    ("battery", "%", "battery"),
    ("co2", "ppm", "carbon_dioxide"),
    ("co", "ppm", "carbon_monoxide"),
    ("tvoc", "ppm ppb", "volatile_organic_compounds_parts"),
    ("tvoc", "μg/m³ mg/m³", "volatile_organic_compounds"),
    ("pm2.5", "μg/m³", "pm25"),
    ("pm25", "μg/m³", "pm25"),
    ("pm10", "μg/m³", "pm10"),
    ("differential", "°C °F K", _DIFFERENCE),
    ("deadband", "°C °F K", _DIFFERENCE),
    ("delta", "°C °F K", _DIFFERENCE),
)
_SPELT = {unit: spelt for spelt, units in _SPELLINGS.items() for unit in units.split("|")}
_CLASS_BY_UNIT = {unit: found for found, units in _UNITS_OF_CLASSES.items() for unit in units.split()}


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeAssistantDiscovery:
    """The entities of one sink.

    `prefix` is the one that Home Assistant listens on; `status_topic` has the gateway's `online` and
    `offline`. `bare`: messages are the bare values, without their quality.
    """

    prefix: str
    gateway: str
    status_topic: str
    bare: bool

    def entity(self, point: Point, *, topic: str, in_asset: bool = False) -> tuple[str, bytes] | None:
        """Return topic and payload for a point whose value is on `topic`; None for an age.

        `in_asset`: the message there is of the whole asset, with the point under its name. An age moves on
        MQTT only when its asset reports, and Home Assistant counts from then by itself.
        """
        if point.source == "$age":
            return None
        component = "binary_sensor" if _is_binary(point) else "sensor"
        node, item = _as_id(self.gateway), f"{_as_id(point.tag)}__{_as_id(point.point)}"
        config = {
            "unique_id": f"{node}__{item}",
            "default_entity_id": f"{component}.{_slug(point.name)}",
            "name": point.description or point.point,
            "device": self._device(point),
            "origin": _ORIGIN,
            "qos": 1,
            "entity_category": "diagnostic" if point.is_pseudo else None,
            **_traits(point),
            **self._state(point, topic=topic, in_asset=in_asset),
        }
        return f"{self.prefix}/{component}/{node}/{item}/config", orjson.dumps(_without_none(config))

    def _device(self, point: Point) -> dict[str, Any]:
        """Return the device of the point: it has one tag and is one asset."""
        known = point.known or KnownAsset(id=point.asset)
        parts = (self.gateway, point.tag, point.asset)
        return _without_none(
            {
                "identifiers": ["__".join(_as_id(part) for part in parts if part)],
                "name": known.name or point.tag,
                "model": known.model or None,
                "manufacturer": known.manufacturer or None,
                "suggested_area": known.location or None,
            }
        )

    def _state(self, point: Point, *, topic: str, in_asset: bool) -> dict[str, Any]:
        """Return the topic of the state, and the templates for value, availability and attributes."""
        value, is_available, quality = _expressions(point, bare=self.bare, in_asset=in_asset)
        if _is_binary(point):
            value = f"('ON' if {'value_json' if value == 'value' else value} else 'OFF')"
        availability = f"{{{{ 'online' if {is_available} else 'offline' }}}}"
        state: dict[str, Any] = {
            "state_topic": topic,
            # The state is applied before the availability: a bad value must not show even briefly.
            "value_template": f"{{{{ {value} if {is_available} else None }}}}",
            "availability_mode": "all",
            "availability": [{"topic": self.status_topic}, {"topic": topic, "value_template": availability}],
            "expire_after": _expire_after_s(point),
        }
        if quality is not None:
            state["json_attributes_topic"] = topic
            state["json_attributes_template"] = f"{{{{ ({quality}) | tojson }}}}"
        return state


def _expressions(point: Point, *, bare: bool, in_asset: bool) -> tuple[str, str, str | None]:
    """Return expressions of templates: value, whether it is available, and quality if messages have one."""
    key = ascii(point.point)  # which templates read as Python does
    if bare and in_asset:
        entry = f"value_json[{key}]"
        return entry, f"value_json is mapping and {key} in value_json and {entry} is not none", None
    if bare:
        return "value", "value not in ['', 'null']", None
    entry, has_quality = "value_json", "value_json is mapping"
    if in_asset:
        entry = f"value_json.points[{key}]"
        has_quality += f" and value_json.points is mapping and {entry} is mapping"
    quality = f"{entry}.quality"
    has_quality += f" and {quality} is string"
    is_available = f"{has_quality} and {quality} in ['good', 'forced']"  # a held value is not fresh either
    return f"{entry}.value", is_available, f"{{'quality': {quality}}} if {has_quality} else {{}}"


def _traits(point: Point) -> dict[str, Any]:
    """Return the kind of state, as far as that is certain."""
    if point.source == "$online":
        return {"device_class": "connectivity"}
    if _is_binary(point):
        return {"device_class": _text(point.tags, "device_class")}
    outputs = _outputs(point)
    if outputs and all(isinstance(output, str) for output in outputs):
        return {"device_class": "enum", "options": outputs}
    if not _is_number(point):
        return {}
    unit = point.unit_of_measure
    device_class, state_class = _classes(unit, point.tags or {})
    return {
        "unit_of_measurement": None if unit is None else _unit_of_measurement(unit),
        "device_class": device_class,
        "state_class": state_class,
        "suggested_display_precision": point.conversion.decimals,
    }


def _is_binary(point: Point) -> bool:
    """Return whether a point is on or off, and nothing else."""
    if point.source == "$online":
        return True
    conversion = point.conversion
    if point.is_pseudo or point.unit_of_measure is not None or conversion.calculates:
        return False
    if conversion.map is None:
        return conversion.kind is ValueKind.SWITCH
    return set(_outputs(point)) == {0, 1}


def _is_number(point: Point) -> bool:
    conversion = point.conversion
    if conversion.map is None:
        return point.is_pseudo or conversion.kind is ValueKind.NUMBER
    return all(isinstance(output, int | float) and not isinstance(output, bool) for output in _outputs(point))


def _outputs(point: Point) -> list[Scalar]:
    """Return the values of the point's map, in order; empty where it has none."""
    outputs = (point.conversion.map or {}).values()
    return list(dict.fromkeys(output for output in outputs if output is not None))


def _expire_after_s(point: Point) -> int | None:
    """Return how long silence is normal: within a deadband, readings are not published at once."""
    if point.stale_after_ms is None:
        return None
    longest_ms = point.stale_after_ms + (point.cov.every_ms if point.cov is not None else 0)
    return -(-longest_ms // 1000)


def _classes(unit: str | None, tags: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return device class and state class of a number, as far as unit and tags make them certain.

    `device_class` and `state_class` among the tags are Home Assistant's own words, and are used as they are.
    """
    by_unit, tagged = _class_by_unit(unit, tags), _text(tags, "device_class")
    state_class = None
    if (by_unit and by_unit != _COUNTED) or (unit and _unit_of_measurement(unit) in _NEVER_ADD_UP):
        state_class = "measurement"
    if tagged and by_unit and tagged != by_unit:
        state_class = None
    return tagged or by_unit, _text(tags, "state_class") or state_class


def _class_by_unit(unit: str | None, tags: Mapping[str, Any]) -> str | None:
    if unit is None:
        return None
    if unit in {"delta_degC", "delta_degF"}:
        return _DIFFERENCE
    spelt, words = _unit_of_measurement(unit), frozenset(_tag_words(tags))
    by_word = (found for word, units, found in _CLASSES_BY_WORD if word in words and spelt in units.split())
    return next(by_word, _CLASS_BY_UNIT.get(spelt))


def _unit_of_measurement(unit: str) -> str:
    """Return a unit in Home Assistant's spelling; one that it does not have, as it is."""
    normalised = unicodedata.normalize("NFKC", unit)  # m³/h is m3/h, both micro signs are one
    return _SPELT.get(normalised.replace("^", ""), unit)


def _tag_words(tags: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words of Brick classes, which are joined by underscores, and the markers of Haystack."""
    for key in ("brick", "haystack"):
        tag = tags.get(key, ())
        for text in (tag,) if isinstance(tag, str) else tag if isinstance(tag, tuple) else ():
            yield from re.split("[-_ ]", text.lower().rpartition(":")[2])


def _text(tags: Mapping[str, Any] | None, key: str) -> str | None:
    tag = (tags or {}).get(key)
    return tag if isinstance(tag, str) else None


def _as_id(text: str) -> str:
    """Return any text as an id: bytes of characters that are not allowed in hexadecimal after a `_`.

    Different texts have different ids, and none has two `_` in a row.
    """
    return re.sub("[^A-Za-z0-9-]", lambda found: "".join(f"_{byte:02x}" for byte in found[0].encode()), text)


def _slug(text: str) -> str:
    """Return any text in the form of Home Assistant's entity names; different texts may have the same."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "_", ascii_text).strip("_") or "point"


def _without_none(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value is not None}
