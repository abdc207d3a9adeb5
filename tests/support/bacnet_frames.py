"""What a BACnet device sends: a relay that records its frames, and tshark's judgement of them."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
from typing import TYPE_CHECKING, Self

from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Address = tuple[str, int]

_PORT = 47808
_LARGEST = 2048
_PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0xFFFF, 228)  # 228: each packet is IPv4
_DEVICE, _CLIENT = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))
_TELLTALE = '_ws.malformed or _ws.expert.severity >= "Warning" or _ws.short or not bvlc'


def find_malformed(frames: Iterable[bytes]) -> list[str]:
    """Return what tshark objects to in UDP payloads, a line each: number (from 0), hex and message."""
    sent = list(frames)
    command = ("tshark", "-n", "-r", "-", "-Y", _TELLTALE, "-T", "fields")
    fields = ("-e", "frame.number", "-e", "_ws.expert.message", "-e", "_ws.col.info")
    judged = subprocess.run(
        [*command, *fields], input=_capture(sent), capture_output=True, check=True, timeout=60
    )
    numbered = (line.partition("\t") for line in judged.stdout.decode().splitlines())
    return [f"{int(number) - 1}: {sent[int(number) - 1].hex()}: {text}" for number, _, text in numbered]


def _capture(frames: list[bytes]) -> bytes:
    """Return a capture file of frames that a device sends to a client, a second after each other."""
    packets = b""
    for second, frame in enumerate(frames):
        udp = struct.pack(">HHHH", _PORT, _PORT, 8 + len(frame), 0) + frame
        size = 20 + len(udp)
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, size, 0, 0, 64, 17, 0, _DEVICE, _CLIENT)
        packets += struct.pack("<IIII", second, 0, size, size) + ip + udp
    return _PCAP_HEADER + packets


class FrameRelay:
    """A UDP relay between clients and a device; for clients, `address` is the device. A context manager.

    `from_device` and `from_clients` have the frames in order. Those for which `is_lost` holds go no further.
    """

    def __init__(self, device: str) -> None:
        self.from_device: list[bytes] = []
        self.from_clients: list[bytes] = []
        self.is_lost: Callable[[bytes], bool] = lambda _: False
        self._device = _pair(device)
        self._near = _bind(free_port())
        self._far: dict[Address, socket.socket] = {}  # by client: its place before the device

    @property
    def address(self) -> str:
        """The relay's `ip:port`."""
        ip, port = self._near.getsockname()
        return f"{ip}:{port}"

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._near, self._to_device)
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._near, *self._far.values()):
            asyncio.get_running_loop().remove_reader(each)
            each.close()

    def _to_device(self) -> None:
        frame, client = self._near.recvfrom(_LARGEST)
        self.from_clients.append(frame)
        if not self.is_lost(frame):
            self._far_socket(client).sendto(frame, self._device)

    def _far_socket(self, client: Address) -> socket.socket:
        if client not in self._far:
            self._far[client] = far = _bind(0)
            asyncio.get_running_loop().add_reader(far, self._to_client, far, client)
        return self._far[client]

    def _to_client(self, far: socket.socket, client: Address) -> None:
        frame = far.recv(_LARGEST)
        self.from_device.append(frame)
        if not self.is_lost(frame):
            self._near.sendto(frame, client)


def _bind(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.setblocking(False)  # noqa: FBT003 - has no keyword
    bound.bind(("127.0.0.4", port))
    return bound


def _pair(address: str) -> Address:
    ip, _, port = address.partition(":")
    return ip, int(port)
