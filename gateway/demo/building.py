"""The types and places of the demo's building, as Infodeck's API has them."""

from __future__ import annotations

from typing import Any


def _property(key: str, name: str, kind: str, unit: str | None = None) -> dict[str, Any]:
    return {"key": key, "name": name, "type": kind, "unit": unit}


DEMO_TYPES: tuple[dict[str, Any], ...] = (
    {
        "id": "at-iaq",
        "name": "Indoor air quality sensor",
        "isIotDevice": True,
        "properties": [
            _property("temperature", "Temperature", "float", "°C"),
            _property("humidity", "Relative humidity", "float", "%"),
            _property("co2", "CO2", "integer", "ppm"),
            _property("occupancy", "Occupancy", "string"),
        ],
    },
    {
        "id": "at-ahu",
        "name": "Air-handling unit",
        "isIotDevice": True,
        "properties": [
            _property("supply_temperature", "Supply air temperature", "float", "°C"),
            _property("fan_running", "Supply fan", "boolean"),
            _property("energy", "Energy", "float", "kWh"),
        ],
    },
)

DEMO_LOCATIONS: tuple[dict[str, Any], ...] = (
    {"id": "loc-tower", "name": "Demo Tower", "parentId": None},
    *({"id": f"loc-level-{level}", "name": f"Level {level}", "parentId": "loc-tower"} for level in (1, 2, 3)),
    {"id": "loc-roof", "name": "Roof", "parentId": "loc-tower"},
)
