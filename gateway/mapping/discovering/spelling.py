"""Units of measure as a point table writes them."""

from __future__ import annotations

import unicodedata

from gateway.mapping.compiling.units_of_measure import UnitProblem, unit_conversion

_SPELLINGS = {  # by what is left of how Infodeck's users write them, in lower case
    **dict.fromkeys(("°c", "degc", "deg c", "celsius", "degree celsius", "degrees celsius"), "degC"),
    **dict.fromkeys(("°f", "degf", "deg f", "fahrenheit", "degree fahrenheit", "degrees fahrenheit"), "degF"),
    **dict.fromkeys(("%", "percent", "pct", "percentage", "%rh", "% rh"), "percent"),
    **dict.fromkeys(("lux", "lx"), "lx"),
    **dict.fromkeys(("watt", "watts"), "W"),
    "ppm": "ppm",
    "ppb": "ppb",
    "kwh": "kWh",
}
_MICRO = "\N{GREEK SMALL LETTER MU}"


def spelled(written: str) -> str:
    """Return the spelling that the units library knows, ug/m3 for µg/m³; unknown words as they are."""
    plain = unicodedata.normalize("NFKC", written).strip()
    known = _SPELLINGS.get(plain.lower())
    if known is not None:
        return known
    plain = plain.replace(_MICRO, "u")
    return plain if plain != written and is_known(plain) else written


def is_known(unit: str) -> bool:
    """Say whether readings in this unit can be converted to another one."""
    return not isinstance(unit_conversion(unit, unit), UnitProblem)
