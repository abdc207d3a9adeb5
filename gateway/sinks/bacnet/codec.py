"""Encoding of values as tagged data, and a reader of such data (ANSI/ASHRAE 135, clause 20.2). No I/O."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Final

from gateway.sinks.bacnet.standard import RejectReason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.sinks.bacnet.standard import ErrorClass, ErrorCode

FALSE: Final = b"\x10"
"""An encoded BOOLEAN."""
_UTF8 = b"\x00"  # the character set of a string stands before it
_CHARACTER_SETS = {0: "utf-8", 3: "utf-32-be", 4: "utf-16-be", 5: "latin-1"}
_OPENING, _CLOSING = 6, 7
_BOOLEAN = 0x10  # the first byte of its application tag, without its value
_REAL, _DOUBLE = struct.Struct(">f"), struct.Struct(">d")
_U16, _U32 = struct.Struct(">H"), struct.Struct(">I")
_MOST_NUMBER_BYTES = 8


class MalformedError(Exception):
    """A request that cannot be understood, with the reason that the answer gives."""

    def __init__(self, reason: RejectReason) -> None:
        super().__init__(reason.name)
        self.reason = reason


class RefusedServiceError(Exception):
    """A request that is understood and fails. `encoded` are the parameters of the answer: class and code."""

    def __init__(self, error_class: ErrorClass, code: ErrorCode) -> None:
        super().__init__(f"{error_class.name}, {code.name}")
        self.encoded = enumerated(error_class) + enumerated(code)


def application(tag: int, data: bytes) -> bytes:
    """Return data with an application tag, which says its type."""
    return _header(tag << 4, len(data)) + data


def context(tag: int, data: bytes) -> bytes:
    """Return data with a context tag (0 to 14), whose meaning the service defines."""
    return _header(tag << 4 | 8, len(data)) + data


def opening(tag: int) -> bytes:
    """Return the tag in front of constructed data."""
    return bytes((tag << 4 | 8 | _OPENING,))


def closing(tag: int) -> bytes:
    """Return the tag behind constructed data."""
    return bytes((tag << 4 | 8 | _CLOSING,))


def _header(first: int, length: int) -> bytes:
    if length < 5:  # noqa: PLR2004 - clause 20.2.1.3.1: such a length is in the first byte
        return bytes((first | length,))
    if length < 254:  # noqa: PLR2004 - likewise, in the second byte
        return bytes((first | 5, length))
    if length <= 0xFFFF:  # noqa: PLR2004
        return bytes((first | 5, 254)) + _U16.pack(length)
    return bytes((first | 5, 255)) + _U32.pack(length)


def unsigned_data(number: int) -> bytes:
    """Return a number of 0 or more in as few bytes as possible; also an enumeration."""
    return number.to_bytes((number.bit_length() + 7) // 8 or 1, "big")


def object_data(object_type: int, instance: int) -> bytes:
    """Return an object identifier in four bytes: ten bits for the type, 22 for the instance."""
    return _U32.pack(object_type << 22 | instance)


def unsigned(number: int) -> bytes:
    """Return an encoded Unsigned."""
    return application(2, unsigned_data(number))


def real(number: float) -> bytes:
    """Return the REAL next to a number, encoded; infinity beyond its range."""
    try:
        return b"\x44" + _REAL.pack(number)
    except OverflowError:
        return b"\x44" + _REAL.pack(math.copysign(math.inf, number))


def double(number: float) -> bytes:
    """Return an encoded Double."""
    return b"\x55\x08" + _DOUBLE.pack(number)


def character_string(text: str) -> bytes:
    """Return an encoded CharacterString in UTF-8."""
    return application(7, _UTF8 + text.encode("utf-8", "replace"))


def bit_string(bits: Iterable[bool]) -> bytes:
    """Return an encoded BIT STRING, the first bit first."""
    digits = "".join("1" if bit else "0" for bit in bits)
    unused = -len(digits) % 8
    size = (len(digits) + unused) // 8
    return application(8, bytes((unused,)) + int(digits + "0" * unused or "0", 2).to_bytes(size, "big"))


def enumerated(number: int) -> bytes:
    """Return an encoded Enumerated."""
    return application(9, unsigned_data(number))


def object_identifier(data: bytes) -> bytes:
    """Return an encoded BACnetObjectIdentifier."""
    return b"\xc4" + data


class TagReader:
    """Reads the parameters of a request one after the other. Each method raises MalformedError.

    A missing or wrong tag, a length beyond the data and data behind the last parameter are errors.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        """Whether all data was read."""
        return self._at >= len(self._data)

    def end(self) -> None:
        """Require that nothing follows."""
        if self._at < len(self._data):
            raise MalformedError(RejectReason.TOO_MANY_ARGUMENTS)

    def unsigned(self, tag: int) -> int:
        """Read a number with a context tag."""
        return self._number(self._context(tag))

    def optional_unsigned(self, tag: int) -> int | None:
        """Read a number with a context tag, None if something else follows, or nothing."""
        return self._number(self._context(tag)) if self._is_next(tag) else None

    def optional_boolean(self, tag: int) -> bool | None:
        """Read a boolean with a context tag, None if something else follows, or nothing."""
        number = self.optional_unsigned(tag)
        if number is not None and number > 1:
            raise MalformedError(RejectReason.PARAMETER_OUT_OF_RANGE)
        return None if number is None else bool(number)

    def object_identifier(self, tag: int) -> bytes:
        """Read an object identifier (four bytes) with a context tag."""
        data = self._context(tag)
        if len(data) != _U32.size:
            raise MalformedError(RejectReason.INVALID_PARAMETER_DATA_TYPE)
        return data

    def optional_object_identifier(self, tag: int) -> bytes | None:
        """Read an object identifier, None if something else follows, or nothing."""
        return self.object_identifier(tag) if self._is_next(tag) else None

    def character_string(self, tag: int) -> str:
        """Read a text with a context tag."""
        data = self._context(tag)
        try:
            return data[1:].decode(_CHARACTER_SETS[data[0]])
        except (IndexError, KeyError, UnicodeDecodeError):
            raise MalformedError(RejectReason.INVALID_PARAMETER_DATA_TYPE) from None

    def is_closing(self, tag: int) -> bool:
        """Return whether constructed data ends here; then its closing tag is read."""
        return self._read_if_next(closing(tag))

    def expect_opening(self, tag: int) -> None:
        """Read an opening tag."""
        if not self._read_if_next(opening(tag)):
            raise MalformedError(self._missing_or_invalid())

    def skip_constructed(self, tag: int) -> None:
        """Read constructed data with whatever is in it up to its closing tag."""
        self.expect_opening(tag)
        depth = 1
        while depth:
            first, length = self._head()
            if first & 8 and first & 7 in {_OPENING, _CLOSING}:
                depth += 1 if first & 7 == _OPENING else -1
            self._at += length

    def _is_next(self, tag: int) -> bool:
        at, data = self._at, self._data
        return at < len(data) and data[at] & 0xF8 == tag << 4 | 8 and data[at] & 7 < _OPENING

    def _read_if_next(self, boundary: bytes) -> bool:
        is_next = self._data.startswith(boundary, self._at)
        self._at += is_next
        return is_next

    def _context(self, tag: int) -> bytes:
        if not self._is_next(tag):
            raise MalformedError(self._missing_or_invalid())
        _, length = self._head()
        start = self._at
        self._at += length
        return self._data[start : self._at]

    def _missing_or_invalid(self) -> RejectReason:
        return RejectReason.MISSING_REQUIRED_PARAMETER if self.is_at_end else RejectReason.INVALID_TAG

    def _head(self) -> tuple[int, int]:
        """Read a tag: its first byte, and the length of its data, which must be there."""
        data, at = self._data, self._at
        try:
            first = data[at]
            at += 1
            if first >> 4 == 15:  # noqa: PLR2004 - clause 20.2.1.2: the number follows
                at += 1
            length = first & 7
            if first & 0xF8 == _BOOLEAN or (first & 8 and length in {_OPENING, _CLOSING}):
                length = 0  # a BOOLEAN has its value in place of a length
            elif length == 5:  # noqa: PLR2004 - clause 20.2.1.3.1: the length follows
                length = data[at]
                at += 1
                if length >= 254:  # noqa: PLR2004
                    size = 2 if length == 254 else 4  # noqa: PLR2004
                    length = int.from_bytes(data[at : at + size], "big")
                    at += size
        except IndexError:
            raise MalformedError(RejectReason.MISSING_REQUIRED_PARAMETER) from None
        if at + length > len(data):
            raise MalformedError(RejectReason.MISSING_REQUIRED_PARAMETER)
        self._at = at
        return first, length

    @staticmethod
    def _number(data: bytes) -> int:
        if not 1 <= len(data) <= _MOST_NUMBER_BYTES:
            raise MalformedError(RejectReason.INVALID_PARAMETER_DATA_TYPE)
        return int.from_bytes(data, "big")
