"""Which messages updates become, in any order and for every layout."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import chain, islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.latest_values import DictLatestValues
from support.mqtt_parts import make_point, make_update
from support.point_tables import load_good_tables

from gateway.mapping.topics import ASSET_TOPIC, POINT_TOPIC, TopicScheme
from gateway.sinks.mqtt.message_builder import MessageBuilder
from gateway.sinks.mqtt.value_topics import TopicMap
from gateway.state.building_state import BuildingState

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model import Refusal, Update
    from gateway.sinks.broker.paho_client import Message

POINTS = [make_point(name) for name in ("R1/A", "R1/B", "R2/A")]
SCHEMES = {
    "point": TopicScheme(prefix="gw"),
    "asset": TopicScheme(prefix="gw", points=None, assets=ASSET_TOPIC),
    "both": TopicScheme(prefix="gw", points=POINT_TOPIC, assets=ASSET_TOPIC),
}
BASE_MS = 1_795_507_200_000
# Each event: at what time, and how many readings of each point; each batch: some events.
events = st.tuples(st.integers(0, 8), st.lists(st.sampled_from(range(len(POINTS))), max_size=4))
batches = st.lists(st.lists(events, max_size=4), max_size=6)


def updates_of(batches_of_events: list[list[tuple[int, list[int]]]]) -> list[list[Update]]:
    """Return batches of updates with different values."""
    made: list[list[Update]] = []
    value = seq = 0
    for batch in batches_of_events:
        made.append([])
        for later_s, points in batch:
            seq += 1
            for number in points:
                value += 1
                made[-1].append(make_update(POINTS[number], value, time_ms=BASE_MS + 1000 * later_s, seq=seq))
    return made


def readings(message: Message) -> dict[str, tuple[int, str]]:
    """Return value and time of each point in a message, by the point's name."""
    document = json.loads(message.payload)
    _, _, *levels = message.topic.removesuffix("/$history").split("/")
    if "points" in document:
        return {f"{levels[0]}/{name}": (one["value"], one["ts"]) for name, one in document["points"].items()}
    return {"/".join(levels): (document["value"], document["ts"])}


@pytest.mark.parametrize("layout", SCHEMES)
@given(batches, st.integers(0, 2))
def test_every_reading_is_live_or_history_and_live_moves_forward(
    layout: str, batches_of_events: list[list[tuple[int, list[int]]]], meanwhile: int
) -> None:
    """No reading is lost, none is live after a newer one, and the last live one is the newest.

    Also if `meanwhile` readings arrive with each message that is sent.
    """
    latest = DictLatestValues()
    scheme = SCHEMES[layout]
    builder = MessageBuilder(
        TopicMap(POINTS, sink="bms", topics=scheme, bare=False),
        latest,
        has_history=True,
        retained={},
    )
    made = updates_of(batches_of_events)
    live: dict[tuple[bool, str], list[tuple[int, str]]] = defaultdict(list)
    past: dict[tuple[bool, str], list[tuple[int, str]]] = defaultdict(list)
    coming = chain.from_iterable(made)
    known = due = 0
    for batch in made:
        due += len(batch)
        latest.take(islice(coming, max(0, due - known)))
        known = max(known, due)
        refusals: list[Refusal] = []
        for message in builder.messages(batch, refusals):
            latest.take(islice(coming, meanwhile))
            known += meanwhile
            of_asset = b'"points"' in message.payload
            for name, reading in readings(message).items():
                (live if message.retain else past)[of_asset, name].append(reading)
        assert refusals == []
    for kind in (False, True):
        if (scheme.assets if kind else scheme.points) is None:
            continue
        for point in POINTS:
            values = {update.value for batch in made for update in batch if update.point is point}
            place = kind, point.name
            assert {value for value, _ in live[place] + past[place]} == values
            times = [moment for _, moment in live[place]]
            assert times == sorted(times)
            if values:
                newest = latest.latest(point)
                assert newest is not None
                assert live[place][-1][0] == newest.value


@pytest.mark.parametrize("layout", SCHEMES)
def test_a_reading_that_came_twice_is_no_history(tmp_path: Path, layout: str) -> None:
    """A webhook and a backfill may bring the same reading; another value of the same time is history."""
    table = "points: [{tag: R1, point: A, asset: a, from: t}]"
    points = load_good_tables(tmp_path, f"schema: gateway.points/1\nsite: hq\n{table}\n")
    image, (point,) = BuildingState(points), points.points
    made = TopicMap(points.points, sink="bms", topics=SCHEMES[layout], bare=False)
    builder = MessageBuilder(made, image, has_history=True, retained={})
    updates = [
        make_update(point, value, time_ms=BASE_MS + later_ms, seq=seq)
        for seq, (value, later_ms) in enumerate([(1, 0), (2, 1000), (3, 1000), (2, 1000)], start=1)
    ]
    image.apply_updates(points.by_asset["a"], list(updates), now_ms=BASE_MS)
    messages = list(builder.messages(updates, []))
    past = {readings(message)["R1/A"][0] for message in messages if not message.retain}
    live = [readings(message)["R1/A"][0] for message in messages if message.retain]
    assert past == {1, 3}
    assert set(live) == {2}


@pytest.mark.parametrize("layout", ["point", "asset"])
@pytest.mark.parametrize("every_s", [60, 120, 239, 240, 299, 301, 400, 599])
def test_a_value_within_its_deadband_never_expires_while_it_is_fresh(
    tmp_path: Path, layout: str, every_s: int
) -> None:
    """At any interval below `stale_after`, the next message is published before the last one expires."""
    cov = "{delta: 5, every: 1h}"
    table = f"points:\n  - {{tag: R1, point: A, asset: a, from: t, stale_after: 10m, cov: {cov}}}\n"
    (point,) = load_good_tables(tmp_path, f"schema: gateway.points/1\nsite: hq\n{table}").points
    latest = DictLatestValues()
    made = TopicMap([point], sink="bms", topics=SCHEMES[layout], bare=False)
    builder = MessageBuilder(made, latest, has_history=True, retained={})
    expires_ms = 0
    for number in range(50):
        now_ms = BASE_MS + number * every_s * 1000
        assert number == 0 or now_ms < expires_ms
        update = make_update(point, 20 + number / 100, time_ms=now_ms)
        latest.take([update])
        latest.now_ms = now_ms
        for message in builder.messages([update], []):
            expires_ms = now_ms + 1000 * int.from_bytes(message.properties[1:5], "big")


@pytest.mark.parametrize("layout", ["point", "asset"])
def test_a_message_expires_in_time_though_the_clock_is_set_back(tmp_path: Path, layout: str) -> None:
    """The expiry follows the steady clock, so that a broker does not keep a value for a day."""
    table = "points: [{tag: R1, point: A, asset: a, from: t, stale_after: 10m}]"
    points = load_good_tables(tmp_path, f"schema: gateway.points/1\nsite: hq\n{table}\n")
    image, (point,) = BuildingState(points), points.points
    made = TopicMap(points.points, sink="bms", topics=SCHEMES[layout], bare=False)
    builder = MessageBuilder(made, image, has_history=True, retained={})
    image.apply_updates(
        points.by_asset["a"], [make_update(point, 20, time_ms=BASE_MS, seq=1)], now_ms=BASE_MS
    )
    image.clock_steps.follow(-86_400_000, after=1)
    image.tick(BASE_MS + 60_000)
    (message,) = builder.all_state()
    assert int.from_bytes(message.properties[1:5], "big") == 540


def test_a_deadband_ends_though_the_clock_is_set_back(tmp_path: Path) -> None:
    """A last message with a later time does not hold back the next one for a day."""
    table = "points: [{tag: R1, point: A, asset: a, from: $quality, cov: {delta: 1, every: 5m}}]"
    (point,) = load_good_tables(tmp_path, f"schema: gateway.points/1\nsite: hq\n{table}\n").points
    latest = DictLatestValues()
    builder = MessageBuilder(
        TopicMap([point], sink="bms", topics=SCHEMES["point"], bare=False),
        latest,
        has_history=True,
        retained={},
    )
    sent = [
        len(list(builder.messages([make_update(point, 0, time_ms=BASE_MS + after_ms)], [])))
        for after_ms in (0, 60_000, -86_400_000)
    ]
    assert sent == [1, 0, 1]
