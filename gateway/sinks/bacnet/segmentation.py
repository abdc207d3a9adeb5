"""Answers that are longer than an APDU of their receiver, sent in segments (clauses 5.2, 5.4.5). No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from gateway.sinks.bacnet import frames
from gateway.sinks.bacnet.standard import AbortReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sinks.bacnet.frames import ConfirmedRequest, Peer

SEGMENT_TIMEOUT_S: Final = 2.0
"""How long an acknowledgement of segments may take (APDU_Segment_Timeout)."""
RETRIES: Final = 3
"""How often a message is repeated that nobody acknowledges (Number_Of_APDU_Retries)."""
WINDOW: Final = 16
"""Segments before an acknowledgement: 24 KB, which the receive buffer of any client holds."""
_LONGEST_SEGMENT = 1440  # bytes; more would not fit into an Ethernet frame together with all headers
_MOST, _MOST_OF_HOST, _MOST_BYTES = 128, 32, 1 << 24


class Timer(Protocol):
    """A call to come."""

    def cancel(self) -> None:
        """Don't make the call."""


class Timers(Protocol):
    """What asyncio's event loop has for calls to come."""

    def time(self) -> float:
        """Return the seconds of a clock that nobody sets."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> Timer:
        """Call `callback` after `delay` seconds."""


class SendApdu(Protocol):
    """Sends an APDU to a peer."""

    def __call__(self, apdu: bytes, peer: Peer, *, expects_reply: bool = False, priority: int = 0) -> bool:
        """Send at once, or return False if there is no room for it now."""


class SegmentedAnswer:
    """One answer and how far its receiver has it.

    The first segment is sent alone: its acknowledgement says how many segments the receiver takes at once.
    """

    def __init__(self, request: ConfirmedRequest, body: bytes) -> None:
        self.request = request
        self.size = len(body)
        part = min(request.max_apdu, _LONGEST_SEGMENT) - frames.SEGMENT_HEADER
        self.parts = [body[at : at + part] for at in range(0, len(body), part)]
        self.repetitions = 0  # of the window, for want of an acknowledgement
        self._first = 0  # of the segments that are not acknowledged
        self._window = 1

    @property
    def is_complete(self) -> bool:
        """Whether the receiver has everything."""
        return self._first >= len(self.parts)

    def window(self) -> list[bytes]:
        """Return the segments to send: those that are not acknowledged, as many as the receiver takes."""
        return [self._segment(number) for number in range(self._first, self._end())]

    def acknowledge(self, sequence: int, window: int) -> bool:
        """Go on behind the last segment that the receiver has; return False if it is none of the window.

        A negative acknowledgement names the last segment before the missing one, and so does the same.
        One that comes late or twice names a segment that was acknowledged before.
        """
        newly_received = (sequence - self._first + 1) & 0xFF
        if not 0 < newly_received <= self._end() - self._first:
            return False
        self._first += newly_received
        self._window = min(max(window, 1), WINDOW)
        self.repetitions = 0
        return True

    def _end(self) -> int:
        return min(self._first + self._window, len(self.parts))

    def _segment(self, number: int) -> bytes:
        return frames.segment(
            self.request.invoke_id,
            self.request.service,
            self.parts[number],
            sequence=number,
            window=WINDOW,
            more_follow=number + 1 < len(self.parts),
        )


class SegmentedAnswers:
    """Sends answers, long ones in segments: one per peer and invoke id, a limited number at the same time."""

    def __init__(self, send: SendApdu, timers: Timers) -> None:
        self._send = send
        self._timers = timers
        self._answers: dict[tuple[Peer, int], tuple[SegmentedAnswer, Timer]] = {}

    def is_repeated(self, request: ConfirmedRequest, peer: Peer) -> bool:
        """Return whether the request's answer is being sent: its sender repeats it, for want of an answer.

        Another request under the same invoke id ends the answer: its receiver has forgotten about it.
        """
        known = self._answers.get((peer, request.invoke_id))
        if known is None:
            return False
        if known[0].request == request:
            return True
        self.end(peer, request.invoke_id)
        return False

    def send(self, request: ConfirmedRequest, peer: Peer, apdu: bytes) -> None:
        """Send an answer, a ComplexACK in segments if it is long; abort if the peer cannot take it."""
        if len(apdu) > request.max_apdu:
            answer = SegmentedAnswer(request, apdu[frames.COMPLEX_ACK_HEADER :])
            reason = self._obstacle(answer, peer)
            if reason is None:
                self._send_window(answer, peer)
                return
            apdu = frames.abort(request.invoke_id, reason)
        self._send(apdu, peer, priority=request.priority)

    def receive_ack(self, apdu: bytes, peer: Peer) -> None:
        """Apply a SegmentACK: send the segments behind those that the peer has."""
        if len(apdu) < 4:  # noqa: PLR2004 - type, invoke id, sequence, window
            return
        _, invoke_id, sequence, window = apdu[:4]
        known = self._answers.get((peer, invoke_id))
        if known is None or not known[0].acknowledge(sequence, window):
            return
        answer, timer = known
        timer.cancel()
        if answer.is_complete:
            del self._answers[peer, invoke_id]
        else:
            self._send_window(answer, peer)

    def end(self, peer: Peer, invoke_id: int) -> None:
        """Forget an answer, which the peer aborts or no longer waits for."""
        known = self._answers.pop((peer, invoke_id), None)
        if known is not None:
            known[1].cancel()

    def close(self) -> None:
        """End all answers."""
        for peer, invoke_id in list(self._answers):
            self.end(peer, invoke_id)

    def _obstacle(self, answer: SegmentedAnswer, peer: Peer) -> AbortReason | None:
        request = answer.request
        if not request.accepts_segments:
            return AbortReason.SEGMENTATION_NOT_SUPPORTED
        if request.max_segments is not None and len(answer.parts) > request.max_segments:
            return AbortReason.BUFFER_OVERFLOW
        stored = sum(each.size for each, _ in self._answers.values())
        of_host = sum(each.host == peer.host for each, _ in self._answers)
        if len(self._answers) >= _MOST or of_host >= _MOST_OF_HOST or stored + answer.size > _MOST_BYTES:
            return AbortReason.OUT_OF_RESOURCES
        return None

    def _send_window(self, answer: SegmentedAnswer, peer: Peer) -> None:
        timer = self._timers.call_later(SEGMENT_TIMEOUT_S, self._repeat, answer, peer)
        self._answers[peer, answer.request.invoke_id] = answer, timer
        priority = answer.request.priority
        for segment in answer.window():  # expecting a reply, so that MS/TP waits for it (clause 6.2.2)
            self._send(segment, peer, expects_reply=True, priority=priority)

    def _repeat(self, answer: SegmentedAnswer, peer: Peer) -> None:
        answer.repetitions += 1
        if answer.repetitions <= RETRIES:
            self._send_window(answer, peer)
        else:
            self.end(peer, answer.request.invoke_id)
