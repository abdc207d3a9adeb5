"""An explanation as text for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.problems import show
from gateway.mapping.notation import address_text, format_text, modicon_text
from gateway.mapping.registers import encoding_errors
from gateway.model import Quality, StalePolicy
from gateway.text import align_columns, duration_text, time_text
from gateway.tools.explain.explanation import view_register

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.model import Point, Reading, Register, Scalar, Update
    from gateway.tools.explain.explanation import Arrival, Explanation, Output, PointWay, RegisterView

    Messages = Callable[[Output], Iterable[tuple[str, ...]]]

_AGED = frozenset({Quality.HELD, Quality.STALE})


def render_readings(readings: Iterable[Reading]) -> str:
    """Return one line per reading: key, value, time."""
    return align_columns(
        [reading.key, show(reading.value), time_text(reading.time_ms)] for reading in readings
    )


def render_ways(explanation: Explanation, messages: Messages) -> str:
    """Return every point's way, then what was left over on both sides.

    `messages` gives what MQTT is sent of an update: cells of lines, sink, topic and payload.
    """
    parts = [_way(way, messages) for way in explanation.ways]
    if explanation.unused:
        parts.append("not used by any point:\n" + render_readings(explanation.unused))
    if explanation.silent:
        rows = ([point.name, f"from {point.source}"] for point in explanation.silent)
        parts.append("points of the asset without a reading in this event:\n" + align_columns(rows))
    return "\n".join(parts)


def _way(way: PointWay, messages: Messages) -> str:
    point = way.point
    rows: list[list[str]] = []
    for arrival in way.arrivals:
        rows += _arrival_rows(point, arrival)
    for output in way.outputs:
        rows += _output_rows(output, messages, is_derived=_is_derived(way, output.update))
    return f"{point.name}  from {point.source}\n{align_columns(rows)}"


def _is_derived(way: PointWay, update: Update) -> bool:
    return all(update is not arrival.update for arrival in way.arrivals)


def _arrival_rows(point: Point, arrival: Arrival) -> Iterator[list[str]]:
    yield ["reading", show(arrival.reading.value)]
    for step in arrival.steps:
        bad = "" if step.quality is Quality.GOOD else f"  {step.quality.name.lower()}"
        yield [step.what, _value_text(step.value, None) + bad]
    yield ["value", _shown(arrival.update, point)]


def _shown(update: Update, point: Point) -> str:
    return f"{_value_text(update.value, point.unit_of_measure)}  {update.quality.name.lower()}"


def _value_text(value: Scalar, unit_of_measure: str | None) -> str:
    if value is None:
        return "no value"
    return show(value) + (f" {unit_of_measure}" if unit_of_measure else "")


def _output_rows(output: Output, messages: Messages, *, is_derived: bool) -> Iterator[list[str]]:
    update = output.update
    point = update.point
    if is_derived:
        yield [_why_derived(update), _shown(update, point)]
    elif not output.is_newest:
        yield ["", "not the newest, or too old when it came: goes to history, registers stay as they are"]
    elif point.cov is not None and point.mqtt is not None:
        yield ["", f"on MQTT only if it is {point.cov.delta:.12g} from the last one, or that is too old"]
    if output.is_newest and not is_derived and update.quality is not Quality.GOOD and point.registers:
        yield ["", f"registers are shown {_stand_in(point)} in its place"]
    for sink, *rest in messages(output):
        yield [f"mqtt {sink}", "  ".join(rest)]
    if output.is_newest:
        refused = dict(encoding_errors(point, update.value)) if update.quality is Quality.BAD else {}
        for register in point.registers:
            yield from _register_rows(register, view_register(register, update.safe_value))
            if register in refused:
                yield ["", f"shows {_stand_in(point)}, and becomes a dead letter: {refused[register]}"]


def _why_derived(update: Update) -> str:
    if update.quality not in _AGED:
        return "made by gateway"
    return f"older than {duration_text(update.point.stale_after_ms or 0)}"


def _stand_in(point: Point) -> str:
    if point.on_stale.policy is StalePolicy.HOLD:
        return "the last good value (here unknown: the sentinel)"
    return "the sentinel" if point.on_stale.value is None else show(point.on_stale.value)


def _register_rows(register: Register, view: RegisterView) -> Iterator[list[str]]:
    number = modicon_text(register.table, register.address)
    place = f"unit {register.unit}  {address_text(register)}  {number}  {format_text(register)}"
    shows = _number_text(register, view.number)
    yield [f"modbus {register.sink}", f"{place}  {_hex_words(view.raw)} = {shows}"]
    if len(set(view.as_order.values())) > 1:
        orders = (
            f"{order}{' (configured)' if order is register.order else ''} {_number_text(register, number)}"
            for order, number in view.as_order.items()
        )
        yield ["", "read as  " + "   ".join(orders)]


def _hex_words(raw: bytes) -> str:
    return " ".join(raw[start : start + 2].hex().upper() for start in range(0, len(raw), 2))


def _number_text(register: Register, number: Scalar) -> str:
    """Return the number that the words are, in as many digits as the type holds."""
    if number is None:
        return "no value (the sentinel)"
    if isinstance(number, float):
        return f"{number:.7g}" if register.type == "float32" else f"{number:.15g}"
    return show(number)
