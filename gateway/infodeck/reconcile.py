"""Asks Infodeck's API for all assets, again and again; what it last said stays until it says more."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog

from gateway.backoff import Backoff
from gateway.errors import ApiRefusalError, GatewayError, TransientError
from gateway.infodeck.inventory.absences import Absences
from gateway.infodeck.inventory.survey import Surveyor
from gateway.logs import unforeseen
from gateway.records import AssetSnapshot, StateChanges

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.infodeck.inventory.survey import Survey
    from gateway.ports import StateStore
    from gateway.records import AutoTag
    from gateway.status import ReconcileStatus

log = structlog.get_logger()

_APART_S = 2.0  # many requests in a row become one
_LONGEST_APART_S = 30.0
_REST_SHARE = 3  # a look that has taken long is followed by a rest so many times as long
_FIRST_RETRY_S = 2.0
_LONGEST_RETRY_S = 300.0
_LONGEST_REST_S = 900.0  # after a refusal: somebody may mend it at Infodeck's side
_JITTER = 0.1
_KEY_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class Reconciler:
    """Keeps a snapshot of all assets. `run` asks at start, then every `every_s`, and soon after `request`.

    A new snapshot goes into the journal and to `on_snapshot`, which is awaited. However the API fails, the
    last one stays; an asset that is missing from one list alone stays, too. `on_items` is called with each
    page of the list as it comes: the assets as the API has them, shadows included, which nobody keeps. Pages
    may come of a list that breaks off later.
    """

    def __init__(
        self,
        *,
        organization: str,
        every_s: float,
        state_store: StateStore,
        status: ReconcileStatus,
        clock_ms: Callable[[], int],
        on_snapshot: Callable[[AssetSnapshot], Awaitable[None]],
        on_items: Callable[[list[Item]], None] | None = None,
        shadows: Sequence[str] = (),
        tags: Callable[[], Mapping[str, AutoTag]] = dict,
        apart_s: float = _APART_S,
        backoff: Backoff | None = None,
    ) -> None:
        """Prepare; nothing is asked before `run`. `apart_s` lies at least between two looks at all assets.

        `shadows` are the names of those that `on_items` is to see, if not the usual one; `tags` returns what
        is to be kept with the snapshot.
        """
        self._surveyor = Surveyor(
            organization=organization, clock_ms=clock_ms, on_items=on_items, shadows=shadows
        )
        self._every_s = every_s
        self._state_store = state_store
        self._status = status
        self._on_snapshot = on_snapshot
        self._tags = tags
        self._apart_s = min(apart_s, every_s)
        self._backoff = backoff or Backoff(first_s=_FIRST_RETRY_S, longest_s=min(_LONGEST_RETRY_S, every_s))
        self._absences = Absences()
        self._was_unsure = False
        self._requested = asyncio.Event()
        self._due_s = 0.0  # by the event loop's clock: when everything is asked anew
        self._snapshot: AssetSnapshot | None = None
        self._logged: type[BaseException] | None = None

    def request(self) -> None:
        """Ask soon: something about the assets has changed."""
        self._requested.set()

    async def run(self, api: InfodeckApi) -> None:
        """Ask until cancelled."""
        self._status.state = "starting"
        if before := self._state_store.at_start.assets:
            self._show(before)
        while True:
            self._requested.clear()
            at_least_s, at_most_s = await self._reconcile(api)
            await asyncio.sleep(at_least_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._requested.wait(), max(0.0, at_most_s - at_least_s))

    async def _reconcile(self, api: InfodeckApi) -> tuple[float, float]:
        """Ask once; return how many seconds to wait at least, and at most where nobody requests."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        thorough = began_s >= self._due_s
        try:
            survey = await self._surveyor.look(api, self._snapshot, thorough=thorough)
            await self._take(survey)
        except TransientError as error:
            self._fail(error, str(error))
            pause_s = self._backoff.next_s() + (error.retry_after_s or 0)
            return pause_s, pause_s
        except GatewayError as error:
            self._fail(error, str(error))
            pause_s = self._jittered(min(self._every_s, _LONGEST_REST_S))
            return (pause_s if _refuses_the_key(error) else self._apart_s), pause_s
        except Exception as error:  # noqa: BLE001 - whatever it is, events must go on
            self._fail(error, unforeseen(error))
            return self._apart_s, self._jittered(min(self._every_s, _LONGEST_REST_S))
        if thorough:
            self._due_s = loop.time() + self._jittered(self._every_s)
        rest_s = min(_LONGEST_APART_S, _REST_SHARE * (loop.time() - began_s))
        return max(self._apart_s, rest_s, survey.retry_after_s), self._due_s - loop.time()

    async def _take(self, survey: Survey) -> None:
        snapshot, unsure = self._absences.bridge(survey.snapshot, self._snapshot)
        snapshot = replace(snapshot, tags=self._tags())
        self._ask_again_about(unsure)
        self._state_store.save(StateChanges(assets=snapshot))
        await self._on_snapshot(snapshot)
        self._show(snapshot)
        if self._status.state != "ok":
            log.info("assets.available", assets=len(snapshot.assets), was=self._status.state)
        self._status.state, self._status.last_error, self._logged = "ok", None, None
        self._status.succeeded += 1
        self._tell_missing(survey.missing)
        self._backoff.reset()

    def _ask_again_about(self, unsure: int) -> None:
        """Have the next look follow soon where assets may be gone; not after each one, should that go on."""
        if unsure:
            log.debug(
                "assets.unsure", assets=unsure, reason="missing from one list, so it is asked once more"
            )
        if unsure and not self._was_unsure:
            self.request()
        self._was_unsure = unsure > 0

    def _tell_missing(self, missing: dict[str, str]) -> None:
        """Show what the API would not tell besides assets, and log it where that is new."""
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

    def _fail(self, error: Exception, reason: str) -> None:
        """Show it, and log it once, or again where it is of another kind: away is not refused."""
        self._status.state, self._status.last_error = "failing", reason
        self._status.failed += 1
        if self._logged is type(error):
            return
        self._logged = type(error)
        level = log.warning if isinstance(error, TransientError) else log.error
        level("assets.unavailable", reason=reason, assets=f"{self._status.assets} known from before")

    def _jittered(self, seconds: float) -> float:
        """Return about that many seconds: boxes must not march in step."""
        return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - jitter is no cryptography


def _refuses_the_key(error: GatewayError) -> bool:
    """Say whether asking sooner, because an asset has changed, would only be another refusal."""
    return isinstance(error, ApiRefusalError) and error.status in _KEY_REFUSED
