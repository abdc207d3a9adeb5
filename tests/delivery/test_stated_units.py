"""Readings with a stated unit of measure: converted or bad; the table's unit comes first."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.delivery_parts import NOON, delivering
from support.point_tables import load_good_tables
from support.recording_sink import Receiver

from gateway.model import Quality
from gateway.state.handover import Handover

if TYPE_CHECKING:
    from pathlib import Path

    from support.delivery_parts import Rig

    from gateway.mapping.plan import PointMap
    from gateway.model import Scalar

GOOD, BAD = Quality.GOOD, Quality.BAD
PATH = "$.data.object.sensors[0].value"


def table(keys: str, source: str = "t") -> str:
    """Return a table with one point, `R/T`."""
    return f"""\
schema: gateway.points/1
site: hq
defaults: {{stale_after: 1h, modbus: {{to: regs, table: input}}}}
points:
  - {{tag: R, point: T, asset: a, from: "{source}", {keys}}}
"""


def shown(rig: Rig, points: PointMap) -> tuple[Scalar, Quality]:
    """Return what the point shows."""
    update = rig.state.latest(points.by_name["R/T"])
    assert update is not None
    return update.value, update.quality


async def becomes(folder: Path, keys: str, thing: dict[str, Any], source: str = "t") -> Any:
    """Send one event and restart; assert that the point shows the same, and return that."""
    points = load_good_tables(folder, table(keys, source))
    async with delivering(folder / "journal.db", points, {"bms": Receiver()}) as rig:
        await rig.send_thing(1, {"assetId": "a", **thing})
        await rig.delivered()
        before = shown(rig, points)
    async with delivering(folder / "journal.db", points, {"bms": Receiver()}) as rig:
        assert shown(rig, points) == before
    return before


@pytest.mark.parametrize(
    ("thing", "source"),
    [
        ({"telemetry": {"t": {"value": 70, "unit": "°F"}}}, "t"),
        ({"telemetry": {"t": {"value": {"value": 70}, "unit": "°F"}}}, "t"),
        ({"telemetry": {"deep": {"t": {"value": 70, "unit": "°F"}}}}, "deep.t"),
        ({"readings": [{"key": "t", "value": 70, "unit": "°F"}]}, "t"),
        ({"readings": [{"key": "t", "value": {"value": "70", "unit": "°F"}}]}, "t"),
        ({"metric": "t", "value": 70, "unit": "°F"}, "t"),
        ({"shadows": {"Up": {"state": {"reported": {"t": {"value": 70, "unit": "°F"}}}}}}, "t"),
        ({"sensors": [{"value": 70, "unit": "°F"}]}, PATH),
    ],
)
async def test_a_stated_unit_is_converted_in_every_shape(
    tmp_path: Path, thing: dict[str, Any], source: str
) -> None:
    """70 °F becomes degC in each body shape, also after a restart."""
    value, quality = await becomes(tmp_path, "unit: degC, decimals: 2", thing, source)
    assert (value, quality) == (21.11, GOOD)


@pytest.mark.parametrize(
    ("keys", "stated", "reading", "expected"),
    [
        ("unit: kW", "W", 1500, (1.5, GOOD)),
        ("unit: Pa", "hPa", 1, (100, GOOD)),
        ("unit: °C", "F", 50, (10, GOOD)),
        ("unit: C", "°F", 50, (10, GOOD)),
        ("unit: degC, offset: -0.5", "Fahrenheit", 50, (9.5, GOOD)),
        ("unit: degC, range: [-20, 60]", "°F", 70.7, (21.5, GOOD)),
        ("unit: delta_degC", "°C", 5, (5, GOOD)),
        ("unit: delta_degC", "°F", 9, (5, GOOD)),
        # what cannot be converted is no value in this unit
        ("unit: degC", "ppm", 640, (None, BAD)),
        ("unit: degC", "furlongs", 640, (None, BAD)),
        ("unit: degC", "x" * 1000, 640, (None, BAD)),
        # the table's source unit comes before a label
        ("unit: degC, source_unit: degF", "°C", 50, (10, GOOD)),
        ("unit: degC, source_unit: degC", "ppm", 50, (50, GOOD)),
        ("unit: score, source_unit: score", "ppm", 50, (50, GOOD)),
        ("unit: degC, gain: 0.1", "°F", 215, (21.5, GOOD)),
        ("unit: degC, offset: -273.15", "K", 300, (26.85, GOOD)),
        # nothing to compare
        ("unit: persons", "count", 3, (3, GOOD)),
        ("unit: degC", "", 21, (21, GOOD)),
        ("decimals: 1", "°F", 70, (70, GOOD)),
        ("map: {'1': 5}", "ppm", 1, (5, GOOD)),
        ("unit: degC, modbus: {register: 0, type: int16, scale: 1000}", "°F", 32.9, (0.5, GOOD)),
        ("unit: degC, modbus: {register: 0, type: int16, scale: 1000}", "°F", 212, (100, BAD)),
    ],
)
async def test_which_unit_counts(
    tmp_path: Path, keys: str, stated: str, reading: Scalar, expected: tuple[Scalar, Quality]
) -> None:
    """The reading's own unit counts if the table only has the published one; else the table's."""
    thing = {"readings": [{"key": "t", "value": reading, "unit": stated}]}
    assert await becomes(tmp_path, keys, thing) == expected


@pytest.mark.parametrize(
    ("unit", "spellings"),
    [
        (
            "degC",
            [
                "°C",
                "℃",
                "C",
                "c",
                "° C",
                "deg C",
                "Deg C",
                "DEGC",
                "Celsius",
                "degrees Celsius",
            ],
        ),
        ("degF", ["°F", "℉", "\u00baF", "\u02daF", "F", "fahrenheit", "Degrees F"]),
        (
            "percent",
            ["%", "\N{FULLWIDTH PERCENT SIGN}", "%RH", "% RH", "RH", "rH", "Percent", "PCT", "percentage"],
        ),
        ("ppm", ["PPM", "Ppm", "ppm "]),
        ("ug/m3", ["µg/m³", "μg/m³", "ug/m^3", "µg/m3", "UG/M3", "mcg/m3", "µg / m³"]),
        ("lx", ["lux", "Lux", "LUX", "Lx"]),
        ("kWh", ["KWH", "kwh", "kWh", "kW h"]),
        ("W", ["w", "Watt", "watts"]),
        ("V", ["v", "Volt", "volts"]),
        ("Pa", ["pa", "PA", "pascal"]),
        ("hPa", ["HPA", "hpa", "mbar", "hectopascal"]),
        ("m3/h", ["m³/h", "M3/H", "CMH"]),
        ("dB", ["dBA", "dB(A)", "DB"]),
        ("h", ["hr", "Hours", "H"]),
    ],
)
async def test_the_same_unit_in_other_spellings_changes_nothing(
    tmp_path: Path, unit: str, spellings: list[str]
) -> None:
    """Other spellings of the point's unit keep the value good."""
    points = load_good_tables(tmp_path, table(f"unit: {unit}"))
    async with delivering(tmp_path / "journal.db", points, {}) as rig:
        for number, spelling in enumerate(spellings):
            thing = {"assetId": "a", "readings": [{"key": "t", "value": number, "unit": spelling}]}
            await rig.send_thing(number, thing)
            assert (spelling, *shown(rig, points)) == (spelling, number, GOOD)


async def test_an_inconvertible_unit_is_logged_once(file: Path, tmp_path: Path) -> None:
    """It is in the status until a reading can be shown; a held value stays the last good one."""
    points = load_good_tables(tmp_path, table("unit: degC, on_stale: hold, decimals: 1"))
    async with delivering(file, points, {"bms": Receiver()}) as rig:
        for number, unit in enumerate(["°F", "ppm", "ppm"]):
            rig.clock.now_ms = NOON + number
            thing = {"assetId": "a", "readings": [{"key": "t", "value": 70, "unit": unit}]}
            await rig.send_thing(number, thing)
        await rig.delivered()
        reason = 'its reading is in "ppm": cannot become degC: they measure different things'
        assert rig.mapping.unshown == {"R/T": reason}
    async with delivering(file, points, {"bms": Receiver()}) as rig:
        assert rig.mapping.unshown == {"R/T": reason}
        update = rig.state.latest(points.by_name["R/T"])
        assert update is not None
        assert (update.value, update.safe_value, update.quality) == (None, 21.1, BAD)
        rig.clock.now_ms += 10
        await rig.send(9, t=20)
        await rig.delivered()
        assert rig.mapping.unshown == {}


async def test_an_edited_unit_does_not_show_an_old_value_under_a_new_meaning(tmp_path: Path) -> None:
    """Another table converts the stored reading from its own unit."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    celsius = load_good_tables(tmp_path / "one", table("unit: degC"))
    fahrenheit = load_good_tables(tmp_path / "two", table("unit: degF"))
    thing = {"assetId": "a", "readings": [{"key": "t", "value": 20, "unit": "°C"}]}
    async with delivering(tmp_path / "journal.db", celsius, {}) as rig:
        await rig.send_thing(1, thing)
        handover = Handover(rig.state)
        handover.build(fahrenheit, now_ms=NOON)
        update = handover.finish(now_ms=NOON).latest(fahrenheit.by_name["R/T"])
        assert update is not None
        assert (update.value, update.quality) == (68, GOOD)
        rig.pipeline.tick()
        await rig.journal.flush()
    async with delivering(tmp_path / "journal.db", fahrenheit, {}) as rig:
        assert shown(rig, fahrenheit) == (68, GOOD)


def test_the_usual_spelling_needs_no_library() -> None:
    """It does not load the units library, which would block the event loop."""
    program = (
        "import sys\n"
        "from gateway.mapping.units import stated_unit_conversion\n"
        "for stated, written in (('°C', 'degC'), ('%', 'percent'), ('µg/m³', 'ug/m3'), ('Lux', 'lx')):\n"
        "    assert stated_unit_conversion(stated, written) == (1, 0), stated\n"
        "assert 'pint' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
