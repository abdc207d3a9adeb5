"""Answers in segments, over a simulated network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bacnet_network import ReceivingClient, SimulatedTime

from gateway.sinks.bacnet.frames import ConfirmedRequest, Pdu, Peer, complex_ack, unicast
from gateway.sinks.bacnet.segmentation import RETRIES, SEGMENT_TIMEOUT_S, SegmentedAnswers
from gateway.sinks.bacnet.standard import AbortReason, ConfirmedService

if TYPE_CHECKING:
    from collections.abc import Callable

_PEER = Peer("192.0.2.7", 47808)
_SERVICE = ConfirmedService.READ_PROPERTY
_LONGEST_DELAY_S = SEGMENT_TIMEOUT_S / 4


def _request(
    *,
    invoke_id: int = 7,
    max_apdu: int = 50,
    accepts_segments: bool = True,
    max_segments: int | None = None,
    body: bytes = b"?",
) -> ConfirmedRequest:
    return ConfirmedRequest(
        invoke_id=invoke_id,
        service=_SERVICE,
        body=body,
        max_apdu=max_apdu,
        accepts_segments=accepts_segments,
        max_segments=max_segments,
        priority=2,
    )


class _Connection:
    """A server and a client with a network between them; `passes` decides what becomes of each APDU."""

    def __init__(self, *, window: int, passes: Callable[[], list[float]]) -> None:
        """Connect both; `passes` returns the delays of the copies that arrive."""
        self.time = SimulatedTime()
        self.sent: list[bytes] = []
        self._passes = passes
        self.client = ReceivingClient(window=window, send=self._to_server)
        self.answers = SegmentedAnswers(self._to_client, self.time)

    def answer(self, request: ConfirmedRequest, body: bytes, *, peer: Peer = _PEER) -> None:
        """Let the server answer with data."""
        self.answers.send(request, peer, complex_ack(request.invoke_id, _SERVICE, body))

    def _to_client(self, apdu: bytes, peer: Peer, *, expects_reply: bool = False, priority: int = 0) -> bool:
        is_segment = apdu[0] >> 4 == Pdu.COMPLEX_ACK and bool(apdu[0] & 0x08)
        assert (expects_reply, priority) == (is_segment, 2), peer
        self.sent.append(apdu)
        for delay in self._passes():
            self.time.call_later(delay, self.client.receive, apdu)
        return True

    def _to_server(self, apdu: bytes) -> None:
        for delay in self._passes():
            self.time.call_later(delay, self.answers.receive_ack, apdu, _PEER)


_bodies = st.integers(48, 45 * 600).map(lambda size: bytes(at * 7 % 251 for at in range(size)))
_windows = st.integers(1, 127)


@given(body=_bodies, window=_windows, faults=st.data())
def test_lossy_network(body: bytes, window: int, faults: st.DataObject) -> None:
    """A client gets the whole answer although a network loses as much as is repeated, repeats and delays."""
    to_lose = RETRIES

    def passes() -> list[float]:
        nonlocal to_lose
        if to_lose and faults.draw(st.integers(0, 9)) == 0:
            to_lose -= 1
            return []
        return [0.01] if to_lose == 0 else faults.draw(_copies)

    connection = _Connection(window=window, passes=passes)
    connection.answer(_request(), body)
    connection.time.run(until_s=3600)
    assert connection.client.answer == body
    assert not connection.answers.is_repeated(_request(), _PEER)


_copies = st.sampled_from(
    [[0.01], [0.01], [0.01], [0.01, 0.02], [_LONGEST_DELAY_S], [_LONGEST_DELAY_S, 0.01]]
)


@given(body=_bodies, window=_windows, arriving=st.integers(0, 200))
def test_broken_network(body: bytes, window: int, arriving: int) -> None:
    """An answer ends when its receiver is gone: after the retries, nothing is sent or stored any more."""
    left = arriving

    def passes() -> list[float]:
        nonlocal left
        left -= 1
        return [0.01] if left >= 0 else []

    connection = _Connection(window=window, passes=passes)
    connection.answer(_request(), body)
    connection.time.run()
    assert connection.client.answer in {None, body}
    assert not connection.answers.is_repeated(_request(), _PEER)
    assert connection.time.now_s < 1 + 0.1 * arriving + SEGMENT_TIMEOUT_S * (RETRIES + 1)


@given(window=_windows, sequence=st.integers(0, 255), negative=st.booleans())
def test_foreign_acknowledgements(window: int, sequence: int, negative: bool) -> None:  # noqa: FBT001
    """An acknowledgement of segments that were not sent changes nothing."""
    connection = _Connection(window=4, passes=list)
    connection.answer(_request(), bytes(450))
    connection.answers.receive_ack(bytes((0x40 | (2 if negative else 0), 7, sequence, window)), _PEER)
    numbers = [apdu[2] for apdu in connection.sent]
    assert numbers == ([0, *range(1, min(window, 16, 9) + 1)] if sequence == 0 else [0])


def test_negative_acknowledgement() -> None:
    """A negative acknowledgement has the segments sent again from the missing one on."""
    connection = _Connection(window=4, passes=list)
    connection.answer(_request(), bytes(450))
    for first, sequence, window in ((0x40, 0, 4), (0x42, 2, 2)):
        connection.answers.receive_ack(bytes((first, 7, sequence, window)), _PEER)
    assert [apdu[2] for apdu in connection.sent] == [0, 1, 2, 3, 4, 3, 4]


@pytest.mark.parametrize(
    ("accepts_segments", "max_segments", "reason"),
    [
        (False, None, AbortReason.SEGMENTATION_NOT_SUPPORTED),
        (True, 2, AbortReason.BUFFER_OVERFLOW),
        (True, 4, None),
        (True, None, None),
    ],
)
def test_limits_of_the_client(
    *, accepts_segments: bool, max_segments: int | None, reason: AbortReason | None
) -> None:
    """A client that cannot take an answer gets an abort with the reason, at once."""
    connection = _Connection(window=4, passes=lambda: [0.01])
    request = _request(accepts_segments=accepts_segments, max_segments=max_segments)
    connection.answer(request, bytes(45 * 3))
    connection.time.run()
    assert connection.client.abort_reason == reason
    assert (connection.client.answer is None) is (reason is not None)


@pytest.mark.parametrize(("size", "lengths"), [(47, [50]), (48, [50, 8])])
def test_short_answers(size: int, lengths: list[int]) -> None:
    """An answer of exactly the client's size comes in one piece; with one byte more in two segments."""
    connection = _Connection(window=4, passes=lambda: [0.01])
    connection.answer(_request(max_segments=2), bytes(size))
    connection.time.run()
    assert [len(apdu) for apdu in connection.sent] == lengths
    assert connection.client.answer == bytes(size)


def test_repeated_request() -> None:
    """A repeated request does not start its answer again; another one under its invoke id ends it."""
    connection = _Connection(window=4, passes=list)
    connection.answer(_request(), bytes(450))
    assert connection.answers.is_repeated(_request(), _PEER)
    assert not connection.answers.is_repeated(_request(invoke_id=8), _PEER)
    assert not connection.answers.is_repeated(_request(body=b"!"), _PEER)
    connection.time.run()
    assert len(connection.sent) == 1


def test_no_segment_is_fragmented() -> None:
    """A segment fits into one packet of Ethernet, through a router too: many firewalls drop fragments."""
    connection = _Connection(window=4, passes=lambda: [0.01])
    connection.answer(_request(max_apdu=1476), bytes(10_000))
    connection.time.run()
    assert connection.client.answer == bytes(10_000)
    routed = Peer(*_PEER.address, network=12, mac=bytes(6))
    assert max(len(unicast(apdu, routed)) for apdu in connection.sent) <= 1500 - 20 - 8  # IP and UDP


def test_aborting_client() -> None:
    """A client that aborts gets no more segments."""
    connection = _Connection(window=4, passes=list)
    connection.answer(_request(), bytes(450))
    connection.answers.end(_PEER, 7)
    connection.time.run()
    assert len(connection.sent) == 1


def test_limits_of_the_server() -> None:
    """Beyond 32 answers to one IP address and 128 in all, a request is aborted; room returns with their ends.

    A router has no more for all devices behind it: one that invents them leaves room for others.
    """
    connection = _Connection(window=4, passes=lambda: [0.01])
    routers = [Peer(f"192.0.2.{number}", 47808, 12) for number in range(1, 6)]
    for router in routers:
        for device in range(33):
            connection.answer(_request(), bytes(450), peer=router._replace(mac=bytes((device,))))
    aborts = [number for number, apdu in enumerate(connection.sent) if apdu[0] >> 4 == Pdu.ABORT]
    assert aborts == [32, 65, 98, 131, *range(4 * 33, 5 * 33)]
    assert connection.sent[32] == bytes((0x71, 7, AbortReason.OUT_OF_RESOURCES))
    connection.answers.end(routers[0]._replace(mac=b"\0"), 7)
    connection.answer(_request(), bytes(450), peer=routers[4])
    assert connection.sent[-1][0] >> 4 == Pdu.COMPLEX_ACK
    connection.answers.close()
    connection.time.run()


def test_limit_of_memory() -> None:
    """Answers of more than 16 MB in all are aborted: a few short requests ask for 100 MB."""
    connection = _Connection(window=4, passes=lambda: [0.01])
    for number in range(32):
        peer = Peer("192.0.2.7", 47808, 12, bytes((number,)))
        connection.answer(_request(max_apdu=1476), bytes(1_000_000), peer=peer)
    assert [apdu[0] >> 4 for apdu in connection.sent] == [Pdu.COMPLEX_ACK] * 16 + [Pdu.ABORT] * 16
