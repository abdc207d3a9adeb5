"""What Infodeck knows of the organization: every asset, its location, and what its type measures.

Unusable fields of an item count as missing. Names become single lines without control characters: people
type them into Infodeck, and read them in logs, terminals and on MQTT. An id or key with such a character is
ignored, since no point table could name it.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import structlog

from gateway.errors import ApiRefusalError, GatewayError, TransientError
from gateway.records import AssetLocation, AssetProperty, AssetSnapshot, AssetType, KnownAsset
from gateway.text import sanitise_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence

    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.status import InventoryStatus

log = structlog.get_logger()

Listed = TypeVar("Listed", KnownAsset, AssetLocation)

_MOST_ASSETS = 250_000
_MOST_LOCATIONS = 100_000
_TYPES_REFRESHED = 100  # known types requested again in one fetch; the others follow in the next ones
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
        on_items: Callable[[list[Item]], Awaitable[None]] | None = None,
        shadows: Sequence[str] = (),
    ) -> None:
        """`on_items` is awaited with each page of assets as it arrives, also if the list breaks off later.

        `shadows` are the names of the device shadows in it, if not the usual one.
        """
        self._organization = organization
        self._clock_ms = clock_ms
        self._on_items = on_items
        self._shadows = shadows
        self._no_types: set[str] = set()  # ids of types that the API does not know
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
        self._missing, self._retry_after_s = dict(self._missing), 0.0  # what is not requested stays missing
        at_ms = self._clock_ms()  # of the request: the answer may lack what changes meanwhile
        assets = await _listed(self._pages_of_assets(api), known_asset, what="assets", most=_MOST_ASSETS)
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

    async def _pages_of_assets(self, api: InfodeckApi) -> AsyncIterator[list[Item]]:
        async for page in api.assets(shadows=self._shadows):
            if self._on_items is not None:
                await self._on_items(page)
            yield page

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
            found = await _listed(api.locations(), location, what="locations", most=_MOST_LOCATIONS)
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
        types = {name: one for name, one in before.items() if name in used}  # the oldest answer first
        requested = [name for name in used if name not in types and (thorough or name not in self._no_types)]
        if thorough:
            requested += [*types][:_TYPES_REFRESHED]
        if thorough or requested:
            self._missing.pop("asset types", None)
        for name in requested:
            try:
                found = asset_type(await api.asset_type(name), asked=name)
            except GatewayError as error:
                if isinstance(error, ApiRefusalError) and error.status == HTTPStatus.NOT_FOUND:
                    self._no_types.add(name)
                    continue
                self._mark_missing("asset types", error)
                if isinstance(error, TransientError | ApiRefusalError):
                    break  # the next request would fail in the same way
                continue
            types.pop(name, None)
            types[name] = found
            self._no_types.discard(name)
        left = {name: one for name, one in types.items() if name not in self._no_types}
        if types and not left:
            self._missing["asset types"] = f"the API knows none of them, such as {next(iter(types))}"
            return types
        return left

    def _mark_missing(self, part: str, error: GatewayError) -> None:
        self._missing.setdefault(part, str(error))
        if isinstance(error, TransientError):
            self._retry_after_s = max(self._retry_after_s, error.retry_after_s or 0.0)


async def _listed(
    pages: AsyncIterator[list[Item]], parse: Callable[[Any], Listed | None], *, what: str, most: int
) -> dict[str, Listed]:
    """Return what a list has, by id; raise GatewayError where it is too long, or where no item has an id."""
    found: dict[str, Listed] = {}
    items = 0
    async for page in pages:
        items += len(page)
        found.update((one.id, one) for item in page if (one := parse(item)) is not None)
        if len(found) > most:
            raise GatewayError(f"the API lists more than {most} {what}: check infodeck.api")
    if items and not found:
        raise GatewayError(f"none of the {items} {what} that the API lists has an `id`")
    return found


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
        names: dict[str, str] = {}  # by id
        at: AssetLocation | None = location
        while at is not None and at.id not in names and len(names) < _DEEPEST:
            names[at.id] = at.name or at.id
            at = self._locations.get(at.parent or "")
        return tuple(reversed(names.values()))


def compare_with_tables(snapshot: AssetSnapshot, *, mapped: Collection[str], status: InventoryStatus) -> None:
    """Show which of the assets in point tables Infodeck does not know, and which online ones no table has."""
    gone = sorted(asset for asset in mapped if asset not in snapshot.assets)
    unmapped = sorted(one.id for one in snapshot.assets.values() if one.online and one.id not in mapped)
    if gone and not status.gone:
        log.warning(
            "inventory.gone",
            assets=len(gone),
            such_as=gone[:_LOGGED],
            advice="point tables name them, but Infodeck does not know them: see gateway check",
        )
    elif status.gone and not gone:
        log.info("inventory.none_gone")
    if unmapped and not status.unmapped:
        log.info(
            "inventory.unmapped",
            assets=len(unmapped),
            such_as=unmapped[:_LOGGED],
            advice="they are online in Infodeck, but in no point table: gateway discover drafts one",
        )
    elif status.unmapped and not unmapped:
        log.info("inventory.none_unmapped")
    status.gone, status.gone_sample = len(gone), gone[:_SHOWN]
    status.unmapped, status.unmapped_sample = len(unmapped), unmapped[:_SHOWN]


_LONGEST_TEXT = 200
_MOST_PROPERTIES = 1_000
# Control characters, line and paragraph separators, and marks that change the direction of writing.
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def known_asset(item: Any) -> KnownAsset | None:
    """Return the asset in one item of the list, None where it has no usable id."""
    asset_id = _id(item)
    if asset_id is None:
        return None
    metadata, location = _object(item.get("metadata")), _object(item.get("location"))
    location_id = _text(item.get("locationId")) or _text(location.get("id"))
    return KnownAsset(
        id=asset_id,
        name=_text(item.get("name")),
        asset_type=_text(item.get("assetTypeId")),
        model=_text(item.get("modelName")) or _text(metadata.get("model")),
        manufacturer=_text(item.get("nameOfManufacturer")) or _text(metadata.get("manufacturer")),
        location=_text(location.get("name")) or location_id,
        location_id=location_id,
        online=_online(item),
    )


def asset_type(item: Any, *, asked: str) -> AssetType:
    """Return the type of the id that was requested, as far as the answer describes it."""
    item = _object(item)
    listed = item.get("properties")
    properties: dict[str, AssetProperty] = {}
    for one in map(_object, listed[:_MOST_PROPERTIES] if isinstance(listed, list) else ()):
        key = one.get("key")
        if _is_name(key):
            found = AssetProperty(key, _text(one.get("name")), _text(one.get("type")), _text(one.get("unit")))
            properties.setdefault(key, found)
    return AssetType(id=asked, name=_text(item.get("name")), properties=tuple(properties.values()))


def location(item: Any) -> AssetLocation | None:
    """Return the location in one item of the list, None where it has no usable id."""
    location_id = _id(item)
    if location_id is None:
        return None
    return AssetLocation(id=location_id, name=_text(item.get("name")), parent=_text(item.get("parentId")))


def _id(item: Any) -> str | None:
    found = item.get("id") if isinstance(item, dict) else None
    return found if _is_name(found) else None


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT and not _STEERING.search(value)


def _online(item: dict[str, Any]) -> bool | None:
    connected, status = item.get("connectionStatus"), item.get("status")
    if isinstance(connected, bool):
        return connected
    if isinstance(status, str):
        return {"online": True, "offline": False}.get(status.strip().lower())
    return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    """Return a text or integer as one line, None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return (sanitise_line(value, longest=_LONGEST_TEXT) or None) if isinstance(value, str) else None
