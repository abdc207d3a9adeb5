"""Sparkplug B payloads: Google Protocol Buffers by the field numbers of the specification.

Sections are those of Sparkplug 3.0.0 (Eclipse Foundation). Only what this gateway says and hears is described
to the encoder: readers take a payload field by field, and what is not there is not there.
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

_INT32_MASK = 0xFFFFFFFF
_INT64_MASK = 0xFFFFFFFFFFFFFFFF
_INT64_RANGE = range(-(2**63), 2**63)


class DataType(IntEnum):
    """What a metric's values are; the numbers of section 6.4.16."""

    INT32 = 3
    INT64 = 4
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12

    def holds(self, value: Scalar) -> bool:
        """Say whether a value stays what it is in this type. A switch is a boolean or the numbers 0 and 1."""
        match self:
            case DataType.BOOLEAN:
                return isinstance(value, bool) or (isinstance(value, int | float) and value in {0, 1})
            case DataType.STRING:
                return True
            case DataType.DOUBLE:
                return isinstance(value, int | float)
            case _:
                return isinstance(value, int)

    def of(self, value: Scalar) -> Scalar:
        """Return a value as this type encodes it; raise ValueError or OverflowError where it cannot."""
        if value is None:
            return None
        match self:
            case DataType.BOOLEAN:
                return bool(value)
            case DataType.STRING:
                return _text(value)
            case DataType.DOUBLE:
                return float(value)
        number = int(value)
        if number not in _INT64_RANGE:
            raise OverflowError("does not fit into 64 bits")
        return number


class Property(NamedTuple):
    """What is said of a metric beside its value (section 6.4.9)."""

    key: str
    type: DataType
    value: int | str


class Sample(NamedTuple):
    """One value of one metric (section 6.4.6), of its type already; None: there is no value."""

    name: str
    type: DataType
    value: Scalar
    time_ms: int
    is_historical: bool = False
    properties: tuple[Property, ...] = ()


def encode(
    samples: Iterable[Sample], *, time_ms: int | None, seq: int | None, with_types: bool = True
) -> bytes:
    """Return the payload (section 6.4.5). `seq` None: it has no number, as a death of the node has none.

    Types are told by births and should not be told by data (section 6.4.6).
    """
    payload = _payload_class()()
    if time_ms is not None:
        payload.timestamp = time_ms
    for sample in samples:
        metric = payload.metrics.add()
        metric.name, metric.timestamp = sample.name, sample.time_ms
        if with_types:
            metric.datatype = sample.type
        if sample.is_historical:
            metric.is_historical = True
        if sample.value is None:
            metric.is_null = True
        else:
            _set_value(metric, sample.type, sample.value)
        for key, of_type, value in sample.properties:
            metric.properties.keys.append(key)
            added = metric.properties.values.add()
            added.type = of_type
            _set_value(added, of_type, value)
    if seq is not None:
        payload.seq = seq
    encoded: bytes = payload.SerializeToString()
    return encoded


def asks_for_rebirth(command: bytes) -> bool:
    """Say whether the payload of a node's command (NCMD) demands all births; what is no payload does not."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - loaded where Sparkplug is used only

    payload = _payload_class()()
    try:
        payload.ParseFromString(command)
    except DecodeError:
        return False
    return any(metric.name == REBIRTH and metric.boolean_value for metric in payload.metrics)


def _set_value(message: Any, of_type: DataType, value: Any) -> None:
    """Set the field that stands for a type; negative numbers are written in two's complement."""
    match of_type:
        case DataType.DOUBLE:
            message.double_value = value
        case DataType.INT64:
            message.long_value = value & _INT64_MASK
        case DataType.INT32:
            message.int_value = value & _INT32_MASK
        case DataType.BOOLEAN:
            message.boolean_value = value
        case DataType.STRING:
            message.string_value = value


def _text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else f"{value}"
    text.encode()  # half a surrogate pair is no text: it raises ValueError
    return text


@cache
def _payload_class() -> Any:
    """Build the class of payloads, apart from those of other libraries in this process."""
    from google.protobuf import (  # noqa: PLC0415 - loaded where Sparkplug is used only
        descriptor_pb2,
        descriptor_pool,
        message_factory,
    )

    kinds = descriptor_pb2.FieldDescriptorProto
    uint32, uint64, flag, text = kinds.TYPE_UINT32, kinds.TYPE_UINT64, kinds.TYPE_BOOL, kinds.TYPE_STRING
    shapes: dict[str, tuple[tuple[str, int, int | str, bool], ...]] = {
        "PropertyValue": (
            ("type", 1, uint32, False),
            ("is_null", 2, flag, False),
            ("int_value", 3, uint32, False),
            ("long_value", 4, uint64, False),
            ("double_value", 6, kinds.TYPE_DOUBLE, False),
            ("boolean_value", 7, flag, False),
            ("string_value", 8, text, False),
        ),
        "PropertySet": (("keys", 1, text, True), ("values", 2, "PropertyValue", True)),
        "Metric": (
            ("name", 1, text, False),
            ("timestamp", 3, uint64, False),
            ("datatype", 4, uint32, False),
            ("is_historical", 5, flag, False),
            ("is_null", 7, flag, False),
            ("properties", 9, "PropertySet", False),
            ("int_value", 10, uint32, False),
            ("long_value", 11, uint64, False),
            ("double_value", 13, kinds.TYPE_DOUBLE, False),
            ("boolean_value", 14, flag, False),
            ("string_value", 15, text, False),
        ),
        "Payload": (
            ("timestamp", 1, uint64, False),
            ("metrics", 2, "Metric", True),
            ("seq", 3, uint64, False),
        ),
    }
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug", package="sparkplug", syntax="proto2")
    for name, fields in shapes.items():
        shape = file.message_type.add(name=name)
        for field, number, kind, is_repeated in fields:
            shape.field.add(
                name=field,
                number=number,
                label=kinds.LABEL_REPEATED if is_repeated else kinds.LABEL_OPTIONAL,
                type=kind if isinstance(kind, int) else kinds.TYPE_MESSAGE,
                type_name=None if isinstance(kind, int) else f".sparkplug.{kind}",
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sparkplug.Payload"))
