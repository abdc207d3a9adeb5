"""Registers of a template's points, laid out densely from register 0 of each asset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.mapping.registers import HIGHEST_ADDRESS, HIGHEST_BIT, parse_type
from gateway.tools.discover.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

EXACT_TO = 1 << 24
"""Up to here a float32 shows every whole number."""

_STRIDES = 8


@dataclass(frozen=True, slots=True)
class Layout:
    """The `modbus` block of each point, None where it has none, and how many registers an asset is given."""

    blocks: list[dict[str, Any] | None]
    stride: int


def lay_out(points: Sequence[tuple[Kind, float]]) -> Layout:
    """Give every number and switch a place; `points` are their kinds and the largest numbers seen.

    Numbers come first, so that 32 and 64 bit values begin at even addresses. A float takes any number, where
    an integer would refuse what is beyond its range. What does not fit into one Modbus unit has no place.
    """
    blocks: list[dict[str, Any] | None] = [None] * len(points)
    end = 0
    for index, (kind, largest) in enumerate(points):
        if kind is Kind.NUMBER:
            name = "float32" if largest <= EXACT_TO else "float64"
            words = parse_type(name)[1]
            if end + words - 1 <= HIGHEST_ADDRESS:
                blocks[index] = {"register": end, "type": name}
                end += words
    switches = [index for index, (kind, _) in enumerate(points) if kind is Kind.SWITCH]
    for number, index in enumerate(switches):
        word, bit = divmod(number, HIGHEST_BIT + 1)
        if end + word <= HIGHEST_ADDRESS:
            blocks[index] = {"register": end + word, "bit": bit}
    size = max((_end_of(block) for block in blocks if block is not None), default=0)
    return Layout(blocks, -(-size // _STRIDES) * _STRIDES)


def _end_of(block: dict[str, Any]) -> int:
    words = parse_type(block["type"])[1] if "type" in block else 1
    return int(block["register"]) + words
