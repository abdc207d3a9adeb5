"""Which registers an asset of a template needs, whatever its base."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.model import RegisterTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mapping.compiling.draft import Draft

Area = tuple[str, int, RegisterTable]
"""One table of one Modbus unit of one sink."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """The areas that relative registers are in, and how many registers from the base on they need."""

    areas: frozenset[Area]
    size: int


def footprint(drafts: Mapping[str, Draft]) -> Footprint:
    """Return what all relative blocks of an asset's points need together."""
    blocks = [block for draft in drafts.values() for block in draft.blocks if block.is_relative]
    registers = [block.register for block in blocks]
    return Footprint(
        frozenset((register.sink, register.unit, register.table) for register in registers),
        max((block.end(0) + 1 for block in blocks), default=0),
    )


def without_relative(drafts: Mapping[str, Draft]) -> dict[str, Draft]:
    """Return the points of an asset that has no place for its relative registers."""
    return {
        name: replace(draft, blocks=tuple(block for block in draft.blocks if not block.is_relative))
        for name, draft in drafts.items()
    }


def area_text(area: Area) -> str:
    """Return an area as messages name it: `input registers of unit 1 on regs`."""
    sink, unit, table = area
    what = {RegisterTable.COIL: "coils", RegisterTable.DISCRETE: "discrete inputs"}.get(
        table, f"{table} registers"
    )
    return f"{what} of unit {unit} on {sink}"
