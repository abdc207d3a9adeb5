"""The BACnet engineering units of the units that point tables and sensors write."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from bacpypes3.basetypes import EngineeringUnits
from hypothesis import given
from hypothesis import strategies as st

from gateway.mapping.engineering_units import ENGINEERING_UNITS, NO_UNITS, engineering_unit, unit_of_point
from gateway.mapping.units import COMMON_UNITS, SPELLINGS
from gateway.model import OnStale, Point, StalePolicy

_WITHOUT_NUMBER = {"GJ", "klx"}  # the standard has no such units


@pytest.mark.parametrize(
    "unit", [unit for unit in (*COMMON_UNITS, *SPELLINGS) if unit not in _WITHOUT_NUMBER]
)
def test_every_unit_that_can_be_converted_and_that_bacnet_has_is_found(unit: str) -> None:
    """What the conversion of units knows by name, a BMS sees with its unit."""
    assert engineering_unit(unit) != NO_UNITS


@pytest.mark.parametrize(
    ("spellings", "number"),
    [
        ("degC °C ºC C celsius", 62),
        ("% percent pct", 98),
        ("%RH rH% %r.F.", 29),
        ("µg/m³ ug/m3 mcg/m3 ug/m**3 ug/m^3", 219),
        ("m³/h M3/H m3/h CMH", 135),
        ("kWh kwh KWH kilowatt_hour kilowatt-hours", 19),
        ("L/s l/s LPS", 87),
        ("MW", 49),
        ("mW", 132),
        ("s sec seconds", 73),
        ("S siemens", 173),
        ("kvarh", 204),
        ("- furlongs 1 GJ", 95),
    ],
)
def test_a_unit_is_found_in_all_its_spellings(spellings: str, number: int) -> None:
    """Spellings of one unit share a number; prefixes that differ only in capitals do not."""
    assert {engineering_unit(spelling).number for spelling in spellings.split()} == {number}


@given(st.none() | st.text(max_size=12))
def test_any_text_has_an_engineering_unit(unit: str | None) -> None:
    """No text in a point table can stop the BACnet server."""
    assert engineering_unit(unit).name


def test_numbers_and_names_are_those_of_the_standard() -> None:
    """An independent BACnet library has the same number for each name; capitals and hyphens differ there."""
    known = {re.sub(r"\W", "", name).lower(): number for name, number in EngineeringUnits._enum_map.items()}
    ours = {each.name.replace("-", "").lower(): each.number for each in ENGINEERING_UNITS}
    assert ours.items() <= known.items()


def test_an_age_is_in_seconds() -> None:
    """The age of an asset has its unit also where the table states none."""
    age = Point("hq", "X", "AGE", "ast-1", "$age", None, None, OnStale(StalePolicy.SENTINEL))
    assert unit_of_point(age).name == "seconds"
    assert unit_of_point(replace(age, source="t")) == NO_UNITS
