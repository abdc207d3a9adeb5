"""What Infodeck knows of the organization: every asset, its location, and what its type measures."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog

from gateway.errors import ApiRefusalError, GatewayError, TransientError
from gateway.infodeck.asset_items import asset_type, known_asset, location
from gateway.records import AssetSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.records import AssetLocation, AssetType, KnownAsset
    from gateway.status import InventoryStatus

log = structlog.get_logger()

_MOST_ASSETS = 250_000
_MOST_LOCATIONS = 100_000
_TYPES_REFRESHED = 100  # known types requested again in one fetch; the others follow in the next ones
_MOST_FAILED_TYPES = 5  # one after the other; then the fault is not a single type's
_SLICE = 500  # assets processed before the event loop gets its turn
_DEEPEST = 32
_SHOWN = 20
_LOGGED = 3


@dataclass(frozen=True, slots=True)
class FetchedInventory:
    """One answer. `missing` are parts that could not be fetched, with the reason; they are as before.

    `retry_after_s` is the pause that the API asked for when it refused a part.
    """

    snapshot: AssetSnapshot
    missing: dict[str, str]
    retry_after_s: float


class InventoryReader:
    """Fetches the inventory, and remembers what need not be requested each time."""

    def __init__(
        self,
        *,
        organization: str,
        clock_ms: Callable[[], int],
        on_items: Callable[[list[Item]], None] | None = None,
        shadows: Sequence[str] = (),
    ) -> None:
        """`on_items` is called with each page of assets as it arrives, also if the list breaks off later.

        `shadows` are the names of the device shadows in it, if not the usual one.
        """
        self._organization = organization
        self._clock_ms = clock_ms
        self._on_items = on_items
        self._shadows = shadows
        self._fetches = 0
        self._type_fetched: dict[str, int] = {}  # the number of the fetch that last answered for a type
        self._unlisted: set[str] = set()  # locations of assets that the list of locations does not have
        self._missing: dict[str, str] = {}
        self._retry_after_s = 0.0

    async def fetch(
        self, api: InfodeckApi, before: AssetSnapshot | None, *, thorough: bool
    ) -> FetchedInventory:
        """Return the inventory now; raise what `InfodeckApi` raises where the assets can't be listed.

        Types and locations are requested if they are unknown, with `thorough` also if they are known.
        """
        before = before or AssetSnapshot(0, {})
        self._fetches += 1
        self._missing, self._retry_after_s = dict(self._missing), 0.0  # what is not requested stays missing
        at_ms = self._clock_ms()  # of the request: the answer may lack what changes meanwhile
        assets = await self._assets(api)
        if not assets and before.assets:
            raise GatewayError(
                f"the API lists no asset any more, but knew {len(before.assets)}: check that"
                f" infodeck.api_key belongs to {self._organization}"
            )
        locations = await self._locations(api, assets, before.locations, thorough=thorough)
        types = await self._types(api, assets, before.types, thorough=thorough)
        located = await _located(assets, locations, before.assets)
        snapshot = AssetSnapshot(at_ms, located, types, locations)
        return FetchedInventory(snapshot, self._missing, self._retry_after_s)

    async def _assets(self, api: InfodeckApi) -> dict[str, KnownAsset]:
        assets: dict[str, KnownAsset] = {}
        listed = 0
        async for page in api.assets(shadows=self._shadows):
            if self._on_items is not None:
                self._on_items(page)
            listed += len(page)
            assets.update((asset.id, asset) for item in page if (asset := known_asset(item)) is not None)
            if len(assets) > _MOST_ASSETS:
                raise GatewayError(f"the API lists more than {_MOST_ASSETS} assets: check infodeck.api")
        if listed and not assets:
            raise GatewayError(f"none of the {listed} assets that the API lists has an `id`")
        return assets

    async def _locations(
        self,
        api: InfodeckApi,
        assets: Mapping[str, KnownAsset],
        before: Mapping[str, AssetLocation],
        *,
        thorough: bool,
    ) -> Mapping[str, AssetLocation]:
        used = {asset.location_id for asset in assets.values() if asset.location_id is not None}
        self._unlisted &= used
        if not thorough and not used - before.keys() - self._unlisted:
            return before
        self._missing.pop("locations", None)
        try:
            found = await _all_locations(api)
        except GatewayError as error:
            self._mark_missing("locations", error)
            return before
        if before and not found:
            self._missing["locations"] = f"the API lists none any more, but knew {len(before)}"
            return before
        self._unlisted = used - found.keys()
        return found

    async def _types(
        self,
        api: InfodeckApi,
        assets: Mapping[str, KnownAsset],
        before: Mapping[str, AssetType],
        *,
        thorough: bool,
    ) -> Mapping[str, AssetType]:
        used = {asset.asset_type: None for asset in assets.values() if asset.asset_type is not None}
        self._type_fetched = {name: fetch for name, fetch in self._type_fetched.items() if name in used}
        types = {name: before[name] for name in used if name in before}
        requested = self._types_to_request(used, types, thorough=thorough)
        if thorough or requested:
            self._missing.pop("asset types", None)
        gone: list[str] = []
        failed = 0  # in a row
        for name in requested:
            try:
                types[name] = asset_type(await api.asset_type(name), asked=name)
            except GatewayError as error:
                if not _is_not_found(error):
                    self._mark_missing("asset types", error)
                    failed += 1
                    if isinstance(error, TransientError | ApiRefusalError) or failed == _MOST_FAILED_TYPES:
                        break  # the next request would fail in the same way
                    continue
                gone.append(name)
            failed = 0
            self._type_fetched[name] = self._fetches
        return self._without_gone(types, gone)

    def _types_to_request(
        self, used: Iterable[str], known: Mapping[str, AssetType], *, thorough: bool
    ) -> list[str]:
        """Return the unknown types, then those whose answer is the oldest."""
        unknown = [name for name in used if name not in known]
        if not thorough:
            return [name for name in unknown if name not in self._type_fetched]
        oldest = sorted(known, key=lambda name: self._type_fetched.get(name, 0))
        return [*unknown, *oldest[:_TYPES_REFRESHED]]

    def _without_gone(self, types: dict[str, AssetType], gone: list[str]) -> dict[str, AssetType]:
        """Drop the types that the API does not know, unless it knows none at all."""
        left = {name: one for name, one in types.items() if name not in gone}
        if gone and not left:
            self._missing["asset types"] = f"the API knows none of them, such as {gone[0]}"
            return types
        return left

    def _mark_missing(self, part: str, error: GatewayError) -> None:
        self._missing.setdefault(part, str(error))
        if isinstance(error, TransientError):
            self._retry_after_s = max(self._retry_after_s, error.retry_after_s or 0.0)


async def _all_locations(api: InfodeckApi) -> dict[str, AssetLocation]:
    found: dict[str, AssetLocation] = {}
    async for page in api.locations():
        found.update((one.id, one) for item in page if (one := location(item)) is not None)
        if len(found) > _MOST_LOCATIONS:
            raise GatewayError(f"the API lists more than {_MOST_LOCATIONS} of them: check infodeck.api")
    return found


def _is_not_found(error: GatewayError) -> bool:
    return isinstance(error, ApiRefusalError) and error.status == HTTPStatus.NOT_FOUND


async def _located(
    assets: Mapping[str, KnownAsset],
    locations: Mapping[str, AssetLocation],
    before: Mapping[str, KnownAsset],
) -> dict[str, KnownAsset]:
    """Return the assets with their locations. Unchanged ones are the same objects as before.

    That makes comparing them cheap, and spares the garbage collector new objects each time.
    """
    tree = LocationTree(locations)
    located: dict[str, KnownAsset] = {}
    for number, asset in enumerate(assets.values()):
        if number % _SLICE == 0:
            await asyncio.sleep(0)
        found, earlier = tree.locate(asset), before.get(asset.id)
        located[asset.id] = earlier if earlier is not None and earlier == found else found
    return located


class LocationTree:
    """All locations. The path to each is worked out once, and shared by all assets there."""

    def __init__(self, locations: Mapping[str, AssetLocation]) -> None:
        self._locations = locations
        self._paths: dict[str, tuple[str, ...]] = {}

    def locate(self, asset: KnownAsset) -> KnownAsset:
        """Return the asset with its location's name and the path to it, as far as they are known."""
        location = self._locations.get(asset.location_id or "")
        if location is None:
            return asset
        path = self._paths.get(location.id) or self._paths.setdefault(location.id, self._path(location))
        return replace(asset, location=location.name or asset.location, location_path=path)

    def _path(self, location: AssetLocation) -> tuple[str, ...]:
        """Return names, or ids, from the outermost location to this one. A cycle ends where it closes."""
        names: list[str] = []
        seen: set[str] = set()
        at: AssetLocation | None = location
        while at is not None and at.id not in seen and len(names) < _DEEPEST:
            seen.add(at.id)
            names.append(at.name or at.id)
            at = self._locations.get(at.parent or "")
        return tuple(reversed(names))


def compare_with_tables(snapshot: AssetSnapshot, *, mapped: Collection[str], status: InventoryStatus) -> None:
    """Show which of the assets in point tables Infodeck does not know, and which online ones no table has.

    The log has a line when either begins or ends.
    """
    gone = [asset for asset in mapped if asset not in snapshot.assets]
    unmapped = [known.id for known in snapshot.assets.values() if known.online and known.id not in mapped]
    had_gone, had_unmapped = status.gone, status.unmapped
    status.gone, status.gone_sample = len(gone), sorted(gone)[:_SHOWN]
    status.unmapped, status.unmapped_sample = len(unmapped), sorted(unmapped)[:_SHOWN]
    if gone and not had_gone:
        log.warning(
            "inventory.gone",
            assets=len(gone),
            such_as=status.gone_sample[:_LOGGED],
            advice="point tables name them, but Infodeck does not know them: see gateway check",
        )
    elif had_gone and not gone:
        log.info("inventory.none_gone")
    if unmapped and not had_unmapped:
        log.info(
            "inventory.unmapped",
            assets=len(unmapped),
            such_as=status.unmapped_sample[:_LOGGED],
            advice="they are online in Infodeck, but in no point table: gateway discover drafts one",
        )
    elif had_unmapped and not unmapped:
        log.info("inventory.none_unmapped")
