"""Frames of BACnet/IP: BVLC (annex J), NPDU (clause 6) and the headers of APDUs (clause 20.1). No I/O."""

from __future__ import annotations

import struct
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from gateway.sinks.bacnet.standard import ALL_NETWORKS

_BVLC = 0x81
_VERSION = 1
_NETWORK_MESSAGE, _HAS_DESTINATION, _HAS_SOURCE, _EXPECTS_REPLY, _PRIORITY = 0x80, 0x20, 0x08, 0x04, 0x03
_HOP_COUNT = 255
_U16, _HEADER, _IP_ADDRESS = struct.Struct(">H"), struct.Struct(">BBH"), struct.Struct(">4sH")
MAX_APDU: Final = 1476
"""The longest APDU of BACnet/IP, in bytes."""
SEGMENTED: Final = -1
"""In place of the service of a request that comes in segments."""
_MAX_APDU_CODES = (50, 128, 206, 480, 1024, MAX_APDU)  # clause 20.1.2.5
_MAX_SEGMENTS_CODES = (None, 2, 4, 8, 16, 32, 64, None)  # clause 20.1.2.4; None: not said, or more than 64


class Bvlc(IntEnum):
    """Functions of the BACnet virtual link."""

    RESULT = 0x00
    READ_BROADCAST_DISTRIBUTION_TABLE = 0x02
    FORWARDED_NPDU = 0x04
    REGISTER_FOREIGN_DEVICE = 0x05
    DELETE_FOREIGN_DEVICE_TABLE_ENTRY = 0x08
    DISTRIBUTE_BROADCAST = 0x09
    ORIGINAL_UNICAST = 0x0A
    ORIGINAL_BROADCAST = 0x0B


class Pdu(IntEnum):
    """The types of APDUs."""

    CONFIRMED_REQUEST = 0
    UNCONFIRMED_REQUEST = 1
    SIMPLE_ACK = 2
    COMPLEX_ACK = 3
    SEGMENT_ACK = 4
    ERROR = 5
    REJECT = 6
    ABORT = 7


class Peer(NamedTuple):
    """Another device: its IP address and port, or those of the router in front of its network.

    `network` and `mac` are its address behind a router, 0 and empty in this network.
    """

    host: str
    port: int
    network: int = 0
    mac: bytes = b""

    @property
    def address(self) -> tuple[str, int]:
        """Where its datagrams go."""
        return self.host, self.port

    def __str__(self) -> str:
        behind = f" (network {self.network}, {self.mac.hex()})" if self.network else ""
        return f"{self.host}:{self.port}{behind}"


class Packet(NamedTuple):
    """An APDU (two bytes or more), its sender, whether all devices got it, and its network priority (0-3)."""

    apdu: bytes
    peer: Peer
    is_broadcast: bool
    priority: int


class ConfirmedRequest(NamedTuple):
    """A request that is answered: what its sender accepts, and the service with its parameters.

    `priority` is its network priority, which the answer must have, too.
    `max_segments` is None if the sender does not say how many it accepts, or more than 64.
    """

    invoke_id: int
    service: int
    body: bytes
    max_apdu: int
    accepts_segments: bool
    max_segments: int | None
    priority: int


def split_datagram(datagram: bytes, source: tuple[str, int]) -> tuple[int, bytes, tuple[str, int]] | None:
    """Return the BVLC function, its data, and the address of the sender; None if it is no BVLC frame.

    A forwarded NPDU has the address of its first sender.
    """
    if len(datagram) < _HEADER.size:
        return None
    kind, function, length = _HEADER.unpack_from(datagram)
    if kind != _BVLC or length != len(datagram):
        return None
    if function != Bvlc.FORWARDED_NPDU:
        return function, datagram[_HEADER.size :], source
    start = _HEADER.size + _IP_ADDRESS.size
    if len(datagram) < start:
        return None
    host, port = _IP_ADDRESS.unpack_from(datagram, _HEADER.size)
    return function, datagram[start:], (str(IPv4Address(host)), port)


def read_npdu(npdu: bytes, sender: tuple[str, int], *, is_broadcast: bool) -> Packet | None:
    """Return the APDU of an NPDU; None for what is malformed, a network message, or for another network."""
    try:
        version, control = npdu[0], npdu[1]
        if version != _VERSION or control & _NETWORK_MESSAGE:
            return None
        at, network, mac = 2, 0, b""
        if control & _HAS_DESTINATION:
            (destination,) = _U16.unpack_from(npdu, at)
            if destination != ALL_NETWORKS:
                return None
            at += 3 + npdu[at + 2]
            is_broadcast = True
        if control & _HAS_SOURCE:
            (network,) = _U16.unpack_from(npdu, at)
            length = npdu[at + 2]
            mac = npdu[at + 3 : at + 3 + length]
            at += 3 + length
            if not 0 < network < ALL_NETWORKS or not 0 < length == len(mac):
                return None
        at += bool(control & _HAS_DESTINATION)  # the hop count
    except (IndexError, struct.error):
        return None
    apdu = npdu[at:]
    if len(apdu) < 2:  # noqa: PLR2004 - none is shorter
        return None
    return Packet(apdu, Peer(*sender, network, mac), is_broadcast, control & _PRIORITY)


def unicast(apdu: bytes, peer: Peer, *, expects_reply: bool = False, priority: int = 0) -> bytes:
    """Return the datagram that brings an APDU to one device."""
    control = priority | (_EXPECTS_REPLY if expects_reply else 0)
    return bvlc(Bvlc.ORIGINAL_UNICAST, _npdu_header(peer.network, peer.mac, control) + apdu)


def broadcast(apdu: bytes, *, through_bbmd: bool = False) -> bytes:
    """Return the datagram that brings an APDU to all devices of all networks."""
    function = Bvlc.DISTRIBUTE_BROADCAST if through_bbmd else Bvlc.ORIGINAL_BROADCAST
    return bvlc(function, _npdu_header(ALL_NETWORKS) + apdu)


def bvlc(function: Bvlc, data: bytes) -> bytes:
    """Return a frame of the virtual link."""
    return _HEADER.pack(_BVLC, function, _HEADER.size + len(data)) + data


def bvlc_result(code: int) -> bytes:
    """Return the answer to a request of the virtual link."""
    return bvlc(Bvlc.RESULT, _U16.pack(code))


def ip_address_data(address: tuple[str, int]) -> bytes:
    """Return an IP address and port in six bytes, as BACnet/IP has them for a MAC address."""
    host, port = address
    return _IP_ADDRESS.pack(IPv4Address(host).packed, port)


def _npdu_header(network: int, mac: bytes = b"", control: int = 0) -> bytes:
    if not network:
        return bytes((_VERSION, control))
    destination = _U16.pack(network) + bytes((len(mac),)) + mac
    return bytes((_VERSION, control | _HAS_DESTINATION)) + destination + bytes((_HOP_COUNT,))


def read_confirmed_request(apdu: bytes, priority: int) -> ConfirmedRequest | None:
    """Return a request, None if it is cut off. Of a segmented one, `service` is `SEGMENTED`."""
    if len(apdu) < 4:  # noqa: PLR2004 - type, sizes, invoke id, service
        return None
    first, sizes, invoke_id, service = apdu[:4]
    code = sizes & 0x0F
    return ConfirmedRequest(
        invoke_id=invoke_id,
        service=SEGMENTED if first & 0x08 else service,
        body=apdu[4:],
        max_apdu=_MAX_APDU_CODES[code] if code < len(_MAX_APDU_CODES) else MAX_APDU,
        accepts_segments=bool(first & 0x02),
        max_segments=_MAX_SEGMENTS_CODES[sizes >> 4 & 7],
        priority=priority,
    )


def confirmed_request(service: int, invoke_id: int, body: bytes) -> bytes:
    """Return a request of the server itself, which accepts no segments in the answer."""
    return bytes((0, len(_MAX_APDU_CODES) - 1, invoke_id, service)) + body


def unconfirmed_request(service: int, body: bytes) -> bytes:
    """Return a request without an answer."""
    return bytes((Pdu.UNCONFIRMED_REQUEST << 4, service)) + body


def simple_ack(invoke_id: int, service: int) -> bytes:
    """Return the answer "done"."""
    return bytes((Pdu.SIMPLE_ACK << 4, invoke_id, service))


def complex_ack(invoke_id: int, service: int, body: bytes) -> bytes:
    """Return an answer with data."""
    return bytes((Pdu.COMPLEX_ACK << 4, invoke_id, service)) + body


def segment(
    invoke_id: int, service: int, body: bytes, *, sequence: int, window: int, more_follow: bool
) -> bytes:
    """Return one segment of an answer. `sequence` counts from 0 to 255 and on from 0."""
    first = Pdu.COMPLEX_ACK << 4 | 0x08 | (0x04 if more_follow else 0)
    return bytes((first, invoke_id, sequence & 0xFF, window, service)) + body


COMPLEX_ACK_HEADER: Final = 3
SEGMENT_HEADER: Final = 5
"""Bytes of an answer with data, and of a segment of it, in front of the data."""


def error(invoke_id: int, service: int, body: bytes) -> bytes:
    """Return the answer that a request failed; the body is class and code, or what has them."""
    return bytes((Pdu.ERROR << 4, invoke_id, service)) + body


def reject(invoke_id: int, reason: int) -> bytes:
    """Return the answer that a request was not understood."""
    return bytes((Pdu.REJECT << 4, invoke_id, reason))


def abort(invoke_id: int, reason: int) -> bytes:
    """Return the message of the server that a transaction is over."""
    return bytes((Pdu.ABORT << 4 | 1, invoke_id, reason))
