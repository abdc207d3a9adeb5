"""Bases for drafted assets: behind everything that is there, on further units where one is full."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.mapping.slots.needs import Need

if TYPE_CHECKING:
    from gateway.mapping.compiling.templates import CompiledTemplate
    from gateway.tools.discover.present import Present, Style

_HIGHEST_UNIT = 247  # of a Modbus device


class Spot(NamedTuple):
    """Where the registers of an asset begin."""

    unit: int
    base: int


class Places:
    """Hands out registers, to one asset after another."""

    def __init__(self, present: Present, style: Style) -> None:
        """Begin on the unit that the tables use."""
        self._present = present
        self._style = style
        self._units = [style.unit]
        self._full: set[tuple[int, int]] = set()  # by unit and stride

    def take(self, stride: int) -> Spot | None:
        """Return `stride` registers in a row that nobody has; None where no unit is left."""
        for unit in self._units:
            if (unit, stride) not in self._full:
                base = self._base_on(unit, stride)
                if base is not None:
                    return Spot(unit, base)
                self._full.add((unit, stride))
        further = self._next_unit()
        if further is None:
            return None
        self._units.append(further)
        base = self._base_on(further, stride)
        return None if base is None else Spot(further, base)

    def _base_on(self, unit: int, stride: int) -> int | None:
        area = self._style.area(unit)
        need = Need("", f"\0{stride}", stride, frozenset((area,)), None, None)  # no template's own reserve
        behind = self._present.room.end(area)
        return self._present.room.take(need, first=-(-behind // stride) * stride)

    def _next_unit(self) -> int | None:
        """Return a unit that no table uses for anything."""
        return next(
            (
                unit
                for unit in range(1, _HIGHEST_UNIT + 1)
                if unit not in self._units and not self._present.has_unit(self._style.sink, unit)
            ),
            None,
        )


def base_in(present: Present, used: CompiledTemplate, asset: str) -> int | None:
    """Return a base for one more asset of a template that is there; None where it has no room left.

    That is in its `reserve`, where it has one. The template has relative registers.
    """
    stride, areas = used.template.stride or used.footprint.size, used.footprint.areas
    behind = max(present.room.end(area) for area in areas)
    need = Need(asset, used.name, stride, areas, None, None)
    return present.room.take(need, first=-(-behind // stride) * stride)
