"""A BACnet sink with points that are objects, and a client that sends and receives raw frames."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from gateway.config.value_types import HostPort
from gateway.model import BacnetObject, ObjectType
from gateway.sinks.bacnet import codec, frames
from gateway.sinks.bacnet.config import BacnetConfig
from gateway.sinks.bacnet.sink import BacnetSink
from gateway.status import SinkStatus
from support.latest_values import DictLatestValues
from support.mqtt_parts import PointTable, make_point
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.model import Point, Scalar

SINK, HOST, BROADCAST, DEVICE = "bac", "127.0.0.2", "127.255.255.255", 3101
PRESENT_VALUE, STATUS_FLAGS, RELIABILITY, OBJECT_NAME, OBJECT_LIST = 85, 111, 103, 77, 76


def make_object(
    name: str,
    instance: int = 1,
    kind: ObjectType = ObjectType.ANALOG_INPUT,
    *,
    values: Sequence[Scalar] = (),
    texts: Sequence[str] = (),
    **given: Any,
) -> Point:
    """Return a point that is an object on the sink; `given` are fields of the point."""
    shown = BacnetObject(SINK, kind, instance, tuple(values), tuple(texts))
    return replace(make_point(name), objects=(shown,), **given)


class BacnetRig:
    """A sink, its port, status and latest values."""

    def __init__(self, points: Iterable[Point], **config: Any) -> None:
        """`config` are settings of the sink."""
        self.table = PointTable(tuple(points))
        self.latest = DictLatestValues()
        self.status = SinkStatus(type="bacnet")
        self.port = config.pop("port", None) or free_port()
        self._config = BacnetConfig(
            type="bacnet",
            device=config.pop("device", DEVICE),
            listen=HostPort(config.pop("host", HOST), self.port),
            **config,
        )

    @property
    def address(self) -> str:
        """The device's `ip:port`."""
        return f"{HOST}:{self.port}"

    def make_sink(self) -> BacnetSink:
        """Return a new sink, always for the same address."""
        return BacnetSink(
            name=SINK,
            config=self._config,
            gateway="edge-1",
            points=self.table,
            latest=self.latest,
            status=self.status,
        )


class RawClient:
    """A UDP socket. `ask` sends frames to the device and returns the next frame that comes."""

    def __init__(self, port: int, *, host: str = "127.0.0.3", within_s: float = 60.0) -> None:
        """`port` is the device's."""
        self.device = (HOST, port)
        self.received: list[bytes] = []
        self.within_s = within_s
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)  # noqa: FBT003 - has no keyword
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._socket.bind((host, 0))
        self.peer = frames.Peer(*self._socket.getsockname())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, frame: bytes, *, to: str = HOST) -> None:
        """Send a frame."""
        self._socket.sendto(frame, (to, self.device[1]))

    async def receive(self) -> bytes:
        """Return the next frame."""
        async with asyncio.timeout(self.within_s):
            self.received.append(await asyncio.get_running_loop().sock_recv(self._socket, 2048))
        frame = self.received[-1]
        assert frames.split_datagram(frame, self.device) is not None, "its length is wrong"
        return frame

    def is_quiet(self) -> bool:
        """Return whether nothing has come that was not received."""
        try:
            self._socket.recv(2048)
        except BlockingIOError:
            return True
        return False

    async def ask(self, frame: bytes, *, to: str = HOST) -> bytes:
        """Send a frame and return the next one that comes."""
        self.send(frame, to=to)
        return await self.receive()

    async def is_heard(self) -> bool:
        """Return whether the device answers a Who-Is, or nobody listens there."""
        self._socket.connect(self.device)
        try:
            return bool(await self.ask(frames.broadcast(frames.unconfirmed_request(8, b""))))
        except ConnectionRefusedError:
            return False

    async def request(self, service: int, body: bytes, *, invoke_id: int = 1) -> bytes:
        """Send a confirmed request and return the APDU of the answer."""
        frame = frames.unicast(frames.confirmed_request(service, invoke_id, body), self.peer)
        return (await self.ask(frame))[6:]

    async def read(self, object_type: int, instance: int, number: int, element: int | None = None) -> bytes:
        """Return the encoded value of a property; raise LookupError with the APDU of another answer."""
        body = codec.context(0, codec.object_data(object_type, instance))
        body += codec.context(1, codec.unsigned_data(number))
        body += b"" if element is None else codec.context(2, codec.unsigned_data(element))
        apdu = await self.request(12, body)
        if apdu[0] >> 4 != frames.Pdu.COMPLEX_ACK:
            raise LookupError(apdu)
        return apdu[3 + len(body) + 1 : -1]
