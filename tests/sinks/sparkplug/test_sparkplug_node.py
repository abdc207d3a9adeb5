"""Any sequence of steps: a host that checks the rules finds no fault and has the right values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from support.latest_values import DictLatestValues
from support.mqtt_parts import make_point, make_update
from support.sparkplug_host import GROUP, NODE, SparkplugHost

from gateway.model import Quality
from gateway.sinks.sparkplug.config import MqttSparkplugConfig, NodeName
from gateway.sinks.sparkplug.edge_node import DeviceMap, EdgeNode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model import Point, Refusal, Scalar, Update
    from gateway.sinks.broker.paho_client import Message

CONFIG = MqttSparkplugConfig(type="mqtt_sparkplug", url="mqtt://b", group=GROUP)  # type: ignore[arg-type]  # parsed from text
NAMES = ("A/T", "A/H", "B/T", "B/S", "gateway/L")
VALUES = st.sampled_from([21.5, 22, True, "open", None])
WRITES = st.lists(st.tuples(st.sampled_from(NAMES), VALUES, st.sampled_from([0, 0, 5])), max_size=4)
CONNECTIONS = st.tuples(st.sampled_from("AB"), st.booleans())
TABLES = st.just(set(NAMES)) | st.sets(st.sampled_from(NAMES), min_size=1)
STEPS = st.one_of(
    WRITES.map(lambda write: ("write", write)),
    CONNECTIONS.map(lambda change: ("connection", change)),
    TABLES.map(lambda names: ("reload", names)),
    st.sampled_from([("rebirth", None), ("reconnect", None), ("news", None)]),
)


def make(name: str, version: int = 0) -> Point:
    """Return the point of a table; each version is another object, some with another description."""
    point = replace(make_point(name), unit_of_measure=None, description="new" if version % 3 == 2 else None)
    return replace(point, asset="" if name.startswith("gateway") else name[0])


class Day:
    """A node and its host; each step is a time."""

    def __init__(self) -> None:
        self.now = 100
        self.points = {name: make(name) for name in NAMES}
        self.latest = DictLatestValues()
        self.offline: set[str] = set()
        self.host = SparkplugHost(port=0)
        self.late: list[tuple[str, int]] = []
        self.reloads = 0
        self.bd_seq = 0
        self.node = EdgeNode(
            name=NodeName(GROUP, NODE),
            config=CONFIG,
            devices=self._devices(),
            latest=self.latest,
            clock=lambda: self.now,
        )
        self.node.begin_session(bd_seq=0, largest_bytes=10**6)
        self._hear(self.node.births_and_deaths())

    def write(self, values: Iterable[tuple[str, Scalar, int]]) -> None:
        """Deliver readings, some of them late, as the delivery loop does."""
        updates = []
        for name, value, late_by in values:
            point = self.points.get(name)
            if point is None:
                continue
            quality = Quality.GOOD if value is not None else Quality.BAD
            update = make_update(point, value, time_ms=self.now - late_by, quality=quality)
            if point.asset in self.offline and self.latest.is_newest(update):
                continue  # what a device without connection reports would end that
            self.latest.take([update])
            updates.append(update)
        self.late += [
            (update.point.name, update.time_ms) for update in updates if not self.latest.is_newest(update)
        ]
        self._deliver(updates)

    def connection(self, change: tuple[str, bool]) -> None:
        """Take a device offline with stand-ins, or bring it back with a reading."""
        asset, is_online = change
        if is_online:
            self.offline.discard(asset)
            self.write([(f"{asset}/T", 1.0, 0)])
            return
        self.offline.add(asset)
        updates = [
            make_update(point, known.value, time_ms=self.now, quality=Quality.OFFLINE)
            for point in self.points.values()
            if point.asset == asset and (known := self.latest.latest(point)) is not None
        ]
        self.latest.take(updates)
        self._deliver(updates)

    def reload(self, names: Iterable[str]) -> None:
        """Change the table."""
        self.reloads += 1
        self.points = {name: make(name, self.reloads) for name in names}
        self.node.change_table(self._devices(), self.latest)

    def rebirth(self, _: None) -> None:
        """Request all births."""
        self.node.request_rebirth()
        self.news(None)

    def reconnect(self, _: None) -> None:
        """Lose the connection; the host gets the will."""
        self.host.is_online = False
        self.bd_seq += 1
        self.node.begin_session(bd_seq=self.bd_seq, largest_bytes=10**6)
        self.news(None)

    def news(self, _: None) -> None:
        """Send the births and deaths that are due."""
        self._hear(self.node.births_and_deaths())

    def _devices(self) -> DeviceMap:
        return DeviceMap(self.points.values(), sink="scada")

    def _deliver(self, updates: Iterable[Update]) -> None:
        refusals: list[Refusal] = []
        self._hear(self.node.data(updates, refusals))
        assert refusals == []

    def _hear(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.host.apply(message.topic, message.payload, qos=message.qos, retained=message.retain)


def test_a_refused_birth_of_the_node_causes_no_others() -> None:
    """The node's own points are refused; the devices are not born again with each of them."""
    own = [make(f"gateway/P{number}") for number in range(40)]
    latest = DictLatestValues()
    refusals: list[Refusal] = []
    node = EdgeNode(
        name=NodeName(GROUP, NODE),
        config=CONFIG,
        devices=DeviceMap([*own, make("a/T")], sink="scada"),
        latest=latest,
        clock=lambda: 1,
    )
    node.begin_session(bd_seq=0, largest_bytes=1000)
    assert [message.topic for message in node.births_and_deaths()] == [f"spBv1.0/{GROUP}/DBIRTH/{NODE}/a"]
    for value in (1.0, 2.0):
        update = make_update(own[0], value, time_ms=100 + round(value))
        latest.take([update])
        assert list(node.data([update], refusals)) == []
    assert [refusal.update.value for refusal in refusals] == [1.0, 2.0]


def shown_in(day: Day, name: str) -> tuple[object, object]:
    """Return value and quality of a tag."""
    device, _, metric = name.partition("/")
    tag = day.host.tags[""][name] if device == "gateway" else day.host.tags[device][metric]
    return tag.value, tag.properties["GatewayQuality"]


@settings(max_examples=150)
@given(st.lists(STEPS, max_size=20))
def test_a_host_finds_no_fault_and_has_the_right_values(steps: list[tuple[str, object]]) -> None:
    """In the end, living devices show the newest values, and dead ones are dead."""
    day = Day()
    for what, argument in steps:
        day.now += 10
        getattr(day, what)(argument)
    day.news(None)
    assert day.host.faults == []
    for name, point in day.points.items():
        newest = day.latest.latest(point)
        known = [day.latest.latest(each) for each in day.points.values() if each.asset == point.asset]
        qualities = {update.quality for update in known if update is not None}
        is_dead = point.asset != "" and qualities == {Quality.OFFLINE}
        assert day.host.is_dead("" if point.asset == "" else point.tag) is is_dead
        if newest is not None and not is_dead:
            value, quality = shown_in(day, name)
            assert quality == newest.quality.name.lower()
            assert (value is None) is (newest.value is None)
            assert value in {newest.value, str(newest.value), f"{newest.value}".lower()}
        elif not is_dead:
            assert shown_in(day, name) == (None, "bad")
    gone = {name.partition("/")[0] for name in NAMES} - {name.partition("/")[0] for name in day.points}
    assert all(day.host.is_dead(device) for device in gone)
    history = [(f"{device}/{metric.name}".lstrip("/"), metric.time_ms) for device, metric in day.host.history]
    assert sorted(history) == sorted(day.late)
