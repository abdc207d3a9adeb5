"""One event's way through the mapping, step by step, by the code that maps it in production."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.config.problems import show
from gateway.errors import EncodingError
from gateway.events import read_telemetry
from gateway.mapping.convert import compile_conversion
from gateway.mapping.notation import calculation_text
from gateway.mapping.registers import decoder, encoder, is_orderable, is_scalable, sentinel
from gateway.mapping.units import UnitProblem, conversion_for_unit
from gateway.model import ByteOrder, Quality
from gateway.state.building_state import BuildingState
from gateway.state.readings import map_reading, map_telemetry, readings_at_paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.mapping.plan import AssetPlan, PointMap
    from gateway.model import Conversion, Event, Point, Reading, Register, Scalar, Telemetry, Update


@dataclass(frozen=True, slots=True)
class Step:
    """What one part of a conversion made of the value: the part in words, and value and quality after it."""

    what: str
    value: Scalar
    quality: Quality


@dataclass(frozen=True, slots=True)
class Arrival:
    """One reading on its way into one point."""

    reading: Reading
    steps: tuple[Step, ...]
    update: Update


@dataclass(frozen=True, slots=True)
class Output:
    """An update as the sinks get it. `is_newest`: it may be shown; otherwise it is history."""

    update: Update
    is_newest: bool


@dataclass(frozen=True, slots=True)
class PointWay:
    """All that one event means for one point. No arrivals: the gateway makes the value itself."""

    point: Point
    arrivals: tuple[Arrival, ...]
    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an event means. `plan` is None where no point table names its asset.

    `unused` are readings that no point takes, `silent` are measured points without a reading.
    """

    telemetry: Telemetry | None
    plan: AssetPlan | None
    ways: tuple[PointWay, ...] = ()
    unused: tuple[Reading, ...] = ()
    silent: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class RegisterView:
    """What a register shows of a value: its bytes on the wire, and why these are only the sentinel.

    `number` is what the words are as the table has them, before the reader divides by the scale;
    `as_order` what they would be to a reader that assumes another order.
    """

    raw: bytes
    refusal: str | None
    number: Scalar
    as_order: dict[ByteOrder, Scalar]


def explain(point_map: PointMap, event: Event, *, seq: int) -> Explanation:
    """Return what becomes of an event in a gateway that knows no other and receives it at its time.

    `seq` is its number in the journal.
    """
    telemetry = read_telemetry(event)
    plan = point_map.by_asset.get(telemetry.asset) if telemetry is not None else None
    if telemetry is None or plan is None:
        return Explanation(telemetry, None)
    arrivals = list(_arrivals(plan, telemetry, event, seq=seq))
    image = BuildingState(point_map)
    updates = [arrival.update for arrival in arrivals]
    outputs = image.apply_updates(plan, updates, now_ms=event.received_ms) if updates else []
    reached = {arrival.update.point for arrival in arrivals}
    used = plan.by_key.keys() | {arrival.reading.key for arrival in arrivals}
    return Explanation(
        telemetry,
        plan,
        tuple(
            PointWay(
                point,
                tuple(arrival for arrival in arrivals if arrival.update.point is point),
                tuple(Output(update, image.is_newest(update)) for update in outputs if update.point is point),
            )
            for point in (*plan.measured, *plan.pseudo)
            if point in reached or any(update.point is point for update in outputs)
        ),
        unused=tuple(reading for reading in telemetry.readings if reading.key not in used),
        silent=tuple(point for point in plan.measured if point not in reached),
    )


def _arrivals(plan: AssetPlan, telemetry: Telemetry, event: Event, *, seq: int) -> Iterator[Arrival]:
    """Map one reading at a time, so that every update is known to come from it."""
    by_key = replace(plan, by_path=())
    for reading in telemetry.readings:
        for update in map_telemetry(by_key, replace(telemetry, readings=(reading,)), event=event, seq=seq):
            yield Arrival(reading, _steps(update), update)
    for rule, reading in readings_at_paths(plan, telemetry, event=event):
        update = map_reading(rule, reading, seq, event.event_id)
        yield Arrival(reading, _steps(update), update)


def _steps(update: Update) -> tuple[Step, ...]:
    """Return the parts of the conversion that the reading's own unit calls for."""
    conversion, stated = update.point.conversion, update.raw_unit
    if stated is not None:
        found = conversion_for_unit(conversion, update.point.unit_of_measure, stated)
        if isinstance(found, UnitProblem):
            return (Step(f"is in {show(stated)}: {found.message}", None, Quality.BAD),)
        conversion = found
    return steps_of(conversion, update.raw)


def steps_of(conversion: Conversion, raw: Scalar) -> tuple[Step, ...]:
    """Return the parts of a conversion that change this reading, in their order.

    The last one has what the conversion gives; without any, the reading is the value and it is good.
    Each part is the production code's own, compiled without the parts that come after it.
    """
    steps: list[Step] = []
    value, quality = raw, Quality.GOOD
    for name, part in _parts(conversion):
        after = compile_conversion(part)(raw)
        if _differs(value, after[0]) or after[1] is not quality:
            steps.append(Step(_words(name, conversion, value, after[0]), *after))
            value, quality = after
    return tuple(steps)


def _parts(conversion: Conversion) -> Iterator[tuple[str, Conversion]]:
    """Yield the conversion as far as each of its parts."""
    unrounded = replace(conversion, decimals=None)
    unlimited = replace(unrounded, range=None, clamp=False)
    in_source_unit = replace(unlimited, gain=1.0, offset=0.0)
    yield "take", replace(in_source_unit, source_unit=None, unit_gain=1, unit_offset=0)
    yield "unit", in_source_unit
    yield "linear", unlimited
    yield "range", unrounded
    yield "decimals", conversion


def _differs(before: Scalar, after: Scalar) -> bool:
    return before.__class__ is not after.__class__ or before != after


def _words(name: str, conversion: Conversion, before: Scalar, after: Scalar) -> str:
    """Say what a part does, with the numbers of the table."""
    low, high = conversion.range or (0, 0)
    return {
        "take": _taken(before, after, is_mapped=conversion.map is not None),
        "unit": f"from {conversion.source_unit}",
        "linear": calculation_text(conversion.gain, conversion.offset, of="value"),
        "range": f"outside {low:.12g} to {high:.12g}" + (", clamped" if conversion.clamp else ""),
        "decimals": f"to {conversion.decimals} decimal{'' if conversion.decimals == 1 else 's'}",
    }[name]


def _taken(before: Scalar, after: Scalar, *, is_mapped: bool) -> str:
    if is_mapped:
        return "not in the map" if after is None else "map"
    if after is None:
        return "no usable value" if before is None else "no number"
    return "as on or off" if isinstance(after, bool) else "as a number"


def view_register(register: Register, plain: Scalar) -> RegisterView:
    """Return what the register shows of an update's `plain` value."""
    refusal = None
    try:
        raw = encoder(register)(plain)
    except EncodingError as error:
        raw, refusal = sentinel(register), str(error)
    unscaled = replace(register, scale=1.0) if is_scalable(register.type) else register
    as_order = {}
    if is_orderable(register.type):
        as_order = {order: decoder(replace(unscaled, order=order))(raw) for order in ByteOrder}
    return RegisterView(raw, refusal, decoder(unscaled)(raw), as_order)
