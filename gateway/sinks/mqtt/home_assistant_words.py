"""What Home Assistant calls units of measure and kinds of values.

Its own tables are `UnitOf…` in homeassistant/const.py and `DEVICE_CLASS_UNITS`, `DEVICE_CLASS_STATE_CLASSES`
in homeassistant/components/sensor/const.py: an entity whose device class and unit are not a pair there is
refused whole. https://www.home-assistant.io/integrations/sensor/#device-class has the same as a page.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SPELLINGS = {  # how units are written here, brought to one form, and how Home Assistant writes them
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


class Kind(NamedTuple):
    """What is certain of a value: its device class and state class, None where either is not."""

    device_class: str | None = None
    state_class: str | None = None


def _measured(device_class: str) -> Kind:
    return Kind(device_class, "measurement")


_BY_UNIT = {
    **dict.fromkeys(("°C", "°F"), _measured("temperature")),
    **dict.fromkeys(("W", "kW", "MW"), _measured("power")),
    # Whether a count of energy only ever rises, no unit says.
    **dict.fromkeys(("Wh", "kWh", "MWh", "GWh", "kJ", "MJ", "GJ"), Kind("energy")),
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
    # Of what it is a share, a content or a temperature, no unit says; but none of them adds up.
    **dict.fromkeys(("%", "ppm", "ppb", "μg/m³", "mg/m³", "g/m³", "K"), Kind(state_class="measurement")),
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


def unit_of_measurement(unit_of_measure: str) -> str:
    """Return a unit in Home Assistant's spelling; one that it does not have, as it is."""
    return _SPELLINGS.get(_one_form(unit_of_measure), unit_of_measure)


def kind_of(unit_of_measure: str | None, tags: Mapping[str, Any] | None) -> Kind:
    """Return what unit and tags make certain of a number; tags win over the unit.

    `device_class` and `state_class` among the tags are Home Assistant's own words, and are taken as they are.
    """
    tags = tags or {}
    found = _found(unit_of_measure, tags)
    device_class = _text(tags.get("device_class"))
    if device_class is not None and device_class != found.device_class:
        found = Kind(device_class, found.state_class if found.device_class is None else None)
    return Kind(found.device_class, _text(tags.get("state_class")) or found.state_class)


def _found(unit_of_measure: str | None, tags: Mapping[str, Any]) -> Kind:
    if unit_of_measure is None:
        return Kind()
    if unit_of_measure in _DIFFERENCES:
        return _DIFFERENCE
    unit, words = unit_of_measurement(unit_of_measure), frozenset(_words(tags))
    for word, units, kind in _BY_WORD:
        if word in words and unit in units:
            return kind
    return _BY_UNIT.get(unit, Kind())


def _words(tags: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words of Brick classes, which are joined by underscores, and the markers of Haystack."""
    for key in ("brick", "haystack"):
        written = tags.get(key, ())
        for text in (written,) if isinstance(written, str) else written if isinstance(written, tuple) else ():
            yield from text.lower().rpartition(":")[2].replace("-", "_").replace(" ", "_").split("_")


def _text(tag: object) -> str | None:
    return tag if isinstance(tag, str) else None


def _one_form(unit: str) -> str:
    """Bring m³/h and m3/h, and the two signs for micro, to one form."""
    return unicodedata.normalize("NFKC", unit).replace("^", "")
