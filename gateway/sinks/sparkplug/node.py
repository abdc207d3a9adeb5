"""A Sparkplug edge node: what it has told hosts on its present connection, and what it has to tell them next.

Sections are those of Sparkplug 3.0.0. Messages are made one by one, each by what is in force when it is sent:
the table may be swapped between two of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import structlog

from gateway.model import Refusal
from gateway.sinks.broker.message import Message, too_large_text
from gateway.sinks.broker.skipped_topics import SKIPPED
from gateway.sinks.sparkplug.layout import NODE
from gateway.sinks.sparkplug.payload import REBIRTH, DataType, Sample, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.model import Update
    from gateway.ports import LatestValues
    from gateway.sinks.sparkplug.layout import Device, Layout, Metric, QualityCodes

_HIGHEST_SEQ = 255
_MOST_SAMPLES = 100  # in one message: some kilobytes, less than any broker's limit
_NAMESPACE = "spBv1.0"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NodeName:
    """Which node of which group this is; section 4.1."""

    group: str
    node: str

    def topic(self, verb: str, device: str = NODE) -> str:
        """Return the topic of a message about the node (NBIRTH, say) or about one of its devices (DBIRTH)."""
        return "/".join(filter(None, (_NAMESPACE, self.group, verb, self.node, device)))


def state_topic(host: str) -> str:
    """Return the topic where a host application says whether it is there."""
    return f"{_NAMESPACE}/STATE/{host}"


def node_death(*, bd_seq: int, time_ms: int) -> bytes:
    """Return the payload of NDEATH: the number of the session that ends, and no `seq` (section 6.4.25)."""
    return encode([_bd_seq(bd_seq, time_ms)], time_ms=time_ms, seq=None)


class _Telling(NamedTuple):
    """An update that hosts are to be told, and how."""

    metric: Metric
    update: Update
    is_historical: bool


class EdgeNode:
    """Makes the messages of one node, to be sent in their order, on one connection at a time."""

    def __init__(
        self,
        *,
        sink: str,
        name: NodeName,
        layout: Layout,
        latest: LatestValues,
        codes: QualityCodes,
        history: bool,
        types_in_data: bool = False,
        skips: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], int],
    ) -> None:
        """`history`: whether readings are told that are not the newest; `types_in_data`: see `encode`.

        `skips` says of a topic whether the broker hangs up at it.
        """
        self._sink = sink
        self._name = name
        self._layout = layout
        self._latest = latest
        self._codes = codes
        self._history = history
        self._types_in_data = types_in_data
        self._skips = skips
        self._clock = clock
        self._bd_seq = 0
        self._seq = 0
        self._largest_bytes = 0
        self._born: dict[str, Device] = {}  # those that are alive as hosts know them; the node first
        self._looked_at: dict[str, None] = {}  # devices that may need a birth or a death
        self._untaken: set[Device] = set()  # those whose birth the broker does not take

    @property
    def layout(self) -> Layout:
        """What is shown of the table in force."""
        return self._layout

    def begin(self, *, bd_seq: int, largest_bytes: int) -> None:
        """Begin a session, in which hosts know nothing yet."""
        self._bd_seq = bd_seq
        self._largest_bytes = largest_bytes
        self._untaken.clear()
        self.be_reborn()

    def be_reborn(self) -> None:
        """Have everything told again, as a host demands (section 6.4.23)."""
        self._born.clear()

    def adopt(self, layout: Layout, latest: LatestValues, same: Iterable[tuple[Device, Device]]) -> None:
        """Go on with another layout; in devices that are the `same`, hosts will notice nothing."""
        self._layout, self._latest = layout, latest
        born, devices = self._born, layout.devices
        for old, new in same:
            if born.get(old.id) is old:
                born[old.id] = new
            if old in self._untaken:
                self._untaken.add(new)
        self._look_at(*(each for each in (*born, *devices) if born.get(each) is not devices.get(each)))

    def announcements(self) -> Iterator[Message]:
        """Yield the births and deaths that are due. NBIRTH is first, and all DBIRTHs follow it."""
        while (device := self._next_due()) is not None:
            if device == NODE:
                self._born.clear()
                self._seq = 0
                self._look_at(*self._layout.devices)
            message = self._announcement(device)
            if message is not None:
                yield message

    def data(self, updates: Iterable[Update], refusals: list[Refusal]) -> Iterator[Message]:
        """Yield what hosts must be told of `updates`, and of births and deaths before and after it.

        Add to `refusals` what cannot be told.
        """
        yield from self.announcements()
        by_device: dict[Device, list[tuple[Metric, Update]]] = {}
        for update in updates:
            place = self._layout.places.get(update.point)
            if place is not None:  # otherwise not on this sink, or not in the point table any more
                by_device.setdefault(place[0], []).append((place[1], update))
        for device, its_updates in by_device.items():
            if self._layout.devices.get(device.id) is device:  # otherwise the table was swapped meanwhile
                yield from self._device_data(device, its_updates, refusals)
        yield from self.announcements()

    def _next_due(self) -> str | None:
        """Return whose birth or death is to be looked at next."""
        if self._born.get(NODE) is not self._layout.devices[NODE]:
            return NODE
        return self._looked_at.popitem()[0] if self._looked_at else None

    def _look_at(self, *devices: str) -> None:
        """Have these devices looked at in this order, none of them twice."""
        self._looked_at = dict.fromkeys(device for device in reversed(devices) if device != NODE)

    def _announcement(self, name: str) -> Message | None:
        """Return the device's birth or death where one is due."""
        device, told = self._layout.devices.get(name), self._born.get(name)
        if device is not None and not self._is_dead(device):
            return self._birth(device) if told is not device else None
        return self._death(name) if told is not None else None

    def _is_dead(self, device: Device) -> bool:
        """Say whether a device has no connection (section 5.7); the node itself has one while it speaks."""
        return device.id != NODE and device.is_offline(self._latest)

    def _birth(self, device: Device) -> Message | None:
        """Return NBIRTH or DBIRTH with everything that the device has; None where the broker takes none."""
        now_ms = self._clock()
        samples = [_bd_seq(self._bd_seq, now_ms), _rebirth(now_ms)] if device.id == NODE else []
        samples += [self._born_metric(metric, now_ms) for metric in device.metrics]
        message = self._message("BIRTH", device.id, samples, now_ms)
        self._born[device.id] = device  # also where the broker does not take it: once tried is enough
        if message is None:
            self._note_untaken(device)
        return message

    def _note_untaken(self, device: Device) -> None:
        """Take in that hosts are told nothing of a device; say so once."""
        for metric in device.metrics:
            metric.tell(None)
        if device not in self._untaken:
            self._untaken.add(device)
            topic = self._topic("BIRTH", device.id)
            _log.warning("sink.refused", sink=self._sink, first=topic, reason=self._why_not(topic))

    def _born_metric(self, metric: Metric, now_ms: int) -> Sample:
        update = self._latest.latest(metric.point)
        if update is not None:
            metric.learn(update.value)
        metric.tell(update)
        try:
            return metric.birth(update, self._codes, now_ms=now_ms)
        except (TypeError, ValueError, OverflowError):  # its write is refused; so it has no value
            metric.tell(None)
            return metric.birth(None, self._codes, now_ms=now_ms)

    def _death(self, name: str) -> Message | None:
        """Return DDEATH (section 6.4.26)."""
        was_told = self._born.pop(name) not in self._untaken
        return self._message("DEATH", name, [], self._clock()) if was_told else None

    def _device_data(
        self, device: Device, updates: Iterable[tuple[Metric, Update]], refusals: list[Refusal]
    ) -> Iterator[Message]:
        """Yield data of one device, after its birth where that must come first."""
        tellings = [telling for telling in (self._telling(*each) for each in updates) if telling is not None]
        is_dead = self._is_dead(device)
        # Of a dead device, history is the only news: for that, it comes to life and dies again.
        if not tellings or (is_dead and device.id not in self._born and not _any_historical(tellings)):
            return
        if [metric for metric, update, _ in tellings if metric.learn(update.value)]:
            self._born.pop(device.id, None)  # it has to tell other types
        if self._born.get(device.id) is not device:
            if device.id == NODE:
                yield from self.announcements()
            elif (message := self._birth(device)) is not None:
                yield message
        yield from self._data_messages(device, tellings, refusals)
        if is_dead:
            self._looked_at[device.id] = None

    def _telling(self, metric: Metric, update: Update) -> _Telling | None:
        """Return how an update is told: as the present value, as history, or not at all."""
        if self._latest.is_newest(update):
            return _Telling(metric, update, is_historical=False)
        is_told = update.is_repeated_by(self._latest.latest(update.point))
        if self._history and update.is_measured and not is_told:
            return _Telling(metric, update, is_historical=True)
        return None

    def _data_messages(
        self, device: Device, tellings: Iterable[_Telling], refusals: list[Refusal]
    ) -> Iterator[Message]:
        """Yield NDATA or DDATA, as many messages as are needed."""
        rest = self._samples(tellings, refusals)
        while some := list(islice(rest, _MOST_SAMPLES)):
            yield from self._fitting(device, some, refusals)

    def _fitting(
        self, device: Device, some: list[tuple[Sample, _Telling]], refusals: list[Refusal]
    ) -> Iterator[Message]:
        """Yield one message, or halves of it where it is more than the broker takes; refuse what has none."""
        message = None
        if device not in self._untaken:
            message = self._message("DATA", device.id, [sample for sample, _ in some], self._clock())
        if message is not None:
            yield message
        elif len(some) > 1:
            half = len(some) // 2
            yield from self._fitting(device, some[:half], refusals)
            yield from self._fitting(device, some[half:], refusals)
        else:
            ((_, telling),) = some
            telling.metric.tell(None)  # or its repetition would be nothing new
            verb = "DATA" if device not in self._untaken else "BIRTH"
            refusals.append(Refusal(telling.update, self._why_not(self._topic(verb, device.id))))

    def _samples(
        self, tellings: Iterable[_Telling], refusals: list[Refusal]
    ) -> Iterator[tuple[Sample, _Telling]]:
        """Yield what data says, without what hosts know already."""
        for telling in tellings:
            metric, update, is_historical = telling
            if not is_historical and metric.says_nothing_new(update):
                continue
            try:
                sample = metric.sample(update, self._codes, is_historical=is_historical)
            except (TypeError, ValueError, OverflowError) as error:
                reason = f"cannot be told as {metric.shown_type.name}: {error}"
                refusals.append(Refusal(update, reason))
                continue
            if not is_historical:
                metric.tell(update)
            yield sample, telling

    def _message(self, verb: str, device: str, samples: list[Sample], now_ms: int) -> Message | None:
        """Return a message with the next number, None where the broker does not take it.

        One sequence runs over all messages of the node (section 6.4.5). A host that misses one demands
        all births, so a number is used only for what is sent.
        """
        topic = self._topic(verb, device)
        with_types = self._types_in_data or verb == "BIRTH"
        payload = encode(samples, time_ms=now_ms, seq=self._seq, with_types=with_types)
        message = Message(topic, payload, retain=False, qos=0)
        if message.size_bytes > self._largest_bytes or self._skips(topic):
            return None
        self._seq = self._seq + 1 if self._seq < _HIGHEST_SEQ else 0
        return message

    def _topic(self, verb: str, device: str) -> str:
        return self._name.topic(f"{'N' if device == NODE else 'D'}{verb}", device)

    def _why_not(self, topic: str) -> str:
        """Say why the broker does not take a message."""
        return SKIPPED if self._skips(topic) else too_large_text(self._largest_bytes)


def _any_historical(tellings: Iterable[_Telling]) -> bool:
    return any(telling.is_historical for telling in tellings)


def _bd_seq(number: int, time_ms: int) -> Sample:
    """Return what tells births and deaths of one connection from those of others (section 6.4.19)."""
    return Sample("bdSeq", DataType.INT64, number, time_ms)


def _rebirth(time_ms: int) -> Sample:
    """Return the metric that hosts set to demand all births."""
    return Sample(REBIRTH, DataType.BOOLEAN, value=False, time_ms=time_ms)
