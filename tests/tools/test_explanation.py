"""`explain`: the values of production, step by step, and every reading and point of the event."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.point_tables import HEAD, load_good_tables

from gateway.events import parse_event, read_telemetry
from gateway.mapping.convert import compile_conversion
from gateway.model import ByteOrder, Conversion, Quality, Register, RegisterTable, ValueKind
from gateway.state.readings import map_telemetry
from gateway.tools.explain import (
    Explanation,
    conversion_steps,
    explain,
    traces_text,
    update_steps,
    view_register,
)

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap
    from gateway.model import Event, Scalar

CREATED_S = 1_780_000_000
TABLE = (
    HEAD
    + """\
points:
  - {tag: R, point: T, asset: ast-1, from: t, unit: degC, gain: 0.1, offset: -0.4, range: [0, 50],
     decimals: 1, modbus: {register: 0, type: float32, order: CDAB}}
  - {tag: R, point: T2, asset: ast-1, from: t, mqtt: false, modbus: {register: 2, type: int16}}
  - {tag: R, point: H, asset: ast-1, from: h, stale_after: 10m}
  - {tag: R, point: X, asset: ast-1, from: $.data.object.x.y, map: {on: 1, off: 0}}
  - {tag: R, point: Q, asset: ast-1, from: $quality, modbus: {register: 9, type: uint16}}
  - {tag: S, point: T, asset: ast-2, from: t}
"""
)


def event(readings: dict[str, Any], **more: Any) -> Event:
    """Return a telemetry event of the asset ast-1, received when it was created."""
    thing = {"id": "ast-1", "telemetry": readings} | more
    document = {
        "id": "evt_1",
        "type": "asset.telemetry.updated",
        "created": CREATED_S,
        "data": {"object": thing},
    }
    return parse_event(json.dumps(document).encode(), received_ms=CREATED_S * 1000)


def explained(points: PointMap, of: Event) -> Explanation:
    """Explain an event as the first one of a journal."""
    return explain(points, of, seq=1)


def steps_of(explanation: Explanation, name: str) -> list[tuple[str, Scalar]]:
    """Return the steps of a point's only reading."""
    (trace,) = (trace for trace in explanation.traces if trace.point.name == name)
    (arrival,) = trace.arrivals
    return [(step.what, step.value) for step in update_steps(arrival.update)]


def test_a_backfilled_event_has_readings_by_path(tmp_path: Path) -> None:
    """A backfilled reading is keyed by the path of its point, and has its own time."""
    path = "$.data.object.x.y"
    readings = [
        {"key": key, "value": value, "timestamp": CREATED_S - 60} for key, value in ((path, "on"), ("z", 1))
    ]
    document = {
        "id": "reconcile_1",
        "type": "asset.telemetry.updated",
        "data": {"object": {"id": "ast-1", "readings": readings, "x": {"y": "off"}}},
    }
    refilled = parse_event(json.dumps(document).encode(), received_ms=CREATED_S * 1000)
    explanation = explained(load_good_tables(tmp_path, TABLE), refilled)
    assert steps_of(explanation, "R/X") == [("map", 1)]
    (trace,) = (trace for trace in explanation.traces if trace.point.name == "R/X")
    assert trace.arrivals[0].update.time_ms == (CREATED_S - 60) * 1000
    assert [reading.key for reading in explanation.unused] == ["z"]


def test_each_step_that_does_something_is_reported(tmp_path: Path) -> None:
    """The steps that change the value are listed in their order."""
    points = load_good_tables(tmp_path, TABLE)
    assert steps_of(explained(points, event({"t": "218.55"})), "R/T") == [
        ("as a number", 218.55),
        ("value x 0.1 - 0.4", 21.455),
        ("to 1 decimal", 21.5),
    ]
    assert steps_of(explained(points, event({"t": 904})), "R/T") == [
        ("value x 0.1 - 0.4", 90),
        ("outside 0 to 50", 90),
    ]
    assert steps_of(explained(points, event({"t": 1}, x={"y": "on"})), "R/X") == [("map", 1)]
    assert steps_of(explained(points, event({"t": 1}, x={"y": "?"})), "R/X") == [("map", None)]
    assert steps_of(explained(points, event({"t": 5})), "R/T2") == []


def test_the_conversion_of_units_is_a_step(tmp_path: Path) -> None:
    """The sensor's unit is converted before the point's own offset is added."""
    table = (
        HEAD
        + "points: [{tag: R, point: T, asset: ast-1, from: t, source_unit: degF, unit: degC, offset: 1}]\n"
    )
    points = load_good_tables(tmp_path, table)
    assert steps_of(explained(points, event({"t": 50})), "R/T") == [("from degF", 10), ("value + 1", 11)]


def test_bits_and_the_first_of_several_keys_are_reported(tmp_path: Path) -> None:
    """A reading by a key that comes later in the list gives no update; bits are a step."""
    points = load_good_tables(
        tmp_path, HEAD + "points: [{tag: R, point: S, asset: ast-1, from: [new, old], bits: [4, 7]}]\n"
    )
    found = explained(points, event({"old": 16, "new": 32}))
    assert steps_of(found, "R/S") == [("bits 4 to 7 of a whole number", 2)]
    assert (found.unused, found.silent) == ((), ())
    assert steps_of(explained(points, event({"old": 16})), "R/S") == [("bits 4 to 7 of a whole number", 1)]
    assert "R/S  from new | old" in traces_text(found, lambda _: ())


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8)
conversions = st.builds(
    Conversion,
    bits=st.none() | st.integers(0, 2) | st.just((0, 1)),
    kind=st.just(ValueKind.NUMBER),
    map=st.none() | st.dictionaries(st.sampled_from(["on", "off", "1"]), st.integers(0, 3), min_size=1),
    unit_gain=st.sampled_from([1, 0.001, 1.8]),
    unit_offset=st.sampled_from([0, 32, -17.777777777777779]),
    gain=st.sampled_from([1, -1, 0.1, 1e300]),
    offset=st.sampled_from([0, -0.4]),
    range=st.none() | st.just((-20, 60)),
    clamp=st.booleans(),
    decimals=st.none() | st.integers(0, 3),
) | st.builds(Conversion, kind=st.sampled_from(ValueKind))


@given(scalars | st.sampled_from(["on", "21.5", "1"]) | st.floats(-100, 100), conversions)
def test_the_last_step_has_the_value_of_production(raw: Scalar, conversion: Conversion) -> None:
    """After the last step, value and quality are those of the compiled conversion."""
    steps = conversion_steps(conversion, raw)
    value, quality = (steps[-1].value, steps[-1].quality) if steps else (raw, Quality.GOOD)
    expected = compile_conversion(conversion)(raw)
    assert repr((value, quality)) == repr(expected)


def test_updates_are_those_of_production(tmp_path: Path) -> None:
    """Values and qualities are those that the pipeline maps."""
    points = load_good_tables(tmp_path, TABLE)
    received = event({"t": "218.55", "h": "wet", "lux": 3}, x={"y": "off"})
    explanation = explained(points, received)
    telemetry = read_telemetry(received)
    assert telemetry is not None
    assert explanation.telemetry == telemetry
    mapped = map_telemetry(points.by_asset["ast-1"], telemetry, event=received, seq=1)
    arrived = [arrival.update for trace in explanation.traces for arrival in trace.arrivals]
    assert sorted(arrived, key=lambda update: update.point.name) == sorted(
        mapped, key=lambda update: update.point.name
    )


def test_unused_readings_and_silent_points_are_listed(tmp_path: Path) -> None:
    """Readings without a point, points without a reading and pseudo points are listed."""
    points = load_good_tables(tmp_path, TABLE)
    explanation = explained(points, event({"t": 904, "lux": 3}))
    assert [reading.key for reading in explanation.unused] == ["lux"]
    assert [point.name for point in explanation.silent] == ["R/H", "R/X"]
    (quality,) = (trace for trace in explanation.traces if trace.point.name == "R/Q")
    assert quality.arrivals == []
    assert [output.update.value for output in quality.outputs] == [Quality.BAD.value]


def test_an_unknown_asset_has_no_plan(tmp_path: Path) -> None:
    """The readings of an asset that no table names are listed, and nothing is mapped."""
    points = load_good_tables(tmp_path, TABLE)
    explanation = explained(points, event({"t": 1}, assetId="ast-9"))
    assert explanation.plan is None
    assert explanation.telemetry is not None


def test_a_late_reading_goes_to_history(tmp_path: Path) -> None:
    """A reading older than `stale_after` at its receipt is history, and the point is stale."""
    points = load_good_tables(tmp_path, TABLE)
    late = {"value": 40, "timestamp": CREATED_S - 3600}
    (trace,) = explained(points, event({"h": late})).traces[:1]
    assert [(output.is_newest, output.update.quality) for output in trace.outputs] == [
        (False, Quality.GOOD),
        (True, Quality.STALE),
    ]
    text = traces_text(explained(points, event({"h": late})), lambda _output: ())
    assert "goes to history" in text
    assert "older than 10m" in text


def register(kind: str, words: int, order: ByteOrder = ByteOrder.ABCD, scale: float = 1.0) -> Register:
    """Return an input register at 0."""
    return Register("regs", 1, RegisterTable.INPUT, 0, kind, words, order, scale)


@pytest.mark.parametrize("order", ByteOrder)
def test_only_the_configured_order_reads_the_value(order: ByteOrder) -> None:
    """The number in each other byte order is what a wrong setting in the BMS shows."""
    _, number, as_order = view_register(register("float32", 2, order), 21.5)
    assert {of for of, shown in as_order.items() if shown == 21.5} == {order}
    assert number == 21.5
    assert as_order.keys() == set(ByteOrder)


def test_register_words_are_those_of_the_wire() -> None:
    """Scaled numbers are shown as they are in the register, a missing value as the sentinel."""
    assert view_register(register("uint16", 1, scale=10), 48.2) == (b"\x01\xe2", 482, {})
    assert view_register(register("uint16", 1, scale=10), None) == (b"\xff\xff", None, {})


def test_the_report_marks_the_configured_order(tmp_path: Path) -> None:
    """The numbers of all four byte orders are listed, and the configured order is marked."""
    points = load_good_tables(tmp_path, TABLE)
    text = traces_text(
        explained(points, event({"t": 219})), lambda output: [("bms", f"topic  {output.update.value}")]
    )
    assert "input 0-1  30001  float32 CDAB  0000 41AC = 21.5" in text
    assert "CDAB (configured) 21.5" in text
    assert text.count("(configured)") == 1
    assert "mqtt bms" in text
