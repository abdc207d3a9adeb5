"""The encoding of values and frames, beside that of bacpypes3."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

from bacpypes3 import primitivedata as bacpypes
from bacpypes3.ipv4.bvll import LPDU
from bacpypes3.npdu import NPDU
from bacpypes3.pdu import PDU, GlobalBroadcast, RemoteStation
from hypothesis import given
from hypothesis import strategies as st

from gateway.sinks.bacnet import codec, frames
from gateway.sinks.bacnet.codec import MalformedError, TagReader
from gateway.sinks.bacnet.frames import Bvlc, Peer

if TYPE_CHECKING:
    from collections.abc import Callable

OBJECT_TYPES, INSTANCES = st.integers(0, 1023), st.integers(0, 0x3FFFFF)
SOURCE = ("127.0.0.3", 47808)
PEERS = st.builds(
    Peer,
    st.just("192.0.2.1"),
    st.integers(1, 0xFFFF),
    st.integers(1, 0xFFFE),
    st.binary(min_size=1, max_size=7),
)


def encoded(value: Any) -> bytes:
    """Return what bacpypes3 makes of one of its values."""
    data: bytes = value.encode().encode().pduData
    return data


@given(st.integers(0, 2**32 - 1))
def test_whole_numbers(positive: int) -> None:
    """They take as few bytes as possible."""
    assert codec.unsigned(positive) == encoded(bacpypes.Unsigned(positive))
    assert codec.enumerated(positive) == encoded(bacpypes.Enumerated(positive))


@given(st.floats(width=32), st.floats(), st.text(max_size=300), st.lists(st.booleans(), max_size=60))
def test_numbers_texts_and_bits(real: float, double: float, text: str, bits: list[bool]) -> None:
    """They are encoded as by bacpypes3, NaN and infinity too; what is beyond a REAL becomes infinity."""
    assert codec.real(-1e39) == codec.real(-math.inf)
    assert codec.real(real) == encoded(bacpypes.Real(real))
    assert codec.double(double) == encoded(bacpypes.Double(double))
    assert codec.bit_string(bits) == encoded(bacpypes.BitString([int(bit) for bit in bits]))
    with contextlib.suppress(UnicodeEncodeError):  # half a surrogate pair, which bacpypes3 does not send
        assert codec.character_string(text) == encoded(bacpypes.CharacterString(text))


@given(OBJECT_TYPES, INSTANCES)
def test_object_identifiers(object_type: int, instance: int) -> None:
    """Ten bits have the type, 22 bits the instance."""
    identifier = bacpypes.ObjectIdentifier((object_type, instance))
    assert codec.object_identifier(codec.object_data(object_type, instance)) == encoded(identifier)


@given(
    identifier=st.tuples(OBJECT_TYPES, INSTANCES),
    number=st.integers(0, 2**32 - 1),
    text=st.text(),
    flag=st.booleans(),
)
def test_parameters_are_read_as_they_were_written(
    *, identifier: tuple[int, int], number: int, text: str, flag: bool
) -> None:
    """Also behind optional ones that are not there, and constructed data that nobody looks into."""
    text = text.encode("utf-8", "replace").decode()
    data = b"".join(
        (
            codec.context(0, codec.object_data(*identifier)),
            codec.context(2, codec.unsigned_data(number)),
            codec.opening(3) + codec.character_string(text) + codec.FALSE + codec.closing(3),
            codec.context(4, codec.unsigned_data(flag)),
            codec.context(5, b"\0" + text.encode()),
        )
    )
    reader = TagReader(data)
    assert reader.object_identifier(0) == codec.object_data(*identifier)
    assert reader.optional_unsigned(1) is None
    assert reader.unsigned(2) == number
    reader.skip_constructed(3)
    assert reader.optional_boolean(4) is flag
    assert reader.character_string(5) == text
    reader.end()


@given(st.binary(max_size=12), st.lists(st.integers(0, 7), max_size=6))
def test_any_bytes_are_read_or_malformed(data: bytes, methods: list[int]) -> None:
    """Whatever comes, reading ends with a value or with the reason of a rejection."""
    reader = TagReader(data)
    reads: list[Callable[[int], object]] = [
        reader.unsigned,
        reader.optional_unsigned,
        reader.optional_boolean,
        reader.object_identifier,
        reader.optional_object_identifier,
        reader.character_string,
        reader.skip_constructed,
        reader.is_closing,
    ]
    with contextlib.suppress(MalformedError):
        for number, method in enumerate(methods):
            reads[method](number)
        reader.end()


@given(
    apdu=st.binary(min_size=1, max_size=50),
    peer=PEERS,
    expects_reply=st.booleans(),
    priority=st.integers(0, 3),
)
def test_frames_for_one_device(*, apdu: bytes, peer: Peer, expects_reply: bool, priority: int) -> None:
    """bacpypes3 finds the APDU in them, the address behind a router, and the priority."""
    for receiver in (peer, peer._replace(network=0, mac=b"")):
        frame = frames.unicast(apdu, receiver, expects_reply=expects_reply, priority=priority)
        npdu = NPDU.decode(PDU(LPDU.decode(PDU(frame)).pduData))
        assert bytes(npdu.pduData) == apdu
        assert npdu.npduControl & 7 == priority + 4 * expects_reply
        destination = npdu.npduDADR
        assert (destination and (destination.addrNet, destination.addrAddr)) == (
            (receiver.network, receiver.mac) if receiver.network else None
        )


@given(apdu=st.binary(min_size=2, max_size=50), peer=PEERS, to_all=st.booleans(), priority=st.integers(0, 3))
def test_frames_of_a_routed_device(*, apdu: bytes, peer: Peer, to_all: bool, priority: int) -> None:
    """What bacpypes3 encodes is read: the APDU, the address behind the router, who got it, the priority."""
    npdu = NPDU(apdu, networkPriority=priority)
    npdu.npduSADR = RemoteStation(peer.network, peer.mac)
    if to_all:
        npdu.npduDADR, npdu.npduHopCount = GlobalBroadcast(), 255
    data = bytes(npdu.encode().pduData)
    packet = frames.read_npdu(data, peer.address, is_broadcast=False)
    assert packet == (apdu, peer, to_all, priority)


@given(st.binary(max_size=40), st.sampled_from([*Bvlc, 0x55]), st.binary(max_size=20))
def test_any_bytes_are_a_packet_or_none(data: bytes, function: int, rest: bytes) -> None:
    """Neither a wrong length nor any header makes reading fail."""
    for frame in (data, bytes((0x81, function, 0, 4 + len(data))) + data, data + rest):
        found = frames.split_datagram(frame, SOURCE)
        npdu = found[1] if found is not None else data
        packet = frames.read_npdu(npdu, SOURCE, is_broadcast=False)
        apdu = packet.apdu if packet is not None else data
        frames.read_confirmed_request(apdu, 0)
