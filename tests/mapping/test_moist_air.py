"""Moist air: dew point, humidex and enthalpy agree with published values."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mapping.moist_air import dew_point, enthalpy, humidex

Property = Callable[[float, float], float]


@pytest.mark.parametrize(
    ("temperature", "humidity", "expected"),
    [(25, 50, 13.86), (20, 100, 20), (30, 40, 14.94), (40, 20, 12.78), (-10, 80, -12.8), (-45, 100, -45)],
)
def test_dew_points(temperature: float, humidity: float, expected: float) -> None:
    """The dew points are those of psychrometric tables, below freezing over water, within 0.1 K."""
    assert dew_point(temperature, humidity) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(("temperature", "dewpoint", "expected"), [(30, 15, 34), (30, 25, 42)])
def test_humidex_examples(temperature: float, dewpoint: float, expected: int) -> None:
    """Canada's examples, which state the dew point: 30 degC feel like 34 with 15 degC, like 42 with 25."""
    humidity = next(rh / 10 for rh in range(1001) if rh and dew_point(temperature, rh / 10) >= dewpoint)
    assert round(humidex(temperature, humidity)) == expected


@pytest.mark.parametrize(
    ("temperature", "humidity", "expected"),
    [(25, 50, 50.322), (20, 100, 57.419), (30, 40, 57.289), (40, 20, 63.929), (0, 0, 0), (60, 100, 458.566)],
)
def test_enthalpies(temperature: float, humidity: float, expected: float) -> None:
    """The values are those of PsychroLib, the reference implementation of ASHRAE's equations."""
    assert enthalpy(temperature, humidity) == pytest.approx(expected, abs=0.005)


def test_enthalpy_below_freezing() -> None:
    """Below 0 degC the saturation over ice counts, as in ASHRAE's tables."""
    assert enthalpy(-10, 80) == pytest.approx(-6.885, abs=0.005)
    assert enthalpy(-45, 50) == pytest.approx(-45.217, abs=0.005)


@pytest.mark.parametrize("function", [dew_point, humidex, enthalpy])
@given(temperature=st.floats(-45, 60), humidity=st.floats(1e-9, 100))
def test_there_is_a_value_everywhere_inside(function: Property, temperature: float, humidity: float) -> None:
    """Inside the range of the formulas there is always a finite value."""
    assert abs(function(temperature, humidity)) < 1000


@pytest.mark.parametrize("function", [dew_point, humidex, enthalpy])
@pytest.mark.parametrize("air", [(60.1, 50), (-45.1, 50), (20, 100.1), (20, -1), (float("nan"), 50)])
def test_outside_there_is_none(function: Property, air: tuple[float, float]) -> None:
    """Outside the range no formula returns a number that looks right."""
    with pytest.raises(ValueError, match="range"):
        function(*air)
