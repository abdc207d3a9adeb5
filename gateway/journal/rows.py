"""Rows of the journal as what they mean; a damaged one spoils no other. SQLite checks pages, not content.

An event's id stands there as a hash: it recognises a duplicate, takes the same few bytes however long the id
is, and stays when the body, which has the id itself, is freed.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.errors import EventError
from gateway.events import keep_apart, parse_event
from gateway.records import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.model import Event

_HASH_BYTES = 16
_ID = re.compile(rb'"id"\s*:\s*"([^"\\]+)"')
_PRIMARY_CODE = 0xFF  # of SQLite's extended codes
_NO_TEXT = "\ufffd"  # in place of bytes that are none

_Row = TypeVar("_Row")


def id_hash(event_id: str) -> bytes:
    """Return what the journal stores of an event's id."""
    return blake2b(event_id.encode(errors="surrogatepass"), digest_size=_HASH_BYTES).digest()


def event_of(stored_hash: bytes, received_ms: int, body: bytes) -> Event:
    """Return the event of a row; raise EventError where the row is damaged."""
    event = parse_event(body, received_ms=received_ms)
    if id_hash(event.event_id) != stored_hash:
        keep_apart(event)
        if id_hash(event.event_id) != stored_hash:
            raise EventError("its id is not the one that was received")
    return event


def damaged_letter(seq: int, stored_hash: bytes, received_ms: int, body: bytes, *, reason: str) -> DeadLetter:
    """Return the dead letter for an event whose row is damaged, with its id where that can still be read."""
    ids = [found.decode(errors="replace") for found in _ID.findall(body)]
    return DeadLetter(
        sink="",
        seq=seq,
        event_id=next((found for found in ids if id_hash(found) == stored_hash), ""),
        point="",
        reason=f"damaged in the journal: {reason}",
        at_ms=received_ms,
        body=body,
    )


def is_corrupt(error: Exception) -> bool:
    """Return whether SQLite has found its file to be corrupt, or none of its own."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & _PRIMARY_CODE
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def as_text(stored: bytes) -> str:
    """Return a text as stored, for `sqlite3.Connection.text_factory`: damaged bytes do not end the query."""
    return stored.decode(errors="replace")


def is_intact(row: tuple[Any, ...]) -> bool:
    """Return whether all texts of a row are as they were written, as far as that can be seen."""
    return not any(isinstance(column, str) and _NO_TEXT in column for column in row)


def readable(rows: Iterable[tuple[Any, ...]], make: Callable[..., _Row]) -> tuple[list[_Row], int]:
    """Return what can be made of the rows, and how many are damaged."""
    made, number = [], 0
    for number, row in enumerate(rows, 1):  # noqa: B007 - their number
        with suppress(ValueError, TypeError):
            if is_intact(row):
                made.append(make(*row))
    return made, number - len(made)
