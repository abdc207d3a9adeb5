"""Whatever Infodeck calls things, a draft compiles as it is, and its points carry what was seen."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.discovery_parts import draft, evidence, put
from support.point_tables import HEAD, SINKS, TOPICS

from gateway.mapping.registers import encoder
from gateway.mapping.topics import TopicScheme
from gateway.model import Event, Quality, Reading, Telemetry
from gateway.records import AssetProperty, AssetSnapshot, AssetType, KnownAsset
from gateway.state.readings import map_telemetry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mapping.plan import PointMap
    from gateway.model import Scalar

PRESENT = f"""{HEAD}templates:
  at-1:
    match: {{asset_type: at-2}}
    stride: 4
    reserve: [40, 51]
    points:
      T: {{from: t, modbus: {{register: 0, type: float32}}}}
  at-3:
    match: {{asset_type: at-3}}
    auto: true
    points:
      T: {{from: t}}
assets:
  - {{id: mapped, tag: Room, use: at-1, base: 100}}
points:
  - {{tag: plant, point: P, asset: plant, from: p, modbus: {{unit: 2, register: 65535, type: uint16}}}}
"""
LOCK = """schema: gateway.registers/1
slots:
  - {asset: gone, template: at-9, base: 300, stride: 8}
"""
BY_ASSET = TopicScheme(prefix="p", points="{prefix}/{asset}/{point}", assets="{prefix}/{asset}")
TANGLED = TopicScheme(prefix="p", points="{tag}-{point}")

ugly = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(
        ["", " ", "$x", "$.a.b", "$age", "a/b", "+", "#", "a.b.c", "Temp", "temp", "TEMP", "é", "x" * 500]
    ),
    st.sampled_from(
        ["null", "true", "1", "1.0", "~", "- a", "a: b", "{", "no", "\u2028", "\x85", "\x00", "\ufeff"]
    ),
)
value = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 1, "on", "21.5", "true", "", 16_777_217]),
    ugly,
)
maybe_ugly = st.one_of(st.none(), ugly)
unit = st.one_of(st.none(), ugly, st.sampled_from(["°C", "%", "ppm", "µg/m³", "kWh", "dB", "m/s"]))
kind = st.one_of(st.none(), ugly, st.sampled_from(["integer", "float", "boolean", "string", "object"]))
type_id = st.one_of(
    st.none(), st.sampled_from(["at-1", "at-2", "at-3", "at-4"]), ugly.map(lambda text: text or None)
)
properties = st.lists(st.builds(AssetProperty, ugly, maybe_ugly, kind, unit), max_size=5).map(tuple)
asset_id = st.one_of(
    st.sampled_from(["mapped", "plant", "gone", "ast-1", "ast-2"]), ugly.map(lambda text: text or "-")
)
known = st.builds(
    KnownAsset,
    id=asset_id,
    name=maybe_ugly,
    asset_type=type_id,
    location=maybe_ugly,
    location_path=st.lists(ugly, max_size=2).map(tuple),
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, KnownAsset], list[AssetType], dict[str, dict[str, Scalar]]]:
    """Return assets, types and readings."""
    assets = {one.id: one for one in draw(st.lists(known, max_size=6))}
    ids = sorted({one.asset_type for one in assets.values() if one.asset_type is not None})
    types = [AssetType(one, draw(maybe_ugly), draw(properties)) for one in ids if draw(st.booleans())]
    keys = st.one_of(ugly, st.sampled_from([prop.key for one in types for prop in one.properties] or ["t"]))
    seen = {one: draw(st.dictionaries(keys, value, max_size=4)) for one in assets}
    return assets, types, seen


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    worlds(),
    st.booleans(),
    st.sampled_from([SINKS, {"bms": "mqtt"}, {"plc": "modbus_server"}, {}]),
    st.sampled_from([TOPICS["bms"], BY_ASSET, TANGLED]),
)
def test_a_draft_compiles_and_carries_what_was_seen(
    world: tuple[dict[str, KnownAsset], list[AssetType], dict[str, dict[str, Scalar]]],
    is_begun: bool,  # noqa: FBT001 - drawn by hypothesis
    sinks: Mapping[str, str],
    scheme: TopicScheme,
) -> None:
    """With and without tables beside it; each usable reading arrives, and fits into its register.

    A template that the tables have already takes what it takes. No asset is ever drafted twice.
    """
    assets, types, seen = world
    topics = {"bms": scheme}
    snapshot = AssetSnapshot(1, assets)
    with TemporaryDirectory() as name:
        folder = Path(name)
        if is_begun and "regs" in sinks:
            (folder / "a.yaml").write_text(PRESENT, encoding="utf-8")
            (folder / "registers.lock").write_text(LOCK, encoding="utf-8")
        found = evidence(assets.values(), types=types, seen=seen)
        made = draft(folder, found, sinks=sinks, topics=topics, snapshot=snapshot)
        assert not made.problems
        assert made.draft is not None
        left = {one.asset for one in made.draft.left_out}
        drafted = {str(one.keys["id"]) for one in made.draft.assets}
        assert len(left) + len(drafted) + made.mapped == len(assets)
        if made.text is None:
            assert not drafted
            return
        point_map = put(folder, made, sinks=sinks, topics=topics, snapshot=snapshot)
        new = {template.name for template in made.draft.templates}
        for one in made.draft.assets:
            if one.keys["use"] in new:
                readings = seen[str(one.keys["id"])]
                usable = {key for key in readings if key and not key.startswith("$")}
                assert assert_carried(point_map, str(one.keys["id"]), readings) == usable
        again = draft(folder, found, sinks=sinks, topics=topics, snapshot=snapshot).draft
        assert again is not None
        assert not drafted & {one.keys["id"] for one in again.assets}


def assert_carried(point_map: PointMap, asset: str, readings: Mapping[str, Scalar]) -> set[str]:
    """Send the readings that were seen through the points of an asset; return the keys that have one."""
    event = Event("evt", "asset.telemetry.updated", b"", {}, 1)
    sent = Telemetry(asset, 1, tuple(Reading(key, reading, 1) for key, reading in readings.items()))
    updates = map_telemetry(point_map.by_asset[asset], sent, event=event, seq=1)
    for update in updates:
        assert update.quality is (Quality.BAD if update.raw is None else Quality.GOOD), update
        for register in update.point.registers:
            encoder(register)(update.safe_value)
    return {update.point.source for update in updates}
