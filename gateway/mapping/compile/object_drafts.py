"""Object drafts: the BACnet object of a point, checked, before it has an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.mapping.compile.sources import choose_sinks
from gateway.mapping.object_keys import BacnetKeys
from gateway.mapping.object_types import EXACT_TO, ObjectShape, object_error, object_shape
from gateway.model import BacnetObject, ObjectType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.mapping.compile.computations import Computation
    from gateway.mapping.compile.sources import Place, TableInputs
    from gateway.mapping.table import Defaults, PointKeys
    from gateway.model import Conversion, Register, Scalar


class ObjectDraft(NamedTuple):
    """The same for every asset of a template. `instance`: the table's own, None for that of bacnet.lock."""

    sinks: tuple[str, ...]
    shape: ObjectShape
    instance: int | None

    def at(self, instance: int) -> tuple[BacnetObject, ...]:
        """Return the object with its instance, once per sink."""
        kind, values, texts = self.shape
        return tuple([BacnetObject(sink, kind, instance, values, texts) for sink in self.sinks])


def draft_object(
    keys: PointKeys,
    place: Place,
    *,
    source: str,
    computation: Computation | None,
    conversion: Conversion,
    registers: Iterable[Register],
    stale_value: Scalar,
    defaults: Defaults,
    inputs: TableInputs,
) -> ObjectDraft | None:
    """Return the object of a point, None if it has none. Report keys with problems, and what it cannot hold.

    `stale_value`: what the point shows when it is stale, if that is written in the table.
    """
    names = choose_sinks("bacnet", place, inputs, written=keys.bacnet, default=defaults.bacnet)
    sinks = tuple(name for name in inputs.bacnet_sinks if names is None or name in names)
    own = keys.bacnet if isinstance(keys.bacnet, BacnetKeys) else BacnetKeys()
    if not sinks and own.object is None:
        return None
    is_measure = keys.unit is not None or keys.cov is not None
    is_boolean = computation is not None and computation.is_boolean
    try:
        shape = object_shape(
            own.object, source, conversion, registers, is_measure=is_measure, is_boolean=is_boolean
        )
    except ValueError as error:
        place.report(str(error), "bacnet", "object")
        return None
    if not sinks or place.is_silent:
        return None
    if problem := object_error(shape, stale_value):
        place.report(problem, "on_stale", "value")
    for index, bound in enumerate(conversion.range or ()):
        if shape.type is ObjectType.ANALOG_INPUT and abs(bound) > EXACT_TO:
            skips = f"analog-input skips whole numbers beyond {EXACT_TO:,}"
            place.warn(f"{skips}: write `bacnet: {{object: large-analog-value}}`", "range", index)
    return ObjectDraft(sinks, shape, own.instance)
