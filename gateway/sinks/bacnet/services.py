"""The services that a device executes or refuses: reads, writes, Who-Has and Who-Is. No I/O.

Each function gets the parameters of a request, and returns those of the answer or raises MalformedError or
RefusedServiceError. Sources: ANSI/ASHRAE 135, clauses 15.5, 15.7, 15.9, 15.10, 16.9 and 16.10.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from gateway.sinks.bacnet import codec, frames
from gateway.sinks.bacnet.codec import MalformedError, RefusedServiceError, TagReader
from gateway.sinks.bacnet.standard import (
    ConfirmedService,
    ErrorClass,
    ErrorCode,
    Property,
    RejectReason,
    UnconfirmedService,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.sinks.bacnet.device import Device
    from gateway.sinks.bacnet.objects import HasProperties

_LONGEST_ANSWER = 1 << 20  # bytes; a request of 1 KB can ask for the list of all objects 700 times
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
    """Return the answer to ReadProperty."""
    reader = TagReader(body)
    identifier = reader.object_identifier(0)
    reference = Reference(reader.unsigned(1), reader.optional_unsigned(2))
    reader.end()
    served = device.find(identifier)
    value = _value(served, reference)
    return b"\x0c%b%b\x3e%b\x3f" % (_identifier(served, identifier), reference.encoded(1), value)


def read_property_multiple(device: Device, body: bytes) -> bytes:
    """Return the answer to ReadPropertyMultiple, in which what cannot be read has its error.

    Raise AnswerTooLongError, too.
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
        identifier = reader.object_identifier(0)
        reader.expect_opening(1)
        references = []
        while not reader.is_closing(1):
            references.append(Reference(reader.unsigned(0), reader.optional_unsigned(1)))
        yield identifier, references
        if reader.is_at_end:
            return


def _members(served: HasProperties | None, reference: Reference) -> Iterable[Reference]:
    """Return what a reference asks for: one property, or those that the object has of a group.

    Property_List is in no group (clause 15.7.3.1.2).
    """
    group = reference.number
    if served is None or group not in _GROUPS:
        return (reference,)
    return [
        Reference(number)
        for number, each in served.properties.items()
        if number != Property.PROPERTY_LIST
        and (group == Property.ALL or each.is_required == (group == Property.REQUIRED))
    ]


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
    """Return the encoded value of a property, or of an element of an array."""
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


def refuse_write(device: Device, body: bytes) -> NoReturn:
    """Refuse WriteProperty: nothing is writable."""
    reader = TagReader(body)
    identifier = reader.object_identifier(0)
    reference = _parse_written(reader, first_tag=1)
    reader.end()
    _refuse(device, identifier, reference)


def refuse_writes(device: Device, body: bytes) -> NoReturn:
    """Refuse WritePropertyMultiple: the first attempt fails, and the error names it."""
    reader = TagReader(body)
    identifier = reader.object_identifier(0)
    reader.expect_opening(1)
    reference = _parse_written(reader, first_tag=0)
    try:
        _refuse(device, identifier, reference)
    except RefusedServiceError as error:
        failed = codec.context(0, identifier) + reference.encoded(1)
        error.encoded = b"\x0e%b\x0f\x1e%b\x1f" % (error.encoded, failed)
        raise


def _parse_written(reader: TagReader, *, first_tag: int) -> Reference:
    """Read a property, what should be written into it, and the priority."""
    reference = Reference(reader.unsigned(first_tag), reader.optional_unsigned(first_tag + 1))
    reader.skip_constructed(first_tag + 2)
    priority = reader.optional_unsigned(first_tag + 3)
    if priority is not None and not 1 <= priority <= 16:  # noqa: PLR2004 - clause 19.2
        raise MalformedError(RejectReason.PARAMETER_OUT_OF_RANGE)
    return reference


def _refuse(device: Device, identifier: bytes, reference: Reference) -> NoReturn:
    _value(device.find(identifier), reference)  # raises an error of its own where nothing is
    raise RefusedServiceError(ErrorClass.PROPERTY, ErrorCode.WRITE_ACCESS_DENIED)


def answer_who_has(device: Device, body: bytes) -> bytes | None:
    """Return I-Have if this device has the object that is asked for."""
    reader = TagReader(body)
    is_asked = _is_in_range(device, reader)
    identifier = reader.optional_object_identifier(2)
    if identifier is not None:
        served = device.find(identifier)
    else:
        served = device.find_name(reader.character_string(3))
    reader.end()
    if served is None or not is_asked:
        return None
    identifiers = codec.object_identifier(device.identifier) + codec.object_identifier(served.identifier)
    return frames.unconfirmed_request(
        UnconfirmedService.I_HAVE, identifiers + codec.character_string(served.name)
    )


def answer_who_is(device: Device, body: bytes) -> bytes | None:
    """Return I-Am if this device is asked for."""
    reader = TagReader(body)
    is_asked = _is_in_range(device, reader)
    reader.end()
    return device.i_am() if is_asked else None


def _is_in_range(device: Device, reader: TagReader) -> bool:
    """Read the limits, if there are any; return whether the device's instance is within them."""
    lowest, highest = reader.optional_unsigned(0), reader.optional_unsigned(1)
    if lowest is None and highest is None:
        return True
    if lowest is None or highest is None:
        raise MalformedError(RejectReason.MISSING_REQUIRED_PARAMETER)
    return lowest <= device.instance <= highest


CONFIRMED: Final[dict[int, Callable[[Device, bytes], bytes]]] = {
    ConfirmedService.READ_PROPERTY: read_property,
    ConfirmedService.READ_PROPERTY_MULTIPLE: read_property_multiple,
    ConfirmedService.WRITE_PROPERTY: refuse_write,
    ConfirmedService.WRITE_PROPERTY_MULTIPLE: refuse_writes,
}
UNCONFIRMED: Final[dict[int, Callable[[Device, bytes], bytes | None]]] = {
    UnconfirmedService.WHO_HAS: answer_who_has,
    UnconfirmedService.WHO_IS: answer_who_is,
}
UNCONFIRMED_BITS_FROM: Final = 26
"""Where they begin in BACnetServicesSupported, for services of the first revisions."""
EXECUTED_SERVICES: Final = frozenset(
    {
        ConfirmedService.READ_PROPERTY,
        ConfirmedService.READ_PROPERTY_MULTIPLE,
        ConfirmedService.SUBSCRIBE_COV,
        *(UNCONFIRMED_BITS_FROM + service for service in UNCONFIRMED),
    }
)
"""What is executed, by the numbers of BACnetServicesSupported."""
