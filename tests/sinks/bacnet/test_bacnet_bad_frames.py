"""Frames that are wrong, cut off, for somebody else, or made up: the device goes on and stays silent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from bacpypes3.npdu import NPDU
from bacpypes3.pdu import PDU
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support.bacnet_parts import BROADCAST, DEVICE, HOST, BacnetRig, RawClient, make_object
from support.mqtt_parts import make_update

from gateway.sinks.bacnet import codec, frames
from gateway.sinks.bacnet.frames import Bvlc, Peer

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICE_NAME = b"edge-1/bac"
POINT = make_object("L03/ZN-T")
ROUTED = Peer(HOST, 1, network=5, mac=b"\x07")
OBJECT, PRESENT = codec.context(0, codec.object_data(0, 1)), codec.context(1, b"\x55")
DEVICE_OBJECT = codec.context(0, codec.object_data(8, DEVICE))
WHO_IS = frames.unconfirmed_request(8, b"")
READ = frames.confirmed_request(12, 3, OBJECT + PRESENT)
I_AM = frames.unconfirmed_request(
    0, codec.object_identifier(codec.object_data(8, DEVICE)) + b"\x22\x05\xc4\x91\x01\x22\x03\xe7"
)
REQUESTS = (
    READ,
    bytes((0x02, 0x75, 4, 14)) + OBJECT + b"\x1e\x09\x08\x1f",
    frames.confirmed_request(
        12, 5, codec.context(0, codec.object_data(8, DEVICE)) + codec.context(1, b"\x4c")
    ),
    frames.confirmed_request(15, 6, OBJECT + PRESENT + b"\x3e\x44\x41\xac\0\0\x3f\x49\x10"),
    frames.confirmed_request(16, 7, OBJECT + b"\x1e\x09\x55\x2e\x44\x41\xac\0\0\x2f\x1f"),
    frames.confirmed_request(
        5, 8, codec.context(0, b"\1") + codec.context(1, codec.object_data(0, 1)) + b"\x29\1"
    ),
    frames.confirmed_request(17, 9, b"\x19\1"),
    bytes((0x0C, 5, 10, 0, 16, 12)) + OBJECT,
    WHO_IS,
    frames.unconfirmed_request(8, b"\x09\0\x1b\x3f\xff\xff"),
    frames.unconfirmed_request(7, b"\x3d\x09\0L03/ZN-T"),
    I_AM,
    frames.simple_ack(1, 1),
    bytes((0x40, 1, 0, 16)),
    bytes((0x50, 1, 1, 0x91, 5, 0x91, 79)),
    frames.reject(1, 9),
    frames.abort(1, 4),
)
NEVER_ANSWERED = {
    "nothing": b"",
    "one byte": b"\x81",
    "another protocol": b"GET / HTTP/1.1\r\n\r\n",
    "a length that is too long": b"\x81\x0a\x00\x12\x01\x04\x00\x05\x01\x0c\x0c\x00\x00\x00\x01\x19\x55",
    "a length that is too short": b"\x81\x0a\x00\x10\x01\x04\x00\x05\x01\x0c\x0c\x00\x00\x00\x01\x19\x55",
    "only a header": frames.bvlc(Bvlc.ORIGINAL_UNICAST, b""),
    "another version": frames.bvlc(Bvlc.ORIGINAL_UNICAST, b"\x02\x04" + READ),
    "a network message: Who-Is-Router-To-Network": frames.bvlc(Bvlc.ORIGINAL_BROADCAST, b"\x01\x80\x00"),
    "for another network": frames.unicast(READ, ROUTED),
    "a source network without an address": frames.bvlc(Bvlc.ORIGINAL_UNICAST, b"\x01\x08\0\5\0" + READ),
    "a source in all networks": frames.bvlc(Bvlc.ORIGINAL_UNICAST, b"\x01\x08\xff\xff\1\7" + READ),
    "an address that is cut off": frames.bvlc(Bvlc.ORIGINAL_UNICAST, b"\x01\x28\xff\xff\x00\x00\x05\x07"),
    "no APDU": frames.bvlc(Bvlc.ORIGINAL_UNICAST, b"\x01\x00"),
    "an unknown kind of APDU": frames.bvlc(Bvlc.ORIGINAL_UNICAST, b"\x01\x00\xf0\x00\x00"),
    "a request that is cut off": frames.bvlc(Bvlc.ORIGINAL_UNICAST, b"\x01\x04\x00\x05\x01"),
    "a forwarded frame that is cut off": frames.bvlc(Bvlc.FORWARDED_NPDU, b"\x7f\0\0\3\xba"),
    "a request forwarded as a broadcast": frames.bvlc(
        Bvlc.FORWARDED_NPDU, b"\x7f\0\0\3\xba\xc0\x01\x04" + READ
    ),
    "a confirmed request in a broadcast": frames.broadcast(READ),
    "Who-Is with one limit": frames.broadcast(frames.unconfirmed_request(8, b"\x09\0")),
    "Who-Is with something behind": frames.broadcast(frames.unconfirmed_request(8, b"\x09\0\x19\1\x29\0")),
    "Who-Is for others": frames.broadcast(frames.unconfirmed_request(8, b"\x09\0\x19\1")),
    "Who-Has without an object": frames.broadcast(frames.unconfirmed_request(7, b"")),
    "Who-Has in an unknown character set": frames.broadcast(frames.unconfirmed_request(7, b"\x3a\x09A")),
    "I-Am of another device": frames.broadcast(I_AM),
    "a result of the virtual link": frames.bvlc_result(0x30),
    "an answer to nothing": frames.unicast(frames.simple_ack(1, 1), Peer(HOST, 1)),
    "an acknowledgement of no segment": frames.unicast(b"\x40\x01\x00\x10", Peer(HOST, 1)),
    "an abort of nothing": frames.unicast(b"\x70\x01\x04", Peer(HOST, 1)),
}


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Return a runner whose loop serves the device between runs too."""
    with asyncio.Runner() as running:
        yield running


@pytest.fixture
def client(runner: asyncio.Runner) -> Iterator[RawClient]:
    """Return a client of a device with one object; nothing may be logged but what is said at the start."""
    rig = BacnetRig([POINT])
    rig.latest.take([make_update(POINT, 21.5)])
    with capture_logs() as logs:
        sink = runner.run(rig.make_sink().__aenter__())
        with RawClient(rig.port) as client:
            yield client
        runner.run(sink.__aexit__(None, None, None))
    assert logs == []


async def answers(client: RawClient, *sent: bytes, to: str) -> list[bytes]:
    """Return what comes for some frames, up to the answer to a last one, which goes the same way."""
    name = b"\0" + DEVICE_NAME
    for frame in (*sent, frames.broadcast(frames.unconfirmed_request(7, codec.context(3, name)))):
        client.send(frame, to=to)
    received: list[bytes] = []
    while not received or not received[-1].endswith(name):
        received.append(await client.receive())
    return received[:-1]


@pytest.mark.parametrize("frame", NEVER_ANSWERED.values(), ids=NEVER_ANSWERED)
def test_these_frames_are_never_answered(runner: asyncio.Runner, client: RawClient, frame: bytes) -> None:
    """Neither when they come to the device alone, nor to all."""
    for to in (HOST, BROADCAST):
        assert runner.run(answers(client, frame, to=to)) == []
    assert runner.run(client.read(0, 1, 85)) == codec.real(21.5)


def mutated(apdu: bytes) -> st.SearchStrategy[bytes]:
    """Return strategies for what may become of an APDU on its way, or in a client with a fault."""
    place = st.integers(0, len(apdu))
    return st.one_of(
        st.just(apdu),
        place.map(lambda at: apdu[:at]),
        st.tuples(place, st.binary(max_size=4)).map(lambda cut: apdu[: cut[0]] + cut[1] + apdu[cut[0] :]),
        st.tuples(place, st.binary(min_size=1, max_size=4)).map(
            lambda cut: apdu[: cut[0]] + cut[1] + apdu[cut[0] + len(cut[1]) :]
        ),
        st.binary(max_size=24).map(lambda rest: apdu[:4] + rest),
    )


APDUS = st.sampled_from(REQUESTS).flatmap(mutated)
HEADERS = st.sampled_from(
    [b"\1\0", b"\1\4", b"\1\x20\xff\xff\0\xff", b"\1\x08\0\5\1\7", b"\1\x80", b"\1\x28\xff"]
)
FUNCTIONS = st.sampled_from([Bvlc.ORIGINAL_UNICAST] * 4 + list(Bvlc) + [0x01, 0x08])
FRAMES = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda function, header, apdu: frames.bvlc(function, header + apdu), FUNCTIONS, HEADERS, APDUS),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(sent=st.lists(FRAMES, min_size=1, max_size=8))
def test_whatever_comes_the_device_goes_on(
    runner: asyncio.Runner, client: RawClient, sent: list[bytes]
) -> None:
    """It answers afterwards, logs no failure, and answers broadcasts with I-Am and I-Have only."""
    runner.run(answers(client, *sent, to=HOST))
    with RawClient(client.device[1]) as another:
        for answer in runner.run(answers(another, *sent, to=BROADCAST)):
            apdu = NPDU.decode(PDU(answer[4:])).pduData
            assert (apdu[0] >> 4, apdu[1]) in {(frames.Pdu.UNCONFIRMED_REQUEST, number) for number in (0, 1)}
