"""The UDP sockets of a BACnet/IP device: one for itself and, on Linux, one for each broadcast address.

A socket that is bound to an address does not receive broadcasts.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
from contextlib import ExitStack, suppress
from functools import partial
from ipaddress import IPv4Address, IPv4Interface
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.config.value_types import HostPort
    from gateway.sinks.bacnet.config import BacnetConfig

EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - compared with the settings
"""All addresses of this machine."""
LIMITED_BROADCAST: Final = "255.255.255.255"
"""The broadcast address of clients that don't know that of their network."""
_LOOPBACK_BROADCAST = "127.255.255.255"
_LONGEST_DATAGRAM = 2048  # more than BACnet/IP has
_LONGEST_TURN_S = 0.005
_RECEIVE_BUFFER = 212_992  # bytes, doubled by Linux: 550 small datagrams; more, and floods delay for seconds
_GET_ADDRESS, _GET_NETMASK = 0x8915, 0x891B  # SIOCGIFADDR, SIOCGIFNETMASK
_INTERFACE = struct.Struct("=16sHH4s232x")  # ifreq: name, family, port, address
_LONGEST_PREFIX = 31  # networks from here on have no broadcasts


class UdpSockets:
    """Receives and sends datagrams. What cannot be sent at once is lost, as any datagram may be."""

    def __init__(self, receive: Callable[[bytes, tuple[str, int], bool], None]) -> None:
        """`receive` gets each datagram, its sender, and whether it came to a broadcast address."""
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._closing = ExitStack()
        self._own = ("", 0)  # its broadcasts come back

    def listen(self, address: HostPort) -> None:
        """Open the device's own socket; raise OSError if the address is in use or none of this machine."""
        self._socket = self._open(address.host, address.port, is_broadcast=False)
        self._own = (address.host, address.port)

    def listen_for_broadcasts(self, addresses: Iterable[str]) -> None:
        """Open a socket for each broadcast address; raise OSError if one is none of this machine."""
        host, port = self._own
        if host != EVERYWHERE:  # whose own socket receives them
            for broadcast in {*addresses, LIMITED_BROADCAST}:
                self._open(broadcast, port, is_broadcast=True)

    def _open(self, host: str, port: int, *, is_broadcast: bool) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._closing.callback(opened.close)
        opened.settimeout(0)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if is_broadcast:  # other devices on this machine need the same broadcasts
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        self._loop.add_reader(opened, partial(self._read, opened, is_broadcast))
        self._closing.callback(self._loop.remove_reader, opened)
        return opened

    def close(self) -> None:
        """Close all sockets."""
        self._closing.close()

    def send(self, datagram: bytes, address: tuple[str, int]) -> bool:
        """Send a datagram; return False if there is no room for it now."""
        with suppress(OSError):  # no route, an address that no datagram can go to
            try:
                self._socket.sendto(datagram, address)
            except BlockingIOError:
                return False
        return True

    def _read(self, opened: socket.socket, is_broadcast: bool) -> None:  # noqa: FBT001 - bound once, above
        """Receive what has come, for a few milliseconds at most: others must get their turn."""
        ends_s = self._loop.time() + _LONGEST_TURN_S
        while self._loop.time() < ends_s:
            try:
                datagram, source = opened.recvfrom(_LONGEST_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:  # reported by the network for an earlier datagram
                continue
            if source != self._own:
                self._receive(datagram, source, is_broadcast)


def broadcast_addresses(config: BacnetConfig) -> list[str]:
    """Return the broadcast address of a device's network, or those of all networks if it listens everywhere.

    The limited broadcast address would reach the network of the default route only, if there is one.
    """
    host = config.listen.host
    if config.broadcast is not None:
        return [str(config.broadcast)]
    if IPv4Address(host).is_loopback:
        return [_LOOPBACK_BROADCAST]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        found = [_broadcast_address(asking, name, host) for _, name in socket.if_nameindex()]
    return [address for address in found if address is not None]


def _broadcast_address(asking: socket.socket, name: str, host: str) -> str | None:
    address = _ask_interface(asking, name, host, _GET_ADDRESS)
    if address is None or host not in {address, EVERYWHERE}:
        return None
    network = IPv4Interface(f"{address}/{_ask_interface(asking, name, host, _GET_NETMASK)}").network
    return str(network.broadcast_address) if network.prefixlen < _LONGEST_PREFIX else None


def _ask_interface(asking: socket.socket, name: str, host: str, request: int) -> str | None:
    """Return an attribute of the address `host` of an interface, which may have several; None if it has none.

    If the interface does not have that address, it is the attribute of its first one.
    """
    question = _INTERFACE.pack(name.encode(), socket.AF_INET, 0, IPv4Address(host).packed)
    try:
        *_, answer = _INTERFACE.unpack(fcntl.ioctl(asking, request, question))
    except OSError:
        return None
    return str(IPv4Address(answer))
