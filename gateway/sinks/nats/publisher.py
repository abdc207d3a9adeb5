"""Publishes events to a stream in batches that keep their order: JetStream's fast-ingest batches (ADR-50).

The server stores each message as it comes, and acknowledges the batch. After a message that is missing or
refused, it stores none of that batch. The reply subject says which message it is, and answers come to it:
`<inbox>.<batch>.<messages per report of progress>.fail.<number>.<operation>.$FI`.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import orjson
from nats.errors import Error as NatsError

from gateway.errors import TransientError
from gateway.jetstream.connection import missing_stream_text
from gateway.jetstream.subjects import RECEIVED, VERIFIED_BY
from gateway.model import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nats.aio.msg import Msg

    from gateway.jetstream.connection import NatsConnection
    from gateway.model import EventCopy

_STALL_S = 5.0
_REPORT_BYTES = 16_000  # about; without a report of progress for `_STALL_S`, the server hangs
_FIRST_BATCH = 10  # events on a new connection: where it breaks often or is slow, they make progress
_START, _APPEND, _COMMIT = 0, 1, 2  # operations; a batch of one is only committed
_NEVER = str(2**63)  # the number before it in the stream: a message that is no repeat is not stored
_NO_STREAM = b'{"error": {"err_code": 503}}'  # takes the subject: then the server's answer has no body
_NO_RESPONDERS = 503
_TOO_LARGE = 10054
_REASONS = {
    10060: "another stream than {stream} takes {subject}: write its name",
    10077: "the stream {stream} is full ({description}): raise its limits",
    10205: "the stream {stream} has no `allow_batched`: `gateway nats setup` shows what to do",
}
_OTHER_REASON = "the stream {stream} does not accept events: {description}"
_PLAIN = re.compile(r"[!-$&-~]*")
_HEADER_BYTES = 4_000  # more than the headers have: an id of 200 characters may be percent-encoded


class _End(NamedTuple):
    """How a batch ended: all of it is in the stream, or what is before `position`, where `error` is."""

    position: int
    error: dict[str, Any] | None = None
    is_repeat: bool = False  # all was in the stream before


class StreamPublisher:
    """Publishes on one connection, for one caller at a time."""

    def __init__(self, connection: NatsConnection, *, stream: str, gateway: str) -> None:
        """`gateway` is this gateway's name, for events that its own intake has verified."""
        self.repeats = 0
        """Events of batches in which the stream found nothing new."""
        self._connection = connection
        self._stream = stream
        self._gateway = header_text(gateway)
        self._inbox = connection.new_inbox()
        self._largest_batch = _FIRST_BATCH  # events
        self._batches = 0
        self._batch = ""  # the present one, by a name that no other batch of the stream has
        self._size = self._confirmed = 0  # its events, and of single ones those that were acknowledged
        self._end: _End | None = None  # of the present batch
        self._failure: str | None = None  # after which no answer will come
        self._answered = asyncio.Event()
        connection.lost.add_done_callback(lambda lost: self._fail(lost.result()))
        connection.on_denied = self._fail  # no answer would come

    async def start(self) -> None:
        """Subscribe to the acknowledgements; raise TransientError if that is not possible."""
        try:
            await self._connection.subscribe(f"{self._inbox}.>", cb=self._on_answer)
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
        self._failure = not_now = None
        left = [copy for copy in copies if copy.seq not in done]
        largest_bytes = self._connection.max_payload - _HEADER_BYTES  # beyond, the server ends the connection
        limit = f"more than the {largest_bytes} bytes of the server's `max_payload`"
        refusals = [_refusal(copy, limit) for copy in left if len(copy.body) > largest_bytes]
        left = [copy for copy in left if len(copy.body) <= largest_bytes]
        while left:
            batch = left[: self._largest_batch]
            end = await self._store(batch)
            if end.error is None:
                done.update(copy.seq for copy in batch)
                left = left[len(batch) :]
                self._largest_batch = max(self._largest_batch, 2 * len(batch))
            elif end.error.get("err_code") == _TOO_LARGE:
                limit = f"larger than the stream {self._stream} accepts (its max_msg_size)"
                refusals.append(_refusal(left.pop(end.position), limit))
            else:
                not_now = not_now or await self._not_now_text(end.error, left[end.position].subject)
                left = left[: end.position]  # acknowledged as a batch of their own, they are done
        if not_now is not None:
            raise TransientError(not_now)
        return refusals

    async def _store(self, copies: Sequence[EventCopy]) -> _End:
        """Publish a batch, and one of repeats again as single messages.

        Repeats in a batch are acknowledged even if one server alone has the originals, which may be lost with
        it. A single one is refused until most servers have it.
        """
        end = await self._publish(copies)
        if end.is_repeat:
            end = await self._publish(copies, as_singles=True)
            self.repeats += len(copies) if end.error is None else 0
        return end

    async def _publish(self, copies: Sequence[EventCopy], *, as_singles: bool = False) -> _End:
        """Publish a batch. `as_singles`, each is acknowledged if it is a repeat, and else refused."""
        self._batches += 1
        self._batch = f"{self._inbox.rpartition('.')[2]}-{self._batches}"
        self._size, self._end, self._confirmed = len(copies), None, 0
        report_every = max(1, _REPORT_BYTES * self._size // sum(len(copy.body) for copy in copies))
        replies = f"{self._inbox}.{self._batch}.{report_every}.fail"
        try:
            for number, copy in enumerate(copies, 1):
                operation = _COMMIT if number == self._size else _START if number == 1 else _APPEND
                reply = f"{replies}.{number}.{operation}.$FI"
                headers = self._headers(copy)
                if as_singles:
                    reply = f"{self._inbox}.{self._batch}-{number}.1.fail.1.{_COMMIT}.$FI"
                    headers["Nats-Expected-Last-Sequence"] = _NEVER
                await self._connection.publish(copy.subject, copy.body, reply, headers)
        except (NatsError, OSError) as error:  # closed meanwhile
            raise TransientError(f"the connection broke: {error}") from error
        return await self._wait_end()

    def _headers(self, copy: EventCopy) -> dict[str, str]:
        return {
            "Nats-Msg-Id": header_text(copy.event_id or ""),
            "Nats-Expected-Stream": self._stream,
            VERIFIED_BY: self._gateway if copy.origin is None else header_text(copy.origin.gateway),
            RECEIVED: str(copy.time_ms),
        }

    async def _wait_end(self) -> _End:
        """Return how the batch ended; raise TransientError if no answer will come."""
        while self._end is None:
            if self._failure is not None:
                # After some attempts, all events before the one that lacks a permission are acknowledged.
                self._largest_batch = max(1, self._size // 2)
                raise TransientError(self._failure)
            self._answered.clear()
            try:
                async with asyncio.timeout(_STALL_S):
                    await self._answered.wait()
            except TimeoutError:
                if not self._connection.lost.done():
                    # That ends the session, and the next one may find another server.
                    self._connection.lost.set_result(f"the server acknowledged nothing for {_STALL_S:.0f} s")
        return self._end

    async def _on_answer(self, message: Msg) -> None:
        """Handle the answer to one message; those to an earlier batch are ignored."""
        batch, _, _, number, _, _ = message.subject.split(".")[-6:]
        is_single = batch.startswith(f"{self._batch}-")
        if self._end is not None or not (is_single or batch == self._batch):
            return
        position = int(batch.rpartition("-")[2] if is_single else number) - 1
        answer: dict[str, Any] = orjson.loads(message.data or _NO_STREAM)
        if "error" in answer:
            self._end = _End(position, answer["error"])
        elif is_single and "type" not in answer:
            self._confirmed += 1
            self._end = _End(self._size) if self._confirmed == self._size else None
        elif "type" not in answer:  # which reports of progress have
            stored = int(answer.get("count", 0))
            lost = {"description": f"{stored} of {self._size} events of a batch arrived"}
            self._end = _End(stored, None if stored == self._size else lost, is_repeat=answer["seq"] == 0)
        self._answered.set()

    async def _not_now_text(self, error: dict[str, Any], subject: str) -> str:
        """Return why the stream does not accept events."""
        code, description = error.get("err_code", 0), error.get("description")
        if code == _NO_RESPONDERS:
            return await missing_stream_text(self._connection, self._stream, subject)
        reason = _REASONS.get(code, _OTHER_REASON)
        return reason.format(stream=self._stream, subject=subject, description=description)

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._answered.set()


def _refusal(copy: EventCopy, reason: str) -> Refusal:
    return Refusal(copy, f"{len(copy.body)} bytes are {reason}")


def header_text(text: str) -> str:
    """Return a text as a header can have it: percent-encoded unless it is ASCII without spaces and `%`."""
    return text if _PLAIN.fullmatch(text) else quote(text, safe="")
