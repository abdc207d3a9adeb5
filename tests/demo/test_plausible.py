"""Plausible readings for any point: good values that its registers can hold."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.point_tables import EXAMPLES, SINKS, TOPICS, load_good_tables, table_of_points

from gateway.demo.plausible import plausible_signals
from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.mapping.convert import compile_conversion
from gateway.mapping.plan import AssetPlan
from gateway.mapping.registers import encoder
from gateway.model import Conversion, OnStale, Point, Quality, Register, RegisterTable, StalePolicy, ValueKind

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model import Scalar

NOON_S = 1_795_608_000
WORDS = {"int16": 1, "uint16": 1, "int32": 2, "float32": 2}
UNITS = (None, "degC", "percent", "ppm", "kWh", "MWh", "m3", "Pa")


@st.composite
def ranges(draw: st.DrawFn) -> tuple[float, float] | None:
    """Draw what a range may be, wide or narrow, near or far."""
    low = draw(st.floats(-1e4, 1e4))
    return draw(st.none() | st.just((low, low + draw(st.floats(0.01, 1e5)))))


@st.composite
def points(draw: st.DrawFn) -> Point:
    """Draw a numeric point with any conversion, and perhaps a register that can hold some of its range."""
    limits = draw(ranges())
    kind = draw(st.sampled_from(sorted(WORDS)))
    register = Register("regs", 1, RegisterTable.INPUT, 0, kind, WORDS[kind])
    fits = limits is None or (limits[0] < 30_000 and limits[1] > 0)
    return Point(
        site="hq",
        tag="T",
        point="P",
        asset="a",
        source="t",
        unit_of_measure=draw(st.sampled_from(UNITS)),
        stale_after_ms=None,
        on_stale=OnStale(StalePolicy.HOLD),
        registers=(register,) if fits else (),
        conversion=Conversion(
            kind=ValueKind.NUMBER,
            gain=draw(st.floats(0.001, 1000) | st.floats(-1000, -0.001)),
            offset=draw(st.floats(-500, 500)),
            range=limits,
            decimals=draw(st.none() | st.integers(0, 3)),
        ),
    )


def reading(point: Point, at_s: float, *, seed: int = 1) -> Scalar:
    """Return the plausible reading of a point at a time."""
    plan = AssetPlan(by_key={}, by_path=(), measured=(point,), pseudo=())
    return plausible_signals(plan, seed=seed)[point.source](at_s, Random(seed))


@given(point=points(), hours=st.integers(0, 24 * 365))
def test_any_numeric_point_gets_a_good_value_that_fits(point: Point, hours: int) -> None:
    """With any range, gain, unit and register, at any time."""
    value, quality = compile_conversion(point.conversion)(reading(point, NOON_S + hours * 3600))
    assert quality is Quality.GOOD
    for register in point.registers:
        encoder(register)(value)


def test_the_shipped_tables_get_good_values_throughout() -> None:
    """Every point of the examples is good over a day."""
    found = load_point_map(TableInputs(EXAMPLES, {"ahu": "modbus_client", **SINKS}, topics=TOPICS)).point_map
    assert found is not None
    for plan in found.by_asset.values():
        signals = plausible_signals(plan, seed=1)
        for point in plan.measured:
            convert = compile_conversion(point.conversion)
            for minutes in range(0, 24 * 60, 7):
                value, quality = convert(signals[point.source](NOON_S + minutes * 60, Random(minutes)))
                assert quality is Quality.GOOD, point.name
                for register in point.registers:
                    encoder(register)(value)


def signals_of(folder: Path, *table_points: str) -> dict[str, Any]:
    """Return the signals of asset `a`, whose points all read `t`."""
    plan = load_good_tables(folder, table_of_points(*table_points)).by_asset["a"]
    return plausible_signals(plan, seed=1)


def day_of(signal: Any) -> list[Any]:
    """Return a day's readings, one a minute."""
    random = Random(1)
    return [signal(NOON_S + minutes * 60, random) for minutes in range(24 * 60)]


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ("tag: R, point: P, map: {vacant: 0, occupied: 1}", {"vacant", "occupied"}),
        ("tag: R, point: P, map: {'true': 1, 'false': 0}", {True, False}),
        ("tag: R, point: P, map: {low: 1, high: 900}, range: [0, 10]", {"low"}),
        ("tag: R, point: P, modbus: {table: discrete, register: 0, type: bit}", {True, False}),
        ("tag: R, point: P, bits: [4, 5]", {0, 0b110000}),
        ("tag: R, point: P, modbus: {register: 0, type: string(2)}", {"on", "of"}),
    ],
)
def test_words_and_switches_take_turns(tmp_path: Path, point: str, expected: set[Scalar]) -> None:
    """Maps get their good words, bits booleans, strings texts."""
    assert set(day_of(signals_of(tmp_path, point)["t"])) == expected


@pytest.mark.parametrize(
    ("unit", "low", "high"),
    [("degC", 15, 30), ("°C", 15, 30), ("℃", 15, 30), ("%", 25, 70), ("lx", 90, 900), ("lux", 90, 900)],
)
def test_a_unit_is_known_however_it_is_written(tmp_path: Path, unit: str, low: float, high: float) -> None:
    """All spellings of a unit have its usual range."""
    day = day_of(signals_of(tmp_path, f"tag: R, point: P, unit: '{unit}'")["t"])
    assert low <= min(day) < max(day) <= high


def test_a_meter_only_counts_up(tmp_path: Path) -> None:
    """A meter never falls, also between runs."""
    day = day_of(signals_of(tmp_path, "tag: R, point: P, unit: kWh")["t"])
    assert day == sorted(day)
    assert day[-1] > day[0] > 0


def test_values_move_and_move_slowly(tmp_path: Path) -> None:
    """A temperature moves by less than 2 K a minute and more than 3 K a day."""
    day = day_of(signals_of(tmp_path, "tag: R, point: P, unit: degC")["t"])
    assert all(abs(now - then) < 2 for then, now in pairwise(day))
    assert max(day) - min(day) > 3


def test_points_that_share_a_reading_are_both_served(tmp_path: Path) -> None:
    """The reading is in the range of both points."""
    signals = signals_of(
        tmp_path,
        "tag: R, point: P, range: [0, 50]",
        "tag: R, point: Q, range: [40, 100]",
    )
    assert all(40 <= value <= 50 for value in day_of(signals["t"]))


def test_the_seed_decides(tmp_path: Path) -> None:
    """Equal seeds give equal readings."""
    plan = load_good_tables(tmp_path, table_of_points("tag: R, point: P")).by_asset["a"]
    first, same, other = (plausible_signals(plan, seed=seed)["t"](NOON_S, Random(0)) for seed in (1, 1, 2))
    assert first == same != other
