"""A Sparkplug edge node: which births hosts have on the present connection, and which messages are next.

Sections are those of Sparkplug 3.0.0. Each message is built by what is in force when it is sent: a reload may
come between two of them.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import structlog

from gateway.clock import now_ms
from gateway.model import Refusal
from gateway.sinks.broker.mqtt_connection import Message, too_large_text
from gateway.sinks.broker.skipped_topics import SKIPPED
from gateway.sinks.sparkplug.config import NODE
from gateway.sinks.sparkplug.payload import REBIRTH, DataType, MetricValue, bd_seq_metric, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.model import Update
    from gateway.ports import LatestValues
    from gateway.sinks.sparkplug.config import MqttSparkplugConfig, NodeName
    from gateway.sinks.sparkplug.devices import Device, DeviceMap, Metric

    _Sent = tuple[MetricValue, Metric, Update]

_MOST_VALUES = 100  # in one message: some kilobytes, less than any broker's limit
_NOT_ENCODABLE = (TypeError, ValueError, OverflowError)

_log = structlog.get_logger()


class EdgeNode:
    """Builds the messages of one node, to be sent in their order, on one connection at a time."""

    def __init__(
        self,
        *,
        sink: str,
        name: NodeName,
        config: MqttSparkplugConfig,
        devices: DeviceMap,
        latest: LatestValues,
        is_skipped: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        """`is_skipped` returns whether a topic is skipped, since the broker disconnects at it."""
        self._sink = sink
        self._name = name
        self._config = config
        self.devices = devices
        self._latest = latest
        self._is_skipped = is_skipped
        self._clock = clock
        self._bd_seq = 0
        self._seq = 0
        self._largest_bytes = 0
        self._born: dict[str, Device] = {}  # those that are alive for hosts; the node first
        self._due: dict[str, None] = {}  # devices that may need a birth or a death, the next one last
        self._refused: set[Device] = set()  # those whose birth the broker does not accept

    def begin_session(self, *, bd_seq: int, largest_bytes: int) -> None:
        """Begin a session, in which hosts have no births yet."""
        self._bd_seq = bd_seq
        self._largest_bytes = largest_bytes
        self._refused.clear()
        self.request_rebirth()

    def request_rebirth(self) -> None:
        """Send all births again (section 6.4.23)."""
        self._born.clear()

    def change_table(
        self, devices: DeviceMap, latest: LatestValues, unchanged: Iterable[tuple[Device, Device]]
    ) -> None:
        """Use another table; the `unchanged` devices, former and new, need no other birth."""
        self.devices, self._latest = devices, latest
        born, by_id = self._born, devices.by_id
        for old, new in unchanged:
            for was, now in zip(old.metrics, new.metrics, strict=True):
                now.continue_from(was)
            if born.get(old.id) is old:
                born[old.id] = new
            if old in self._refused:
                self._refused.add(new)
        self._mark_due(each for each in (*born, *by_id) if born.get(each) is not by_id.get(each))

    def births_and_deaths(self) -> Iterator[Message]:
        """Yield the births and deaths that are due. NBIRTH is first, and all DBIRTHs follow it."""
        while (device := self._next_due()) is not None:
            if device == NODE:
                self._born.clear()
                self._seq = 0
                self._mark_due(self.devices.by_id)
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

    def _next_due(self) -> str | None:
        if self._born.get(NODE) is not self.devices.by_id[NODE]:
            return NODE
        return self._due.popitem()[0] if self._due else None

    def _mark_due(self, devices: Iterable[str]) -> None:
        """Queue these devices for a check, in this order."""
        self._due = dict.fromkeys(device for device in reversed([*devices]) if device != NODE)

    def _birth_or_death(self, name: str) -> Message | None:
        device, born = self.devices.by_id.get(name), self._born.get(name)
        if device is not None and not device.is_offline(self._latest):  # an offline one is dead (section 5.7)
            return self._birth(device) if born is not device else None
        if born is None:
            return None
        is_known = self._born.pop(name) not in self._refused  # DDEATH (section 6.4.26) needs a birth
        return self._message("DEATH", name, [], self._clock()) if is_known else None

    def _birth(self, device: Device) -> Message | None:
        """Return NBIRTH or DBIRTH with all metrics; None where the broker does not accept it."""
        time_ms = self._clock()
        values: list[MetricValue] = []
        if device.id == NODE:
            values.append(bd_seq_metric(self._bd_seq, time_ms))
            values.append(MetricValue(REBIRTH, DataType.BOOLEAN, value=False, time_ms=time_ms))
        values += [self._birth_value(metric, time_ms) for metric in device.metrics]
        message = self._message("BIRTH", device.id, values, time_ms)
        self._born[device.id] = device  # also where the broker does not accept it: one attempt is enough
        if message is None:
            self._mark_refused(device)
        return message

    def _birth_value(self, metric: Metric, time_ms: int) -> MetricValue:
        metric.published = update = self._latest.latest(metric.point)
        if update is not None:
            metric.widen_type(update.value)
        try:
            return metric.birth(update, self._config.codes, now_ms=time_ms)
        except _NOT_ENCODABLE:  # its write is refused; so it has no value
            metric.published = None
            return metric.birth(None, self._config.codes, now_ms=time_ms)

    def _mark_refused(self, device: Device) -> None:
        """Record that hosts have no birth of a device; log it once."""
        for metric in device.metrics:
            metric.published = None
        if device not in self._refused:
            self._refused.add(device)
            topic = self._topic("BIRTH", device.id)
            _log.warning("sink.refused", sink=self._sink, first=topic, reason=self._refusal_reason(topic))

    def _device_data(
        self, device: Device, updates: Iterable[tuple[Metric, Update]], refusals: list[Refusal]
    ) -> Iterator[Message]:
        """Yield the data of one device, after its birth where that must come first."""
        pending = [each for each in updates if self._latest.is_newest(each[1]) or self._is_history(each[1])]
        is_dead = device.is_offline(self._latest)
        # A dead device has no data but history: for that, it is born and dies again.
        has_history = any(not self._latest.is_newest(update) for _, update in pending)
        if not pending or (is_dead and device.id not in self._born and not has_history):
            return
        if [metric for metric, update in pending if metric.widen_type(update.value)]:
            self._born.pop(device.id, None)  # it needs a birth with other types
        if self._born.get(device.id) is not device:
            if device.id == NODE:
                yield from self.births_and_deaths()
            elif (message := self._birth(device)) is not None:
                yield message
        values = self._values(pending, refusals)
        while some := list(islice(values, _MOST_VALUES)):
            yield from self._data_messages(device, some, refusals)
        if is_dead:
            self._due[device.id] = None

    def _is_history(self, update: Update) -> bool:
        """Return whether an update that is not the newest is sent, marked as historical."""
        is_repeated = update.is_repeated_by(self._latest.latest(update.point))
        return self._config.history and update.is_measured and not is_repeated

    def _values(self, pending: Iterable[tuple[Metric, Update]], refusals: list[Refusal]) -> Iterator[_Sent]:
        """Yield the values to send, without those that hosts have already."""
        for metric, update in pending:
            is_historical = not self._latest.is_newest(update)
            if metric.is_unchanged(update) if not is_historical else not self._is_history(update):
                continue
            try:
                value = metric.data(update, self._config.codes, is_historical=is_historical)
            except _NOT_ENCODABLE as error:
                refusals.append(Refusal(update, f"cannot be sent as {metric.type.name}: {error}"))
                continue
            if not is_historical:
                metric.published = update
            yield value, metric, update

    def _data_messages(
        self, device: Device, values: list[_Sent], refusals: list[Refusal]
    ) -> Iterator[Message]:
        """Yield NDATA or DDATA, in halves if one message is too large; refuse a value that fits in none."""
        message = None
        if device not in self._refused:
            message = self._message("DATA", device.id, [value for value, *_ in values], self._clock())
        if message is not None:
            yield message
        elif len(values) > 1:
            half = len(values) // 2
            yield from self._data_messages(device, values[:half], refusals)
            yield from self._data_messages(device, values[half:], refusals)
        else:
            ((_, metric, update),) = values
            metric.published = None  # or its repetition would be unchanged
            topic = self._topic("DATA" if device not in self._refused else "BIRTH", device.id)
            refusals.append(Refusal(update, self._refusal_reason(topic)))

    def _message(self, verb: str, device: str, values: list[MetricValue], time_ms: int) -> Message | None:
        """Return a message with the next number, None where the broker does not accept it.

        One sequence runs over all messages of the node (section 6.4.5). A host that misses one asks for all
        births, so a number is used only for what is sent.
        """
        topic = self._topic(verb, device)
        with_types = self._config.types_in_data or verb == "BIRTH"
        payload = encode(values, time_ms=time_ms, seq=self._seq, with_types=with_types)
        message = Message(topic, payload, retain=False, qos=0)
        if message.size_bytes > self._largest_bytes or self._is_skipped(topic):
            return None
        self._seq = (self._seq + 1) % 256
        return message

    def _topic(self, verb: str, device: str) -> str:
        return self._name.topic(f"{'N' if device == NODE else 'D'}{verb}", device)

    def _refusal_reason(self, topic: str) -> str:
        return SKIPPED if self._is_skipped(topic) else too_large_text(self._largest_bytes)
