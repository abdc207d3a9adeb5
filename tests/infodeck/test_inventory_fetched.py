"""What is asked at one look, and what stays where the API does not tell a part of it."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from support.asset_lists import ORGANIZATION, answer, connected, items, simulated_api, types

from gateway.demo.simulated_answers import Answer
from gateway.errors import GatewayError
from gateway.infodeck.inventory import InventoryReader
from gateway.records import AssetLocation, AssetProperty, AssetSnapshot, AssetType

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.demo.simulated_api import SimulatedApi
    from gateway.infodeck.api_client import InfodeckApi
    from gateway.infodeck.inventory import FetchedInventory

LOCATIONS: list[dict[str, Any]] = [
    {"id": "loc-hq", "name": "HQ"},
    {"id": "loc-0", "name": "Level 0", "parentId": "loc-hq"},
    {"id": "loc-1", "name": "Level 1", "parentId": "loc-hq"},
]


@dataclass
class Looks:
    """Looks at one API, each of which follows the last."""

    api: SimulatedApi
    infodeck: InfodeckApi
    reader: InventoryReader
    last: AssetSnapshot | None = None

    async def look(self, *, thorough: bool = True) -> FetchedInventory:
        """Look once more."""
        self.api.asked.clear()
        found = await self.reader.fetch(self.infodeck, self.last, thorough=thorough)
        self.last = found.snapshot
        return found

    @property
    def asked(self) -> list[str]:
        """What the last look has asked for, without the organization and queries."""
        return [one.partition(ORGANIZATION)[2].partition("?")[0] for one in self.api.asked]


@asynccontextmanager
async def looking(api: SimulatedApi) -> AsyncIterator[Looks]:
    """Look at an API."""
    async with api, connected(api) as infodeck:
        yield Looks(api, infodeck, InventoryReader(organization=ORGANIZATION, clock_ms=lambda: 7))


async def test_assets_types_and_locations_make_one_snapshot() -> None:
    """Each asset has its place, each type in use its properties, and nothing else is asked for."""
    api = simulated_api(2, locations=LOCATIONS)
    api.types += types("at-unused")
    async with looking(api) as looks:
        found = await looks.look()
    assert (found.missing, found.retry_after_s) == ({}, 0)
    assert found.snapshot.at_ms == 7
    assert [(one.location, one.location_id, one.location_path) for one in found.snapshot.assets.values()] == [
        ("Level 0", "loc-0", ("HQ", "Level 0")),
        ("Level 1", "loc-1", ("HQ", "Level 1")),
    ]
    properties = (
        AssetProperty("temperature", "Temperature", "number", "°C"),
        AssetProperty("humidity", "Humidity", "integer", "%"),
    )
    assert found.snapshot.types == {"at-iaq": AssetType("at-iaq", "AT-IAQ", properties)}
    assert found.snapshot.locations["loc-0"] == AssetLocation("loc-0", "Level 0", "loc-hq")
    assert looks.asked == ["/assets", "/locations", "/asset-types/at-iaq"]


@pytest.mark.parametrize(
    "fault",
    [
        answer({"message": "Forbidden"}, status=403),
        answer({"message": "Not found"}, status=404),
        Answer(status=503),
        Answer(body=b"<html>"),
        answer([]),
        Answer(body=b'{"data": [', broken_off=True),
    ],
)
async def test_types_and_locations_that_cannot_be_had_stop_nobody(fault: Answer) -> None:
    """The assets are taken, the others stay as they were, and the reason is there."""
    async with looking(simulated_api(2, locations=LOCATIONS)) as looks:
        before = (await looks.look()).snapshot
        looks.api.items.append(items(3)[2] | {"locationId": "loc-1"})
        looks.api.path_faults = {"/locations": deque([fault]), "/at-iaq": deque([fault])}
        found = await looks.look()
    assert len(found.snapshot.assets) == 3
    assert found.snapshot.assets["ast-2"].location_path == ("HQ", "Level 1")
    assert (found.snapshot.types, found.snapshot.locations) == (before.types, before.locations)
    assert found.missing.keys() == {"locations", "asset types"}


async def test_what_is_not_asked_again_stays_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick look in between does not make anything complete."""
    away = Answer(status=503)
    async with looking(simulated_api(2, locations=LOCATIONS)) as looks:
        await looks.look()
        looks.api.path_faults = {"/locations": deque([away]), "/at-iaq": deque([away])}
        missing = (await looks.look()).missing
        assert (await looks.look(thorough=False)).missing == missing
        assert looks.asked == ["/assets"]
        assert (await looks.look()).missing == {}
        monkeypatch.setattr("gateway.infodeck.inventory._MOST_LOCATIONS", 2)
        assert "more than 2 locations" in (await looks.look()).missing["locations"]
        monkeypatch.setattr("gateway.infodeck.inventory._MOST_ASSETS", 1)
        with pytest.raises(GatewayError, match="more than 1 assets"):
            await looks.look()


async def test_a_type_that_is_not_found_alone_is_just_unknown() -> None:
    """The others are taken, and it is not asked for again before the next thorough look."""
    api = simulated_api(3)
    api.items[1]["assetTypeId"] = "at-gone"
    api.items[2]["assetTypeId"] = "../at gone?"
    async with looking(api) as looks:
        found = await looks.look()
        assert (found.missing, list(found.snapshot.types)) == ({}, ["at-iaq"])
        await looks.look(thorough=False)
        assert looks.asked == ["/assets"]
        await looks.look()
        assert len(looks.asked) == 5


async def test_between_thorough_looks_only_what_is_unknown_is_asked() -> None:
    """A new asset in a new place, of a new type: both are asked for, known types are not."""
    async with looking(simulated_api(2, locations=LOCATIONS)) as looks:
        await looks.look()
        await looks.look(thorough=False)
        assert looks.asked == ["/assets"]
        looks.api.items.append(items(3)[2] | {"assetTypeId": "at-new"})
        looks.api.types += types("at-new")
        looks.api.locations.append({"id": "loc-2", "name": "Level 2"})
        found = await looks.look(thorough=False)
        assert looks.asked == ["/assets", "/locations", "/asset-types/at-new"]
        assert found.snapshot.types.keys() == {"at-iaq", "at-new"}
        assert found.snapshot.assets["ast-2"].location == "Level 2"
        looks.api.items[0]["locationId"] = "loc-nowhere"
        await looks.look(thorough=False)
        assert looks.asked == ["/assets", "/locations"]
        await looks.look(thorough=False)  # it is known by now that this place is unknown
        assert looks.asked == ["/assets"]


async def test_a_thousand_types_are_asked_in_turns() -> None:
    """Each one once to know it; after that a hundred at a look, those first that were asked longest ago."""
    api = simulated_api(0)
    names = [f"at-{number}" for number in range(250)]
    api.items = [items(1)[0] | {"id": name, "assetTypeId": name} for name in names]
    api.types = types(*names)
    async with looking(api) as looks:
        found = await looks.look()
        assert len(found.snapshot.types) == len(set(looks.asked)) - 2 == 250
        again: list[str] = []
        for _ in range(3):
            await looks.look()
            again += [one for one in looks.asked if one.startswith("/asset-types/")]
    assert len(again) == 300
    assert len(set(again)) == 250


async def test_a_server_in_trouble_is_not_asked_for_every_type() -> None:
    """An API that is away is left at the first question; one odd answer keeps no other type back."""
    api = simulated_api(0)
    names = [f"at-{number}" for number in range(20)]
    api.items = [items(1)[0] | {"id": name, "assetTypeId": name} for name in names]
    api.types = types(*names)
    async with looking(api) as looks:
        api.path_faults = {f"/{name}": deque([Answer(status=500)]) for name in names}
        found = await looks.look()
        assert sum(one.startswith("/asset-types/") for one in looks.asked) == 1
        assert found.missing.keys() == {"asset types"}
        for name in names:
            api.path_faults[f"/{name}"].clear()
        api.path_faults["/at-3"].append(Answer(body=b"<html>"))
        found = await looks.look()
    assert len(found.snapshot.types) == 19


async def test_the_pause_asked_for_beside_the_assets_is_told() -> None:
    """So that nobody asks again before."""
    async with looking(simulated_api(1)) as looks:
        looks.api.path_faults["/locations"] = deque([Answer(status=429, headers={"Retry-After": "600"})])
        found = await looks.look()
    assert found.retry_after_s == 600
    assert "429" in found.missing["locations"]
    assert "asked for a pause" in found.missing["asset types"]


async def test_lists_that_are_suddenly_empty_are_not_believed() -> None:
    """A key of another organization would have the building's names vanish."""
    async with looking(simulated_api(2, locations=LOCATIONS)) as looks:
        await looks.look()
        looks.api.locations.clear()
        found = await looks.look()
        assert found.missing == {"locations": "the API lists none any more, but knew 3"}
        assert len(found.snapshot.locations) == 3
        looks.api.items.clear()
        with pytest.raises(GatewayError, match=r"no asset any more, but knew 2: .* belongs to o-test"):
            await looks.look()


async def test_assets_without_any_id_are_no_list_of_assets() -> None:
    """Numbers for ids, say, are told as what they are."""
    api = simulated_api(2)
    api.items = [item | {"id": 7} for item in api.items]
    async with looking(api) as looks:
        with pytest.raises(GatewayError, match="none of the 2 assets that the API lists has an `id`"):
            await looks.look()


async def test_an_asset_that_is_as_it_was_is_the_same_object() -> None:
    """So comparing 10,000 of them is quick, and memory is not filled anew each time."""
    async with looking(simulated_api(3, locations=LOCATIONS)) as looks:
        before = (await looks.look()).snapshot.assets
        looks.api.items[1]["name"] = "Hall"
        after = (await looks.look()).snapshot.assets
    assert [after[asset] is before[asset] for asset in before] == [True, False, True]
    assert after["ast-1"].name == "Hall"


async def test_the_shadows_that_are_wanted_are_asked_for() -> None:
    """By name, each of them; without names the API gives its usual one."""
    pages: list[list[dict[str, Any]]] = []

    async def keep(page: list[dict[str, Any]]) -> None:
        pages.append(page)

    api = simulated_api(1)
    api.items[0]["shadows"] = {"DeviceUplink": {"a": 1}, "Other": {"b": 2}, "More": {}}
    for shadows, found in (((), {"DeviceUplink"}), (("Other", "DeviceUplink"), {"Other", "DeviceUplink"})):
        reader = InventoryReader(
            organization=ORGANIZATION, clock_ms=lambda: 7, on_items=keep, shadows=shadows
        )
        async with api, connected(api) as infodeck:
            await reader.fetch(infodeck, None, thorough=True)
        assert pages[-1][0]["shadows"].keys() == found
