"""One look at everything that Infodeck knows: its assets, where they are, and what their types measure."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from gateway.errors import ApiRefusalError, GatewayError, TransientError
from gateway.infodeck.inventory.items import asset_type, known_asset, location
from gateway.infodeck.inventory.places import Places
from gateway.records import AssetSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.records import AssetType, KnownAsset, Location

_MOST_ASSETS = 250_000
_MOST_LOCATIONS = 100_000
_TYPES_ASKED_AGAIN = 100  # at one look, of those that are known: the others have their turn at the next ones
_MOST_ODD_ANSWERS = 5  # to questions for types, one after the other: then it is not the type that is odd
_AT_ONCE = 500  # assets; then others on the event loop have their turn


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found. `missing` are parts that could not be had, each with the reason: they are as before.

    `retry_after_s` is the pause that the API asked for where it would not tell a part.
    """

    snapshot: AssetSnapshot
    missing: dict[str, str]
    retry_after_s: float


class Surveyor:
    """Looks once more at each call of `look`, and remembers what need not be asked each time."""

    def __init__(
        self,
        *,
        organization: str,
        clock_ms: Callable[[], int],
        on_items: Callable[[list[Item]], None] | None = None,
        shadows: Sequence[str] = (),
    ) -> None:
        """`on_items` is called with each page of assets as it comes, also of a list that breaks off later.

        `shadows` are the names of those in it, if not the usual one.
        """
        self._organization = organization
        self._clock_ms = clock_ms
        self._on_items = on_items
        self._shadows = shadows
        self._looks = 0
        self._asked_types: dict[str, int] = {}  # at which look each was told last
        self._nowhere: set[str] = set()  # locations of assets that are not in the list of locations
        self._missing: dict[str, str] = {}
        self._retry_after_s = 0.0

    async def look(self, api: InfodeckApi, before: AssetSnapshot | None, *, thorough: bool) -> Survey:
        """Return what there is now; raise what `InfodeckApi` does where the assets can't be had.

        `thorough`: types and locations are asked anew, too, and not only those that nothing is known of.
        """
        before = before or AssetSnapshot(0, {})
        self._looks += 1
        self._missing, self._retry_after_s = dict(self._missing), 0.0  # what is not asked stays missing
        at_ms = self._clock_ms()  # as of the question: what changes meanwhile may not be in it
        assets = await self._assets(api)
        if not assets and before.assets:
            raise GatewayError(
                f"the API lists no asset any more, but knew {len(before.assets)}: check that"
                f" infodeck.api_key belongs to {self._organization}"
            )
        locations = await self._locations(api, assets, before.locations, thorough=thorough)
        types = await self._types(api, assets, before.types, thorough=thorough)
        located = await _located(assets, locations, before.assets)
        return Survey(AssetSnapshot(at_ms, located, types, locations), self._missing, self._retry_after_s)

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
        before: Mapping[str, Location],
        *,
        thorough: bool,
    ) -> Mapping[str, Location]:
        used = {asset.location_id for asset in assets.values() if asset.location_id is not None}
        self._nowhere &= used
        if not thorough and not used - before.keys() - self._nowhere:
            return before
        self._missing.pop("locations", None)
        try:
            found = await _all_locations(api)
        except GatewayError as error:
            self._miss("locations", error)
            return before
        if before and not found:
            self._missing["locations"] = f"the API lists none any more, but knew {len(before)}"
            return before
        self._nowhere = used - found.keys()
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
        self._asked_types = {name: look for name, look in self._asked_types.items() if name in used}
        types = {name: before[name] for name in used if name in before}
        asked = self._types_to_ask(used, types, thorough=thorough)
        if thorough or asked:
            self._missing.pop("asset types", None)
        gone: list[str] = []
        odd = 0
        for name in asked:
            try:
                types[name] = asset_type(await api.asset_type(name), asked=name)
            except GatewayError as error:
                if not _is_not_found(error):
                    self._miss("asset types", error)
                    odd += 1
                    if _concerns_all(error) or odd == _MOST_ODD_ANSWERS:
                        break
                    continue
                gone.append(name)
            odd = 0
            self._asked_types[name] = self._looks
        return self._without_gone(types, gone)

    def _types_to_ask(
        self, used: Iterable[str], known: Mapping[str, AssetType], *, thorough: bool
    ) -> list[str]:
        """Return types of which nothing is known, then those whose answer is the oldest."""
        unknown = [name for name in used if name not in known]
        if not thorough:
            return [name for name in unknown if name not in self._asked_types]
        oldest = sorted(known, key=lambda name: self._asked_types.get(name, 0))
        return [*unknown, *oldest[:_TYPES_ASKED_AGAIN]]

    def _without_gone(self, types: dict[str, AssetType], gone: list[str]) -> dict[str, AssetType]:
        """Forget types that the API does not know; not so where it knows none at all."""
        left = {name: one for name, one in types.items() if name not in gone}
        if gone and not left:
            self._missing["asset types"] = f"the API knows none of them, such as {gone[0]}"
            return types
        return left

    def _miss(self, part: str, error: GatewayError) -> None:
        self._missing.setdefault(part, str(error))
        if isinstance(error, TransientError):
            self._retry_after_s = max(self._retry_after_s, error.retry_after_s or 0.0)


async def _all_locations(api: InfodeckApi) -> dict[str, Location]:
    found: dict[str, Location] = {}
    async for page in api.locations():
        found.update((one.id, one) for item in page if (one := location(item)) is not None)
        if len(found) > _MOST_LOCATIONS:
            raise GatewayError(f"the API lists more than {_MOST_LOCATIONS} of them: check infodeck.api")
    return found


async def _located(
    assets: Mapping[str, KnownAsset],
    locations: Mapping[str, Location],
    before: Mapping[str, KnownAsset],
) -> dict[str, KnownAsset]:
    """Return assets with their places; one that is as it was before is the one from before.

    So whoever compares them is done soon, and not everything is new to the garbage collector each time.
    """
    places = Places(locations)
    located: dict[str, KnownAsset] = {}
    for number, asset in enumerate(assets.values()):
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
        found, earlier = places.locate(asset), before.get(asset.id)
        located[asset.id] = earlier if earlier is not None and earlier == found else found
    return located


def _is_not_found(error: GatewayError) -> bool:
    return isinstance(error, ApiRefusalError) and error.status == HTTPStatus.NOT_FOUND


def _concerns_all(error: GatewayError) -> bool:
    """Say whether the next question would be answered in the same way."""
    return isinstance(error, TransientError | ApiRefusalError)
