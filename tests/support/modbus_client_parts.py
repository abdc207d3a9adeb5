"""A Modbus client sink with its surroundings, and helpers for points and updates."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.model import Conversion, RegisterTable
from gateway.sinks.modbus_client.config import ModbusClientConfig
from gateway.sinks.modbus_client.sink import ModbusClientSink
from gateway.status import SinkStatus
from support.latest_values import DictLatestValues
from support.modbus_fixtures import Points, point, register
from support.mqtt_parts import make_update
from support.waiting import until, until_delivered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.model import Point, Register, Scalar, Update

SINK = "ahu"
WORDS = {"float32": 2, "int32": 2, "uint32": 2, "float64": 4}


def holding(address: int, kind: str = "uint16", **keys: Any) -> Register:
    """Return a holding register of the sink under test."""
    keys = {"words": WORDS.get(kind, 1), "sink": SINK, "table": RegisterTable.HOLDING, **keys}
    return register(address, kind, **keys)


def coil(address: int, *, unit: int = 1) -> Register:
    """Return a coil of the sink under test."""
    return register(address, "bit", sink=SINK, table=RegisterTable.COIL, unit=unit)


def held_point(name: str, *registers: Register, limits: tuple[float, float] | None = None) -> Point:
    """Return a point with registers, and perhaps a range."""
    return replace(point(name, *registers), conversion=Conversion(range=limits))


class ClientRig:
    """A sink named `ahu` that writes to a loopback port, and its latest values."""

    def __init__(self, port: int, *points: Point, **settings: Any) -> None:
        self.latest = DictLatestValues()
        self.status = SinkStatus(type="modbus_client")
        self.points = points
        place: dict[str, Any] = {} if "serial" in settings else {"host": "127.0.0.1", "port": port}
        self.sink = ModbusClientSink(
            name=SINK,
            config=ModbusClientConfig(type="modbus_client", **place | settings),
            gateway="edge-1",
            points=Points(points),
            latest=self.latest,
            status=self.status,
        )

    async def deliver(self, *updates: Update) -> None:
        """Deliver as the delivery loop does: keep what is newest, then write."""
        self.latest.take(updates)
        await self.sink.write(updates)

    async def show(self, *values: Scalar) -> None:
        """Deliver a value for each point."""
        await self.deliver(*values_of(self.points, values))

    def swap(self, *points: Point, news: Sequence[Update] = ()) -> None:
        """Adopt another point table, as in a reload: points of the same names keep their values."""
        self.points = points
        known = [(of, self.latest.latest(of)) for of in points]
        self.latest.take(replace(update, point=of) for of, update in known if update is not None)
        self.sink.prepare(Points(points), self.latest)(news)

    async def until(self, holds: Callable[[], bool], *, within_s: float = 60.0) -> None:
        """Wait until a condition is true."""
        await until(holds, within_s=within_s)


async def persist(rig: ClientRig, *values: float) -> None:
    """Deliver as the delivery loop does: the same batch until it is written."""
    await until_delivered(partial(rig.show, *values))


def values_of(points: Sequence[Point], values: Sequence[Scalar]) -> list[Update]:
    """Return an update for each point."""
    return [make_update(of, value) for of, value in zip(points, values, strict=True)]
