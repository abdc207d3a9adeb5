"""The demo's building: its assets, which report plausible values, their types and locations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from gateway.model import Scalar

Signal = Callable[[float, Random], Scalar]
"""The value `elapsed_s` seconds after the simulation's start; the generator adds the noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedAsset:
    """One asset as Infodeck knows it, and what its device measures every `period_s` seconds."""

    id: str
    type: str
    name: str
    location: str
    model: str
    period_s: float
    signals: Mapping[str, Signal]

    def telemetry(self, elapsed_s: float, random: Random) -> dict[str, Scalar]:
        """Return one report: every telemetry key with its present value."""
        return {key: signal(elapsed_s, random) for key, signal in self.signals.items()}


def wave(
    *, mean: float, swing: float, period_s: float, noise: float, shift: float = 0.0, decimals: int = 2
) -> Signal:
    """Swing around `mean` once per `period_s`; `shift` is the part of a period that it runs ahead."""

    def signal(elapsed_s: float, random: Random) -> Scalar:
        ideal = mean + swing * math.sin(math.tau * (elapsed_s / period_s + shift))
        return round(ideal + random.gauss(0, noise), decimals)

    return signal


def whole(signal: Signal) -> Signal:
    """Report whole numbers, as a CO2 sensor does."""
    return lambda elapsed_s, random: round(float(signal(elapsed_s, random) or 0))


def alternating(*, first: Scalar, then: Scalar, period_s: float, shift: float = 0.0) -> Signal:
    """Hold `first` for half a period and `then` for the other half."""
    return lambda elapsed_s, _: first if (elapsed_s / period_s + shift) % 1.0 < 1 / 2 else then


def counter(*, start: float, per_hour: float) -> Signal:
    """Count up evenly, as an energy meter does under constant load."""
    return lambda elapsed_s, _: round(start + per_hour * elapsed_s / 3600, 3)


def _room(number: int, *, shift: float) -> SimulatedAsset:
    """Make a meeting room: while it is occupied, CO2 and temperature rise."""
    return SimulatedAsset(
        id=f"ast-demo-rm{number}",
        type="at-iaq",
        name=f"Room {number}",
        location=f"loc-level-{number // 100}",
        model="Room-1",
        period_s=5.0,
        signals={
            "temperature": wave(mean=22.0, swing=1.5, period_s=600, noise=0.05, shift=shift - 1 / 8),
            "humidity": wave(mean=46.0, swing=6.0, period_s=1200, noise=0.3, shift=shift),
            "co2": whole(wave(mean=700, swing=250, period_s=600, noise=5, shift=shift - 1 / 8)),
            "occupancy": alternating(first="occupied", then="vacant", period_s=600, shift=shift),
        },
    )


DEMO_ASSETS: tuple[SimulatedAsset, ...] = (
    _room(101, shift=0.0),
    _room(102, shift=0.3),
    _room(201, shift=0.55),
    _room(202, shift=0.8),
    SimulatedAsset(
        id="ast-demo-ahu1",
        type="at-ahu",
        name="Air-handling unit 1",
        location="loc-roof",
        model="Plant-1",
        period_s=3.0,
        signals={
            "supply_temperature": wave(mean=16.0, swing=1.0, period_s=300, noise=0.05),
            "fan_running": alternating(first=True, then=False, period_s=240),
            "energy": counter(start=18250.0, per_hour=360.0),
        },
    ),
)

KNOWN_ASSETS: tuple[SimulatedAsset, ...] = (*DEMO_ASSETS, _room(301, shift=0.0))
"""What the demo's API lists: also the room that never reports by itself, for its events are yours to send."""


def api_item(asset: SimulatedAsset, *, organization: str, now_s: float) -> dict[str, Any]:
    """Return the asset as the API lists it before it has reported."""
    return {
        "id": asset.id,
        "organizationId": organization,
        "assetTypeId": asset.type,
        "name": asset.name,
        "locationId": asset.location,
        "modelName": asset.model,
        "nameOfManufacturer": "Simulated",
        "serialNumber": f"sn-{asset.id}",
        "status": "Online",
        "connectionStatus": True,
        "shadows": {},
        "createdAt": int(now_s),
        "updatedAt": int(now_s),
    }


def _property(key: str, name: str, kind: str, unit: str | None = None) -> dict[str, Any]:
    return {"key": key, "name": name, "type": kind, "unit": unit}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedBuilding:
    """The `assets` that report, all `known` ones, and their types and locations as the API lists them."""

    assets: Sequence[SimulatedAsset]
    known: Sequence[SimulatedAsset]
    types: Sequence[dict[str, Any]]
    locations: Sequence[dict[str, Any]]


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

DEMO_BUILDING = SimulatedBuilding(
    assets=DEMO_ASSETS, known=KNOWN_ASSETS, types=DEMO_TYPES, locations=DEMO_LOCATIONS
)
