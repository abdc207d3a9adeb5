"""The BACnet engineering units of units of measure, as point tables and sensors write them."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from gateway.mapping.units import normalised_unit, unit_meanings

if TYPE_CHECKING:
    from gateway.model import Point


class EngineeringUnit(NamedTuple):
    """One of BACnetEngineeringUnits (ANSI/ASHRAE 135, clause 21)."""

    number: int
    name: str


NO_UNITS = EngineeringUnit(95, "no-units")

_TABLE = (  # number, name, spellings: powers as m3, products with *
    (0, "square-meters", "m2"),
    (1, "square-feet", "ft2 sqft"),
    (2, "milliamperes", "mA"),
    (3, "amperes", "A"),
    (4, "ohms", "ohm Ω"),
    (5, "volts", "V"),
    (6, "kilovolts", "kV"),
    (7, "megavolts", "MV"),
    (8, "volt-amperes", "VA"),
    (9, "kilovolt-amperes", "kVA"),
    (10, "megavolt-amperes", "MVA"),
    (11, "volt-amperes-reactive", "var VAr"),
    (12, "kilovolt-amperes-reactive", "kvar kVAr"),
    (13, "megavolt-amperes-reactive", "Mvar MVAr"),
    (15, "power-factor", "PF"),
    (16, "joules", "J"),
    (17, "kilojoules", "kJ"),
    (18, "watt-hours", "Wh"),
    (19, "kilowatt-hours", "kWh"),
    (20, "btus", "BTU"),
    (21, "therms", "thm"),
    (22, "ton-hours", "TRh RTh"),
    (27, "hertz", "Hz"),
    (29, "percent-relative-humidity", "%RH %rF %r.H. %r.F. rh rh% %relativehumidity relativehumidity"),
    (30, "millimeters", "mm"),
    (31, "meters", "m"),
    (32, "inches", "in inch"),
    (33, "feet", "ft foot"),
    (35, "watts-per-square-meter", "W/m2"),
    (36, "lumens", "lm"),
    (37, "luxes", "lx"),
    (38, "foot-candles", "fc lumen/foot2"),
    (39, "kilograms", "kg"),
    (40, "pounds-mass", "lb"),
    (42, "kilograms-per-second", "kg/s"),
    (43, "kilograms-per-minute", "kg/min"),
    (44, "kilograms-per-hour", "kg/h"),
    (47, "watts", "W"),
    (48, "kilowatts", "kW"),
    (49, "megawatts", "MW"),
    (50, "btus-per-hour", "BTU/h british_thermal_unit/hour"),
    (51, "horsepower", "hp"),
    (52, "tons-refrigeration", "TR refrigeration_ton"),
    (53, "pascals", "Pa"),
    (54, "kilopascals", "kPa"),
    (55, "bars", "bar"),
    (56, "pounds-force-per-square-inch", "psi"),
    (57, "centimeters-of-water", "cmH2O"),
    (58, "inches-of-water", "inch_H2O"),
    (59, "millimeters-of-mercury", "mmHg"),
    (61, "inches-of-mercury", "inHg"),
    (62, "degrees-celsius", "degC"),
    (63, "degrees-kelvin", "K"),
    (64, "degrees-fahrenheit", "degF"),
    (67, "years", "yr"),
    (68, "months", ""),
    (69, "weeks", "wk"),
    (70, "days", "d"),
    (71, "hours", "h hr hrs"),
    (72, "minutes", "min"),
    (73, "seconds", "s sec"),
    (74, "meters-per-second", "m/s"),
    (75, "kilometers-per-hour", "km/h kph"),
    (76, "feet-per-second", "ft/s"),
    (77, "feet-per-minute", "ft/min foot/minute"),
    (78, "miles-per-hour", "mph"),
    (79, "cubic-feet", "ft3"),
    (80, "cubic-meters", "m3"),
    (82, "liters", "l"),
    (83, "us-gallons", "gal gallon"),
    (84, "cubic-feet-per-minute", "ft3/min foot3/minute"),
    (85, "cubic-meters-per-second", "m3/s"),
    (87, "liters-per-second", "l/s liter/second"),
    (88, "liters-per-minute", "l/min liter/minute"),
    (89, "us-gallons-per-minute", "gal/min gallon/minute"),
    (90, "degrees-angular", "degree deg"),
    (95, "no-units", ""),
    (96, "parts-per-million", "ppm"),
    (97, "parts-per-billion", "ppb"),
    (98, "percent", "%"),
    (100, "per-minute", "1/min"),
    (104, "revolutions-per-minute", "rpm r/min U/min"),
    (118, "centimeters", "cm"),
    (120, "delta-degrees-fahrenheit", "delta_degF"),
    (121, "delta-degrees-kelvin", "delta_degC"),
    (122, "kilohms", "kohm kΩ"),
    (124, "millivolts", "mV"),
    (125, "kilojoules-per-kilogram", "kJ/kg"),
    (126, "megajoules", "MJ"),
    (131, "per-hour", "1/h"),
    (132, "milliwatts", "mW"),
    (133, "hectopascals", "hPa"),
    (134, "millibars", "mbar"),
    (135, "cubic-meters-per-hour", "m3/h meter3/hour"),
    (136, "liters-per-hour", "l/h"),
    (137, "kilowatt-hours-per-square-meter", "kWh/m2"),
    (146, "megawatt-hours", "MWh"),
    (147, "kilo-btus", "kBTU"),
    (157, "kilo-btus-per-hour", "kBTU/h kilobritish_thermal_unit/hour"),
    (159, "milliseconds", "ms"),
    (165, "cubic-meters-per-minute", "m3/min"),
    (173, "siemens", "S"),
    (193, "kilometers", "km"),
    (194, "micrometers", "um"),
    (195, "grams", "g"),
    (197, "milliliters", "ml"),
    (199, "decibels", "dB"),
    (202, "millisiemens", "mS"),
    (203, "watt-hours-reactive", "varh var*hour"),
    (204, "kilowatt-hours-reactive", "kvarh kvar*hour"),
    (205, "megawatt-hours-reactive", "Mvarh Mvar*hour"),
    (206, "millimeters-of-water", "millimeter_H2O"),
    (207, "per-mille", "‰"),
    (210, "grams-per-kilogram", "g/kg"),
    (215, "milligrams-per-liter", "mg/l"),
    (217, "grams-per-cubic-meter", "g/m3"),
    (218, "milligrams-per-cubic-meter", "mg/m3"),
    (219, "micrograms-per-cubic-meter", "ug/m3"),
    (222, "becquerels", "Bq"),
    (232, "decibels-a", "dBA dB(A)"),
    (233, "nephelometric-turbidity-unit", "NTU"),
    (234, "pH", ""),
    (239, "volt-ampere-hours", "VAh VA*hour"),
    (240, "kilovolt-ampere-hours", "kVAh kVA*hour"),
    (241, "megavolt-ampere-hours", "MVAh MVA*hour"),
    (249, "cubic-meters-per-day", "m3/d"),
)
# kvarh is 204, not the equal 243, which the standard has only since revision 15 of the protocol.

ENGINEERING_UNITS = tuple(EngineeringUnit(number, name) for number, name, _ in _TABLE)
"""What buildings use, in the order of the standard."""

_SEPARATORS = re.compile(r"[-_ ^]|\*\*")


@lru_cache(maxsize=4096)
def engineering_unit(unit_of_measure: str | None) -> EngineeringUnit:
    """Return the engineering unit of a unit as point tables write it; no-units if it is unknown.

    A unit may also be written as BACnet names it. Capitals make no difference where only one unit is meant.
    """
    known = _by_spelling()
    written = normalised_unit(unit_of_measure or "")
    for spelling in (written, *unit_meanings(written)):
        key = _SEPARATORS.sub("", spelling)
        found = known.get(key) or known.get(key.casefold())
        if found is not None:
            return found
    return NO_UNITS


def unit_of_point(point: Point) -> EngineeringUnit:
    """Return the engineering unit of a point's object; `$age` is in seconds if the table states no unit."""
    return engineering_unit(point.unit_of_measure or ("s" if point.source == "$age" else None))


@cache
def _by_spelling() -> dict[str, EngineeringUnit]:
    """Return units by their spellings without separators, and those in lower case that are unambiguous."""
    exact: dict[str, EngineeringUnit] = {}
    folded: dict[str, set[EngineeringUnit]] = {}
    for number, name, symbols in _TABLE:
        for spelling in (name, name.removesuffix("s"), *symbols.split()):
            key = _SEPARATORS.sub("", spelling)
            exact[key] = EngineeringUnit(number, name)
            folded.setdefault(key.casefold(), set()).add(exact[key])
    return {key: next(iter(units)) for key, units in folded.items() if len(units) == 1} | exact
