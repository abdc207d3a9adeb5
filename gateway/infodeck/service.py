"""Everything of one gateway that asks Infodeck: inventory, what webhooks missed, and whether they come."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

import structlog

from gateway.backoff import Backoff
from gateway.errors import GatewayError
from gateway.events import STATUS_CHANGED, read_online
from gateway.infodeck.api_client import ApiAccess, connect
from gateway.infodeck.backfill import Backfill
from gateway.infodeck.delivery_monitor import AssetReports, DeliveryMonitor, MonitorTimes
from gateway.infodeck.inventory import compare_with_tables
from gateway.infodeck.reconcile import Reconciler
from gateway.infodeck.webhooks import summarise_deliveries
from gateway.logs import internal_error_text
from gateway.mapping.paths import compile_path
from gateway.mapping.plan import compile_the_same
from gateway.memory import freeze_new_objects
from gateway.records import StateChanges

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from gateway.alarms import Alarms
    from gateway.delivery.pipeline import Pipeline
    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.model import Record
    from gateway.ports import EventLog, StateStore
    from gateway.records import AssetSnapshot, AutoTag, OnlineState
    from gateway.settings import InfodeckSettings, Secrets
    from gateway.status import Status

log = structlog.get_logger()

_MANY_READINGS = 5_000
_SLICE = 200  # assets processed before the event loop gets its turn
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


class InfodeckService:
    """All that asks Infodeck. Without an API key, deliveries are monitored all the same."""

    def __init__(
        self,
        *,
        settings: InfodeckSettings,
        secrets: Secrets,
        event_log: EventLog,
        state_store: StateStore,
        pipeline: Pipeline,
        status: Status,
        alarms: Alarms,
        clock_skew_s: float,
        clock_ms: Callable[[], int],
        on_assets_changed: Callable[[], None],
    ) -> None:
        """`on_assets_changed` is called when Infodeck describes assets otherwise than before.

        It has the tables compiled anew, and calls `follow_tables` when that is done. `clock_skew_s` is how
        far Infodeck's clock may be off ours.
        """
        self.snapshot: AssetSnapshot | None = None  # the inventory, as of the last good answer
        self._api: InfodeckApi | None = None  # while it runs
        self._settings = settings
        self._access = ApiAccess(
            api=settings.api,
            organization=settings.organization,
            proxy=settings.proxy,
            api_key=secrets.api_key,
            bearer_token=secrets.bearer_token,
        )
        self._event_log = event_log
        self._state_store = state_store
        self._pipeline = pipeline
        self._clock_ms = clock_ms
        self._clock_skew_ms = round(clock_skew_s * 1000)
        self._on_assets_changed = on_assets_changed
        self._online_events: dict[str, OnlineState] = {}  # by asset: from webhooks since the last list
        self._item_time = None if settings.refill.time is None else compile_path(settings.refill.time)
        self._status = status
        self._journal_was_ok = True
        self._reloads = 0
        self._frozen_readings = 0
        self._reconciler = self._make_reconciler()
        self._backfill = self._make_backfill() if settings.refill.enabled else None
        self._monitor = self._make_monitor(alarms)

    @property
    def has_api_key(self) -> bool:
        """Whether the API can be asked."""
        return self._access.api_key is not None

    def start(self) -> None:
        """Go on with what was known at the last stop; call this once the journal is open."""
        self.snapshot = self._state_store.at_start.assets
        self.compare_tables()
        self._event_log.subscribe(self._monitor.arrivals.accept_records)
        if self.has_api_key:
            self._event_log.subscribe(self._accept_events)

    def reconcile_soon(self) -> None:
        """Ask the API soon: something about the assets has changed."""
        self._reconciler.request()

    def tick(self) -> None:
        """Do what is due; to be called once a second.

        After the journal could take no events, the API is asked soon: Infodeck may have given some up.
        """
        self._freeze_readings()
        self._status.reconcile.trouble = None if self._api is None else self._api.trouble
        is_ok = self._status.journal.state == "ok"
        if is_ok and not self._journal_was_ok:
            self.reconcile_soon()
        self._journal_was_ok = is_ok

    def follow_tables(self) -> None:
        """Follow a reload, and ask soon: Infodeck may have a value for points that are new."""
        self.compare_tables()
        before, self._reloads = self._reloads, self._status.tables.reloads
        if self._backfill is not None and self._reloads != before:
            self._backfill.follow_tables()
            self.reconcile_soon()

    def compare_tables(self) -> None:
        """Compare the tables in force with the inventory, if there is one."""
        self._keep_tags()
        if self.snapshot is not None and self.has_api_key:
            mapped = self._pipeline.state.points.by_asset.keys()
            compare_with_tables(self.snapshot, mapped=mapped, status=self._status.inventory)

    def _keep_tags(self) -> None:
        """Store the tags of automatic assets: neither a new name nor a namesake moves a topic."""
        made = self._pipeline.state.points.auto_tags
        if self.snapshot is not None and not made.items() <= self.snapshot.tags.items():
            self.snapshot = replace(self.snapshot, tags={**self.snapshot.tags, **made})
            self._state_store.save(StateChanges(assets=self.snapshot))

    def _tags(self) -> Mapping[str, AutoTag]:
        return {} if self.snapshot is None else self.snapshot.tags

    async def run(self) -> None:
        """Ask and monitor until cancelled. A part that fails is restarted, and no other part suffers."""
        share = self._settings.request_share
        async with connect(self._access, share=share) as api, asyncio.TaskGroup() as tasks:
            self._api = api
            for name, work in self._parts(api):
                tasks.create_task(keep_running(name, work), name=name)

    def _parts(self, api: InfodeckApi) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
        """Yield the parts to run, in order: gaps in histories must be known before any event comes."""
        if self.has_api_key and self._backfill is not None:
            yield "backfill", partial(self._backfill.run, api)
        explain, webhook = None, self._settings.webhook
        if webhook is not None and self._access.bearer_token is not None:
            explain = partial(summarise_deliveries, api, url=webhook.url, webhook_id=webhook.id)
        yield "delivery monitor", partial(self._monitor.run, explain)
        if self.has_api_key:
            yield "reconcile", partial(self._reconciler.run, api)

    def _make_reconciler(self) -> Reconciler:
        settings = self._settings
        return Reconciler(
            organization=settings.organization,
            every_s=settings.reconcile.every,
            state_store=self._state_store,
            status=self._status.reconcile,
            clock_ms=self._clock_ms,
            on_snapshot=self._accept_snapshot,
            tags=self._tags,
            on_items=self._accept_page,
            shadows=settings.refill.shadows,
        )

    def _make_backfill(self) -> Backfill:
        return Backfill(
            organization=self._settings.organization,
            settings=self._settings.refill,
            item_time=self._item_time,
            event_log=self._event_log,
            state_store=self._state_store,
            state=lambda: self._pipeline.state,
            status=self._status.refill,
            clock_ms=self._clock_ms,
        )

    def _make_monitor(self, alarms: Alarms) -> DeliveryMonitor:
        settings = self._settings
        return DeliveryMonitor(
            alarms=alarms,
            status=self._status,
            reports=AssetReports(
                state=lambda: self._pipeline.state,
                snapshot=lambda: self.snapshot,
                clock_ms=self._clock_ms,
                item_time=self._item_time,
                keep_alive_unit=settings.keep_alive_unit,
            ),
            times=MonitorTimes.from_settings(settings, skew_ms=self._clock_skew_ms),
            clock_ms=self._clock_ms,
            ask_api=self.reconcile_soon,
        )

    def _accept_page(self, items: list[Item]) -> None:
        """Hand a page of the API's list of assets to what uses more of it than the assets."""
        if self._backfill is not None:
            self._backfill.accept_page(items)
        self._monitor.accept_page(items)
        self._freeze_readings()

    async def _accept_snapshot(self, snapshot: AssetSnapshot) -> None:
        """Replace the inventory; have the tables compiled anew if it describes any asset otherwise."""
        before, self.snapshot = self.snapshot, snapshot
        await self._accept_connections(snapshot)
        points = self._pipeline.state.points
        relevant = None if points.has_automatic else points.by_asset.keys()  # None: any asset
        if await asyncio.to_thread(compile_the_same, before, snapshot, of=relevant):
            self.compare_tables()
        else:
            self._on_assets_changed()
        self._monitor.finish_list(at_ms=snapshot.at_ms)
        if self._backfill is not None:
            await self._backfill.finish_list()

    def _freeze_readings(self) -> None:
        """Exempt readings that were backfilled in numbers from garbage collection, which they slow down."""
        readings = self._status.refill.readings
        if readings - self._frozen_readings >= _MANY_READINGS:
            self._frozen_readings = readings
            freeze_new_objects()

    async def _accept_connections(self, snapshot: AssetSnapshot) -> None:
        """Take in which devices are connected, and ask again if webhooks and list contradict each other."""
        for number, known in enumerate(snapshot.assets.values()):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
            if known.online is not None:
                self._pipeline.set_online(known.id, known.online, at_ms=_second_of(snapshot))
        states, self._online_events = self._online_events, {}
        # Of events that came while the list was fetched, the list overrides those of its own second.
        if any(self._contradicts(snapshot, state, older_by_ms=0) for state in states.values()):
            self.reconcile_soon()

    def _accept_events(self, records: Sequence[Record]) -> None:
        """Ask again where a webhook contradicts the list about a device's connection at about its time.

        Clocks differ, and the list may lag behind the events: nothing else says which one is newer.
        """
        for record in records:
            state = read_online(record.event) if record.event.type == STATUS_CHANGED else None
            if state is None:
                continue
            before = self._online_events.get(state.asset)
            if before is None or before.at_ms <= state.at_ms:
                self._online_events[state.asset] = state
            if self.snapshot is not None and self._contradicts(self.snapshot, state, older_by_ms=1):
                self.reconcile_soon()

    def _contradicts(self, snapshot: AssetSnapshot, state: OnlineState, *, older_by_ms: int) -> bool:
        """Whether an event's state differs from the list, and is older by at least that, at most the skew."""
        known = snapshot.assets.get(state.asset)
        if known is None or known.online is None or known.online is state.online:
            return False
        return older_by_ms <= _second_of(snapshot) - state.at_ms <= self._clock_skew_ms


def _second_of(snapshot: AssetSnapshot) -> int:
    """Return the second in which the API was asked: the times of Infodeck's events are whole seconds."""
    return snapshot.at_ms // 1000 * 1000


async def keep_running(
    name: str, work: Callable[[], Awaitable[None]], *, first_pause_s: float = _FIRST_PAUSE_S
) -> None:
    """Run `work` until cancelled. Whatever it raises, it is called again, with back-off; logged once."""
    loop = asyncio.get_running_loop()
    backoff = Backoff(first_s=first_pause_s, longest_s=_LONGEST_PAUSE_S)
    logged: str | None = None
    while True:
        began_s = loop.time()
        reason = await _failure_of(work)
        if loop.time() - began_s > _LONGEST_PAUSE_S:  # it had worked
            backoff.reset()
            logged = None
        if reason != logged:
            log.error("infodeck.failed", part=name, reason=reason, restarts="with back-off; events go on")
        logged = reason
        await asyncio.sleep(backoff.next_s())


async def _failure_of(work: Callable[[], Awaitable[None]]) -> str:
    """Return why the work ended; raise only if this task itself is cancelled."""
    task = cast("asyncio.Task[None]", asyncio.current_task())
    try:
        await work()
    except asyncio.CancelledError as error:
        if task.cancelling():
            raise
        return internal_error_text(error)  # something inside of it was cancelled
    except Exception as error:  # noqa: BLE001 - whatever it is, events must go on
        return _reason(error)
    return "it came to an end"


def _reason(error: Exception) -> str:
    """Return what was the first to go wrong, where several tasks went down together."""
    if isinstance(error, ExceptionGroup):
        return _reason(error.exceptions[0])
    return str(error) if isinstance(error, GatewayError) else internal_error_text(error)
