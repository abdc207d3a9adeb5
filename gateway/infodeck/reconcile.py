"""Reconciliation: fetches the inventory again and again. The last good answer stays until a better one."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog

from gateway.backoff import Backoff
from gateway.errors import ApiRefusalError, TransientError
from gateway.logs import error_text
from gateway.records import AssetSnapshot, StateChanges

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.infodeck.api_client import InfodeckApi
    from gateway.infodeck.inventory import FetchedInventory, InventoryReader
    from gateway.ports import StateStore
    from gateway.records import AutoTag, OnlineState
    from gateway.status import ReconcileStatus

log = structlog.get_logger()

_APART_S = 2.0  # several requests within it become one
_LONGEST_APART_S = 30.0
_REST_SHARE = 3  # a long fetch is followed by a pause so many times as long
_FIRST_RETRY_S = 2.0
_LONGEST_RETRY_S = 300.0
_LONGEST_REST_S = 900.0  # after a refusal, whose cause may be mended at Infodeck's side
_JITTER = 0.1
_KEY_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class Reconciler:
    """Keeps a snapshot of all assets: fetched at start, then every `every_s`, and soon after `request`.

    A new snapshot goes to the journal and to `on_snapshot`, which is awaited. However the API fails, the
    last one stays.
    """

    def __init__(
        self,
        reader: InventoryReader,
        *,
        every_s: float,
        state_store: StateStore,
        status: ReconcileStatus,
        on_snapshot: Callable[[AssetSnapshot], Awaitable[None]],
        tags: Callable[[], Mapping[str, AutoTag]] = dict,
        apart_s: float = _APART_S,
        backoff: Backoff | None = None,
    ) -> None:
        """Fetch nothing before `run`. At least `apart_s` lies between two fetches.

        `tags` returns what is kept with the snapshot.
        """
        self._reader = reader
        self._every_s = every_s
        self._state_store = state_store
        self._status = status
        self._on_snapshot = on_snapshot
        self._tags = tags
        self._apart_s = min(apart_s, every_s)
        self._backoff = backoff or Backoff(first_s=_FIRST_RETRY_S, longest_s=min(_LONGEST_RETRY_S, every_s))
        self._unlisted: frozenset[str] = frozenset()  # known assets that the last list did not have
        self._was_unsure = False
        self._requested = asyncio.Event()
        self._thorough_at_s = 0.0  # by the event loop's clock: when everything is fetched anew
        self._snapshot: AssetSnapshot | None = None
        self._logged: type[BaseException] | None = None

    def request(self) -> None:
        """Fetch soon: something about the assets has changed."""
        self._requested.set()

    async def run(self, api: InfodeckApi) -> None:
        """Reconcile until cancelled."""
        self._status.state = "starting"
        if before := self._state_store.at_start.assets:
            self._show(before)
        while True:
            self._requested.clear()
            try:
                at_least_s, at_most_s = await self._reconcile(api)
            except Exception as error:  # noqa: BLE001 - whatever it is, events must go on
                self._show_failure(error)
                at_least_s, at_most_s = self._rest_after(error)
            await asyncio.sleep(at_least_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._requested.wait(), max(0.0, at_most_s - at_least_s))

    async def _reconcile(self, api: InfodeckApi) -> tuple[float, float]:
        """Fetch once; return the seconds to wait at least, and at most if nobody requests the next."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        thorough = began_s >= self._thorough_at_s
        fetched = await self._reader.fetch(api, self._snapshot, thorough=thorough)
        await self._accept(fetched)
        if thorough:
            self._thorough_at_s = loop.time() + _jittered(self._every_s)
        rest_s = min(_LONGEST_APART_S, _REST_SHARE * (loop.time() - began_s))
        return max(self._apart_s, rest_s, fetched.retry_after_s), self._thorough_at_s - loop.time()

    def _rest_after(self, error: Exception) -> tuple[float, float]:
        if isinstance(error, TransientError):
            pause_s = self._backoff.next_s() + (error.retry_after_s or 0)
            return pause_s, pause_s
        pause_s = _jittered(min(self._every_s, _LONGEST_REST_S))
        is_key_refused = isinstance(error, ApiRefusalError) and error.status in _KEY_REFUSED
        return (pause_s if is_key_refused else self._apart_s), pause_s

    async def _accept(self, fetched: FetchedInventory) -> None:
        snapshot = replace(self._with_unsure_assets(fetched.snapshot), tags=self._tags())
        self._state_store.save(StateChanges(assets=snapshot))
        await self._on_snapshot(snapshot)
        self._show(snapshot)
        if self._status.state != "ok":
            log.info("assets.available", assets=len(snapshot.assets), was=self._status.state)
        self._status.state, self._status.last_error, self._logged = "ok", None, None
        self._status.succeeded += 1
        self._show_missing(fetched.missing)
        self._backoff.reset()

    def _with_unsure_assets(self, found: AssetSnapshot) -> AssetSnapshot:
        """Return the snapshot with the assets that are missing from a list for the first time.

        A list arrives page by page while assets are added and deleted, so that one may slip from a later
        page to an earlier one. An asset without a list entry loses its topics and registers where a template
        took it by `auto`. So it is gone only when two lists in a row are without it. The second is fetched
        soon; not so again and again, if assets keep coming and going.
        """
        before = self._snapshot or found
        unlisted = frozenset(before.assets.keys() - found.assets.keys())
        unsure = sorted(unlisted - self._unlisted)
        self._unlisted = unlisted
        if unsure:
            log.debug(
                "assets.unsure", assets=len(unsure), reason="missing from one list, so it is asked once more"
            )
            if not self._was_unsure:
                self.request()
        self._was_unsure = bool(unsure)
        if not unsure:
            return found
        kept = {one: replace(before.assets[one], online=None) for one in unsure}  # may be offline by now
        used = {known.asset_type for known in kept.values()}
        types = {name: one for name, one in before.types.items() if name in used}
        return replace(found, assets={**found.assets, **kept}, types={**types, **found.types})

    def _show_missing(self, missing: dict[str, str]) -> None:
        before, self._status.missing = self._status.missing, missing
        if missing and missing.keys() != before.keys():
            log.warning("assets.incomplete", missing=missing, advice="what was known of it before stays")
        elif before and not missing:
            log.info("assets.complete")

    def _show(self, snapshot: AssetSnapshot) -> None:
        self._snapshot = snapshot
        status = self._status
        status.assets, status.last_success_ms = len(snapshot.assets), snapshot.at_ms
        status.types, status.locations = len(snapshot.types), len(snapshot.locations)

    def _show_failure(self, error: Exception) -> None:
        """Show a failure. It is logged once, and again if it is of another kind: away is not refused."""
        reason = error_text(error)
        self._status.state, self._status.last_error = "failing", reason
        self._status.failed += 1
        if self._logged is type(error):
            return
        self._logged = type(error)
        level = log.warning if isinstance(error, TransientError) else log.error
        level("assets.unavailable", reason=reason, assets=f"{self._status.assets} known from before")


class ConnectionDoubts:
    """Finds where webhooks and list contradict each other about a device's connection at about one time.

    Clocks differ by up to `skew_ms`, and the list may lag behind the events: nothing else says which one is
    newer, so the API is asked again.
    """

    def __init__(self, *, skew_ms: int) -> None:
        self._skew_ms = skew_ms
        self._reported: dict[str, OnlineState] = {}  # by asset: from webhooks since the last list

    def accept_event(self, state: OnlineState, snapshot: AssetSnapshot | None) -> bool:
        """Take in what a webhook reports; return whether the last list contradicts it."""
        before = self._reported.get(state.asset)
        if before is None or before.at_ms <= state.at_ms:
            self._reported[state.asset] = state
        return snapshot is not None and self._contradicts(snapshot, state)

    def accept_list(self, snapshot: AssetSnapshot) -> bool:
        """Return whether a new list contradicts a webhook since the one before."""
        states, self._reported = self._reported, {}
        return any(self._contradicts(snapshot, state) for state in states.values())

    def _contradicts(self, snapshot: AssetSnapshot, state: OnlineState) -> bool:
        known = snapshot.assets.get(state.asset)
        if known is None or known.online is None or known.online is state.online:
            return False
        return 0 <= second_of(snapshot) - state.at_ms <= self._skew_ms


def second_of(snapshot: AssetSnapshot) -> int:
    """Return the second in which the API was asked: the times of Infodeck's events are whole seconds."""
    return snapshot.at_ms // 1000 * 1000


def _jittered(seconds: float) -> float:
    """Return about that many seconds, so that several gateways do not ask in step."""
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - jitter is no cryptography
