"""`gateway explain`: one event through the mapping step by step, by the code that maps it in production."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.config.problems import show
from gateway.errors import EncodingError
from gateway.events import read_telemetry
from gateway.mapping.convert import calculation_text, compile_conversion
from gateway.mapping.registers import (
    address_text,
    decoder,
    encoder,
    encoding_errors,
    format_text,
    is_orderable,
    is_scalable,
    modicon_text,
    sentinel,
)
from gateway.mapping.units import UnitProblem, conversion_for_unit
from gateway.model import ByteOrder, Quality, StalePolicy
from gateway.state.building_state import BuildingState
from gateway.state.readings import map_reading, map_telemetry, readings_at_paths
from gateway.text import align_columns, duration_text, time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.mapping.plan import AssetPlan, PointMap
    from gateway.model import Conversion, Event, Point, Reading, Register, Scalar, Telemetry, Update

    Messages = Callable[["Output"], Iterable[tuple[str, ...]]]

_AGED = frozenset({Quality.HELD, Quality.STALE})


@dataclass(frozen=True, slots=True)
class ConversionStep:
    """One part of a conversion in words, with the value and quality after it."""

    what: str
    value: Scalar
    quality: Quality


@dataclass(frozen=True, slots=True)
class Arrival:
    """One reading on its way into one point."""

    reading: Reading
    steps: tuple[ConversionStep, ...]
    update: Update


@dataclass(frozen=True, slots=True)
class Output:
    """An update as sinks receive it; if it is not the newest, it is history."""

    update: Update
    is_newest: bool


@dataclass(frozen=True, slots=True)
class PointTrace:
    """Everything that one event does to one point; without arrivals, the gateway makes the value itself."""

    point: Point
    arrivals: tuple[Arrival, ...]
    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an event does. `plan` is None if no point table names its asset.

    `unused`: readings that no point reads; `silent`: measured points without a reading.
    """

    telemetry: Telemetry | None
    plan: AssetPlan | None
    traces: tuple[PointTrace, ...] = ()
    unused: tuple[Reading, ...] = ()
    silent: tuple[Point, ...] = ()


def explain(point_map: PointMap, event: Event, *, seq: int) -> Explanation:
    """Return what becomes of an event in a gateway without other events that receives it at its time.

    `seq` is its number in the journal.
    """
    telemetry = read_telemetry(event)
    plan = point_map.by_asset.get(telemetry.asset) if telemetry is not None else None
    if telemetry is None or plan is None:
        return Explanation(telemetry, None)
    arrivals = list(_arrivals(plan, telemetry, event, seq=seq))
    state = BuildingState(point_map)
    updates = [arrival.update for arrival in arrivals]
    outputs = state.apply_updates(plan, updates, now_ms=event.received_ms) if updates else []
    reached = {arrival.update.point for arrival in arrivals}
    used = plan.by_key.keys() | {arrival.reading.key for arrival in arrivals}
    return Explanation(
        telemetry,
        plan,
        tuple(
            PointTrace(
                point,
                tuple(arrival for arrival in arrivals if arrival.update.point is point),
                tuple(Output(update, state.is_newest(update)) for update in outputs if update.point is point),
            )
            for point in (*plan.measured, *plan.pseudo)
            if point in reached or any(update.point is point for update in outputs)
        ),
        unused=tuple(reading for reading in telemetry.readings if reading.key not in used),
        silent=tuple(point for point in plan.measured if point not in reached),
    )


def _arrivals(plan: AssetPlan, telemetry: Telemetry, event: Event, *, seq: int) -> Iterator[Arrival]:
    """Map one reading at a time, so that the origin of each update is known."""
    by_key = replace(plan, by_path=())
    for reading in telemetry.readings:
        for update in map_telemetry(by_key, replace(telemetry, readings=(reading,)), event=event, seq=seq):
            yield Arrival(reading, _steps(update), update)
    for rule, reading in readings_at_paths(plan, telemetry, event=event):
        update = map_reading(rule, reading, seq, event.event_id)
        yield Arrival(reading, _steps(update), update)


def _steps(update: Update) -> tuple[ConversionStep, ...]:
    """Return the steps of the conversion for the unit that the event states."""
    conversion, stated = update.point.conversion, update.raw_unit
    if stated is not None:
        found = conversion_for_unit(conversion, update.point.unit_of_measure, stated)
        if isinstance(found, UnitProblem):
            return (ConversionStep(f"is in {show(stated)}: {found.message}", None, Quality.BAD),)
        conversion = found
    return conversion_steps(conversion, update.raw)


def conversion_steps(conversion: Conversion, raw: Scalar) -> tuple[ConversionStep, ...]:
    """Return the parts of a conversion that change this reading, in their order.

    The last one has the result; without any, the reading itself is the value, and good. Each part is
    production code: the conversion compiled without the parts that follow.
    """
    steps: list[ConversionStep] = []
    value, quality = raw, Quality.GOOD
    for name, part in _partial_conversions(conversion):
        after = compile_conversion(part)(raw)
        if value.__class__ is not after[0].__class__ or value != after[0] or after[1] is not quality:
            steps.append(ConversionStep(_step_text(name, conversion, value, after[0]), *after))
            value, quality = after
    return tuple(steps)


def _partial_conversions(conversion: Conversion) -> Iterator[tuple[str, Conversion]]:
    """Yield the conversion up to each of its parts."""
    unrounded = replace(conversion, decimals=None)
    unlimited = replace(unrounded, range=None, clamp=False)
    in_source_unit = replace(unlimited, gain=1.0, offset=0.0)
    yield "interpret", replace(in_source_unit, source_unit=None, unit_gain=1, unit_offset=0)
    yield "unit", in_source_unit
    yield "linear", unlimited
    yield "range", unrounded
    yield "decimals", conversion


def _step_text(name: str, conversion: Conversion, before: Scalar, after: Scalar) -> str:
    """Return what a part does, with the numbers of the table."""
    low, high = conversion.range or (0, 0)
    return {
        "interpret": _interpretation(before, after, is_mapped=conversion.map is not None),
        "unit": f"from {conversion.source_unit}",
        "linear": calculation_text(conversion.gain, conversion.offset, of="value"),
        "range": f"outside {low:.12g} to {high:.12g}" + (", clamped" if conversion.clamp else ""),
        "decimals": f"to {conversion.decimals} decimal{'' if conversion.decimals == 1 else 's'}",
    }[name]


def _interpretation(before: Scalar, after: Scalar, *, is_mapped: bool) -> str:
    if is_mapped:
        return "not in the map" if after is None else "map"
    if after is None:
        return "no usable value" if before is None else "no number"
    return "as on or off" if isinstance(after, bool) else "as a number"


@dataclass(frozen=True, slots=True)
class RegisterView:
    """What a register shows: its bytes on the wire, or those of the sentinel after a `refusal`.

    `number`: the content before the reader divides by the scale; `as_order`: that number for a reader with
    another byte order.
    """

    raw: bytes
    refusal: str | None
    number: Scalar
    as_order: dict[ByteOrder, Scalar]


def view_register(register: Register, value: Scalar) -> RegisterView:
    """Return what a register shows of a value."""
    refusal = None
    try:
        raw = encoder(register)(value)
    except EncodingError as error:
        raw, refusal = sentinel(register), str(error)
    unscaled = replace(register, scale=1.0) if is_scalable(register.type) else register
    as_order = {}
    if is_orderable(register.type):
        as_order = {order: decoder(replace(unscaled, order=order))(raw) for order in ByteOrder}
    return RegisterView(raw, refusal, decoder(unscaled)(raw), as_order)


def readings_text(readings: Iterable[Reading]) -> str:
    """Return one line per reading: key, value, time."""
    return align_columns(
        [reading.key, show(reading.value), time_text(reading.time_ms)] for reading in readings
    )


def traces_text(explanation: Explanation, messages: Messages) -> str:
    """Return the trace of every point, then unused readings and points without a reading.

    `messages` returns the MQTT messages of an output as lines of cells: sink, topic and payload.
    """
    parts = [_trace(trace, messages) for trace in explanation.traces]
    if explanation.unused:
        parts.append("not used by any point:\n" + readings_text(explanation.unused))
    if explanation.silent:
        rows = ([point.name, f"from {point.source}"] for point in explanation.silent)
        parts.append("points of the asset without a reading in this event:\n" + align_columns(rows))
    return "\n".join(parts)


def _trace(trace: PointTrace, messages: Messages) -> str:
    rows: list[list[str]] = []
    for arrival in trace.arrivals:
        rows += _arrival_rows(arrival)
    for output in trace.outputs:
        is_derived = all(output.update is not arrival.update for arrival in trace.arrivals)
        rows += _update_rows(output, is_derived=is_derived)
        rows += [[f"mqtt {sink}", "  ".join(rest)] for sink, *rest in messages(output)]
        if output.is_newest:
            rows += _register_rows(output.update)
    return f"{trace.point.name}  from {trace.point.source}\n{align_columns(rows)}"


def _arrival_rows(arrival: Arrival) -> Iterator[list[str]]:
    yield ["reading", show(arrival.reading.value)]
    for step in arrival.steps:
        bad = "" if step.quality is Quality.GOOD else f"  {step.quality.name.lower()}"
        yield [step.what, _value_text(step.value, None) + bad]
    yield ["value", _update_text(arrival.update)]


def _update_text(update: Update) -> str:
    return f"{_value_text(update.value, update.point.unit_of_measure)}  {update.quality.name.lower()}"


def _value_text(value: Scalar, unit_of_measure: str | None) -> str:
    if value is None:
        return "no value"
    return show(value) + (f" {unit_of_measure}" if unit_of_measure else "")


def _update_rows(output: Output, *, is_derived: bool) -> Iterator[list[str]]:
    """Yield what sinks receive; `is_derived`: it is no reading of the event."""
    update, point = output.update, output.update.point
    if is_derived:
        is_aged = update.quality in _AGED
        yield [
            f"older than {duration_text(point.stale_after_ms or 0)}" if is_aged else "made by gateway",
            _update_text(update),
        ]
    elif not output.is_newest:
        yield ["", "not the newest, or too old when it came: goes to history, registers stay as they are"]
    elif point.cov is not None and point.mqtt is not None:
        yield ["", f"on MQTT only if it is {point.cov.delta:.12g} from the last one, or that is too old"]
    if output.is_newest and not is_derived and update.quality is not Quality.GOOD and point.registers:
        yield ["", f"registers show {_replacement(point)} instead"]


def _replacement(point: Point) -> str:
    if point.on_stale.policy is StalePolicy.HOLD:
        return "the last good value (here unknown: the sentinel)"
    return "the sentinel" if point.on_stale.value is None else show(point.on_stale.value)


def _register_rows(update: Update) -> Iterator[list[str]]:
    point = update.point
    errors = dict(encoding_errors(point, update.value)) if update.quality is Quality.BAD else {}
    for register in point.registers:
        view = view_register(register, update.safe_value)
        number = modicon_text(register.table, register.address)
        place = f"unit {register.unit}  {address_text(register)}  {number}  {format_text(register)}"
        shown = _number_text(register, view.number)
        yield [f"modbus {register.sink}", f"{place}  {_words_text(view.raw)} = {shown}"]
        if len(set(view.as_order.values())) > 1:
            orders = (
                f"{order}{' (configured)' if order is register.order else ''} {_number_text(register, value)}"
                for order, value in view.as_order.items()
            )
            yield ["", "read as  " + "   ".join(orders)]
        if register in errors:
            yield ["", f"shows {_replacement(point)}, and becomes a dead letter: {errors[register]}"]


def _words_text(raw: bytes) -> str:
    return " ".join(raw[start : start + 2].hex().upper() for start in range(0, len(raw), 2))


def _number_text(register: Register, number: Scalar) -> str:
    """Return the content of a register in as many digits as its type holds."""
    if number is None:
        return "no value (the sentinel)"
    if isinstance(number, float):
        return f"{number:.7g}" if register.type == "float32" else f"{number:.15g}"
    return show(number)
