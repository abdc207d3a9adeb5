"""`gateway explain`: one event through the mapping step by step, by the code that maps it in production."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from gateway.config.problems import show
from gateway.events import read_telemetry
from gateway.mapping.convert import compile_conversion
from gateway.mapping.engineering_units import NO_UNITS, unit_of_point
from gateway.mapping.object_status import object_status, status_text, value_text
from gateway.mapping.object_types import NUMBERS
from gateway.mapping.registers import (
    address_text,
    decoder,
    encoder,
    encoding_errors,
    format_text,
    is_orderable,
    is_scalable,
    modicon_text,
)
from gateway.mapping.units import UnitProblem, conversion_for_unit
from gateway.model import ByteOrder, Conversion, Quality, StalePolicy, ValueKind
from gateway.records import StoredState
from gateway.state.building_state import BuildingState
from gateway.state.readings import map_reading, readings_at_paths, rules_by_key
from gateway.text import align_columns, count_text, duration_text, time_text
from gateway.tools.explain_computed import affected_by, member_rows, restore_members, trace_computed
from gateway.tools.register_map import calculation_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.mapping.plan import AssetPlan, PointMap
    from gateway.model import Event, Point, Reading, Register, Scalar, Telemetry, Update
    from gateway.tools.explain_computed import ComputedTrace

    Messages = Callable[["Output"], Iterable[tuple[str, str]]]

_AGED = frozenset({Quality.HELD, Quality.STALE})
_INTERPRETATIONS = {
    ValueKind.ANY: "as it is",
    ValueKind.NUMBER: "as a number",
    ValueKind.SWITCH: "as on or off",
}


class Arrival(NamedTuple):
    """One reading and the update that it gives one point."""

    reading: Reading
    update: Update


class Output(NamedTuple):
    """An update as sinks receive it; if it is not the newest, it is history. `last_good`: of the point."""

    update: Update
    is_newest: bool
    last_good: Scalar


class ConversionStep(NamedTuple):
    """One part of a conversion in words, with the value and quality after it."""

    what: str
    value: Scalar
    quality: Quality


@dataclass(frozen=True, slots=True)
class PointTrace:
    """Everything that one event does to one point; without arrivals, the gateway makes the value itself."""

    point: Point
    arrivals: list[Arrival]
    outputs: list[Output]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an event does. `plan` is None if no point table names its asset.

    `computed`: what is computed from the points that it reaches; `unused`: readings that no point reads;
    `silent`: measured points without a reading.
    """

    telemetry: Telemetry | None
    plan: AssetPlan | None
    traces: tuple[PointTrace, ...] = ()
    computed: tuple[ComputedTrace, ...] = ()
    unused: tuple[Reading, ...] = ()
    silent: tuple[Point, ...] = ()


def explain(
    point_map: PointMap, event: Event, *, seq: int, stored: Callable[[], StoredState] = StoredState
) -> Explanation:
    """Return what becomes of an event in a gateway without other events that receives it at its time.

    `seq` is its number in the journal. `stored` returns the values that the other members of computed points
    have; it is called if there are any.
    """
    telemetry = read_telemetry(event)
    plan = point_map.by_asset.get(telemetry.asset) if telemetry is not None else None
    if telemetry is None or plan is None:
        return Explanation(telemetry, None)
    arrivals = list(_arrivals(plan, telemetry, event, seq=seq))
    state = BuildingState(point_map)
    updates = [arrival.update for arrival in arrivals]
    reached = {update.point for update in updates}
    computed = affected_by(reached, point_map)
    if computed:
        restore_members(state, computed, stored(), event=event, asset=telemetry.asset)
    applied = state.apply_updates(plan, updates, now_ms=event.received_ms) if updates else []
    outputs = [Output(update, state.is_newest(update), state.last_good(update.point)) for update in applied]
    traces = [
        PointTrace(
            point,
            [arrival for arrival in arrivals if arrival.update.point is point],
            [output for output in outputs if output.update.point is point],
        )
        for point in (*plan.measured, *plan.pseudo)
    ]
    used = plan.by_key.keys() | {arrival.reading.key for arrival in arrivals}
    return Explanation(
        telemetry,
        plan,
        tuple(trace for trace in traces if trace.arrivals or trace.outputs),
        tuple(trace_computed(each, state, reached=reached) for each in computed),
        unused=tuple(reading for reading in telemetry.readings if reading.key not in used),
        silent=tuple(point for point in plan.measured if point not in reached),
    )


def _arrivals(plan: AssetPlan, telemetry: Telemetry, event: Event, *, seq: int) -> Iterator[Arrival]:
    rules = rules_by_key(plan, telemetry)
    for reading in telemetry.readings:
        for rule in rules.get(reading.key, ()):
            yield Arrival(reading, map_reading(rule, reading, seq, event.event_id))
    for path_rule, reading in readings_at_paths(plan, telemetry, event=event):
        yield Arrival(reading, map_reading(path_rule, reading, seq, event.event_id))


def update_steps(update: Update) -> list[ConversionStep]:
    """Return the steps of the conversion for the unit that the event states."""
    conversion, stated = update.point.conversion, update.raw_unit
    if stated is not None:
        found = conversion_for_unit(conversion, update.point.unit_of_measure, stated)
        if isinstance(found, UnitProblem):
            return [ConversionStep(f"is in {show(stated)}: {found.message}", None, Quality.BAD)]
        conversion = found
    return conversion_steps(conversion, update.raw)


def conversion_steps(conversion: Conversion, raw: Scalar) -> list[ConversionStep]:
    """Return the parts of a conversion that change this reading, in their order.

    The last one has the result; without any, the reading itself is the value, and good. Each part is
    production code: the conversion compiled without the parts that follow.
    """
    steps: list[ConversionStep] = []
    value, quality = raw, Quality.GOOD
    for what, part in _partial_conversions(conversion):
        after = compile_conversion(part)(raw)
        if value.__class__ is not after[0].__class__ or value != after[0] or after[1] is not quality:
            steps.append(ConversionStep(what, *after))
            value, quality = after
    return steps


def _partial_conversions(conversion: Conversion) -> Iterator[tuple[str, Conversion]]:
    """Yield the conversion up to each of its parts, with what that part does."""
    bits = conversion.bits
    unrounded = replace(conversion, decimals=None)
    unlimited = replace(unrounded, range=None, clamp=False)
    in_source_unit = replace(unlimited, gain=1.0, offset=0.0)
    interpreted = replace(in_source_unit, source_unit=None, unit_gain=1, unit_offset=0)
    low, high = conversion.range or (0, 0)
    if bits is not None:
        yield f"{_bits_text(bits)} of a whole number", Conversion(bits=bits)
    yield _INTERPRETATIONS[conversion.kind] if conversion.map is None else "map", interpreted
    yield f"from {conversion.source_unit}", in_source_unit
    yield calculation_text(conversion.gain, conversion.offset, of="value"), unlimited
    yield f"outside {low:.12g} to {high:.12g}" + (", clamped" if conversion.clamp else ""), unrounded
    yield f"to {count_text(conversion.decimals or 0, 'decimal')}", conversion


def _bits_text(bits: int | tuple[int, int]) -> str:
    """Return bits in words: `bit 3`, `bits 4 to 7`."""
    return f"bit {bits}" if isinstance(bits, int) else f"bits {bits[0]} to {bits[1]}"


def view_register(register: Register, value: Scalar) -> tuple[bytes, Scalar, dict[ByteOrder, Scalar]]:
    """Return the bytes of a register on the wire, its number, and the number in each byte order.

    The numbers are the content before the reader divides by the scale. The register must hold the value.
    """
    raw = encoder(register)(value)
    unscaled = replace(register, scale=1.0) if is_scalable(register.type) else register
    orders = tuple(ByteOrder) if is_orderable(register.type) else ()
    as_order = {order: decoder(replace(unscaled, order=order))(raw) for order in orders}
    return raw, decoder(unscaled)(raw), as_order


def readings_text(readings: Iterable[Reading]) -> str:
    """Return one line per reading: key, value, time."""
    return align_columns(
        [reading.key, show(reading.value), time_text(reading.time_ms)] for reading in readings
    )


def traces_text(explanation: Explanation, messages: Messages) -> str:
    """Return the trace of every point, then unused readings and points without a reading.

    `messages` returns the MQTT messages of an output: the sink, and topic with payload.
    """
    parts = [_trace(trace, messages) for trace in explanation.traces]
    parts += [_computed_trace(trace, messages) for trace in explanation.computed]
    if explanation.unused:
        parts.append("not used by any point:\n" + readings_text(explanation.unused))
    if explanation.silent:
        rows = ([point.name, f"from {point.source}"] for point in explanation.silent)
        parts.append("points of the asset without a reading in this event:\n" + align_columns(rows))
    return "\n".join(parts)


def _trace(trace: PointTrace, messages: Messages) -> str:
    rows: list[list[str]] = []
    for arrival in trace.arrivals:
        rows.append(["reading", show(arrival.reading.value)])
        for step in update_steps(arrival.update):
            bad = "" if step.quality is Quality.GOOD else f"  {step.quality.name.lower()}"
            rows.append([step.what, _value_text(step.value) + bad])
        rows.append(["value", _update_text(arrival.update)])
    for output in trace.outputs:
        is_measured = any(output.update is arrival.update for arrival in trace.arrivals)
        rows += _measured_rows(output) if is_measured else _derived_rows(output.update)
        rows += [[f"mqtt {sink}", message] for sink, message in messages(output)]
        if output.is_newest:
            rows += [*_register_rows(output.update), *object_rows(output.update, output.last_good)]
    return f"{trace.point.name}  from {trace.point.source}\n{align_columns(rows)}"


def _computed_trace(trace: ComputedTrace, messages: Messages) -> str:
    rows = list(member_rows(trace, _update_text))
    if trace.shown is not None:
        output = Output(trace.shown, is_newest=True, last_good=trace.last_good)
        rows += [["value", _update_text(trace.shown)], *_measured_rows(output)]
        rows += [[f"mqtt {sink}", message] for sink, message in messages(output)]
        rows += [*_register_rows(trace.shown), *object_rows(trace.shown, trace.last_good)]
    point = trace.computed.point
    return f"{point.name}  {point.source.removeprefix('$')}\n{align_columns(rows)}"


def _update_text(update: Update) -> str:
    unit = update.point.unit_of_measure if update.value is not None else None
    return f"{_value_text(update.value)}{f' {unit}' if unit else ''}  {update.quality.name.lower()}"


def _value_text(value: Scalar) -> str:
    return "no value" if value is None else show(value)


def _derived_rows(update: Update) -> Iterator[list[str]]:
    """Yield the row of an update that is no reading of the event."""
    stale_after = duration_text(update.point.stale_after_ms or 0)
    yield [
        f"older than {stale_after}" if update.quality in _AGED else "made by gateway",
        _update_text(update),
    ]


def _measured_rows(output: Output) -> Iterator[list[str]]:
    point = output.update.point
    if not output.is_newest:
        yield ["", "not the newest, or too old when it came: goes to history, registers stay as they are"]
        return
    if point.cov is not None and point.mqtt is not None:
        yield ["", f"on MQTT only if it is {point.cov.delta:.12g} from the last one, or that is too old"]
    if output.update.quality is not Quality.GOOD and point.value_registers:
        yield ["", f"registers show {_replacement(point)} instead"]


def _replacement(point: Point) -> str:
    if point.on_stale.policy is StalePolicy.HOLD:
        return "the last good value (here unknown: the sentinel)"
    return "the sentinel" if point.on_stale.value is None else show(point.on_stale.value)


def _register_rows(update: Update) -> Iterator[list[str]]:
    point = update.point
    errors = dict(encoding_errors(point, update.value)) if update.quality is Quality.BAD else {}
    for register in point.registers:
        raw, content, as_order = view_register(register, update.shown_in(register))
        number = modicon_text(register.table, register.address)
        place = f"unit {register.unit}  {address_text(register)}  {number}  {format_text(register)}"
        words = raw.hex(" ", 2).upper()
        yield [f"modbus {register.sink}", f"{place}  {words} = {_number_text(register, content)}"]
        if len(set(as_order.values())) > 1:
            orders = (
                f"{order}{' (configured)' if order is register.order else ''} {_number_text(register, value)}"
                for order, value in as_order.items()
            )
            yield ["", "read as  " + "   ".join(orders)]
        if register in errors:
            yield ["", f"shows {_replacement(point)}, and becomes a dead letter: {errors[register]}"]


def object_rows(update: Update, last_good: Scalar) -> Iterator[list[str]]:
    """Yield what each BACnet object of the point shows: Present_Value, Status_Flags, Reliability."""
    unit = unit_of_point(update.point)
    for shown in update.point.objects:
        status = object_status(update, shown, last_good=last_good)
        value = value_text(status.present_value, shown)
        if shown.type in NUMBERS and unit != NO_UNITS:
            value += f" {unit.name}"
        yield [f"bacnet {shown.sink}", f"{shown.type} {shown.instance}  {value}  {status_text(status)}"]
        if last_good is None and (update.value is None or status.refusal):
            yield ["", "Present_Value keeps the last good value, which is not known here"]
        if status.refusal:
            yield ["", f"becomes a dead letter: {status.refusal}"]


def _number_text(register: Register, number: Scalar) -> str:
    """Return the content of a register in as many digits as its type holds."""
    if number is None:
        return "no value (the sentinel)"
    if isinstance(number, float):
        return f"{number:.7g}" if register.type == "float32" else f"{number:.15g}"
    return show(number)
