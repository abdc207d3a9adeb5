"""Events as rows of the journal, and back.

An id stands there as a hash: it recognises a duplicate, takes the same few bytes however long the id is,
and stays when the body, which has the id itself, is freed.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from gateway.errors import EventError
from gateway.events import keep_apart, parse_event

if TYPE_CHECKING:
    from gateway.model import Event

_HASH_BYTES = 16


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
