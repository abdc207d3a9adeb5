"""Payloads, decoded by another maker's library and by Eclipse's definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sparkplug_payloads import command, decode, eclipse, pysparkplug

from gateway.sinks.sparkplug.payload import (
    DataType,
    MetricValue,
    Property,
    asks_for_rebirth,
    encode,
    node_death,
)

if TYPE_CHECKING:
    from gateway.model import Scalar

TIMES = st.integers(0, 2**63)
VALUES: dict[DataType, st.SearchStrategy[Any]] = {
    DataType.INT32: st.integers(-(2**31), 2**31 - 1),
    DataType.INT64: st.integers(-(2**63), 2**63 - 1),
    DataType.DOUBLE: st.floats(allow_nan=False),
    DataType.BOOLEAN: st.booleans(),
    DataType.STRING: st.text(),
}


@st.composite
def samples(draw: st.DrawFn) -> MetricValue:
    """Make a metric of any type, with or without value and properties."""
    of_type = draw(st.sampled_from(DataType))
    kinds = draw(st.lists(st.sampled_from([DataType.INT32, DataType.STRING]), max_size=3))
    return MetricValue(
        draw(st.text()),
        of_type,
        draw(st.none() | VALUES[of_type]),
        draw(TIMES),
        draw(st.booleans()),
        tuple(Property(f"{n}", kind, draw(VALUES[kind])) for n, kind in enumerate(kinds)),
    )


@given(st.lists(samples(), max_size=5), st.none() | TIMES, st.none() | st.integers(0, 255))
def test_decoded_payloads_are_equal(made: list[MetricValue], time_ms: int | None, seq: int | None) -> None:
    """Names, types, values, times, flags and properties are decoded as encoded."""
    seen = decode(encode(made, time_ms=time_ms, seq=seq))
    assert (seen.time_ms, seen.seq) == (time_ms, seq)
    for metric, sample in zip(seen, made, strict=True):
        assert (metric.name, metric.type) == (sample.name, sample.type.name)
        assert (metric.time_ms, metric.is_historical) == (sample.time_ms, sample.is_historical)
        assert (metric.value, metric.is_null) == (sample.value, sample.value is None)
        assert type(metric.value) is type(sample.value)
        assert metric.properties == {key: value for key, _, value in sample.properties}


def test_another_library_reads_a_birth() -> None:
    """Its strict reader of births accepts it."""
    made = [MetricValue("ZN-T", DataType.DOUBLE, 21.5, 7), MetricValue("OCC", DataType.BOOLEAN, None, 8)]
    birth = pysparkplug.DBirth.decode(encode(made, time_ms=9, seq=3))
    assert (birth.seq, birth.timestamp) == (3, 9)
    assert [(metric.name, metric.value, metric.is_null) for metric in birth.metrics] == [
        ("ZN-T", 21.5, False),
        ("OCC", None, True),
    ]


def test_another_library_reads_a_death() -> None:
    """It has the session's number and nothing else."""
    raw = node_death(bd_seq=7, time_ms=9)
    death = pysparkplug.NDeath.decode(raw)
    assert (death.bd_seq_metric.name, death.bd_seq_metric.value) == ("bdSeq", 7)
    assert (decode(raw).seq, len(decode(raw).metrics)) == (None, 1)


@pytest.mark.parametrize(
    ("of_type", "value", "encoded"),
    [
        (DataType.DOUBLE, 21, 21.0),
        (DataType.DOUBLE, True, 1.0),
        (DataType.BOOLEAN, 0, False),
        (DataType.BOOLEAN, 1.0, True),
        (DataType.STRING, True, "true"),
        (DataType.STRING, 21.5, "21.5"),
        (DataType.INT64, True, 1),
        (DataType.DOUBLE, None, None),
    ],
)
def test_a_value_takes_the_type_of_its_metric(of_type: DataType, value: Scalar, encoded: Scalar) -> None:
    """All values of a metric are converted to its type."""
    made = of_type.convert(value)
    assert made == encoded
    assert type(made) is type(encoded)


@pytest.mark.parametrize(
    ("of_type", "value"),
    [
        (DataType.INT64, 2**63),
        (DataType.DOUBLE, 10**400),
        (DataType.STRING, "\ud800"),
        (DataType.DOUBLE, "x"),
    ],
)
def test_a_value_beyond_its_type_raises(of_type: DataType, value: Scalar) -> None:
    """It is not cut to fit."""
    with pytest.raises((ValueError, OverflowError)):
        of_type.convert(value)


def test_only_a_rebirth_command_asks_for_rebirth() -> None:
    """Other commands, false and malformed payloads do not."""
    assert asks_for_rebirth(command(**{"Node Control/Rebirth": True}))
    assert not asks_for_rebirth(command(**{"Node Control/Rebirth": False}))
    assert not asks_for_rebirth(command(**{"Node Control/Reboot": True}))
    assert not asks_for_rebirth(b"")
    assert not asks_for_rebirth(b"\xff\xff no payload")


def test_malformed_commands_never_raise() -> None:
    """Any bytes from a host are harmless."""
    raw = command(**{"Node Control/Rebirth": True})
    for cut in range(len(raw)):
        asks_for_rebirth(raw[:cut] + b"\xff" + raw[cut + 1 :])


def test_our_definition_is_apart_from_another_library() -> None:
    """Both are in one process."""
    assert encode([], time_ms=1, seq=0) == eclipse.Payload(timestamp=1, seq=0).SerializeToString()
