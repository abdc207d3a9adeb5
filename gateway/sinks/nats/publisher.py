"""Publishes events to a stream: many at a time, but of each subject one, so that assets keep their order.

All acknowledgements come to one subscription: a request for each would cost three times the CPU.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from nats.errors import Error as NatsError

from gateway.errors import TransientError
from gateway.jetstream.connection import missing_stream_text
from gateway.jetstream.subjects import RECEIVED, VERIFIED_BY
from gateway.json_text import load_json
from gateway.model import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nats.aio.msg import Msg

    from gateway.jetstream.connection import NatsConnection
    from gateway.model import EventCopy

_STALL_S = 5.0
_NO_RESPONDERS = "503"
_IS_REPEAT = b'"duplicate"'  # in an acknowledgement, and else absent
_OTHER_STREAM = 10060  # "expected stream does not match"
_TOO_LARGE = 10054  # "message size exceeds maximum allowed"
_FULL = 10077  # maximum messages or bytes; without room in the store, another code
_PLAIN = re.compile(r"[!-$&-~]*")
_HEADER_BYTES = 4_000  # more than the headers have: an id of 200 characters may be percent-encoded


class StreamPublisher:
    """Publishes on one connection, for one caller at a time."""

    def __init__(self, connection: NatsConnection, *, stream: str, gateway: str, in_flight: int) -> None:
        """`gateway` is this gateway's name, for events that its own intake has verified."""
        self.repeats = 0
        """Events that the stream recognised as published in its last two minutes, and did not store again."""
        self._connection = connection
        self._stream = stream
        self._gateway = header_text(gateway)
        self._window = in_flight
        self._inbox = connection.new_inbox()
        self._number = 0  # of the last message: its answer has it, and a late one is recognised
        self._in_flight: dict[int, deque[EventCopy]] = {}
        self._ready: deque[deque[EventCopy]] = deque()  # by subject, each without a message in flight
        self._done: set[int] = set()
        self._refusals: list[Refusal] = []
        self._failure: str | None = None  # after which no answer will come
        self._not_now: str | None = None  # why the stream does not accept events
        self._unclaimed: str | None = None  # a subject that no stream takes
        self._answered = asyncio.Event()
        connection.lost.add_done_callback(lambda lost: self._fail(lost.result()))
        connection.on_denied = self._fail  # no answer would come

    async def start(self) -> None:
        """Subscribe to the acknowledgements; raise TransientError if that is not possible."""
        try:
            await self._connection.subscribe(f"{self._inbox}.*", cb=self._on_answer)
            await self._connection.flush()
        except (NatsError, TimeoutError, OSError) as error:
            raise TransientError(f"cannot subscribe to acknowledgements: {error}") from error
        if self._failure is not None:
            raise TransientError(self._failure)

    async def publish(self, copies: Iterable[EventCopy], *, done: set[int]) -> list[Refusal]:
        """Return the refused events once the stream has acknowledged all others.

        `done` are the numbers of events that an earlier attempt has published; those of this one are added.
        Raise TransientError if the connection is lost, or the stream does not accept events now.
        """
        if self._connection.lost.done():
            raise TransientError(self._connection.lost.result())
        self._begin(copies, done)
        try:
            while self._in_flight or (self._ready and self._not_now is None):
                if self._not_now is None:
                    await self._fill_window()
                await self._wait_answered()
        except (NatsError, OSError) as error:  # closed meanwhile
            raise TransientError(f"the connection broke: {error}") from error
        finally:
            self._in_flight.clear()
            self._ready.clear()
        if self._unclaimed is not None:
            raise TransientError(await missing_stream_text(self._connection, self._stream, self._unclaimed))
        if self._not_now is not None:
            raise TransientError(self._not_now)
        return self._refusals

    def _begin(self, copies: Iterable[EventCopy], done: set[int]) -> None:
        by_subject: dict[str, deque[EventCopy]] = {}
        for copy in copies:
            if copy.seq not in done:
                by_subject.setdefault(copy.subject, deque()).append(copy)
        self._ready.extend(by_subject.values())
        self._done, self._refusals = done, []
        self._failure = self._not_now = self._unclaimed = None

    async def _fill_window(self) -> None:
        while self._ready and len(self._in_flight) < self._window:
            waiting = self._ready.popleft()
            largest_bytes = self._connection.max_payload - _HEADER_BYTES
            if len(waiting[0].body) > largest_bytes:  # the server would end the connection
                self._refuse(waiting, f"more than the {largest_bytes} bytes of the server's `max_payload`")
            else:
                await self._send(waiting)

    async def _send(self, waiting: deque[EventCopy]) -> None:
        """Publish the first of a subject's events."""
        copy = waiting[0]
        self._number += 1
        self._in_flight[self._number] = waiting
        headers = {
            "Nats-Msg-Id": header_text(copy.event_id or ""),
            "Nats-Expected-Stream": self._stream,
            VERIFIED_BY: self._gateway if copy.origin is None else header_text(copy.origin.gateway),
            RECEIVED: str(copy.time_ms),
        }
        reply = f"{self._inbox}.{self._number}"
        await self._connection.publish(copy.subject, copy.body, reply, headers)

    async def _wait_answered(self) -> None:
        """Wait for some answers; raise TransientError if none will come."""
        if self._in_flight and self._failure is None:
            self._answered.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_STALL_S):
                    await self._answered.wait()
            if not self._answered.is_set() and not self._connection.lost.done():
                # That ends the session, and the next one may find another server.
                self._fail(f"the server acknowledged nothing for {_STALL_S:.0f} s")
                self._connection.lost.set_result(str(self._failure))
        if self._failure is not None:
            raise TransientError(self._failure)

    async def _on_answer(self, message: Msg) -> None:
        """Handle the answer to one message; those to an earlier, failed batch are ignored."""
        waiting = self._in_flight.pop(int(message.subject.rpartition(".")[2]), None)
        if waiting is None:
            return
        self._answered.set()
        if b'"error"' not in message.data and b'"seq"' in message.data:
            self._done.add(waiting.popleft().seq)
            self.repeats += _IS_REPEAT in message.data
            if waiting:
                self._ready.append(waiting)
        elif (message.headers or {}).get("Status") == _NO_RESPONDERS:
            self._unclaimed = self._not_now = waiting[0].subject
        else:
            self._on_refusal(waiting, _error_of(message.data))

    def _on_refusal(self, waiting: deque[EventCopy], error: dict[str, Any]) -> None:
        description = str(error.get("description") or "an answer that is no acknowledgement")
        if error.get("err_code") == _TOO_LARGE:
            self._refuse(waiting, f"larger than the stream {self._stream} accepts (its max_msg_size)")
        elif error.get("err_code") == _OTHER_STREAM:
            self._not_now = f"another stream than {self._stream} takes {waiting[0].subject}: write its name"
        elif error.get("err_code") == _FULL:
            self._not_now = f"the stream {self._stream} is full ({description}): raise its limits"
        else:
            self._not_now = f"the stream {self._stream} does not accept events: {description}"

    def _refuse(self, waiting: deque[EventCopy], reason: str) -> None:
        """Refuse the first of a subject's events for good; the next ones go on."""
        copy = waiting.popleft()
        self._refusals.append(Refusal(copy, f"{len(copy.body)} bytes are {reason}"))
        if waiting:
            self._ready.append(waiting)

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._answered.set()


def _error_of(payload: bytes) -> dict[str, Any]:
    try:
        document, _ = load_json(payload)
    except ValueError:
        return {}
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def header_text(text: str) -> str:
    """Return a text as a header can have it: percent-encoded unless it is ASCII without spaces and `%`."""
    return text if _PLAIN.fullmatch(text) else quote(text, safe="")
