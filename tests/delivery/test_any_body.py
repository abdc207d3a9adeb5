"""A correctly signed body, whatever it contains, spoils neither its other readings nor any view of it."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.delivery_parts import NOON, delivering
from support.point_tables import load_good_tables
from support.recording_sink import Receiver

from gateway.admin.dashboard import LastEvents
from gateway.errors import EventError
from gateway.events import keep_apart, parse_event, read_telemetry
from gateway.model import Quality
from gateway.tools.draft_points import Samples, add_value
from gateway.tools.explain import explain, readings_text, traces_text

if TYPE_CHECKING:
    from gateway.mapping.plan import PointMap
    from gateway.model import Event, Update

TABLE = """\
schema: gateway.points/1
site: hq
defaults: {stale_after: never, modbus: {to: regs, table: input}}
points:
  - {tag: R, point: T, asset: a, from: temperature, unit: degC, modbus: {register: 0, type: int16, scale: 10}}
  - {tag: R, point: WET, asset: a, from: wet, modbus: {register: 1, bit: 0}}
  - {tag: R, point: NAME, asset: a, from: name, modbus: {register: 2, type: string(8)}}
  - {tag: R, point: X, asset: a, from: position.x, source_unit: mm, unit: m}
  - {tag: R, point: MODE, asset: a, from: mode, map: {"off": 0, heat: 1}}
  - {tag: R, point: DEEP, asset: a, from: "$.data.object.readings[0].value", unit: kWh}
  - {tag: R, point: QUAL, asset: a, from: $quality, modbus: {register: 8, type: uint16}}
"""

KEYS = st.sampled_from(
    [
        *("temperature", "wet", "name", "position", "x", "mode", "a.b", ""),
        *("key", "metric", "value", "unit", "timestamp", "state", "reported", "metadata"),
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["21.5", "on", "°C", "ppm", "NaN", "1e999", "\ud83d", "\0", "temperature", "9" * 400])
    | st.text(max_size=5)
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
ITEMS = st.fixed_dictionaries(
    {"value": ANYTHING}, optional={"key": KEYS | ANYTHING, "unit": ANYTHING, "timestamp": ANYTHING}
)
TEMPERATURE = {"key": "temperature", "value": 21.5}
THINGS = st.one_of(
    st.dictionaries(st.sampled_from(["telemetry", "readings", "shadows", "key", "value", "unit"]), ANYTHING),
    ITEMS,
    st.lists(ITEMS, max_size=4).map(lambda items: {"readings": [*items, TEMPERATURE]}),
    st.dictionaries(KEYS, ANYTHING).map(lambda found: {"telemetry": found | {"temperature": 21.5}}),
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> PointMap:
    """Return the compiled table; nothing changes it."""
    return load_good_tables(tmp_path_factory.mktemp("tables"), TABLE)


def received(number: int, thing: dict[str, Any], envelope: dict[str, Any]) -> Event | None:
    """Return the event as intake accepts it; None if it answers 400."""
    document = {
        "id": f"evt_{number}",
        "type": "asset.telemetry.updated",
        "created": NOON // 1000,
        **envelope,
        "data": {"object": {**thing, "assetId": "a"}},
    }
    try:
        event = parse_event(orjson.dumps(_as_sent(document)), received_ms=NOON)
    except EventError:
        return None
    keep_apart(event)
    return event


def _as_sent(value: Any) -> Any:
    """Return JSON that orjson cannot write: half a character, and integers beyond 64 bits as floats."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value)
    if isinstance(value, list):
        return [_as_sent(one) for one in value]
    if isinstance(value, dict):
        return {_as_sent(key): _as_sent(one) for key, one in value.items()}
    return value


def look_at(event: Event, table: PointMap) -> None:
    """Show the event as `explain` does, and use it as `discover` does."""
    telemetry = read_telemetry(event)
    explanation = explain(table, event, seq=1)
    samples: dict[str, Samples] = {}
    for reading in telemetry.readings if telemetry is not None else ():
        add_value(samples, "a", reading.key, reading.value)
    assert traces_text(explanation, lambda _: ()) + readings_text(explanation.unused)


async def deliver(folder: Path, events: list[Event], table: PointMap) -> Update | None:
    """Deliver and view all events, restart, and return what the temperature shows."""
    receiver = Receiver()
    async with delivering(folder / "journal.db", table, {"bms": receiver}) as rig:
        last = LastEvents(points=lambda: table, sinks={"bms": receiver.status})
        rig.journal.subscribe(last.add)
        for event in events:
            await rig.journal.append(event)
        await rig.delivered()
        shown = rig.state.latest(table.by_name["R/T"])
        orjson.dumps(last.newest_first())
        assert "internal" not in str(rig.rows("SELECT reason FROM dead_letters"))
    async with delivering(folder / "journal.db", table, {"bms": receiver, "late": Receiver()}) as rig:
        await rig.delivered()
        assert rig.state.latest(table.by_name["R/T"]) == shown
    return shown


@settings(max_examples=30)
@given(
    things=st.lists(THINGS, min_size=1, max_size=6),
    envelope=st.fixed_dictionaries({}, optional={"created": ANYTHING, "previousAttributes": ANYTHING}),
)
def test_any_body_goes_all_the_way(table: PointMap, things: list[Any], envelope: dict[str, Any]) -> None:
    """Parser, mapping, journal, `explain`, `discover` and the dashboard accept any body."""
    found = [received(number, thing, envelope) for number, thing in enumerate(things)]
    events = [event for event in found if event is not None]
    for event in events:
        look_at(event, table)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(deliver(Path(folder), events, table))


@settings(max_examples=30)
@given(
    others=st.lists(
        ITEMS.filter(lambda item: item.get("key") not in [None, "temperature"]), min_size=1, max_size=5
    )
)
def test_a_reading_beside_anything_is_used(table: PointMap, others: list[Any]) -> None:
    """Objects or other values beside a temperature do not affect it."""
    event = received(1, {"readings": [*others, TEMPERATURE]}, {})
    assert event is not None
    with tempfile.TemporaryDirectory() as folder:
        shown = asyncio.run(deliver(Path(folder), [event], table))
    assert shown is not None
    assert (shown.value, shown.quality) == (21.5, Quality.GOOD)
