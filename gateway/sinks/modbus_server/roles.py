"""The role in a client's certificate, by Modbus/TCP Security: a text in an extension of its own.

Source: MB-TCP-Security-v21, 8.3: object identifier 1.3.6.1.4.1.50316.802.1, a UTF8String, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROLE = bytes.fromhex("2B0601040183890C862201")  # the object identifier as DER writes it
_OBJECT_IDENTIFIER, _OCTET_STRING, _UTF8_STRING = 0x06, 0x04, 0x0C
_EXTENSIONS = 0xA3


def role_in(certificate: bytes) -> str | None:
    """Return the role of a DER certificate that OpenSSL has verified; None where there is no single one."""
    try:
        roles = _roles_in(certificate)
    except (ValueError, IndexError):  # other bytes than a certificate's
        return None
    return roles[0] if len(roles) == 1 else None


def _roles_in(certificate: bytes) -> list[str]:
    (_, signed), *_ = _elements(_content(certificate))
    return [
        role
        for tag, extensions in _elements(signed)
        if tag == _EXTENSIONS
        for _, extension in _elements(_content(extensions))
        if (role := _role(extension)) is not None
    ]


def _role(extension: bytes) -> str | None:
    """Return the text of an extension that is a role: its identifier, perhaps a flag, its value."""
    (tag, identifier), *_, (value_tag, value) = _elements(extension)
    if (tag, identifier, value_tag) != (_OBJECT_IDENTIFIER, _ROLE, _OCTET_STRING):
        return None
    ((kind, text),) = _elements(value)
    return text.decode("utf-8", "replace") if kind == _UTF8_STRING else None


def _content(element: bytes) -> bytes:
    ((_, content),) = _elements(element)
    return content


def _elements(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each DER element in a row."""
    start = 0
    while start < len(raw):
        tag, size = raw[start], raw[start + 1]
        start += 2
        if size & 0x80:  # then it says how many bytes the size has
            digits = size & 0x7F
            size = int.from_bytes(raw[start : start + digits], "big")
            start += digits
        yield tag, raw[start : start + size]
        start += size
