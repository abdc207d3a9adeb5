"""Every kind of sink together with a real receiver that can say what it was shown."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from gateway.config.scalars import HostPort
from gateway.sinks.modbus_server import ModbusServerConfig, ModbusServerSink
from gateway.sinks.mqtt import MqttConfig, MqttSink
from gateway.status import SinkStatus
from support.latest_values import DictLatestValues
from support.modbus_fixtures import SINK, Points, connect, register
from support.mosquitto import Mosquitto, free_port, subscribe
from support.mqtt_parts import STATUS_TOPIC, PointTable, make_point

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.model import Point, Scalar
    from gateway.ports import Sink

TEMPERATURE, HUMIDITY = "L03/ZN-T", "L03/ZN-RH"


class Receiver(Protocol):
    """One receiver, its two points, and the latest values that all its sinks look at."""

    latest: DictLatestValues
    points: tuple[Point, Point]
    impossible: ClassVar[Scalar]
    """What no message or register of this kind can hold."""

    def __enter__(self) -> Self:
        """Be there for sinks."""

    def __exit__(self, *_: object) -> None:
        """Go."""

    def make_sink(self) -> Sink:
        """Return a fresh sink, always for the same address."""

    async def shown(self) -> list[float | None]:
        """Return what is shown for the two points; None where there is no value."""

    async def knows_that_the_gateway_is_away(self) -> bool:
        """Say whether somebody in the building can see it."""


class Broker:
    """Mosquitto, and a subscriber that comes when it is asked."""

    impossible: ClassVar[Scalar] = 2**64
    layout: Literal["point", "asset"] = "point"

    def __init__(self, folder: Path) -> None:
        self.mosquitto = Mosquitto(folder)
        self.points = (make_point(TEMPERATURE), make_point(HUMIDITY))
        self.latest = DictLatestValues()

    def __enter__(self) -> Self:
        self.mosquitto.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.mosquitto.kill()

    def make_sink(self) -> Sink:
        """Return a sink that connects to mosquitto."""
        url: Any = self.mosquitto.url  # parsed by the config
        return MqttSink(
            name="bms",
            config=MqttConfig(type="mqtt", url=url, layout=self.layout),
            gateway="edge-1",
            points=PointTable(self.points),
            latest=self.latest,
            status=SinkStatus(type="mqtt"),
        )

    async def shown(self) -> list[float | None]:
        """Return what a subscriber that comes now is given."""
        async with subscribe(self.mosquitto.port) as subscriber:
            found = {message.topic: message for message in subscriber.seen}
        topics = [f"gw/v1/hq/{point.name}" for point in self.points]
        return [found[topic].json["value"] if topic in found else None for topic in topics]

    async def knows_that_the_gateway_is_away(self) -> bool:
        """Look at the status topic."""
        async with subscribe(self.mosquitto.port) as subscriber:
            return subscriber.payloads(STATUS_TOPIC) == ["offline"]


class AssetBroker(Broker):
    """A broker whose subscribers get both points in one message."""

    layout = "asset"

    async def shown(self) -> list[float | None]:
        """Return what a subscriber that comes now is given."""
        async with subscribe(self.mosquitto.port) as subscriber:
            found = [message.json["points"] for message in subscriber.seen if message.topic == "gw/v1/hq/L03"]
        points = found[-1] if found else {}
        return [points[point.point]["value"] if point.point in points else None for point in self.points]


class Controller:
    """A controller that polls two registers, on a connection of its own each time."""

    impossible: ClassVar[Scalar] = "open"

    def __init__(self, _folder: Path) -> None:
        registers = (register(0, "float32", words=2), register(2, "float32", words=2))
        self.points = (
            replace(make_point(TEMPERATURE), registers=registers[:1]),
            replace(make_point(HUMIDITY), registers=registers[1:]),
        )
        self.latest = DictLatestValues()
        self.port = free_port()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def make_sink(self) -> Sink:
        """Return a sink that the controller finds at its port."""
        return ModbusServerSink(
            name=SINK,
            config=ModbusServerConfig(type="modbus_server", listen=HostPort("127.0.0.1", self.port)),
            gateway="edge-1",
            points=Points(self.points),
            latest=self.latest,
            status=SinkStatus(type="modbus_server"),
        )

    async def shown(self) -> list[float | None]:
        """Read both registers at once; NaN is no value."""
        async with connect(self.port) as client:
            values = struct.unpack(">ff", await client.read(4, 0, 4))
        return [None if math.isnan(value) else value for value in values]

    async def knows_that_the_gateway_is_away(self) -> bool:
        """Try to connect."""
        try:
            async with connect(self.port):
                return False
        except ConnectionRefusedError:
            return True


RECEIVERS: dict[str, Callable[[Path], Receiver]] = {
    "mqtt": Broker,
    "mqtt of assets": AssetBroker,
    "modbus_server": Controller,
}
