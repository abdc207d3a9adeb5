"""A table with computed points of every kind, for tests of what shows them."""

from support.point_tables import HEAD

COMPUTED = (
    HEAD
    + """\
templates:
  iaq:
    stride: 16
    points:
      ZN-T: {from: temperature, unit: degC, range: [-20, 60], modbus: {register: 0, type: float32}}
      ZN-RH: {from: humidity, unit: percent}
      DEWPT: {expr: "dewpoint(ZN-T, ZN-RH)", unit: degC, decimals: 1, modbus: {register: 8, type: float32}}
assets:
  - {id: ast-1, tag: L03-RM1, use: iaq, base: 1000}
  - {id: ast-2, tag: L03-RM2, use: iaq, base: 1016}
  - {id: ast-3, tag: L03-RM3, use: iaq, base: 1032}
points:
  - {tag: FLOOR-3, point: ZN-T-AVG, mean: {of: ["L03-*/ZN-T"], at_least: 50%}, unit: degF, decimals: 2}
  - {tag: FLOOR-3, point: SPREAD, expr: "max(L03-RM1/ZN-T, L03-RM2/ZN-T) - ZN-T-LOW", unit: K}
  - {tag: FLOOR-3, point: ZN-T-LOW, min: {of: [L03-RM1/ZN-T, L03-RM2/ZN-T], at_least: 2}}
  - {tag: MAIN, point: KWH, asset: ast-m, from: energy, unit: kWh}
  - {tag: MAIN, point: KW, rate: {of: MAIN/KWH, per: 1h, rollover: 1000}, unit: kW}
  - {tag: AHU-1, point: SF-S, asset: ast-a, from: fan}
  - {tag: AHU-1, point: RUNTIME, runtime: {of: AHU-1/SF-S}, unit: min}
"""
)
