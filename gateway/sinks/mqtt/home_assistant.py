"""Home Assistant's MQTT discovery: one retained message per point that makes it an entity. Pure.

What this relies on, from https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery and the pages
sensor.mqtt and binary_sensor.mqtt beside it, looked up in the code (homeassistant/components/mqtt, 2025.12
and 2026.11) where they are silent:

- The topic is `<prefix>/<component>/<node_id>/<object_id>/config`, ids of letters, digits, `_` and `-` only;
  an empty retained message there removes the entity.
- `unique_id` makes an entity known again; `default_entity_id` proposes its name in automations.
- A template sees the payload as `value`, and as `value_json` only where it is JSON. A template that fails
  leaves an entity as available as it was: none here may fail, on no payload.
- With `availability_mode: all`, each topic of `availability` must have made the entity available.
- `expire_after` (s) counts from when a message is received, not from when a value was measured. It is the
  last resort, for a broker that was cut off from this one: a stale value is marked by its quality before.
- The state `None` is "unknown". Numbers are expected where there is a unit or a device class.
- An entity whose device class and unit are no pair in `DEVICE_CLASS_UNITS` is refused whole. That and
  `DEVICE_CLASS_STATE_CLASSES` are in homeassistant/components/sensor/const.py, units in
  homeassistant/const.py; https://www.home-assistant.io/integrations/sensor/#device-class has the same.
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

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.model import Point, Scalar

_ORIGIN = {"name": "building-gateway", "sw_version": __version__}
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9-]")
_NOT_IN_SLUGS = re.compile(r"[^a-z0-9]+")
_AVAILABLE = "['good', 'forced']"  # qualities; what is held is no longer fresh either


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
            **self._state(point, topic=topic, found=_find_value(point, bare=self.bare, in_asset=in_asset)),
        }
        payload = orjson.dumps({key: value for key, value in config.items() if value is not None})
        return f"{self.prefix}/{component}/{node}/{item}/config", payload

    def _device(self, point: Point) -> dict[str, str | list[str]]:
        """Return the device of the point: it has one tag and is one asset."""
        known = point.known or KnownAsset(id=point.asset)
        parts = (self.gateway, point.tag, point.asset)
        texts = {
            "name": known.name or point.tag,
            "model": known.model,
            "manufacturer": known.manufacturer,
            "suggested_area": known.location,
        }
        identifiers = ["__".join(_as_id(part) for part in parts if part)]
        return {"identifiers": identifiers, **{key: text for key, text in texts.items() if text}}

    def _state(self, point: Point, *, topic: str, found: _FoundValue) -> dict[str, Any]:
        """Return the topic of the state, and the templates for value, availability and attributes."""
        value = f"('ON' if {found.truth} else 'OFF')" if _is_binary(point) else found.value
        availability = _template(f"'online' if {found.is_available} else 'offline'")
        state: dict[str, Any] = {
            "state_topic": topic,
            # The state is applied before the availability: a bad value must not show even briefly.
            "value_template": _template(f"{value} if {found.is_available} else None"),
            "availability_mode": "all",
            "availability": [{"topic": self.status_topic}, {"topic": topic, "value_template": availability}],
            "expire_after": _expire_after_s(point),
        }
        if found.quality is not None:
            attributes = f"{{'quality': {found.quality}}} if {found.has_quality} else {{}}"
            state["json_attributes_topic"] = topic
            state["json_attributes_template"] = _template(f"({attributes}) | tojson")
        return state


class _FoundValue(NamedTuple):
    """Template expressions that find a value in a message; `truth` is the value as a condition.

    `quality` None: messages have none.
    """

    value: str
    truth: str
    is_available: str
    quality: str | None = None
    has_quality: str = ""


def _find_value(point: Point, *, bare: bool, in_asset: bool) -> _FoundValue:
    key = ascii(point.point)  # which templates read as Python does
    if bare and in_asset:
        entry = f"value_json[{key}]"
        is_available = f"value_json is mapping and {key} in value_json and {entry} is not none"
        return _FoundValue(entry, entry, is_available)
    if bare:
        return _FoundValue("value", "value_json", "value not in ['', 'null']")
    entry, has_quality = "value_json", "value_json is mapping"
    if in_asset:
        entry = f"value_json.points[{key}]"
        has_quality += f" and value_json.points is mapping and {entry} is mapping"
    value, quality = f"{entry}.value", f"{entry}.quality"
    has_quality += f" and {quality} is string"
    return _FoundValue(value, value, f"{has_quality} and {quality} in {_AVAILABLE}", quality, has_quality)


def _template(expression: str) -> str:
    return f"{{{{ {expression} }}}}"


def _traits(point: Point) -> dict[str, Any]:
    """Return the kind of state, as far as that is certain."""
    if point.source == "$online":
        return {"device_class": "connectivity"}
    if _is_binary(point):
        return {"device_class": _value_class(None, point.tags).device_class}
    words = _words(point)
    if words is not None:
        return {"device_class": "enum", "options": words}
    if not _is_number(point):
        return {}
    unit = point.unit_of_measure
    value_class = _value_class(unit, point.tags)
    return {
        "unit_of_measurement": None if unit is None else _unit_of_measurement(unit),
        "device_class": value_class.device_class,
        "state_class": value_class.state_class,
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
    """Return the values of the point's map, in order; empty where it has none."""
    outputs = (point.conversion.map or {}).values()
    return dict.fromkeys(output for output in outputs if output is not None)


def _expire_after_s(point: Point) -> int | None:
    """Return how long silence is normal: within a deadband, readings are not published at once."""
    if point.stale_after_ms is None:
        return None
    longest_ms = point.stale_after_ms + (point.cov.every_ms if point.cov is not None else 0)
    return -(-longest_ms // 1000)


def _as_id(text: str) -> str:
    """Return any text as an id: bytes of characters that are not allowed in hexadecimal after a `_`.

    Different texts have different ids, and none has two `_` in a row.
    """
    return _NOT_IN_IDS.sub(lambda found: "".join(f"_{byte:02x}" for byte in found[0].encode()), text)


def _slug(text: str) -> str:
    """Return any text in the form of Home Assistant's entity names; different texts may have the same."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return _NOT_IN_SLUGS.sub("_", ascii_text).strip("_") or "point"


class _ValueClass(NamedTuple):
    """Device class and state class of a value; None where either is not certain."""

    device_class: str | None = None
    state_class: str | None = None


def _measured(device_class: str) -> _ValueClass:
    return _ValueClass(device_class, "measurement")


_SPELLINGS = {  # units as point tables write them, normalised, and as Home Assistant writes them
    **dict.fromkeys(("°C", "degC", "deg C", "delta_degC"), "°C"),
    **dict.fromkeys(("°F", "degF", "deg F", "delta_degF"), "°F"),
    **dict.fromkeys(("percent", "%RH", "%rH", "pct", "perc"), "%"),
    **dict.fromkeys(("ug/m3", "μg/m3"), "μg/m³"),
    "mg/m3": "mg/m³",
    "g/m3": "g/m³",
    "m3": "m³",
    "m2": "m²",
    "W/m2": "W/m²",
    "ft3": "ft³",
    "ft2": "ft²",
    "l": "L",
    **dict.fromkeys(("m3/h", "CMH", "cmh"), "m³/h"),
    "m3/s": "m³/s",
    "m3/min": "m³/min",
    **dict.fromkeys(("l/s", "LPS", "lps"), "L/s"),
    **dict.fromkeys(("l/min", "LPM", "lpm"), "L/min"),
    "l/h": "L/h",
    **dict.fromkeys(("ft3/min", "CFM", "cfm"), "ft³/min"),
    **dict.fromkeys(("GPM", "gpm"), "gal/min"),
    **dict.fromkeys(("inWC", "inWG", "inwc", "inwg", "in.w.c.", "inH2O"), "inH₂O"),
    **dict.fromkeys(("BTUH", "BTUh", "Btuh"), "BTU/h"),
    "VAr": "var",
    "kVAr": "kvar",
    "VArh": "varh",
    "kVArh": "kvarh",
}
_BY_UNIT = {
    **dict.fromkeys(("°C", "°F"), _measured("temperature")),
    **dict.fromkeys(("W", "kW", "MW"), _measured("power")),
    # A unit of energy leaves open whether the count only rises.
    **dict.fromkeys(("Wh", "kWh", "MWh", "GWh", "kJ", "MJ", "GJ"), _ValueClass("energy")),
    **dict.fromkeys(("VA", "kVA"), _measured("apparent_power")),
    **dict.fromkeys(("var", "kvar"), _measured("reactive_power")),
    **dict.fromkeys(
        ("Pa", "hPa", "kPa", "mbar", "bar", "psi", "inHg", "mmHg", "inH₂O"), _measured("pressure")
    ),
    **dict.fromkeys(("mV", "V", "kV"), _measured("voltage")),
    **dict.fromkeys(("mA", "A"), _measured("current")),
    **dict.fromkeys(("Hz", "kHz"), _measured("frequency")),
    "lx": _measured("illuminance"),
    "dBm": _measured("signal_strength"),
    **dict.fromkeys(("m/s", "km/h", "mph"), _measured("speed")),
    **dict.fromkeys(
        ("m³/h", "m³/min", "m³/s", "L/h", "L/min", "L/s", "ft³/min", "gal/min"),
        _measured("volume_flow_rate"),
    ),
    # These leave the device class open; but none of them adds up.
    **dict.fromkeys(
        ("%", "ppm", "ppb", "μg/m³", "mg/m³", "g/m³", "K"), _ValueClass(state_class="measurement")
    ),
}
_DIFFERENCE = _measured("temperature_delta")
_DIFFERENCES = frozenset({"delta_degC", "delta_degF"})
_BY_WORD = (  # of a Brick class or a Haystack marker, with the units that go with it
    ("humidity", ("%",), _measured("humidity")),
    ("battery", ("%",), _measured("battery")),
    ("co2", ("ppm",), _measured("carbon_dioxide")),
    ("co", ("ppm",), _measured("carbon_monoxide")),
    ("tvoc", ("ppm", "ppb"), _measured("volatile_organic_compounds_parts")),
    ("tvoc", ("μg/m³", "mg/m³"), _measured("volatile_organic_compounds")),
    ("pm2.5", ("μg/m³",), _measured("pm25")),
    ("pm25", ("μg/m³",), _measured("pm25")),
    ("pm10", ("μg/m³",), _measured("pm10")),
    ("differential", ("°C", "°F", "K"), _DIFFERENCE),
    ("deadband", ("°C", "°F", "K"), _DIFFERENCE),
    ("delta", ("°C", "°F", "K"), _DIFFERENCE),
)


def _unit_of_measurement(unit: str) -> str:
    """Return a unit in Home Assistant's spelling; one that it does not have, as it is."""
    normalised = unicodedata.normalize("NFKC", unit).replace(
        "^", ""
    )  # m³/h is m3/h, both micro signs are one
    return _SPELLINGS.get(normalised, unit)


def _value_class(unit: str | None, tags: Mapping[str, Any] | None) -> _ValueClass:
    """Return what unit and tags make certain of a number; tags win over the unit.

    `device_class` and `state_class` among the tags are Home Assistant's own words, and are used as they are.
    """
    tags = tags or {}
    found = _class_by_unit_and_words(unit, tags)
    device_class = _text(tags.get("device_class"))
    if device_class is not None and device_class != found.device_class:
        found = _ValueClass(device_class, found.state_class if found.device_class is None else None)
    return _ValueClass(found.device_class, _text(tags.get("state_class")) or found.state_class)


def _class_by_unit_and_words(unit: str | None, tags: Mapping[str, Any]) -> _ValueClass:
    if unit is None:
        return _ValueClass()
    if unit in _DIFFERENCES:
        return _DIFFERENCE
    spelt, words = _unit_of_measurement(unit), frozenset(_tag_words(tags))
    for word, units, value_class in _BY_WORD:
        if word in words and spelt in units:
            return value_class
    return _BY_UNIT.get(spelt, _ValueClass())


def _tag_words(tags: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words of Brick classes, which are joined by underscores, and the markers of Haystack."""
    for key in ("brick", "haystack"):
        tag = tags.get(key, ())
        for text in (tag,) if isinstance(tag, str) else tag if isinstance(tag, tuple) else ():
            yield from text.lower().rpartition(":")[2].replace("-", "_").replace(" ", "_").split("_")


def _text(tag: object) -> str | None:
    return tag if isinstance(tag, str) else None
