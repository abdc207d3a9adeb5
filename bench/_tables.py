"""Point tables of any size, and events of the assets in them: what a building of offices would have."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import orjson

from gateway.mapping.topics import TopicScheme

if TYPE_CHECKING:
    from pathlib import Path

SINKS = {"bms": "mqtt", "regs": "modbus_server"}
TOPICS = {"bms": TopicScheme(prefix="gw/v1")}

_STRIDE = 12
_ASSETS_PER_UNIT = 5400  # as many strides as one Modbus unit has registers for
_HEAD = """\
schema: gateway.points/1
site: bench
defaults: {stale_after: 90m, modbus: {to: regs, table: input}}
"""
_TEMPLATE = """\
  iaq-UNIT:
    stride: 12
    points:
      ZN-T:   {from: temperature, unit: degC, gain: 0.1, offset: -0.4, range: [-20, 60], cov: 0.1,
               modbus: {unit: UNIT, register: 0, type: float32}}
      ZN-RH:  {from: humidity, unit: percent, range: [0, 100], decimals: 1, cov: 0.5,
               modbus: {unit: UNIT, register: 2, type: uint16, scale: 10}}
      ZN-CO2: {from: co2, unit: ppm, range: [0, 10000], modbus: {unit: UNIT, register: 3, type: uint16}}
      OCC:    {from: occupancy, map: {vacant: 0, occupied: 1}, modbus: {unit: UNIT, register: 4, bit: 0}}
      PM25:   {from: pm2_5, unit: ug/m3, decimals: 1,
               modbus: {unit: UNIT, register: 5, type: uint16, scale: 10}}
      BATT:   {from: battery, unit: percent, gain: 100, decimals: 0,
               modbus: {unit: UNIT, register: 6, type: uint16}}
      TVOC:   {from: tvoc, unit: ppb, modbus: {unit: UNIT, register: 7, type: uint16}}
      LUX:    {from: light, unit: lx, gain: 10.76, cov: 5, modbus: {unit: UNIT, register: 8, type: float32}}
"""
_QUALITY = "      QUAL:   {from: $quality, mqtt: false, modbus: {unit: UNIT, register: 10, type: uint16}}\n"


def write_tables(folder: Path, *, assets: int, files: int, quality: bool = False) -> None:
    """Write tables with 8 measured points per asset, with `quality` also its `$quality`.

    One file has everything, several share the assets; the first one always has the templates.
    """
    template = _TEMPLATE + (_QUALITY if quality else "")
    units = range(1, (assets - 1) // _ASSETS_PER_UNIT + 2)
    templates = "templates:\n" + "".join(template.replace("UNIT", str(unit)) for unit in units)
    lines = [_asset_line(number) for number in range(assets)]
    share = -(-assets // files)
    for number in range(files):
        text = _HEAD + (templates if number == 0 else "") + "assets:\n"
        text += "".join(lines[number * share : (number + 1) * share])
        (folder / f"{number:03}.yaml").write_text(text)


def make_bodies(*, assets: int, count: int) -> list[bytes]:
    """Return events of 4 to 8 readings each, the same ones at every call."""
    noise = random.Random(1)  # noqa: S311 - repeatable noise is no cryptography
    return [_body(number, noise.randrange(assets), noise) for number in range(count)]


def _asset_line(number: int) -> str:
    unit, place = divmod(number, _ASSETS_PER_UNIT)
    return f"  - {{id: ast-{number}, tag: RM{number}, use: iaq-{unit + 1}, base: {_STRIDE * place}}}\n"


def _body(number: int, asset: int, noise: random.Random) -> bytes:
    readings = {
        "temperature": round(noise.uniform(190, 250), 1),
        "humidity": round(noise.uniform(30, 60), 2),
        "co2": noise.randrange(400, 1500),
        "occupancy": noise.choice(("vacant", "occupied")),
        "pm2_5": str(round(noise.uniform(1, 30), 2)),  # some devices send numbers as text
        "battery": round(noise.random(), 2),
        "tvoc": noise.randrange(500),
        "light": round(noise.uniform(0, 80), 1),
    }
    keys = noise.sample(sorted(readings), noise.randint(4, 8))
    thing = {"assetId": f"ast-{asset}", "telemetry": {key: readings[key] for key in keys}}
    event = {
        "id": f"evt_{number:024x}",
        "type": "asset.telemetry.updated",
        "organizationId": "o-bench",
        "created": 1_790_000_000 + number,
        "livemode": True,
        "data": {"object": thing},
    }
    return orjson.dumps(event)
