"""Which values a point may be forced to, and the reasons for refusing others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.point_tables import load_good_tables, table_of_points

from gateway.errors import GatewayError
from gateway.mapping.registers import decoder, encoder
from gateway.state.overrides import check_override, parse_override

if TYPE_CHECKING:
    from gateway.mapping.plan import PointMap
    from gateway.model import Point, Scalar

TABLE = table_of_points(
    "tag: R, point: ZN-T, unit: degC, range: [-20, 60], modbus: {register: 0, type: float32}",
    "tag: R, point: ZN-RH, modbus: {register: 2, type: uint16, scale: 10}",
    "tag: R, point: OCC, map: {vacant: 0, occupied: 1}, modbus: {register: 4, bit: 0}",
    "tag: R, point: FAN, modbus: {register: 5, bit: 0}",
    "tag: R, point: MODE, modbus: {register: 6, type: string(4)}",
    "tag: R, point: NOTE",
    "tag: R, point: STEP, map: {low: 1, high: 2}, gain: 10, modbus: {register: 9, type: uint16}",
    "tag: R, point: TWICE, modbus: [{register: 10, type: int16}, {register: 11, type: int16, scale: 100}]",
)
ASSET = "  - {asset: a, from: $quality, tag: R, point: QUAL}\n"


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> PointMap:
    """Load points of each kind."""
    return load_good_tables(tmp_path_factory.mktemp("tables"), TABLE + ASSET)


def accepted(points: PointMap, point: Point, asked: object) -> Scalar:
    """Return the value after all checks."""
    value = parse_override(point, asked)
    check_override(points, point, value)
    return value


@pytest.mark.parametrize(
    ("point", "value", "shown"),
    [
        ("ZN-T", 21.5, 21.5),
        ("ZN-T", -20, -20),
        ("ZN-T", True, 1),
        ("ZN-RH", 48.3, 48.3),
        ("OCC", 1, 1),
        ("OCC", True, 1),
        ("FAN", True, True),
        ("FAN", 0, 0),
        ("MODE", "auto", "auto"),
        ("NOTE", "whatever it is", "whatever it is"),
        ("NOTE", 3, 3),
        ("STEP", 20, 20),
        ("TWICE", 327, 327),
    ],
)
def test_a_value_that_the_point_can_show_is_accepted(
    points: PointMap, point: str, value: Scalar, shown: Scalar
) -> None:
    """Gain, offset and map are not applied to it."""
    taken = accepted(points, points.by_name[f"R/{point}"], value)
    assert (taken, type(taken)) == (shown, type(shown))


@pytest.mark.parametrize(
    ("point", "value", "reason"),
    [
        ("ZN-T", "warm", 'R/ZN-T: cannot be forced to "warm": it shows numbers, not text'),
        ("ZN-T", "21.5", 'R/ZN-T: cannot be forced to "21.5": it shows numbers, not text'),
        ("ZN-T", 85, "R/ZN-T: cannot be forced to 85: its range is -20 to 60 degC"),
        ("ZN-T", None, "R/ZN-T: cannot be forced to null: a number, true, false or text is expected"),
        ("ZN-T", [1], "R/ZN-T: cannot be forced to a list: a number, true, false or text is expected"),
        ("ZN-T", math.nan, "R/ZN-T: cannot be forced to NaN: its range is -20 to 60 degC"),
        ("ZN-RH", 6553.5, "6553.5 at scale 10 is beyond uint16"),
        ("ZN-RH", -1, "-1 at scale 10 is beyond uint16"),
        ("TWICE", 328, "input 11: 328 at scale 100 is beyond int16"),
        ("OCC", "occupied", 'cannot be forced to "occupied": it shows one of 0 (vacant), 1 (occupied)'),
        ("OCC", 2, "R/OCC: cannot be forced to 2: it shows one of 0 (vacant), 1 (occupied)"),
        ("STEP", 1, "R/STEP: cannot be forced to 1: it shows one of 10 (low), 20 (high)"),
        ("FAN", 2, "a bit holds 0, 1, true or false, not 2"),
        ("MODE", "automatic", "'automatic' has 9 characters, the register holds 4"),
        ("QUAL", 0, "shows $quality, which the gateway makes itself"),
    ],
)
def test_a_value_that_the_point_cannot_show_is_refused(
    points: PointMap, point: str, value: object, reason: str
) -> None:
    """The reason names the point, the value and the limit."""
    with pytest.raises(GatewayError) as refusal:
        accepted(points, points.by_name[f"R/{point}"], value)
    assert reason in str(refusal.value)


@given(value=st.none() | st.booleans() | st.integers() | st.floats() | st.text(), index=st.integers(0, 8))
def test_accepted_values_fit_every_register(points: PointMap, value: Scalar, index: int) -> None:
    """No accepted value fails in a register, equals its sentinel, or is out of range."""
    point = points.points[index]
    try:
        taken = accepted(points, point, value)
    except GatewayError:
        return
    for register in point.registers:
        shown = decoder(register)(encoder(register)(taken))
        assert shown is not None or taken == ""
    limits = point.conversion.range
    assert limits is None or (isinstance(taken, int | float) and limits[0] <= taken <= limits[1])
