"""From a sensor's unit of measure to the published one: factor and offset, found once per pair.

The units library takes a quarter of a second to load, so that is left to the first table that needs it.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pint import Unit, UnitRegistry

_SPELLINGS = {  # how buildings write what the library calls otherwise, or would read as something else
    **dict.fromkeys(("°C", "deg C"), "degC"),
    **dict.fromkeys(("°F", "deg F"), "degF"),
    **dict.fromkeys(("%", "%RH", "%rH", "pct", "perc"), "percent"),
    **dict.fromkeys(("CFM", "cfm"), "foot**3/minute"),
    **dict.fromkeys(("CMH", "cmh"), "meter**3/hour"),
    **dict.fromkeys(("FPM", "fpm"), "foot/minute"),
    **dict.fromkeys(("GPM", "gpm"), "gallon/minute"),
    **dict.fromkeys(("LPM", "lpm"), "liter/minute"),
    **dict.fromkeys(("LPS", "lps"), "liter/second"),
    **dict.fromkeys(("inWC", "inWG", "inwc", "inwg", "in.w.c.", "inH2O"), "inch_H2O"),
    **dict.fromkeys(("mmWC", "mmWG", "mmH2O"), "millimeter_H2O"),
    **dict.fromkeys(("BTUH", "BTUh", "Btuh"), "british_thermal_unit/hour"),
    **dict.fromkeys(("MBH", "kBTUh"), "kilobritish_thermal_unit/hour"),
    **dict.fromkeys(("TR", "RT"), "refrigeration_ton"),
    **{f"{prefix}varh": f"{prefix}var*hour" for prefix in ("", "k", "M")},
    **{f"{prefix}VAh": f"{prefix}VA*hour" for prefix in ("", "k", "M")},
    "fc": "lumen/foot**2",
}
_DEFINITIONS = (
    "parts_per_billion = 1e-9 = ppb",
    "volt_ampere_reactive = [reactive_power] = var = VAr",
)
_COMMON = (  # for "did you mean", beside the spellings above
    *("degC", "degF", "K", "delta_degC", "delta_degF", "percent", "ppm", "ppb", "ug/m3", "mg/m3", "g/kg"),
    *("W", "kW", "MW", "Wh", "kWh", "MWh", "VA", "kVA", "var", "kvar", "J", "kJ", "MJ", "GJ", "BTU", "BTU/h"),
    *("Pa", "hPa", "kPa", "mbar", "bar", "psi", "inHg", "mmHg", "l/s", "l/min", "l/h", "m3/s", "m3/h", "ft3"),
    *(
        "gal",
        "l",
        "m3",
        "kg/s",
        "kg/h",
        "m/s",
        "km/h",
        "mph",
        "ft/min",
        "lx",
        "klx",
        "mA",
        "A",
        "mV",
        "V",
        "kV",
    ),
    *(
        "Hz",
        "rpm",
        "s",
        "min",
        "h",
        "d",
        "mm",
        "cm",
        "m",
        "in",
        "ft",
        "m2",
        "ft2",
        "kJ/kg",
        "W/m2",
        "kg",
        "lb",
    ),
)
_MISTAKEN = {"C": "degC", "F": "degF", "c": "degC", "f": "degF", "ton": "TR", "pa": "Pa"}
_SPOKEN = {  # how people and platforms write units, in lower case and without blanks
    **dict.fromkeys(
        ("celsius", "degreecelsius", "degreescelsius", "degreec", "degreesc", "centigrade"), "degC"
    ),
    **dict.fromkeys(("fahrenheit", "degreefahrenheit", "degreesfahrenheit", "degreef", "degreesf"), "degF"),
    **dict.fromkeys(("percentage", "rh", "rh%", "%relativehumidity", "relativehumidity"), "percent"),
    **dict.fromkeys(("partspermillion", "ppmv"), "ppm"),
    **dict.fromkeys(("partsperbillion", "ppbv"), "ppb"),
    **dict.fromkeys(("mcg/m3", "ug/m^3", "ug/m**3"), "ug/m3"),
    **dict.fromkeys(("db", "dba", "db(a)"), "dB"),
    **dict.fromkeys(("watt", "watts"), "W"),
    "lux": "lx",
    "°": "degree",
}
_NO_UNITS = frozenset({"", "-", "--", "none", "n/a", "1", "unitless"})
_LONGEST = 40
_SLIP = 0.75  # two letters of four changed places
_MICRO = "\N{GREEK SMALL LETTER MU}"
_DEGREES = dict.fromkeys(map(ord, "\N{MASCULINE ORDINAL INDICATOR}\N{RING ABOVE}"), "°")  # taken for one
_TERM = re.compile(r"(°?[^\W\d_](?:\w*[^\W\d])?|%)(?:(?:\^|\*\*)?(-?[2-4]))?")


@dataclass(frozen=True, slots=True)
class UnitProblem:
    """Why one unit cannot become the other, and which key to blame for it."""

    key: Literal["source_unit", "unit"]
    message: str


@lru_cache(maxsize=4096)
def unit_conversion(source: str, target: str) -> tuple[float, float] | UnitProblem:
    """Return gain and offset of `target = source * gain + offset`; whole numbers come as int.

    Temperatures are points on their scales, 50 degF is 10 degC; differences of them are written with
    `delta_`, such as delta_degF.
    """
    source_unit, unit = _parse(source), _parse(target)
    if source_unit is None:
        return UnitProblem("source_unit", _unknown(source))
    if unit is None:
        return UnitProblem("unit", _unknown(target))
    return _linear(source, target, source_unit, unit)


@lru_cache(maxsize=4096)
def is_same_unit(told: str, written: str) -> bool | None:
    """Say whether two units are one and the same, None where either is unknown; `told` may be sloppy."""
    told = _MISTAKEN.get(told, told)
    if _SPELLINGS.get(told, told) == _SPELLINGS.get(written, written):
        return True  # most are, and that needs no library
    found = unit_conversion(told, written)
    if isinstance(found, UnitProblem):
        return None if _parse(told) is None or _parse(written) is None else False
    return found == (1, 0)


@lru_cache(maxsize=4096)
def meant_unit(text: str) -> str | None:
    """Return the unit that is meant where this one is not known and looks like a slip, such as dgeC."""
    close = None if text in _SPELLINGS or text in _COMMON else _close(text, cutoff=_SLIP)
    return None if close is None or _parse(text) is not None else close


@lru_cache(maxsize=4096)
def stated_conversion(stated: str, written: str) -> tuple[float, float] | UnitProblem:
    """Return gain and offset from the unit that a reading states to the one written in a table.

    Both may be sloppy; what is the same by its spelling needs no library. Text that is no unit converts
    nothing where it is the table's own, for that is free, and is a problem where a reading states it.
    """
    ours, theirs = _meanings(written), _meanings(stated)
    if not theirs or not {*theirs}.isdisjoint(ours):
        return 1, 0
    is_difference = written.startswith("delta_")
    theirs = (*theirs, f"delta_{theirs[-1]}" if is_difference else stated.casefold())  # Volt is volt
    known = [one for one in ours if _parse(one) is not None]
    found = [unit_conversion(their, our) for our in known for their in theirs]
    if not found:
        return 1, 0
    return next((each for each in found if not isinstance(each, UnitProblem)), found[0])


def spelled(written: str) -> str:
    """Return a unit as the library spells it: `degC` for Celsius; other text as it is."""
    return (_meanings(written) or (written,))[-1]


def _meanings(text: str) -> tuple[str, ...]:
    """Return what a unit may be meant to be: as it is written, then as sloppy writers mean it."""
    plain = " ".join(_plain(text).replace(_MICRO, "u").split())
    folded = plain.casefold().replace(" ", "")
    if folded in _NO_UNITS:
        return ()
    exact = _SPELLINGS.get(plain, plain)
    meant = _MISTAKEN.get(plain) or _folded().get(folded) or exact
    return (exact,) if meant == exact else (exact, meant)


@cache
def _folded() -> dict[str, str]:
    """Return all known spellings by their lower case without blanks, as far as one only is meant."""
    names = {name: _SPELLINGS.get(name, name) for name in (*_COMMON, *_SPELLINGS)} | _SPOKEN
    meant: dict[str, set[str]] = {}
    for name, unit in names.items():
        meant.setdefault(name.casefold().replace(" ", ""), set()).add(unit)
    return {folded: next(iter(units)) for folded, units in meant.items() if len(units) == 1}


@cache
def _registry() -> UnitRegistry[Fraction]:
    """Return the one registry; fractions keep 5/9 exact until factor and offset are known."""
    from pint import UnitRegistry  # noqa: PLC0415 - slow to load, and most tables need none of it

    registry: UnitRegistry[Fraction] = UnitRegistry(non_int_type=Fraction)
    for definition in _DEFINITIONS:
        registry.define(definition)
    return registry


def _parse(text: str) -> Unit | None:
    """Return the unit; None where it is unknown, or more than names, powers, `/` and `*`."""
    from pint.errors import PintError  # noqa: PLC0415 - as above

    expression = _expression(text)
    try:
        return None if expression is None else _registry().parse_units(expression)
    except (PintError, AttributeError, TypeError, ValueError):
        return None


def _plain(text: str) -> str:
    """Return a unit with one character for what looks alike: `m3` for `m³`, the degree sign for rings."""
    return unicodedata.normalize("NFKC", text.translate(_DEGREES))


def _expression(text: str) -> str | None:
    """Write a unit as the library reads it: m³/h becomes meter**3/hour."""
    plain = _plain(text).replace("·", "*").replace("^", "**")
    if plain in _SPELLINGS:
        return _SPELLINGS[plain]
    if len(plain) > _LONGEST:
        return None
    expression = ""
    for part in re.split(r"(/|(?<!\*)\*(?!\*))", plain):
        if part in {"/", "*"}:
            expression += part
            continue
        term = _TERM.fullmatch(part.strip())
        if term is None and not (part.strip() == "1" and not expression):
            return None
        expression += _term(term) if term else "1"
    return expression


def _term(term: re.Match[str]) -> str:
    name, power = term.groups()
    return f"({_SPELLINGS.get(name, name)})" + (f"**({power})" if power else "")


def _linear(source: str, target: str, source_unit: Unit, unit: Unit) -> tuple[float, float] | UnitProblem:
    """Try three values: what is no straight line through them, decibels for one, has no gain and offset."""
    from pint.errors import PintError  # noqa: PLC0415 - as above

    registry = _registry()
    if registry.get_root_units(source_unit)[1] != registry.get_root_units(unit)[1]:
        return _incompatible(source, target)
    try:
        at_0, at_1, at_2 = (registry.Quantity(Fraction(x), source_unit).to(unit).magnitude for x in range(3))
    except (PintError, TypeError):
        return _incompatible(source, target)
    gain = at_1 - at_0
    if not isinstance(gain, Fraction) or at_2 - at_1 != gain:
        return UnitProblem("source_unit", f"cannot become {target} by a factor and an offset")
    return _shortest(gain), _shortest(at_0)


def _shortest(number: Fraction) -> float:
    return int(number) if number.denominator == 1 else float(number)


def _incompatible(source: str, target: str) -> UnitProblem:
    meant = [f"did you mean {_MISTAKEN[text]} for {text}?" for text in (source, target) if text in _MISTAKEN]
    message = f"cannot become {target}: they measure different things"
    return UnitProblem("source_unit", "; ".join([message, *meant]))


def _unknown(text: str) -> str:
    close = _close(text)
    hint = f"did you mean `{close}`?" if close else "known are degC, kWh, m3/h, ug/m3, inWC and the like"
    return f"an unknown unit, so nothing can be converted; {hint}"


def _close(text: str, *, cutoff: float = 0.6) -> str | None:
    """Return the known spelling that is most like this one, 1 being the same but for capitals."""
    by_lower = {name.lower(): name for name in reversed([*_COMMON, *_SPELLINGS])}
    close = difflib.get_close_matches(text.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[close[0]] if close else None
