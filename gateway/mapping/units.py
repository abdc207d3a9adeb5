"""Units of measure: from a sensor's unit to the published one, as a gain and an offset.

The units library takes a quarter of a second to load, so it is imported when a table first needs it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

from gateway.mapping.convert import Convert, compile_conversion
from gateway.model import Conversion, Quality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pint import Unit, UnitRegistry

    from gateway.model import Register, Scalar

SPELLINGS = {  # as buildings write units → as the library does, where it has another or no meaning for them
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
COMMON_UNITS = (  # known as they are, also in other capitals
    *("degC", "degF", "K", "delta_degC", "delta_degF", "percent", "ppm", "ppb", "ug/m3", "mg/m3", "g/kg"),
    *("W", "kW", "MW", "Wh", "kWh", "MWh", "VA", "kVA", "var", "kvar", "J", "kJ", "MJ", "GJ", "BTU", "BTU/h"),
    *("Pa", "hPa", "kPa", "mbar", "bar", "psi", "inHg", "mmHg", "l/s", "l/min", "l/h", "m3/s", "m3/h", "ft3"),
    *("gal", "l", "m3", "kg/s", "kg/h", "m/s", "km/h", "mph", "ft/min", "lx", "klx", "mA", "A", "mV", "V"),
    *("kV", "Hz", "rpm", "s", "min", "h", "d", "mm", "cm", "m", "in", "ft", "m2", "ft2", "kJ/kg", "W/m2"),
    *("kg", "lb"),
)
_DEFINITIONS = (
    "parts_per_billion = 1e-9 = ppb",
    "volt_ampere_reactive = [reactive_power] = var = VAr",
)
_MISTAKEN = {"C": "degC", "F": "degF", "c": "degC", "f": "degF", "ton": "TR", "pa": "Pa"}
_INFORMAL = {  # as people and platforms write units, in lower case and without spaces
    **dict.fromkeys(("celsius", "degreecelsius", "degreescelsius", "degreec", "degreesc"), "degC"),
    **dict.fromkeys(("fahrenheit", "degreefahrenheit", "degreesfahrenheit", "degreef", "degreesf"), "degF"),
    **dict.fromkeys(("percentage", "rh", "rh%", "%relativehumidity", "relativehumidity"), "percent"),
    **dict.fromkeys(("partspermillion", "ppmv"), "ppm"),
    **dict.fromkeys(("partsperbillion", "ppbv"), "ppb"),
    **dict.fromkeys(("mcg/m3", "ug/m^3", "ug/m**3"), "ug/m3"),
    **dict.fromkeys(("db", "dba", "db(a)"), "dB"),
    **dict.fromkeys(("watt", "watts"), "W"),
    "centigrade": "degC",
    "lux": "lx",
    "°": "degree",
}
_NO_UNITS = frozenset({"", "-", "--", "none", "n/a", "1", "unitless"})
_LONGEST = 40
_DEGREES = dict.fromkeys(map(ord, "\N{MASCULINE ORDINAL INDICATOR}\N{RING ABOVE}"), "°")  # look-alikes
_MICRO = "\N{GREEK SMALL LETTER MU}"
_TERM = r"(°?[^\W\d_](?:\w*[^\W\d])?|%)(?:(?:\^|\*\*)?(-?[2-4]))?"
_PRODUCT = re.compile(rf"\s*(?:1|{_TERM})\s*(?:[/*]\s*{_TERM}\s*)*")
_MOST_STATED_UNITS = 100  # cached per point


@dataclass(frozen=True, slots=True)
class UnitProblem:
    """Why one unit cannot be converted to another, and which key of the point table is at fault."""

    key: Literal["source_unit", "unit"]
    message: str


@lru_cache(maxsize=4096)
def unit_conversion(source: str, target: str) -> tuple[float, float] | UnitProblem:
    """Return gain and offset of `target = source * gain + offset`; whole numbers are ints.

    Temperatures are absolute: 50 degF is 10 degC. Temperature differences are written with `delta_`, such
    as delta_degF.
    """
    source_unit, unit = _parse(source), _parse(target)
    if source_unit is None:
        return UnitProblem("source_unit", f"an unknown unit, so nothing can be converted{_hint(source)}")
    if unit is None:
        return UnitProblem("unit", f"an unknown unit, so nothing can be converted{_hint(target)}")
    return _linear(source, target, source_unit, unit)


def is_known_unit(unit: str) -> bool:
    """Return whether readings in this unit can be converted to another one."""
    return not isinstance(unit_conversion(unit, unit), UnitProblem)


def standard_spelling(unit: str) -> str:
    """Return a unit as the units library spells it, ug/m3 for µg/m³; an unknown unit unchanged."""
    meant = (unit_meanings(unit) or (unit,))[-1]
    return meant if meant != unit and is_known_unit(meant) else unit


@lru_cache(maxsize=4096)
def stated_unit_conversion(stated: str, written: str) -> tuple[float, float] | UnitProblem:
    """Return gain and offset from the unit that a reading states to the one in the point table.

    Both may be informal. A unit in the table that is unknown converts nothing, because the table may publish
    any text. An unknown unit in a reading is a problem.
    """
    ours, theirs = unit_meanings(written), unit_meanings(stated)
    if not theirs or not {*theirs}.isdisjoint(ours):
        return 1, 0
    is_difference = written.startswith("delta_")
    theirs = (*theirs, f"delta_{theirs[-1]}" if is_difference else stated.casefold())  # Volt is volt
    known = [one for one in ours if _parse(one) is not None]
    found = [unit_conversion(their, our) for our in known for their in theirs]
    if not found:
        return 1, 0
    return next((each for each in found if not isinstance(each, UnitProblem)), found[0])


def conversion_for_unit(
    conversion: Conversion, unit_of_measure: str | None, stated: str
) -> Conversion | UnitProblem:
    """Return a point's conversion for readings that state their unit; the same one if nothing changes.

    The point table takes precedence: with `source_unit`, `bits`, `map` or a `gain`, what a reading states is
    ignored.
    """
    has_own_unit = conversion.source_unit is not None or conversion.map is not None
    is_decided = has_own_unit or conversion.bits is not None or conversion.gain != 1
    if unit_of_measure is None or is_decided:
        return conversion
    found = stated_unit_conversion(stated, unit_of_measure)
    if isinstance(found, UnitProblem):
        return found
    gain, offset = found
    is_done_by_offset = gain == 1 and math.isclose(offset, conversion.offset, rel_tol=0.01)
    if found == (1, 0) or is_done_by_offset:
        return conversion
    return replace(conversion, source_unit=stated, unit_gain=gain, unit_offset=offset)


class ConversionsByUnit(dict[str, Convert]):
    """A point's conversions by the unit that a reading states, each compiled at its first use."""

    __slots__ = ("_conversion", "_convert", "_registers", "_unit_of_measure")

    def __init__(
        self,
        conversion: Conversion,
        unit_of_measure: str | None,
        registers: Sequence[Register],
        convert: Convert,
    ) -> None:
        """`convert` is the point's conversion for readings that state no unit."""
        super().__init__()
        self._conversion = conversion
        self._unit_of_measure = unit_of_measure
        self._registers = registers
        self._convert = convert

    def __missing__(self, stated: str) -> Convert:
        """Compile and cache the conversion from a unit."""
        found = conversion_for_unit(self._conversion, self._unit_of_measure, stated)
        if found is self._conversion:
            convert = self._convert
        elif isinstance(found, Conversion):
            convert = compile_conversion(found, self._registers)
        else:
            convert = _convert_to_bad
        if len(self) < _MOST_STATED_UNITS:
            self[stated] = convert
        return convert


def _convert_to_bad(_: Scalar) -> tuple[Scalar, Quality]:
    return None, Quality.BAD


def unit_meanings(text: str) -> tuple[str, ...]:
    """Return the units that a text can mean: as written, then as an informal spelling. Empty: no unit."""
    normal = " ".join(normalised_unit(text).replace(_MICRO, "u").split())
    folded = normal.casefold().replace(" ", "")
    if folded in _NO_UNITS:
        return ()
    exact = SPELLINGS.get(normal, normal)
    meant = _MISTAKEN.get(normal) or _by_folded_spelling().get(folded) or exact
    return (exact,) if meant == exact else (exact, meant)


@cache
def _by_folded_spelling() -> dict[str, str]:
    """Return units by their spelling in lower case without spaces, without ambiguous ones."""
    names = {name: SPELLINGS.get(name, name) for name in (*COMMON_UNITS, *SPELLINGS)} | _INFORMAL
    meant: dict[str, set[str]] = {}
    for name, unit in names.items():
        meant.setdefault(name.casefold().replace(" ", ""), set()).add(unit)
    return {folded: next(iter(units)) for folded, units in meant.items() if len(units) == 1}


@cache
def _registry() -> UnitRegistry[Fraction]:
    """Return the library's registry. It calculates with fractions, so that 5/9 stays exact."""
    from pint import UnitRegistry  # noqa: PLC0415 - slow to load, and most tables do not need it

    registry: UnitRegistry[Fraction] = UnitRegistry(non_int_type=Fraction)
    for definition in _DEFINITIONS:
        registry.define(definition)
    return registry


def _parse(text: str) -> Unit | None:
    """Return the unit, or None if it is unknown or has more than names, powers, `/` and `*`."""
    from pint.errors import PintError  # noqa: PLC0415 - as above

    normal = normalised_unit(text).replace("·", "*")
    if normal in SPELLINGS:
        expression = SPELLINGS[normal]
    elif len(normal) > _LONGEST or not _PRODUCT.fullmatch(normal):
        return None
    else:
        expression = re.sub(_TERM, _library_term, normal)
    try:
        return _registry().parse_units(expression)
    except (PintError, AttributeError, TypeError, ValueError):
        return None


def _library_term(term: re.Match[str]) -> str:
    """Return m3 as the library writes it, (m)**3."""
    return f"({SPELLINGS.get(term[1], term[1])})**{term[2] or 1}"


def normalised_unit(text: str) -> str:
    """Return a unit with look-alike characters unified: `m3` for `m³`, the degree sign for rings."""
    return unicodedata.normalize("NFKC", text.translate(_DEGREES))


def _linear(source: str, target: str, source_unit: Unit, unit: Unit) -> tuple[float, float] | UnitProblem:
    """Return gain and offset from the conversions of 0, 1 and 2. Decibels, for one, are not linear."""
    from pint.errors import PintError  # noqa: PLC0415 - as above

    registry = _registry()
    hints = _hint(source) or _hint(target)
    differs = UnitProblem("source_unit", f"cannot become {target}: they measure different things{hints}")
    if registry.get_root_units(source_unit)[1] != registry.get_root_units(unit)[1]:
        return differs
    try:
        at_0, at_1, at_2 = (registry.Quantity(Fraction(x), source_unit).to(unit).magnitude for x in range(3))
    except (PintError, TypeError):
        return differs
    except ValueError:  # the logarithm of 0, where the target is decibels
        at_0 = at_1 = at_2 = 0.0
    gain = at_1 - at_0
    if not isinstance(gain, Fraction) or at_2 - at_1 != gain:
        return UnitProblem("source_unit", f"cannot become {target} by a factor and an offset")
    return _as_number(gain), _as_number(at_0)


def _as_number(number: Fraction) -> float:
    return int(number) if number.denominator == 1 else float(number)


def _hint(unit: str) -> str:
    """Return what an informal spelling may mean, or nothing."""
    meant = (unit_meanings(unit) or ("",))[-1]
    is_other = meant not in {"", unit, SPELLINGS.get(unit)}
    return f"; did you mean `{meant}` for {unit}?" if is_other and _parse(meant) is not None else ""
