"""Reads of properties, and the refusal of writes (clauses 15.5, 15.7, 15.9 and 15.10). No I/O."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from gateway.sinks.bacnet import codec
from gateway.sinks.bacnet.codec import MalformedError, RefusedServiceError, TagReader
from gateway.sinks.bacnet.standard import ErrorClass, ErrorCode, Property, RejectReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.sinks.bacnet.device import Device
    from gateway.sinks.bacnet.objects import HasProperties

_LONGEST_ANSWER = 1 << 20  # bytes; a request of 1 KB can ask for the list of all objects 700 times
_SIMPLE_READ = re.compile(rb"\x0c(.{4})\x19(.)", re.DOTALL)
_SIMPLE_READS = re.compile(rb"(?:\x0c.{4}\x1e(?:\x09.)+\x1f)+", re.DOTALL)
_READ_OF_ONE_OBJECT = re.compile(rb"\x0c(.{4})\x1e((?:\x09.)+)\x1f", re.DOTALL)
_GROUPS = frozenset({Property.ALL, Property.REQUIRED, Property.OPTIONAL})


class AnswerTooLongError(Exception):
    """An answer that the client cannot get."""


class Reference(NamedTuple):
    """A property, or one of the groups all, required and optional; or an element of an array."""

    number: int
    element: int | None = None

    def encoded(self, tag: int) -> bytes:
        """Return the number and, with the next tag, the element."""
        number = codec.context(tag, codec.unsigned_data(self.number))
        if self.element is None:
            return number
        return number + codec.context(tag + 1, codec.unsigned_data(self.element))


_SIMPLE_REFERENCES = [Reference(number) for number in range(256)]


def read_property(device: Device, body: bytes) -> bytes:
    """Return the answer to ReadProperty; raise MalformedError or RefusedServiceError."""
    simple = _SIMPLE_READ.fullmatch(body)
    if simple is not None:
        identifier, reference = simple[1], _SIMPLE_REFERENCES[simple[2][0]]
    else:
        identifier, reference = _parse_read(body)
    served = device.find(identifier)
    value = _value(served, reference)
    return b"\x0c%b%b\x3e%b\x3f" % (_identifier(served, identifier), reference.encoded(1), value)


def _parse_read(body: bytes) -> tuple[bytes, Reference]:
    reader = TagReader(body)
    identifier = codec.object_data(*reader.object_identifier(0))
    reference = Reference(reader.unsigned(1), reader.optional_unsigned(2))
    reader.end()
    return identifier, reference


def read_property_multiple(device: Device, body: bytes) -> bytes:
    """Return the answer to ReadPropertyMultiple, in which what cannot be read has its error.

    Raise MalformedError, or AnswerTooLongError.
    """
    parts: list[bytes] = []
    room = _LONGEST_ANSWER
    for identifier, references in _parse_reads(body):
        served = device.find(identifier)
        parts += (b"\x0c", _identifier(served, identifier), b"\x1e")
        for reference in references:
            results = [_result(served, each) for each in _members(served, reference)]
            parts += results
            room -= sum(map(len, results))
            if room < 0:
                raise AnswerTooLongError
        parts.append(b"\x1f")
    return b"".join(parts)


def _parse_reads(body: bytes) -> Iterator[tuple[bytes, list[Reference]]]:
    if _SIMPLE_READS.fullmatch(body):
        for found in _READ_OF_ONE_OBJECT.finditer(body):
            yield found[1], [_SIMPLE_REFERENCES[number] for number in found[2][1::2]]
        return
    reader = TagReader(body)
    while True:
        identifier = codec.object_data(*reader.object_identifier(0))
        yield identifier, _parse_references(reader)
        if reader.is_at_end:
            return


def _parse_references(reader: TagReader) -> list[Reference]:
    reader.expect_opening(1)
    references = []
    while not reader.is_closing(1):
        references.append(Reference(reader.unsigned(0), reader.optional_unsigned(1)))
    return references


def _members(served: HasProperties | None, reference: Reference) -> Iterable[Reference]:
    """Return what a reference asks for: one property, or those that the object has of a group."""
    if served is None or reference.number not in _GROUPS:
        return (reference,)
    return [Reference(number) for number in _group(served, reference.number)]


def _group(served: HasProperties, group: int) -> Iterator[int]:
    """Yield what an object has of a group; Property_List is in none (clause 15.7.3.1.2)."""
    for number, each in served.properties.items():
        is_asked = group == Property.ALL or each.is_required == (group == Property.REQUIRED)
        if is_asked and number != Property.PROPERTY_LIST:
            yield number


def _result(served: HasProperties | None, reference: Reference) -> bytes:
    """Return the encoded value or error of one property."""
    try:
        return b"%b\x4e%b\x4f" % (_result_tag(reference), _value(served, reference))
    except RefusedServiceError as error:
        return b"%b\x5e%b\x5f" % (_result_tag(reference), error.encoded)


@lru_cache(256)
def _result_tag(reference: Reference) -> bytes:
    return reference.encoded(2)


def _identifier(served: HasProperties | None, requested: bytes) -> bytes:
    """Return the identifier of the answer: the device's own where the wildcard was requested."""
    return requested if served is None else served.identifier


def _value(served: HasProperties | None, reference: Reference) -> bytes:
    """Return the encoded value of a property, or of an element of an array; raise RefusedServiceError."""
    if served is None:
        raise RefusedServiceError(ErrorClass.OBJECT, ErrorCode.UNKNOWN_OBJECT)
    number, element = reference
    found = served.properties.get(number)
    if found is None:
        raise RefusedServiceError(ErrorClass.PROPERTY, ErrorCode.UNKNOWN_PROPERTY)
    if element is not None and not found.is_array:
        raise RefusedServiceError(ErrorClass.PROPERTY, ErrorCode.PROPERTY_IS_NOT_AN_ARRAY)
    value = found.encode(served)
    if isinstance(value, bytes):
        return value
    if element is None:
        return b"".join(value)
    if element > len(value):
        raise RefusedServiceError(ErrorClass.PROPERTY, ErrorCode.INVALID_ARRAY_INDEX)
    return value[element - 1] if element else codec.unsigned(len(value))


def refuse_write(device: Device, body: bytes) -> bytes:
    """Return the error of WriteProperty: nothing is writable. Raise MalformedError."""
    reader = TagReader(body)
    identifier = codec.object_data(*reader.object_identifier(0))
    reference = _parse_written(reader, first_tag=1)
    reader.end()
    return _write_error(device, identifier, reference)


def refuse_writes(device: Device, body: bytes) -> bytes:
    """Return the error of WritePropertyMultiple: nothing is writable, so the first attempt fails.

    Raise MalformedError.
    """
    reader = TagReader(body)
    identifier = codec.object_data(*reader.object_identifier(0))
    reader.expect_opening(1)
    reference = _parse_written(reader, first_tag=0)
    error = _write_error(device, identifier, reference)
    failed = codec.context(0, identifier) + reference.encoded(1)
    return b"".join((codec.opening(0), error, codec.closing(0), codec.opening(1), failed, codec.closing(1)))


def _parse_written(reader: TagReader, *, first_tag: int) -> Reference:
    """Read a property, what should be written into it, and the priority."""
    reference = Reference(reader.unsigned(first_tag), reader.optional_unsigned(first_tag + 1))
    reader.skip_constructed(first_tag + 2)
    priority = reader.optional_unsigned(first_tag + 3)
    if priority is not None and not 1 <= priority <= 16:  # noqa: PLR2004 - clause 19.2
        raise MalformedError(RejectReason.PARAMETER_OUT_OF_RANGE)
    return reference


def _write_error(device: Device, identifier: bytes, reference: Reference) -> bytes:
    """Return the encoded reason: what is there is not writable."""
    try:
        _value(device.find(identifier), reference)
    except RefusedServiceError as error:
        return error.encoded
    return RefusedServiceError(ErrorClass.PROPERTY, ErrorCode.WRITE_ACCESS_DENIED).encoded
