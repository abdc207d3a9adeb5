"""The devices and metrics of a point table for a Sparkplug host.

A device is a tag, a metric is a point. A tag is one level of a topic (point tables check that), and so can be
a device id (Sparkplug 3.0.0, section 4.1.5). Points of no asset are the node's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.model import Quality, ValueKind
from gateway.sinks.broker.broker_sink import is_small_change
from gateway.sinks.sparkplug.config import NODE
from gateway.sinks.sparkplug.payload import DataType, MetricValue, Property

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model import Point, Scalar, Update
    from gateway.ports import LatestValues
    from gateway.sinks.sparkplug.config import QualityCodes

_described = attrgetter("point", "asset", "source", "unit_of_measure", "description")


class Metric:
    """One point, under the name that it has in its device."""

    __slots__ = ("_type", "name", "point", "published")

    def __init__(self, point: Point) -> None:
        self.point = point
        self.name = point.point if point.asset else point.name  # the node's own may be of several tags
        self._type = _type_in_table(point)  # None: not fixed by the table, and no value has come yet
        self.published: Update | None = None
        """The last update sent; None: the next one is sent."""

    @property
    def type(self) -> DataType:
        """The type in births. What measures is usually a number."""
        return self._type or DataType.DOUBLE

    def widen_type(self, value: Scalar) -> bool:
        """Widen the type so that it holds `value`; return whether that needs a new birth."""
        before = self.type
        if value is not None and (self._type is None or not self._type.can_hold(value)):
            self._type = _wider(self._type, value)
        return self.type is not before

    def continue_from(self, former: Metric) -> None:
        """Keep what hosts have of the same metric of a former table."""
        self._type, self.published = former._type, former.published

    def is_unchanged(self, update: Update) -> bool:
        """Return whether hosts have this value already, or one within the deadband: only changes are sent."""
        published, cov = self.published, self.point.cov
        if published is None:
            return False
        if cov is not None:
            return is_small_change(cov, published, update)
        return (published.value, published.quality) == (update.value, update.quality)

    def data(self, update: Update, codes: QualityCodes, *, is_historical: bool = False) -> MetricValue:
        """Return the value for NDATA or DDATA; raise ValueError or OverflowError where no type holds it."""
        value = self.type.convert(update.value)
        properties = _quality(update.quality, codes)
        return MetricValue(self.name, self.type, value, update.time_ms, is_historical, properties)

    def birth(self, update: Update | None, codes: QualityCodes, *, now_ms: int) -> MetricValue:
        """Return the value for a birth, with unit and description, by the names that Ignition uses.

        Before the first reading there is no value, and the quality is bad. Raises as `data`.
        """
        if update is None:
            properties = _quality(Quality.BAD, codes)
            value = MetricValue(self.name, self.type, None, now_ms, properties=properties)
        else:
            value = self.data(update, codes)
        texts = (("engUnit", self.point.unit_of_measure), ("documentation", self.point.description))
        described = tuple(Property(key, DataType.STRING, text) for key, text in texts if text)
        return value._replace(properties=value.properties + described)


@dataclass(slots=True, eq=False)
class Device:
    """The points of one tag; compared by identity, since a birth is of one table."""

    id: str
    metrics: tuple[Metric, ...]

    def is_offline(self, latest: LatestValues) -> bool:
        """Return whether none of its values has a connection; never of the node itself, which has one."""
        if self.id == NODE:
            return False
        shown = [latest.latest(metric.point) for metric in self.metrics if not metric.point.is_pseudo]
        known = [update for update in shown if update is not None]
        return bool(known) and all(update.quality is Quality.OFFLINE for update in known)

    def has_birth_of(self, other: Device) -> bool:
        """Return whether the births of both are the same but for values."""
        return [(_described(metric.point), _type_in_table(metric.point)) for metric in self.metrics] == [
            (_described(metric.point), _type_in_table(metric.point)) for metric in other.metrics
        ]


class DeviceMap:
    """All devices of one table by their ids, the node among them, and the device and metric of each point."""

    def __init__(self, points: Iterable[Point], *, sink: str) -> None:
        """Sort the points that go to this sink by their devices."""
        by_device: dict[str, list[Metric]] = {NODE: []}
        for point in points:
            if point.mqtt is not None and point.mqtt.goes_to(sink):
                device = point.tag if point.asset else NODE
                by_device.setdefault(device, []).append(Metric(point))
        self.by_id = {each: Device(each, tuple(metrics)) for each, metrics in by_device.items()}
        self.by_point = {
            metric.point: (device, metric) for device in self.by_id.values() for metric in device.metrics
        }

    def unchanged_from(self, former: DeviceMap) -> list[tuple[Device, Device]]:
        """Return the pairs of former and new device that need no other birth."""
        pairs = ((former.by_id.get(name), new) for name, new in self.by_id.items())
        return [(old, new) for old, new in pairs if old is not None and new.has_birth_of(old)]


def _type_in_table(point: Point) -> DataType | None:
    """Return the type of values that the point table fixes; None where it fixes none."""
    conversion = point.conversion
    if point.is_pseudo:
        return DataType.INT64
    if conversion.calculates or conversion.kind is ValueKind.NUMBER:
        return DataType.DOUBLE
    if conversion.map:
        of_map: DataType | None = None
        for value in conversion.map.values():
            if value is not None and (of_map is None or not of_map.can_hold(value)):
                of_map = _wider(of_map, value, whole=DataType.INT64)
        return of_map
    if conversion.kind is ValueKind.SWITCH:
        return DataType.BOOLEAN
    if any(register.type == "string" for register in point.registers):
        return DataType.STRING
    return None


def _wider(before: DataType | None, value: Scalar, *, whole: DataType = DataType.DOUBLE) -> DataType:
    """Return a type for a value and those before. `whole`: the type if the first value is a whole number."""
    if isinstance(value, str) or before is DataType.STRING:
        return DataType.STRING
    if before is not None:
        return DataType.DOUBLE
    if isinstance(value, bool):
        return DataType.BOOLEAN
    return whole if isinstance(value, int) else DataType.DOUBLE


def _quality(quality: Quality, codes: QualityCodes) -> tuple[Property, ...]:
    """Return the quality as the host's number (section 6.4.9.1), and as the gateway's own word."""
    return (
        Property("Quality", DataType.INT32, codes[quality]),
        Property("GatewayQuality", DataType.STRING, quality.name.lower()),
    )
