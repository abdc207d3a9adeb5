"""What one fetch of the inventory requests, and what stays where a part is refused."""

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
class Fetches:
    """Successive fetches from one API."""

    api: SimulatedApi
    infodeck: InfodeckApi
    reader: InventoryReader
    last: AssetSnapshot | None = None

    async def fetch(self, *, thorough: bool = True) -> FetchedInventory:
        """Fetch once more."""
        self.api.asked.clear()
        found = await self.reader.fetch(self.infodeck, self.last, thorough=thorough)
        self.last = found.snapshot
        return found

    @property
    def asked(self) -> list[str]:
        """The paths of the last fetch, without organization and query."""
        return [one.partition(ORGANIZATION)[2].partition("?")[0] for one in self.api.asked]


@asynccontextmanager
async def fetching(api: SimulatedApi) -> AsyncIterator[Fetches]:
    """Open an API for successive fetches."""
    async with api, connected(api) as infodeck:
        yield Fetches(api, infodeck, InventoryReader(organization=ORGANIZATION, clock_ms=lambda: 7))


async def test_assets_types_and_locations_make_one_snapshot() -> None:
    """Each asset has its place, each type in use its properties; nothing else is requested."""
    api = simulated_api(2, locations=LOCATIONS)
    api.types += types("at-unused")
    async with fetching(api) as fetches:
        found = await fetches.fetch()
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
    assert fetches.asked == ["/assets", "/locations", "/asset-types/at-iaq"]


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
async def test_refused_types_and_locations_stay_as_before(fault: Answer) -> None:
    """The assets are updated, types and locations stay, and the reason is shown."""
    async with fetching(simulated_api(2, locations=LOCATIONS)) as fetches:
        before = (await fetches.fetch()).snapshot
        fetches.api.items.append(items(3)[2] | {"locationId": "loc-1"})
        fetches.api.path_faults = {"/locations": deque([fault]), "/at-iaq": deque([fault])}
        found = await fetches.fetch()
    assert len(found.snapshot.assets) == 3
    assert found.snapshot.assets["ast-2"].location_path == ("HQ", "Level 1")
    assert (found.snapshot.types, found.snapshot.locations) == (before.types, before.locations)
    assert found.missing.keys() == {"locations", "asset types"}


async def test_parts_that_are_not_requested_stay_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick fetch in between does not clear the missing parts."""
    away = Answer(status=503)
    async with fetching(simulated_api(2, locations=LOCATIONS)) as fetches:
        await fetches.fetch()
        fetches.api.path_faults = {"/locations": deque([away]), "/at-iaq": deque([away])}
        missing = (await fetches.fetch()).missing
        assert (await fetches.fetch(thorough=False)).missing == missing
        assert fetches.asked == ["/assets"]
        assert (await fetches.fetch()).missing == {}
        monkeypatch.setattr("gateway.infodeck.inventory._MOST_LOCATIONS", 2)
        assert "more than 2 locations" in (await fetches.fetch()).missing["locations"]
        monkeypatch.setattr("gateway.infodeck.inventory._MOST_ASSETS", 1)
        with pytest.raises(GatewayError, match="more than 1 assets"):
            await fetches.fetch()


async def test_a_single_unknown_type_is_no_failure() -> None:
    """A type with 404 is not requested again before the next thorough fetch."""
    api = simulated_api(3)
    api.items[1]["assetTypeId"] = "at-gone"
    api.items[2]["assetTypeId"] = "../at gone?"
    async with fetching(api) as fetches:
        found = await fetches.fetch()
        assert (found.missing, list(found.snapshot.types)) == ({}, ["at-iaq"])
        await fetches.fetch(thorough=False)
        assert fetches.asked == ["/assets"]
        await fetches.fetch()
        assert len(fetches.asked) == 5


async def test_a_quick_fetch_requests_unknown_parts_only() -> None:
    """A quick fetch requests new types and locations only."""
    async with fetching(simulated_api(2, locations=LOCATIONS)) as fetches:
        await fetches.fetch()
        await fetches.fetch(thorough=False)
        assert fetches.asked == ["/assets"]
        fetches.api.items.append(items(3)[2] | {"assetTypeId": "at-new"})
        fetches.api.types += types("at-new")
        fetches.api.locations.append({"id": "loc-2", "name": "Level 2"})
        found = await fetches.fetch(thorough=False)
        assert fetches.asked == ["/assets", "/locations", "/asset-types/at-new"]
        assert found.snapshot.types.keys() == {"at-iaq", "at-new"}
        assert found.snapshot.assets["ast-2"].location == "Level 2"
        fetches.api.items[0]["locationId"] = "loc-nowhere"
        await fetches.fetch(thorough=False)
        assert fetches.asked == ["/assets", "/locations"]
        await fetches.fetch(thorough=False)  # it is known by now that this place is unknown
        assert fetches.asked == ["/assets"]


async def test_many_types_are_refreshed_in_turns() -> None:
    """Known types are refreshed a hundred at a time, the oldest answers first."""
    api = simulated_api(0)
    names = [f"at-{number}" for number in range(250)]
    api.items = [items(1)[0] | {"id": name, "assetTypeId": name} for name in names]
    api.types = types(*names)
    async with fetching(api) as fetches:
        found = await fetches.fetch()
        assert len(found.snapshot.types) == len(set(fetches.asked)) - 2 == 250
        again: list[str] = []
        for _ in range(3):
            await fetches.fetch()
            again += [one for one in fetches.asked if one.startswith("/asset-types/")]
    assert len(again) == 300
    assert len(set(again)) == 250


async def test_a_failing_server_is_not_asked_for_every_type() -> None:
    """A 500 ends the requests for types; a broken answer does not."""
    api = simulated_api(0)
    names = [f"at-{number}" for number in range(20)]
    api.items = [items(1)[0] | {"id": name, "assetTypeId": name} for name in names]
    api.types = types(*names)
    async with fetching(api) as fetches:
        api.path_faults = {f"/{name}": deque([Answer(status=500)]) for name in names}
        found = await fetches.fetch()
        assert sum(one.startswith("/asset-types/") for one in fetches.asked) == 1
        assert found.missing.keys() == {"asset types"}
        for name in names:
            api.path_faults[f"/{name}"].clear()
        api.path_faults["/at-3"].append(Answer(body=b"<html>"))
        found = await fetches.fetch()
    assert len(found.snapshot.types) == 19


async def test_the_requested_pause_is_returned() -> None:
    """The requested pause is returned to the reconciler."""
    async with fetching(simulated_api(1)) as fetches:
        fetches.api.path_faults["/locations"] = deque([Answer(status=429, headers={"Retry-After": "600"})])
        found = await fetches.fetch()
    assert found.retry_after_s == 600
    assert "429" in found.missing["locations"]
    assert "asked for a pause" in found.missing["asset types"]


async def test_empty_lists_replace_nothing() -> None:
    """Empty lists of locations or assets do not replace known ones."""
    async with fetching(simulated_api(2, locations=LOCATIONS)) as fetches:
        await fetches.fetch()
        fetches.api.locations.clear()
        found = await fetches.fetch()
        assert found.missing == {"locations": "the API lists none any more, but knew 3"}
        assert len(found.snapshot.locations) == 3
        fetches.api.items.clear()
        with pytest.raises(GatewayError, match=r"no asset any more, but knew 2: .* belongs to o-test"):
            await fetches.fetch()


async def test_assets_without_any_id_are_no_list_of_assets() -> None:
    """A list without any usable id is an error."""
    api = simulated_api(2)
    api.items = [item | {"id": 7} for item in api.items]
    async with fetching(api) as fetches:
        with pytest.raises(GatewayError, match="none of the 2 assets that the API lists has an `id`"):
            await fetches.fetch()


async def test_an_unchanged_asset_is_the_same_object() -> None:
    """Unchanged assets are the same objects, so comparing is cheap."""
    async with fetching(simulated_api(3, locations=LOCATIONS)) as fetches:
        before = (await fetches.fetch()).snapshot.assets
        fetches.api.items[1]["name"] = "Hall"
        after = (await fetches.fetch()).snapshot.assets
    assert [after[asset] is before[asset] for asset in before] == [True, False, True]
    assert after["ast-1"].name == "Hall"


async def test_shadows_are_requested_by_name() -> None:
    """Shadows are requested by name, or the usual one."""
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
