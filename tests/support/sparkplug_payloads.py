"""Sparkplug payloads decoded by another maker's library and by Eclipse's definition."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.model import Scalar

sys.path.append(str(Path(sys.prefix) / "decoders"))
pysparkplug: Any = import_module("pysparkplug")  # has types that need a stricter reader than mypy
eclipse: Any = import_module("pysparkplug._protobuf")

_VALUES = {
    "int_value": lambda number: number - 2**32 if number >= 2**31 else number,
    "long_value": lambda number: number - 2**64 if number >= 2**63 else number,
}


@dataclass(frozen=True)
class SeenMetric:
    """One received metric. `properties` have signed numbers."""

    name: str
    type: str
    value: Scalar
    is_null: bool
    time_ms: int
    is_historical: bool
    properties: dict[str, Scalar]

    @property
    def quality(self) -> Scalar:
        """The code of the property `Quality`."""
        return self.properties["Quality"]


@dataclass(frozen=True)
class SeenPayload:
    """One received payload; `seq` and `time_ms` None: missing."""

    seq: int | None
    time_ms: int | None
    metrics: tuple[SeenMetric, ...]

    def __getitem__(self, name: str) -> SeenMetric:
        (metric,) = (metric for metric in self.metrics if metric.name == name)
        return metric

    def __iter__(self) -> Iterator[SeenMetric]:
        return iter(self.metrics)


def decode(raw: bytes) -> SeenPayload:
    """Decode a payload by Eclipse's definition; unknown fields are an error."""
    payload = eclipse.Payload.FromString(raw)
    assert payload.SerializeToString() == raw
    return SeenPayload(
        seq=payload.seq if payload.HasField("seq") else None,
        time_ms=payload.timestamp if payload.HasField("timestamp") else None,
        metrics=tuple(_metric(metric) for metric in payload.metrics),
    )


def command(**metrics: Any) -> bytes:
    """Return the payload of a host's command with these booleans."""
    payload = eclipse.Payload(timestamp=1)
    for name, value in metrics.items():
        payload.metrics.add(name=name, timestamp=1, datatype=11, boolean_value=value)
    raw: bytes = payload.SerializeToString()
    return raw


def _metric(metric: Any) -> SeenMetric:
    assert not metric.HasField("alias")
    keys, values = metric.properties.keys, metric.properties.values
    return SeenMetric(
        name=metric.name,
        type=pysparkplug.DataType(metric.datatype).name,
        value=_value(metric),
        is_null=metric.is_null,
        time_ms=metric.timestamp,
        is_historical=metric.is_historical,
        properties={key: _value(value) for key, value in zip(keys, values, strict=True)},
    )


def _value(message: Any) -> Scalar:
    field = message.WhichOneof("value")
    if field is None:
        return None
    value: Scalar = _VALUES.get(field, lambda same: same)(getattr(message, field))
    return value
