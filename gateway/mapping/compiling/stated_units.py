"""Readings whose event states their unit of measure: converted from that, or bad where that is impossible."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.mapping.compiling.units_of_measure import UnitProblem, stated_conversion
from gateway.mapping.convert import Convert, compile_conversion
from gateway.model import Conversion, Quality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Register, Scalar

_MOST_UNITS = 100  # of one point; whatever else events state is looked up each time


class ByStatedUnit(dict[str, Convert]):
    """A point's conversion by the unit that a reading states, made when that is stated first."""

    __slots__ = ("_conversion", "_convert", "_registers", "_unit_of_measure")

    def __init__(
        self,
        conversion: Conversion,
        unit_of_measure: str | None,
        registers: Sequence[Register],
        convert: Convert,
    ) -> None:
        """`convert` is the point's own, for readings that state nothing."""
        super().__init__()
        self._conversion = conversion
        self._unit_of_measure = unit_of_measure
        self._registers = registers
        self._convert = convert

    def __missing__(self, stated: str) -> Convert:
        """Compile the conversion for a unit, and keep it."""
        found = as_stated(self._conversion, self._unit_of_measure, stated)
        if found is self._conversion:
            convert = self._convert
        elif isinstance(found, Conversion):
            convert = compile_conversion(found, self._registers)
        else:
            convert = _unusable
        if len(self) < _MOST_UNITS:
            self[stated] = convert
        return convert


def as_stated(conversion: Conversion, unit_of_measure: str | None, stated: str) -> Conversion | UnitProblem:
    """Return the conversion for readings that state their unit; the same one where that changes nothing.

    What a table says of the sensor's unit is stronger than a label: with `source_unit`, or where a map, a
    gain or an offset of its own does the conversion, readings are taken as the table says.
    """
    is_told = conversion.source_unit is not None or conversion.map is not None or conversion.gain != 1
    if unit_of_measure is None or is_told:
        return conversion
    found = stated_conversion(stated, unit_of_measure)
    if isinstance(found, UnitProblem):
        return found
    gain, offset = found
    does_it_itself = gain == 1 and math.isclose(offset, conversion.offset, rel_tol=0.01)
    if found == (1, 0) or does_it_itself:
        return conversion
    return replace(conversion, source_unit=stated, unit_gain=gain, unit_offset=offset)


def _unusable(_: Scalar) -> tuple[Scalar, Quality]:
    return None, Quality.BAD
