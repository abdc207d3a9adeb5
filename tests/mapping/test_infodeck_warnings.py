"""Warnings where tables and the asset types in Infodeck disagree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.point_tables import HEAD, SINKS, TOPICS

from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.mapping.units import stated_unit_conversion
from gateway.records import AssetProperty, AssetSnapshot, AssetType, KnownAsset

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

IAQ = AssetType(
    "at-iaq",
    "Indoor air",
    (
        AssetProperty("temperature", unit_of_measure="°C"),
        AssetProperty("humidity", unit_of_measure="%"),
        AssetProperty("CO2", unit_of_measure="ppm"),
        AssetProperty("Power", unit_of_measure="W"),
        AssetProperty("mood", unit_of_measure="smileys"),
        AssetProperty("count"),
    ),
)
BARE = AssetType("at-bare")


def warnings(
    folder: Path, table: str, *, types: Iterable[AssetType] = (IAQ, BARE), assets: int = 3
) -> list[str]:
    """Return the warnings of a table. Infodeck has this many assets; the last one has the bare type."""
    (folder / "a.yaml").write_text(HEAD + table)
    known = {f"a{at}": KnownAsset(id=f"a{at}", asset_type="at-iaq") for at in range(assets)}
    known["bare"] = KnownAsset(id="bare", asset_type="at-bare")
    known["none"] = KnownAsset(id="none")
    snapshot = AssetSnapshot(0, known, {one.id: one for one in types})
    compiled = load_point_map(TableInputs(folder, SINKS, topics=TOPICS, snapshot=snapshot))
    assert compiled.problems == []
    return [str(one).replace(f"{folder}/", "") for one in compiled.warnings]


def of_point(keys: str) -> str:
    """Return a table with one point of the first asset."""
    return f"points:\n  - {{tag: X, point: P, asset: a0, {keys}}}\n"


@pytest.mark.parametrize(
    ("keys", "warning"),
    [
        (
            "from: co2",
            (
                "a.yaml:5:41: points[0].from: there is no reading of this name; known: CO2, Power, count,"
                ' humidity, mood, temperature (the asset type Indoor air in Infodeck) ("co2")'
            ),
        ),
        ("from: temprature", "there is no reading of this name, did you mean `temperature`? (the asset type"),
        ("from: noise", "there is no reading of this name; known: CO2, Power"),
        (
            "from: temperature, unit: degF",
            (
                "points[0].unit: the asset type Indoor air has this reading in °C in Infodeck; if that is"
                ' right, write it as `source_unit` ("degF")'
            ),
        ),
        ("from: Power, unit: kW", "has this reading in W in Infodeck; if"),
        ("from: CO2, unit: percent", "has this reading in ppm in Infodeck; if"),
        ("from: CO2, unit: kWh", "has this reading in ppm in Infodeck; if"),
        (
            "from: temperature, unit: K, source_unit: degF",
            (
                "points[0].source_unit: the asset type Indoor air has this reading in °C in Infodeck; if that"
                ' is right, write it as `source_unit` ("degF")'
            ),
        ),
    ],
)
def test_disagreements_are_warned_of(tmp_path: Path, keys: str, warning: str) -> None:
    """Keys that the type does not have, and other units, are reported at their place."""
    (found,) = warnings(tmp_path, of_point(keys))
    assert warning in found


@pytest.mark.parametrize(
    "keys",
    [
        "from: temperature, unit: degC",
        "from: humidity, unit: percent",
        "from: humidity, unit: '%'",
        "from: CO2, unit: ppm",
        "from: temperature, unit: degF, source_unit: degC",
        "from: Power, unit: kW, source_unit: W",
        "from: Power, unit: kW, gain: 0.001",
        "from: Power, unit: widgets",
        "from: mood, unit: percent",
        "from: count, unit: percent",
        "from: humidity, unit: ppm, map: {dry: 0, wet: 1}",
        "from: temperature",
        "from: air.temperature",
        "from: $.data.object.co2",
        "from: $online",
    ],
)
def test_agreements_are_not_warned_of(tmp_path: Path, keys: str) -> None:
    """Paths, nested keys, unknown units and values that the table converts cause no warning."""
    assert warnings(tmp_path, of_point(keys)) == []


def test_types_without_properties_cause_no_warning(tmp_path: Path) -> None:
    """An asset without a type, or with an unknown or empty one, causes no warning."""
    points = [f"  - {{tag: {asset}, point: P, asset: {asset}, from: noise}}\n" for asset in ("bare", "none")]
    assert warnings(tmp_path, "points:\n" + "".join(points)) == []
    assert warnings(tmp_path, of_point("from: noise"), types=()) == []


TEMPLATE = """\
templates:
  iaq:
    points:
      C: {from: co2, unit: ppm}
      T: {from: temperature, unit: degC}
"""


def test_a_template_is_warned_of_once_for_all_its_assets(tmp_path: Path) -> None:
    """The warning is at the template unless the asset overrides the point."""
    assets = "assets: [{id: a0, tag: A, use: iaq}, {id: a1, tag: B, use: iaq}]\n"
    (found,) = warnings(tmp_path, TEMPLATE + assets)
    assert found.startswith("a.yaml:7:17: templates.iaq.points.C.from: ")
    overridden = "assets: [{id: a0, tag: A, use: iaq, points: {C: {from: CO2}}}]\n"
    assert warnings(tmp_path, TEMPLATE + overridden) == []
    worse = "assets: [{id: a0, tag: A, use: iaq, points: {C: {from: CO2}, T: {unit: ppm}}}]\n"
    (found,) = warnings(tmp_path, TEMPLATE + worse)
    assert found.startswith("a.yaml:9:72: assets[0].points.T.unit: ")


def test_automatic_assets_are_compared_too(tmp_path: Path) -> None:
    """The points of automatic assets are compared with their types."""
    automatic = TEMPLATE.replace(
        "    points:", "    match: {asset_type: at-iaq}\n    auto: true\n    tag: '{id}'\n    points:"
    )
    (found,) = warnings(tmp_path, automatic)
    assert "known: CO2, Power, count" in found


def test_warnings_are_bounded(tmp_path: Path) -> None:
    """A table for another organization's assets gives 20 warnings."""
    points = "".join(f"  - {{tag: T{at}, point: P, asset: a0, from: k{at}}}\n" for at in range(50))
    found = warnings(tmp_path, f"points:\n{points}")
    assert len(found) == 20


def test_thousands_of_assets_cost_no_more_than_their_template(tmp_path: Path) -> None:
    """Units are compared once per point and type."""
    entries = "".join(f"  - {{id: a{at}, tag: T{at}, use: iaq}}\n" for at in range(2_000))
    before = stated_unit_conversion.cache_info()
    assert len(warnings(tmp_path, f"{TEMPLATE}assets:\n{entries}", assets=2_000)) == 1
    after = stated_unit_conversion.cache_info()
    assert after.hits + after.misses - before.hits - before.misses == 1
