"""Sparkplug B payloads: Google Protocol Buffers by the field numbers of the specification.

Sections are those of Sparkplug 3.0.0 (Eclipse Foundation). Only the fields that this gateway writes and reads
are described to the encoder.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model import Scalar

REBIRTH = "Node Control/Rebirth"
"""The metric by which a host asks for all births again (section 6.4.19)."""

_FIELDS = {  # name and kind by number; `*`: repeated
    "PropertyValue": "1 type uint32, 2 is_null bool, 3 int_value uint32, 4 long_value uint64,"
    " 6 double_value double, 7 boolean_value bool, 8 string_value string",
    "PropertySet": "1 keys string*, 2 values PropertyValue*",
    "Metric": "1 name string, 3 timestamp uint64, 4 datatype uint32, 5 is_historical bool, 7 is_null bool,"
    " 9 properties PropertySet, 10 int_value uint32, 11 long_value uint64, 13 double_value double,"
    " 14 boolean_value bool, 15 string_value string",
    "Payload": "1 timestamp uint64, 2 metrics Metric*, 3 seq uint64",
}


class DataType(IntEnum):
    """The type of a metric's values; the numbers of section 6.4.16."""

    INT32 = 3
    INT64 = 4
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12

    def can_hold(self, value: Scalar) -> bool:
        """Return whether a value keeps its meaning; 0 and 1 do as booleans."""
        match self:
            case DataType.BOOLEAN:
                return isinstance(value, int | float) and value in {0, 1}
            case DataType.STRING:
                return True
            case DataType.DOUBLE:
                return isinstance(value, int | float)
            case _:
                return isinstance(value, int)

    def convert(self, value: Scalar) -> Scalar:
        """Return a value as this type encodes it; raise ValueError or OverflowError where it cannot."""
        if value is None:
            return None
        match self:
            case DataType.BOOLEAN:
                return bool(value)
            case DataType.STRING:
                text = f"{value}".lower() if isinstance(value, bool) else f"{value}"
                text.encode()  # half a surrogate pair raises ValueError
                return text
            case DataType.DOUBLE:
                return float(value)
        int(value).to_bytes(8, "big", signed=True)  # more than 64 bits raise OverflowError
        return int(value)


class Property(NamedTuple):
    """A property of a metric beside its value (section 6.4.9)."""

    key: str
    type: DataType
    value: int | str


class MetricValue(NamedTuple):
    """One value of one metric (section 6.4.6), converted to its type already; None: there is no value."""

    name: str
    type: DataType
    value: Scalar
    time_ms: int
    is_historical: bool = False
    properties: tuple[Property, ...] = ()


def encode(
    values: Iterable[MetricValue], *, time_ms: int | None, seq: int | None, with_types: bool = True
) -> bytes:
    """Return the payload (section 6.4.5). `seq` None: a death of the node has no number.

    Births have types; data should not have them (section 6.4.6).
    """
    payload = _payload_class()(timestamp=time_ms, seq=seq)
    for each in values:
        metric = payload.metrics.add(
            name=each.name,
            timestamp=each.time_ms,
            datatype=each.type if with_types else None,
            is_historical=each.is_historical or None,
        )
        if each.value is None:
            metric.is_null = True
        else:
            _set_value(metric, each.type, each.value)
        for key, of_type, value in each.properties:
            metric.properties.keys.append(key)
            _set_value(metric.properties.values.add(type=of_type), of_type, value)
    encoded: bytes = payload.SerializeToString()
    return encoded


def bd_seq_metric(number: int, time_ms: int) -> MetricValue:
    """Return the metric with the number of the session (section 6.4.19)."""
    return MetricValue("bdSeq", DataType.INT64, number, time_ms)


def node_death(*, bd_seq: int, time_ms: int) -> bytes:
    """Return the payload of NDEATH: the number of the session that ends, and no `seq` (section 6.4.25)."""
    return encode([bd_seq_metric(bd_seq, time_ms)], time_ms=time_ms, seq=None)


def asks_for_rebirth(command: bytes) -> bool:
    """Return whether a command (NCMD) asks for all births; False if it cannot be decoded."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - loaded where Sparkplug is used only

    payload = _payload_class()()
    try:
        payload.ParseFromString(command)
    except DecodeError:
        return False
    return any(metric.name == REBIRTH and metric.boolean_value for metric in payload.metrics)


def _set_value(message: Any, of_type: DataType, value: Any) -> None:
    """Set the field of a type; negative numbers are written in two's complement."""
    match of_type:
        case DataType.DOUBLE:
            message.double_value = value
        case DataType.INT64:
            message.long_value = value % (1 << 64)
        case DataType.INT32:
            message.int_value = value % (1 << 32)
        case DataType.BOOLEAN:
            message.boolean_value = value
        case DataType.STRING:
            message.string_value = value


@cache
def _payload_class() -> Any:
    """Return the class of payloads, kept apart from those of other libraries in this process."""
    from google.protobuf import (  # noqa: PLC0415 - loaded where Sparkplug is used only
        descriptor_pb2,
        descriptor_pool,
        message_factory,
    )

    file = descriptor_pb2.FileDescriptorProto(name="sparkplug", package="sparkplug", syntax="proto2")
    for message, fields in _FIELDS.items():
        shape = file.message_type.add(name=message)
        for number, name, kind in map(str.split, fields.split(",")):
            field = shape.field.add(name=name, number=int(number))
            field.label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            if kind.rstrip("*") in _FIELDS:
                field.type_name = f".sparkplug.{kind.rstrip('*')}"
            else:
                field.type = field.Type.Value(f"TYPE_{kind.rstrip('*').upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sparkplug.Payload"))
