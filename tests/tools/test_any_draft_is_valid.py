"""A draft compiles whatever Infodeck's names are, and its points accept every reading it was made from."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.discovery_parts import compile_with_draft, draft, evidence
from support.point_tables import HEAD, SINKS, TOPICS

from gateway.mapping.compile.sources import read_table
from gateway.mapping.registers import encoder
from gateway.mapping.topics import TopicScheme, check_level
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

odd_name = st.one_of(
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
    odd_name,
)
optional_name = st.one_of(st.none(), odd_name)
unit = st.one_of(st.none(), odd_name, st.sampled_from(["°C", "%", "ppm", "µg/m³", "kWh", "dB", "m/s"]))
kind = st.one_of(st.none(), odd_name, st.sampled_from(["integer", "float", "boolean", "string", "object"]))
type_id = st.one_of(
    st.none(), st.sampled_from(["at-1", "at-2", "at-3", "at-4"]), odd_name.map(lambda text: text or None)
)
properties = st.lists(st.builds(AssetProperty, odd_name, optional_name, kind, unit), max_size=5).map(tuple)
asset_id = st.one_of(
    st.sampled_from(["mapped", "plant", "gone", "ast-1", "ast-2"]), odd_name.map(lambda text: text or "-")
)
known = st.builds(
    KnownAsset,
    id=asset_id,
    name=optional_name,
    asset_type=type_id,
    location=optional_name,
    location_path=st.lists(odd_name, max_size=2).map(tuple),
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, KnownAsset], list[AssetType], dict[str, dict[str, Scalar]]]:
    """Return assets, types and readings."""
    assets = {one.id: one for one in draw(st.lists(known, max_size=6))}
    ids = sorted({one.asset_type for one in assets.values() if one.asset_type is not None})
    types = [AssetType(one, draw(optional_name), draw(properties)) for one in ids if draw(st.booleans())]
    keys = st.one_of(
        odd_name, st.sampled_from([prop.key for one in types for prop in one.properties] or ["t"])
    )
    seen = {one: draw(st.dictionaries(keys, value, max_size=4)) for one in assets}
    return assets, types, seen


def is_level(text: str) -> bool:
    """Return whether text can be a level of a topic."""
    try:
        check_level(text)
    except ValueError:
        return False
    return True


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    worlds(),
    st.booleans(),
    st.sampled_from([SINKS, {"bms": "mqtt"}, {"plc": "modbus_server"}, {}]),
    st.sampled_from([TOPICS["bms"], BY_ASSET]),
)
def test_a_draft_compiles_and_accepts_all_readings(
    world: tuple[dict[str, KnownAsset], list[AssetType], dict[str, dict[str, Scalar]]],
    has_tables: bool,  # noqa: FBT001 - drawn by hypothesis
    sinks: Mapping[str, str],
    scheme: TopicScheme,
) -> None:
    """Each usable reading arrives and fits into its register; a second draft has no asset of the first."""
    assets, types, seen = world
    assume(scheme is not BY_ASSET or all(map(is_level, assets)))
    topics = {"bms": scheme}
    snapshot = AssetSnapshot(1, assets)
    with TemporaryDirectory() as name:
        folder = Path(name)
        if has_tables and "regs" in sinks:
            (folder / "a.yaml").write_text(PRESENT, encoding="utf-8")
            (folder / "registers.lock").write_text(LOCK, encoding="utf-8")
        found = evidence(assets.values(), types=types, seen=seen)
        drafted = draft(folder, found, sinks=sinks, topics=topics, snapshot=snapshot)
        assert len(drafted.left_out) + drafted.assets + drafted.mapped == len(assets)
        if drafted.text is None:
            assert not drafted.assets
            return
        point_map = compile_with_draft(folder, drafted, sinks=sinks, topics=topics, snapshot=snapshot)
        table = read_table(folder / "drafted.yaml").require()
        for entry in table.assets:
            if entry.use in table.templates:
                usable = {key for key in seen[entry.id] if key and not key.startswith("$")}
                assert check_readings(point_map, entry.id, seen[entry.id]) == usable
        assert draft(folder, found, sinks=sinks, topics=topics, snapshot=snapshot).assets == 0


def check_readings(point_map: PointMap, asset: str, readings: Mapping[str, Scalar]) -> set[str]:
    """Map the readings of an asset, check that each is good, and return their keys."""
    event = Event("evt", "asset.telemetry.updated", b"", {}, 1)
    sent = Telemetry(asset, 1, tuple(Reading(key, reading, 1) for key, reading in readings.items()))
    updates = map_telemetry(point_map.by_asset[asset], sent, event=event, seq=1)
    for update in updates:
        assert update.quality is (Quality.BAD if update.raw is None else Quality.GOOD), update
        for register in update.point.registers:
            encoder(register)(update.safe_value)
    return {update.point.source for update in updates}
