"""What a point table writes of computed points: read from the keys of a point, and merged with overrides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.mapping.computed_keys import COMPUTED_KEYS
from gateway.mapping.expressions import is_condition
from gateway.mapping.table import SinglePoint

if TYPE_CHECKING:
    from gateway.mapping.compile.sources import Place, Steps
    from gateway.mapping.computed_keys import AggregateKeys, RateKeys, RuntimeKeys
    from gateway.mapping.table import PointKeys, StaleAfter

_OF_READINGS = ("bits", "source_unit", "refill")
SOURCE_KEYS = ("source", *COMPUTED_KEYS)
"""The keys of which a point has one: `from`, or one that computes it."""


@dataclass(frozen=True, slots=True)
class Computation:
    """How a point is to be computed. `keys`: None for an expression, whose `text` it has instead."""

    kind: str
    source: str
    keys: AggregateKeys | RateKeys | RuntimeKeys | None
    names: tuple[str, ...]
    text: str
    unit: str | None
    stale_after: StaleAfter | None

    @property
    def is_boolean(self) -> bool:
        """Whether the result is true or false."""
        return self.kind in {"any", "all"} or (self.kind == "expr" and is_condition(self.text))

    def steps(self, index: int) -> Steps:
        """Return the path in the point to one of the names."""
        if self.keys is None:
            return (self.kind,)
        return (self.kind, "of") if isinstance(self.keys.of, str) else (self.kind, "of", index)


def read_computation(keys: PointKeys, place: Place) -> Computation | None:
    """Return how a point is computed, None if it is measured; report keys that do not go together."""
    written = [kind for kind in SOURCE_KEYS if getattr(keys, kind) is not None]
    for kind in written[1:]:
        place.report(f"cannot stand beside `{'from' if written[0] == 'source' else written[0]}`", kind)
    kind = written[0] if written else "source"
    is_measured = written in ([], ["source"])
    if is_measured and isinstance(keys, SinglePoint) and keys.asset is None:
        place.report("this key is required: the asset's id in Infodeck", "asset")
    if kind == "source":
        return None
    for name in _OF_READINGS:
        if getattr(keys, name) is not None:
            place.report("does not apply to a point that is computed from others", name)
    given = getattr(keys, kind)
    unit, stale_after = keys.unit, keys.stale_after
    if kind == "expr":
        return Computation(kind, f"$expr {given}", None, (), given, unit, stale_after)
    names = given.names
    if isinstance(keys, SinglePoint):
        own = f"{keys.tag}/"
        names = tuple(name if "/" in name else f"{own}{name}" for name in names)
        if keys.asset is not None:  # as in a template: what is stored stays when a point moves there or back
            names = tuple(name.removeprefix(own) for name in names)
    source = f"${kind} of {', '.join(names)}{given}"
    return Computation(kind, source, given, names, "", unit, stale_after)
