"""What of a point table a Sparkplug host is shown: the node, its devices, their metrics.

A device is a tag, a metric is a point. A tag is one level of a topic already (point tables see to that),
and so fit to be a device id (Sparkplug 3.0.0, section 4.1.5). Points of no asset are the node's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.model import Quality, ValueKind
from gateway.sinks.broker.deadband import PublishedValue, is_small_change
from gateway.sinks.sparkplug.payload import DataType, Property, Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.model import Point, Scalar, Update
    from gateway.ports import LatestValues

NODE = ""
"""Stands for the node itself where a device id is expected."""

QualityCodes = dict[Quality, int]
"""The number that a host is told for each quality."""

_described = attrgetter("point", "asset", "source", "unit_of_measure", "description")


@dataclass(slots=True, eq=False)
class Known:
    """What was learnt of a metric; after a reload, the one of the next table goes on with it.

    `type` None: whatever its values may be, none has come yet. `told`: what hosts were told last.
    """

    type: DataType | None
    told: PublishedValue | None = None


@dataclass(slots=True, eq=False)
class Metric:
    """One point, under the name that it has in its device."""

    point: Point
    name: str
    known: Known

    @classmethod
    def of(cls, point: Point) -> Metric:
        """Make the metric of a point; only among the node's own may those of several tags be together."""
        return cls(point, point.point if point.asset else point.name, Known(_first_type(point)))

    @property
    def shown_type(self) -> DataType:
        """The type that births tell. What measures is usually a number."""
        return self.known.type or DataType.DOUBLE

    def learn(self, value: Scalar) -> bool:
        """Let the type hold `value`, too; return whether hosts have to be told of another type."""
        before, known = self.shown_type, self.known
        if value is not None and (known.type is None or not known.type.holds(value)):
            known.type = _wider(known.type, value)
        return self.shown_type is not before

    def tell(self, update: Update | None) -> None:
        """Remember what hosts are told now; None: nothing that would count as told."""
        self.known.told = (
            None if update is None else PublishedValue(update.value, update.quality, update.time_ms)
        )

    def says_nothing_new(self, update: Update) -> bool:
        """Say whether the host knows as much: data is sent by exception, changes alone."""
        told, cov = self.known.told, self.point.cov
        if told is None:
            return False
        if cov is not None:
            return is_small_change(cov, told, update)
        return (told.value, told.quality) == (update.value, update.quality)

    def sample(self, update: Update, codes: QualityCodes, *, is_historical: bool = False) -> Sample:
        """Return what data says of an update; raise ValueError or OverflowError where no type holds it."""
        return Sample(
            self.name,
            self.shown_type,
            self.shown_type.of(update.value),
            update.time_ms,
            is_historical,
            _quality(update.quality, codes),
        )

    def birth(self, update: Update | None, codes: QualityCodes, *, now_ms: int) -> Sample:
        """Return what a birth says: the present value and quality, what the point is, in which unit.

        Before the first reading there is no value, and no quality but bad.
        """
        quality = Quality.BAD if update is None else update.quality
        value = None if update is None else self.shown_type.of(update.value)
        return Sample(
            self.name,
            self.shown_type,
            value,
            now_ms if update is None else update.time_ms,
            properties=(*_quality(quality, codes), *self._texts()),
        )

    def _texts(self) -> Iterable[Property]:
        """Yield unit and description by the names that Ignition knows; the specification has none."""
        for key, text in (
            ("engUnit", self.point.unit_of_measure),
            ("documentation", self.point.description),
        ):
            if text:
                yield Property(key, DataType.STRING, text)


@dataclass(slots=True, eq=False)
class Device:
    """The points of one tag; compared by identity, for what was told of it is true of this one alone."""

    id: str
    metrics: tuple[Metric, ...]

    def is_offline(self, latest: LatestValues) -> bool:
        """Say whether there is no connection to anything that the device shows."""
        shown = [latest.latest(metric.point) for metric in self.metrics if not metric.point.is_pseudo]
        known = [update for update in shown if update is not None]
        return bool(known) and all(update.quality is Quality.OFFLINE for update in known)

    def is_described_as(self, other: Device) -> bool:
        """Say whether births tell the same of both, but for values."""
        return len(self.metrics) == len(other.metrics) and all(
            _described(ours.point) == _described(theirs.point)
            and _first_type(ours.point) is _first_type(theirs.point)
            for ours, theirs in zip(self.metrics, other.metrics, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """All devices of one table by their ids, the node itself among them, and whose each point is."""

    devices: Mapping[str, Device]
    places: dict[Point, tuple[Device, Metric]] = field(init=False)

    def __post_init__(self) -> None:
        places = {
            metric.point: (device, metric) for device in self.devices.values() for metric in device.metrics
        }
        object.__setattr__(self, "places", places)

    @classmethod
    def of(cls, points: Iterable[Point], *, sink: str) -> Layout:
        """Sort the points that go to this sink by their devices."""
        by_device: dict[str, list[Metric]] = {NODE: []}
        for point in points:
            if point.mqtt is not None and point.mqtt.goes_to(sink):
                device = point.tag if point.asset else NODE
                by_device.setdefault(device, []).append(Metric.of(point))
        return cls({each: Device(each, tuple(metrics)) for each, metrics in by_device.items()})

    def follow(self, before: Layout) -> list[tuple[Device, Device]]:
        """Return the devices, those of before first, of which hosts need no other birth.

        They go on with what was learnt of their metrics.
        """
        same = [
            (old, new)
            for name, new in self.devices.items()
            if (old := before.devices.get(name)) is not None and new.is_described_as(old)
        ]
        for old, new in same:
            for was, now in zip(old.metrics, new.metrics, strict=True):
                now.known = was.known
        return same


def _first_type(point: Point) -> DataType | None:
    """Return the type of values that the point table speaks of, None where it says nothing of it."""
    conversion = point.conversion
    if point.is_pseudo:
        return DataType.INT64
    if conversion.calculates or conversion.kind is ValueKind.NUMBER:
        return DataType.DOUBLE
    if conversion.map:
        of_map: DataType | None = None
        for value in conversion.map.values():
            if value is not None and (of_map is None or not of_map.holds(value)):
                of_map = _wider(of_map, value, whole=DataType.INT64)
        return of_map
    if conversion.kind is ValueKind.SWITCH:
        return DataType.BOOLEAN
    if any(register.type == "string" for register in point.registers):
        return DataType.STRING
    return None


def _wider(before: DataType | None, value: Scalar, *, whole: DataType = DataType.DOUBLE) -> DataType:
    """Return a type for a value and those of before. `whole`: for whole numbers, where they are first."""
    if isinstance(value, str) or before is DataType.STRING:
        return DataType.STRING
    if before is not None:
        return DataType.DOUBLE
    if isinstance(value, bool):
        return DataType.BOOLEAN
    return whole if isinstance(value, int) else DataType.DOUBLE


def _quality(quality: Quality, codes: QualityCodes) -> tuple[Property, ...]:
    """Return the quality in the host's numbers (section 6.4.9.1), and in the gateway's own words."""
    return (
        Property("Quality", DataType.INT32, codes[quality]),
        Property("GatewayQuality", DataType.STRING, quality.name.lower()),
    )
