"""`source_unit`: readings in the sensor's unit become values in the published one."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.point_tables import HEAD, load_good_tables, load_tables, table_of_points

from gateway.mapping.convert import compile_conversion
from gateway.mapping.units import UnitProblem, stated_unit_conversion, unit_conversion
from gateway.model import Conversion, Quality, ValueKind

if TYPE_CHECKING:
    from pathlib import Path

GOOD = Quality.GOOD


@pytest.mark.parametrize(
    ("source", "unit", "reading", "value"),
    [
        ("degF", "degC", 50, 10),
        ("degF", "degC", 32, 0),
        ("°F", "°C", 70.7, 21.5),
        ("℉", "degC", -40, -40),
        ("K", "degC", 273.16, 0.01),
        ("degC", "K", 21.5, 294.65),
        ("degC/min", "degF/h", 1, 108),
        ("delta_degF", "K", 9, 5),
        ("W", "kW", 5312, 5.312),
        ("kW", "W", 9007199254740993, 9007199254740993000),
        ("Wh", "MWh", 123456.7, 0.1234567),
        ("kWh", "MJ", 1, 3.6),
        ("BTU/h", "kW", 10000, 2.9307111111111),
        ("TR", "kW", 1, 3.5168533333333),
        ("kvar", "var", 1.5, 1500),
        ("ppb", "ppm", 450, 0.45),
        ("ppm", "%", 10000, 1),
        ("ug/m3", "mg/m3", 35, 0.035),
        ("µg/m³", "mg/m^3", 35, 0.035),
        ("μg/m**3", "mg/m³", 35, 0.035),
        ("l/s", "m3/h", 10, 36),
        ("CFM", "l/s", 1000, 471.9474432),
        ("gpm", "l/min", 1, 3.785411784),
        ("kPa", "Pa", 0.4, 400),
        ("inWC", "Pa", 1, 249.08891),
        ("psi", "bar", 14.5, 0.99973980750941),
        ("fc", "lx", 10, 107.6391041671),
        ("%RH", "percent", 48.2, 48.2),
        ("1/min", "Hz", 90, 1.5),
    ],
)
def test_readings_are_converted(tmp_path: Path, source: str, unit: str, reading: float, value: float) -> None:
    """Units are converted in all common spellings, without noise."""
    table = table_of_points(f'tag: X, point: P, source_unit: "{source}", unit: "{unit}"')
    point_map = load_good_tables(tmp_path, table)
    (rule,) = point_map.by_asset["a"].by_key["t"]
    assert rule.convert(reading) == (value, GOOD)
    assert rule.point.unit_of_measure == unit
    assert rule.point.conversion.source_unit == source


def test_the_unit_is_converted_first(tmp_path: Path) -> None:
    """Gain, offset, range and decimals apply to the published unit."""
    keys = "source_unit: degF, unit: degC, gain: 2, offset: 1.26, range: [0, 50], decimals: 1"
    (rule,) = (
        load_good_tables(tmp_path, table_of_points(f"tag: X, point: P, {keys}")).by_asset["a"].by_key["t"]
    )
    assert rule.convert("68") == (41.3, GOOD)
    assert rule.convert(100) == (76.8, Quality.BAD)
    conversion = rule.point.conversion
    assert (conversion.unit_gain, conversion.unit_offset) == (5 / 9, -160 / 9)


def test_an_asset_may_have_a_sensor_of_another_unit(tmp_path: Path) -> None:
    """An asset's `source_unit` overrides the template's; a problem is reported at the asset."""
    table = f"{HEAD}templates: {{t: {{points: {{T: {{from: k, unit: degC}}}}}}}}\nassets:\n"
    assets = "  - {id: a, tag: A, use: t}\n  - {id: b, tag: B, use: t, points: {T: {source_unit: degF}}}\n"
    by_asset = load_good_tables(tmp_path, table + assets).by_asset
    assert by_asset["a"].by_key["k"][0].convert(50) == (50, GOOD)
    assert by_asset["b"].by_key["k"][0].convert(50) == (10, GOOD)
    _, problems = load_tables(tmp_path, table + assets.replace("degF", "kPa"))
    (problem,) = problems
    assert problem.startswith("a.yaml:7:55: assets[1].points.T.source_unit: cannot become degC: they measure")


def test_nothing_linear_becomes_decibels() -> None:
    """A linear unit cannot be converted to decibels."""
    for source in ("percent", "ppm"):
        assert isinstance(unit_conversion(source, "dB"), UnitProblem)
        assert isinstance(stated_unit_conversion(source, "dB"), UnitProblem)


def test_a_unit_alone_is_free_text(tmp_path: Path) -> None:
    """Without `source_unit`, any text can be published as the unit."""
    point_map = load_good_tables(tmp_path, table_of_points("tag: X, point: P, unit: people per fortnight"))
    assert point_map.by_name["X/P"].unit_of_measure == "people per fortnight"


@given(hundredths=st.integers(-100_000, 100_000))
@example(27316)
@example(3200)
def test_temperatures_leave_no_noise(hundredths: int) -> None:
    """Kelvin and Fahrenheit are converted as in decimal arithmetic, also close to zero."""
    for source in ("K", "degF"):
        found = unit_conversion(source, "degC")
        assert not isinstance(found, UnitProblem)
        convert = compile_conversion(
            Conversion(kind=ValueKind.NUMBER, unit_gain=found[0], unit_offset=found[1], source_unit=source)
        )
        value, _ = convert(hundredths / 100)
        exact = Fraction(hundredths, 100)
        exact = exact - Fraction(27315, 100) if source == "K" else (exact - 32) * 5 / 9
        assert abs(Fraction(repr(value)) - exact) < Fraction(1, 10**9)
        assert repr(value) != "-0.0"
        if source == "K":
            assert Decimal(repr(value)) == Decimal(hundredths) / 100 - Decimal("273.15")


@given(
    st.text(max_size=50) | st.from_regex(r"[a-zA-Z°%]{1,6}[234]?([/*^][a-z]{1,3}[0-9]?){0,2}", fullmatch=True)
)
@example("m**99999999")
@example("(" * 60)
@example("__class__")
def test_no_text_breaks_the_conversion(text: str) -> None:
    """Any text as a unit is converted or refused with a message."""
    for pair in ((text, "degC"), ("degC", text), (text, text)):
        found = unit_conversion(*pair)
        if isinstance(found, UnitProblem):
            assert found.message
        else:
            assert all(isinstance(number, int | float) for number in found)


@pytest.mark.parametrize(
    ("keys", "loaded"), [("unit: degC, gain: 2", False), ("unit: degC, source_unit: K", True)]
)
def test_the_units_library_is_loaded_only_where_it_is_needed(
    tmp_path: Path, *, keys: str, loaded: bool
) -> None:
    """A table without `source_unit` does not load the library."""
    (tmp_path / "a.yaml").write_text(table_of_points(f"tag: X, point: P, {keys}"), encoding="utf-8")
    program = (
        "import sys; from pathlib import Path; import gateway.__main__\n"
        "from gateway.mapping.compiler import TableInputs, load_point_map\n"
        "tables = load_point_map(TableInputs(Path(sys.argv[1]), {'regs': 'modbus_server'}))\n"
        "assert tables.problems == []; print('pint' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert result.stdout == f"{loaded}\n"
