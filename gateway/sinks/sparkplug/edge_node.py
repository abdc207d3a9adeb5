"""A Sparkplug edge node: its devices and metrics, and which message is next on the present connection.

A device is a tag, a metric is a point. A tag is one level of a topic (point tables check that), and so can be
a device id (Sparkplug 3.0.0, section 4.1.5). Points of no asset are the node's own. Sections are those of
Sparkplug 3.0.0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from gateway.clock import now_ms
from gateway.model import Quality, Refusal, ValueKind
from gateway.sinks.broker.broker_sink import is_small_change
from gateway.sinks.broker.mqtt_connection import too_large_text
from gateway.sinks.broker.paho_client import Message
from gateway.sinks.broker.skipped_topics import SKIPPED
from gateway.sinks.sparkplug.config import NODE
from gateway.sinks.sparkplug.payload import REBIRTH, DataType, MetricValue, Property, bd_seq_metric, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.model import Point, Scalar, Update
    from gateway.ports import LatestValues
    from gateway.sinks.sparkplug.config import MqttSparkplugConfig, NodeName, QualityCodes

_MOST_VALUES = 100  # in one message: some kilobytes, less than any broker's limit
_NOT_ENCODABLE = (TypeError, ValueError, OverflowError)


@dataclass(kw_only=True)
class EdgeNode:
    """Builds the messages of one node, to be sent in their order, on one connection at a time.

    Each message is built by what is in force when it is sent: a reload may come between two of them.
    """

    name: NodeName
    config: MqttSparkplugConfig
    devices: DeviceMap
    latest: LatestValues
    is_skipped: Callable[[str], bool] = lambda _: False
    """Returns whether a topic is skipped, since the broker disconnects at it."""
    clock: Callable[[], int] = now_ms
    _bd_seq: int = 0
    _seq: int = 0
    _largest_bytes: int = 0
    _born: set[str] = field(default_factory=set)  # devices that are alive for hosts
    _due: list[str] = field(default_factory=list)  # those that may need a birth or a death, the next one last

    def begin_session(self, *, bd_seq: int, largest_bytes: int) -> None:
        """Begin a session, in which hosts have no births yet."""
        self._bd_seq = bd_seq
        self._largest_bytes = largest_bytes
        self._born.clear()
        self.request_rebirth()

    def request_rebirth(self) -> None:
        """Send all births again (section 6.4.23), after the deaths of devices that are gone."""
        self._due = [NODE, *(self._born - self.devices.by_id.keys())]

    def change_table(self, devices: DeviceMap, latest: LatestValues) -> None:
        """Use another table: devices that are gone die, and all others are born again."""
        self.devices, self.latest = devices, latest
        self.request_rebirth()

    def births_and_deaths(self) -> Iterator[Message]:
        """Yield the births and deaths that are due. NBIRTH comes before all DBIRTHs."""
        while self._due:
            device = self._due.pop()
            if device == NODE:
                self._born.clear()
                self._seq = 0
                self._due = [each for each in reversed(self.devices.by_id) if each != NODE]
            message = self._birth_or_death(device)
            if message is not None:
                yield message

    def data(self, updates: Iterable[Update], refusals: list[Refusal]) -> Iterator[Message]:
        """Yield the data of `updates`, and the births and deaths that are due before and after it.

        Add to `refusals` the updates that cannot be sent.
        """
        yield from self.births_and_deaths()
        by_device: dict[Device, list[tuple[Metric, Update]]] = {}
        for update in updates:
            found = self.devices.by_point.get(update.point)
            if found is not None:  # otherwise not on this sink, or of a former table
                by_device.setdefault(found[0], []).append((found[1], update))
        for device, of_device in by_device.items():
            if self.devices.by_id.get(device.id) is device:  # otherwise a reload came in between
                yield from self._device_data(device, of_device, refusals)
        yield from self.births_and_deaths()

    def _birth_or_death(self, name: str) -> Message | None:
        device = self.devices.by_id.get(name)
        if device is not None and not device.is_offline(self.latest):  # an offline one is dead (section 5.7)
            return self._birth(device) if name not in self._born else None
        if name not in self._born:
            return None
        self._born.remove(name)
        return self._message("DEATH", name, [], self.clock())  # section 6.4.26

    def _birth(self, device: Device) -> Message | None:
        """Return NBIRTH or DBIRTH with all metrics; None where the broker does not accept it."""
        time_ms = self.clock()
        values: list[MetricValue] = []
        if device.id == NODE:
            values.append(bd_seq_metric(self._bd_seq, time_ms))
            values.append(MetricValue(REBIRTH, DataType.BOOLEAN, value=False, time_ms=time_ms))
        values += [self._birth_value(metric, time_ms) for metric in device.metrics]
        message = self._message("BIRTH", device.id, values, time_ms)
        if message is not None:
            self._born.add(device.id)
        return message

    def _birth_value(self, metric: Metric, time_ms: int) -> MetricValue:
        metric.published = update = self.latest.latest(metric.point)
        if update is not None:
            metric.widen_type(update.value)
        try:
            return metric.birth(update, self.config.codes, now_ms=time_ms)
        except _NOT_ENCODABLE:  # its write is refused; so it has no value
            metric.published = None
            return metric.birth(None, self.config.codes, now_ms=time_ms)

    def _device_data(
        self, device: Device, updates: Iterable[tuple[Metric, Update]], refusals: list[Refusal]
    ) -> Iterator[Message]:
        """Yield the data of one device, after its birth where that must come first."""
        pending = [each for each in updates if self.latest.is_newest(each[1]) or self._is_history(each[1])]
        is_dead = device.is_offline(self.latest)
        # A dead device has no data but history: for that, it is born and dies again.
        has_history = any(not self.latest.is_newest(update) for _, update in pending)
        if not pending or (is_dead and device.id not in self._born and not has_history):
            return
        if is_wider := bool([metric for metric, update in pending if metric.widen_type(update.value)]):
            self._born.discard(device.id)  # it needs a birth with other types
        if device.id == NODE and is_wider:
            self.request_rebirth()
            yield from self.births_and_deaths()
        elif device.id not in self._born | {NODE} and (message := self._birth(device)) is not None:
            yield message
        if device.id not in self._born:  # the broker does not accept its birth
            reason = self._refusal_reason("BIRTH", device.id)
            refusals += [Refusal(update, reason) for _, update in pending]
            return
        values = self._values(pending, refusals)
        while some := list(islice(values, _MOST_VALUES)):
            yield from self._data_messages(device, some, refusals)
        if is_dead:
            self._due.append(device.id)

    def _is_history(self, update: Update) -> bool:
        """Return whether an update that is not the newest is sent, marked as historical."""
        is_repeated = update.is_repeated_by(self.latest.latest(update.point))
        return self.config.history and update.is_measured and not is_repeated

    def _values(
        self, pending: Iterable[tuple[Metric, Update]], refusals: list[Refusal]
    ) -> Iterator[tuple[MetricValue, Metric, Update]]:
        """Yield the values to send, without those that hosts have already."""
        for metric, update in pending:
            is_newest = self.latest.is_newest(update)
            if metric.is_unchanged(update) if is_newest else not self._is_history(update):
                continue
            try:
                value = metric.data(update, self.config.codes)
            except _NOT_ENCODABLE as error:
                refusals.append(Refusal(update, f"cannot be sent as {metric.type.name}: {error}"))
                continue
            if is_newest:
                metric.published = update
            yield value._replace(is_historical=not is_newest), metric, update

    def _data_messages(
        self, device: Device, values: list[tuple[MetricValue, Metric, Update]], refusals: list[Refusal]
    ) -> Iterator[Message]:
        """Yield NDATA or DDATA, in halves if one message is too large; refuse a value that fits in none."""
        message = self._message("DATA", device.id, [value for value, *_ in values], self.clock())
        if message is not None:
            yield message
        elif len(values) > 1:
            half = len(values) // 2
            yield from self._data_messages(device, values[:half], refusals)
            yield from self._data_messages(device, values[half:], refusals)
        else:
            ((_, metric, update),) = values
            metric.published = None  # or its repetition would be unchanged
            refusals.append(Refusal(update, self._refusal_reason("DATA", device.id)))

    def _message(self, verb: str, device: str, values: list[MetricValue], time_ms: int) -> Message | None:
        """Return a message with the next number, None where the broker does not accept it.

        One sequence runs over all messages of the node (section 6.4.5). A host that misses one asks for all
        births, so a number is used only for what is sent.
        """
        topic = self._topic(verb, device)
        with_types = self.config.types_in_data or verb == "BIRTH"
        payload = encode(values, time_ms=time_ms, seq=self._seq, with_types=with_types)
        message = Message(topic, payload, retain=False, qos=0)
        if message.size_bytes > self._largest_bytes or self.is_skipped(topic):
            return None
        self._seq = (self._seq + 1) % 256
        return message

    def _topic(self, verb: str, device: str) -> str:
        return self.name.topic(f"{'N' if device == NODE else 'D'}{verb}", device)

    def _refusal_reason(self, verb: str, device: str) -> str:
        is_skipped = self.is_skipped(self._topic(verb, device))
        return SKIPPED if is_skipped else too_large_text(self._largest_bytes)


class DeviceMap:
    """All devices of one table by their ids, the node among them, and the device and metric of each point."""

    def __init__(self, points: Iterable[Point], *, sink: str) -> None:
        """Sort the points that go to this sink by their devices."""
        by_device: dict[str, list[Metric]] = {NODE: []}
        for point in points:
            if point.mqtt is not None and point.mqtt.goes_to(sink):
                device = NODE if _is_of_node(point) else point.tag
                by_device.setdefault(device, []).append(Metric(point))
        self.by_id = {each: Device(each, metrics) for each, metrics in by_device.items()}
        self.by_point = {
            metric.point: (device, metric) for device in self.by_id.values() for metric in device.metrics
        }


@dataclass(slots=True, eq=False)
class Device:
    """The points of one tag; those of no asset for the node itself."""

    id: str
    metrics: list[Metric]

    def is_offline(self, latest: LatestValues) -> bool:
        """Return whether none of its values has a connection; never of the node itself, which has one."""
        if self.id == NODE:
            return False
        points = [metric.point for metric in self.metrics]
        shown = [latest.latest(point) for point in points if not (point.is_pseudo or point.is_computed)]
        known = [update for update in shown if update is not None]
        return bool(known) and all(update.quality is Quality.OFFLINE for update in known)


class Metric:
    """One point, under the name that it has in its device."""

    __slots__ = ("_type", "name", "point", "published")

    def __init__(self, point: Point) -> None:
        self.point = point
        self.name = point.name if _is_of_node(point) else point.point  # the node's own may be of several tags
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

    def is_unchanged(self, update: Update) -> bool:
        """Return whether hosts have this value already, or one within the deadband: only changes are sent."""
        published, cov = self.published, self.point.cov
        if published is None:
            return False
        if cov is not None:
            return is_small_change(cov, published, update)
        return (published.value, published.quality) == (update.value, update.quality)

    def data(self, update: Update, codes: QualityCodes) -> MetricValue:
        """Return the value for NDATA or DDATA; raise ValueError or OverflowError where no type holds it."""
        value = self.type.convert(update.value)
        return MetricValue(
            self.name, self.type, value, update.time_ms, properties=_quality(update.quality, codes)
        )

    def birth(self, update: Update | None, codes: QualityCodes, *, now_ms: int) -> MetricValue:
        """Return the value for a birth, with unit and description, by the names that Ignition uses.

        Before the first reading there is no value, and the quality is bad. Raises as `data`.
        """
        if update is None:
            bad = _quality(Quality.BAD, codes)
            value = MetricValue(self.name, self.type, None, now_ms, properties=bad)
        else:
            value = self.data(update, codes)
        texts = (("engUnit", self.point.unit_of_measure), ("documentation", self.point.description))
        described = tuple(Property(key, DataType.STRING, text) for key, text in texts if text)
        return value._replace(properties=value.properties + described)


def _is_of_node(point: Point) -> bool:
    """Return whether a point belongs to no asset and, as it is not computed, to no tag of the building."""
    return not (point.asset or point.is_computed)


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
