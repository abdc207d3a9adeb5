"""Simulated time, a network that loses, repeats and delays, and a client that receives segments (5.4.4)."""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING

from gateway.sinks.bacnet.frames import Pdu

if TYPE_CHECKING:
    from collections.abc import Callable


class Call:
    """A call to come."""

    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        """Don't make the call."""
        self.is_cancelled = True


class SimulatedTime:
    """Makes calls in the order of their times, without waiting."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.turn = 0
        """The number of calls that were made."""
        self._order = count()
        self._calls: list[tuple[float, int, Call, Callable[..., object], tuple[object, ...]]] = []

    def time(self) -> float:
        """Return the seconds since the start."""
        return self.now_s

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> Call:
        """Call `callback` after `delay` seconds."""
        call = Call()
        heapq.heappush(self._calls, (self.now_s + delay, next(self._order), call, callback, args))
        return call

    def run(self, *, until_s: float = float("inf")) -> None:
        """Make all calls up to a time; without one, until none is left."""
        while self._calls and self._calls[0][0] <= until_s:
            self.now_s, _, call, callback, args = heapq.heappop(self._calls)
            if not call.is_cancelled:
                self.turn += 1
                callback(*args)
        if until_s != float("inf"):
            self.now_s = until_s


class ReceivingClient:
    """Receives one answer in segments, as clause 5.4.4.3 has it; `answer` is None until it is whole.

    `window` is the most that it takes at once. `abort_reason` is that of the server, if it aborts.
    """

    def __init__(self, *, window: int, send: Callable[[bytes], None]) -> None:
        self.answer: bytes | None = None
        self.abort_reason: int | None = None
        self._window = window
        self._send = send
        self._received: list[bytes] = []
        self._acknowledged = 0

    def receive(self, apdu: bytes) -> None:
        """Handle an APDU of the server."""
        kind = apdu[0] >> 4
        if kind == Pdu.ABORT:
            self.abort_reason = apdu[2]
        elif kind == Pdu.COMPLEX_ACK and not apdu[0] & 0x08:
            self.answer = apdu[3:]
        elif kind == Pdu.COMPLEX_ACK:
            self._receive_segment(apdu, more_follow=bool(apdu[0] & 0x04))

    def _receive_segment(self, apdu: bytes, *, more_follow: bool) -> None:
        sequence, proposed = apdu[2], apdu[3]
        if sequence != len(self._received) & 0xFF or self.answer is not None:
            self._acknowledge(min(proposed, self._window), is_negative=self.answer is None)
            return
        self._received.append(apdu[5:])
        if not more_follow:
            self.answer = b"".join(self._received)
        window = min(proposed, self._window)
        is_first = len(self._received) == 1
        if is_first or not more_follow or len(self._received) - self._acknowledged >= window:
            self._acknowledge(window, is_negative=False)

    def _acknowledge(self, window: int, *, is_negative: bool) -> None:
        self._acknowledged = len(self._received)
        if self._received:
            sequence = (len(self._received) - 1) & 0xFF
            self._send(bytes((Pdu.SEGMENT_ACK << 4 | (2 if is_negative else 0), 7, sequence, window)))
