"""Units of measure as a point table writes them."""

from __future__ import annotations

from gateway.mapping.compiling import units_of_measure
from gateway.mapping.compiling.units_of_measure import UnitProblem, unit_conversion


def spelled(written: str) -> str:
    """Return the spelling that the units library knows, ug/m3 for µg/m³; unknown words as they are."""
    found = units_of_measure.spelled(written)
    return found if found != written and is_known(found) else written


def is_known(unit: str) -> bool:
    """Say whether readings in this unit can be converted to another one."""
    return not isinstance(unit_conversion(unit, unit), UnitProblem)
