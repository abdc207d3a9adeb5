"""Every kind of sink with a real receiver that shows its values."""

from __future__ import annotations

import asyncio
import math
import struct
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from gateway.config.value_types import HostPort
from gateway.sinks.modbus_client.config import ModbusClientConfig
from gateway.sinks.modbus_client.sink import ModbusClientSink
from gateway.sinks.modbus_server.sink import ModbusServerConfig, ModbusServerSink
from gateway.sinks.mqtt.sink import MqttConfig, MqttSink
from gateway.status import SinkStatus
from support.bacnet_parts import PRESENT_VALUE, BacnetRig, RawClient, make_object
from support.building import eventually
from support.latest_values import DictLatestValues
from support.libmodbus_controller import LibmodbusController
from support.modbus_client_parts import SINK as CLIENT_SINK
from support.modbus_client_parts import holding
from support.modbus_fixtures import SINK, Points, connect, register
from support.mosquitto import Mosquitto, subscribe
from support.mqtt_parts import STATUS_TOPIC, PointTable, make_point
from support.ports import free_port
from support.sparkplug_host import SparkplugHost, subscription
from support.sparkplug_parts import SparkplugRig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.model import Point, Scalar
    from gateway.ports import Sink

TEMPERATURE, HUMIDITY = "L03/ZN-T", "L03/ZN-RH"


class Receiver(Protocol):
    """One receiver, its two points, and the latest values of all its sinks."""

    latest: DictLatestValues
    points: tuple[Point, Point]
    impossible: ClassVar[Scalar]
    """What no message or register of this kind can hold."""

    def __enter__(self) -> Self:
        """Start."""

    def __exit__(self, *_: object) -> None:
        """Stop."""

    def make_sink(self) -> Sink:
        """Return a new sink, always for the same address."""

    async def shown(self) -> list[float | None]:
        """Return the values of the two points; None: no value."""

    async def knows_that_the_gateway_is_away(self) -> bool:
        """Return whether the receiver shows that the gateway is away."""


class Broker:
    """Mosquitto, and a new subscriber at each look."""

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
    """A broker whose messages have both points."""

    layout = "asset"

    async def shown(self) -> list[float | None]:
        """Return what a subscriber that comes now is given."""
        async with subscribe(self.mosquitto.port) as subscriber:
            found = [message.json["points"] for message in subscriber.seen if message.topic == "gw/v1/hq/L03"]
        points = found[-1] if found else {}
        return [points[point.point]["value"] if point.point in points else None for point in self.points]


class Scada:
    """Mosquitto, and a Sparkplug host that is always subscribed, because nothing is retained."""

    impossible: ClassVar[Scalar] = 10**400

    def __init__(self, folder: Path) -> None:
        self.mosquitto = Mosquitto(folder)
        self.points = (make_point(TEMPERATURE), make_point(HUMIDITY))
        self.latest = DictLatestValues()
        self._output = folder / "output"

    def __enter__(self) -> Self:
        self.mosquitto.start()
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(subscription(self.mosquitto.port), stdout=output)
        eventually(lambda: "Sending SUBACK" in self.mosquitto.log, expected=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self.mosquitto.kill()

    def make_sink(self) -> Sink:
        """Return a sink that connects to mosquitto."""
        rig = SparkplugRig(self.mosquitto.url, self.points, latest=self.latest)
        return rig.sink

    async def shown(self) -> list[float | None]:
        """Return what the host's tags show."""
        host = await self._host()
        tag, _, _ = TEMPERATURE.partition("/")
        return [host.value(tag, point.point) for point in self.points]  # type: ignore[misc]  # numbers only

    async def knows_that_the_gateway_is_away(self) -> bool:
        """Ask the host whether the node is online."""
        return not (await self._host()).is_online

    async def _host(self) -> SparkplugHost:
        """Return what the host knows when everything has come that the broker has now."""
        return await SparkplugHost(self.mosquitto.port).replay(self._output.read_text)


class Controller:
    """A controller that polls two registers, on a new connection each time."""

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
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except ConnectionRefusedError:
            return True
        writer.transport.abort()
        return False


class WrittenController:
    """A controller of libmodbus that is written into; its registers have no value yet."""

    impossible: ClassVar[Scalar] = "open"

    def __init__(self, _folder: Path) -> None:
        self.points = (
            replace(make_point(TEMPERATURE), registers=(holding(0, "float32"),)),
            replace(make_point(HUMIDITY), registers=(holding(2, "float32"),)),
        )
        self.latest = DictLatestValues()
        self.controller = LibmodbusController()

    def __enter__(self) -> Self:
        self.controller.start()
        self.controller.fill(0, 0x7FC0, 0, 0x7FC0, 0)
        return self

    def __exit__(self, *_: object) -> None:
        self.controller.kill()

    def make_sink(self) -> Sink:
        """Return a sink that connects to the controller."""
        return ModbusClientSink(
            name=CLIENT_SINK,
            config=ModbusClientConfig(type="modbus_client", host="127.0.0.1", port=self.controller.port),
            gateway="edge-1",
            points=Points(self.points),
            latest=self.latest,
            status=SinkStatus(type="modbus_client"),
        )

    async def shown(self) -> list[float | None]:
        """Return what the controller's program sees; NaN is no value."""
        return [None if math.isnan(value) else value for value in self.controller.floats(0, 2)]

    async def knows_that_the_gateway_is_away(self) -> bool:
        """Wait for a moment until no connection is open: the controller notices the end by itself."""
        for _ in range(50):
            is_open, _ = self.controller.connections()
            if not is_open:
                return True
            await asyncio.sleep(0.01)
        return False


class BuildingManagement:
    """A BACnet client that reads two objects."""

    impossible: ClassVar[Scalar] = "open"

    def __init__(self, _folder: Path) -> None:
        self.points = (make_object(TEMPERATURE, 1), make_object(HUMIDITY, 2))
        self._rig = BacnetRig(self.points)
        self.latest = self._rig.latest

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def make_sink(self) -> Sink:
        """Return a sink that the client finds at its port."""
        return self._rig.make_sink()

    async def shown(self) -> list[float | None]:
        """Read both objects; NaN is no value."""
        with RawClient(self._rig.port) as client:
            encoded = [await client.read(0, instance, PRESENT_VALUE) for instance in (1, 2)]
        values = [struct.unpack(">xf", each)[0] for each in encoded]
        return [None if math.isnan(value) else value for value in values]

    async def knows_that_the_gateway_is_away(self) -> bool:
        """Ask, and learn from the network whether anybody listens."""
        with RawClient(self._rig.port) as client:
            return not await client.is_heard()


RECEIVERS: dict[str, Callable[[Path], Receiver]] = {
    "mqtt": Broker,
    "mqtt of assets": AssetBroker,
    "mqtt_sparkplug": Scada,
    "modbus_server": Controller,
    "modbus_client": WrittenController,
    "bacnet": BuildingManagement,
}
