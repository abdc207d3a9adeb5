"""Everything of one gateway that asks Infodeck: inventory, what webhooks missed, and whether they come."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, cast

import structlog

from gateway.backoff import Backoff
from gateway.events import STATUS_CHANGED, read_online
from gateway.infodeck.api_client import ApiAccess, connect
from gateway.infodeck.delivery_monitor import AssetReports, DeliveryMonitor, MonitorTimes
from gateway.infodeck.inventory import InventoryReader, compare_with_tables
from gateway.infodeck.reconcile import ConnectionDoubts, Reconciler, second_of
from gateway.infodeck.shadows import read_page
from gateway.infodeck.webhooks import summarise_deliveries
from gateway.logs import error_text, internal_error_text
from gateway.mapping.paths import compile_path
from gateway.mapping.plan import compile_the_same
from gateway.memory import freeze_new_objects
from gateway.records import StateChanges

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from gateway.alarms import Alarms
    from gateway.delivery.pipeline import Pipeline
    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.infodeck.backfill import Backfill
    from gateway.model import Record
    from gateway.ports import EventLog, StateStore
    from gateway.records import AssetSnapshot, AutoTag
    from gateway.settings import InfodeckSettings, Secrets
    from gateway.status import Status

log = structlog.get_logger()

_MANY_READINGS = 5_000
_SLICE = 200  # assets processed before the event loop gets its turn
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


@dataclass(kw_only=True, eq=False)
class InfodeckService:
    """All that asks Infodeck. Without an API key, deliveries are monitored all the same.

    `on_assets_changed` is called when Infodeck describes assets otherwise than before: it has the tables
    compiled anew, and calls `follow_tables` when that is done. `clock_skew_s` is how far Infodeck's clock may
    be off ours.
    """

    settings: InfodeckSettings
    secrets: Secrets
    event_log: EventLog
    state_store: StateStore
    pipeline: Pipeline
    status: Status
    alarms: Alarms
    clock_skew_s: float
    clock_ms: Callable[[], int]
    on_assets_changed: Callable[[], None]
    snapshot: AssetSnapshot | None = field(default=None, init=False)
    """The inventory, as of the last good answer."""

    def __post_init__(self) -> None:
        """Compose the parts; nothing is requested before `run`."""
        settings = self.settings
        self._api: InfodeckApi | None = None  # while it runs
        self._access = ApiAccess(
            api=settings.api,
            organization=settings.organization,
            proxy=settings.proxy,
            api_key=self.secrets.api_key,
            bearer_token=self.secrets.bearer_token,
        )
        self._item_time = None if settings.refill.time is None else compile_path(settings.refill.time)
        skew_ms = round(self.clock_skew_s * 1000)
        self._doubts = ConnectionDoubts(skew_ms=skew_ms)
        self._journal_was_ok = True
        self._reloads = 0
        self._frozen_readings = 0
        self._reconciler = Reconciler(
            InventoryReader(
                organization=settings.organization,
                clock_ms=self.clock_ms,
                on_items=self._accept_page,
                shadows=settings.refill.shadows,
            ),
            every_s=settings.reconcile.every,
            state_store=self.state_store,
            status=self.status.reconcile,
            on_snapshot=self._accept_snapshot,
            tags=self._tags,
        )
        self._backfill: Backfill | None = None
        if settings.refill.enabled and self.has_api_key:
            from gateway.infodeck.backfill import Backfill  # noqa: PLC0415 - loaded with an API key only
            from gateway.infodeck.history import BackfillContext  # noqa: PLC0415 - likewise

            context = BackfillContext(
                organization=settings.organization,
                settings=settings.refill,
                event_log=self.event_log,
                state_store=self.state_store,
                state=lambda: self.pipeline.state,
                status=self.status.refill,
                clock_ms=self.clock_ms,
            )
            self._backfill = Backfill(context)
        self._monitor = DeliveryMonitor(
            alarms=self.alarms,
            status=self.status,
            reports=AssetReports(lambda: self.pipeline.state),
            times=MonitorTimes.from_settings(settings, skew_ms=skew_ms),
            clock_ms=self.clock_ms,
            ask_api=self.reconcile_soon,
        )

    @property
    def has_api_key(self) -> bool:
        """Whether the API can be asked."""
        return self.secrets.api_key is not None

    def start(self) -> None:
        """Go on with what was known at the last stop; call this once the journal is open."""
        self.snapshot = self.state_store.at_start.assets
        self.compare_tables()
        self.event_log.subscribe(self._monitor.arrivals.accept_records)
        if self.has_api_key:
            self.event_log.subscribe(self._accept_events)

    async def run(self) -> None:
        """Ask and monitor until cancelled. A part that fails is restarted, and no other part suffers."""
        share = self.settings.request_share
        async with connect(self._access, share=share) as api, asyncio.TaskGroup() as tasks:
            self._api = api
            for name, work in self._parts(api):
                tasks.create_task(keep_running(name, work), name=name)

    def _parts(self, api: InfodeckApi) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
        if self._backfill is not None:
            yield "backfill", partial(self._backfill.run, api)
        explain, webhook = None, self.settings.webhook
        if webhook is not None and self._access.bearer_token is not None:
            explain = partial(summarise_deliveries, api, url=webhook.url, webhook_id=webhook.id)
        yield "delivery monitor", partial(self._monitor.run, explain)
        if self.has_api_key:
            yield "reconcile", partial(self._reconciler.run, api)

    def tick(self) -> None:
        """Do what is due; to be called once a second.

        After the journal could take no events, the API is asked soon: Infodeck may have given some up.
        """
        self.status.reconcile.trouble = None if self._api is None else self._api.trouble
        is_ok = self.status.journal.state == "ok"
        if is_ok and not self._journal_was_ok:
            self.reconcile_soon()
        self._journal_was_ok = is_ok
        self._freeze_readings()

    def reconcile_soon(self) -> None:
        """Ask the API soon: something about the assets has changed."""
        self._reconciler.request()

    def follow_tables(self) -> None:
        """Follow a reload, and ask soon: Infodeck may have a value for points that are new."""
        self.compare_tables()
        before, self._reloads = self._reloads, self.status.tables.reloads
        if self._backfill is not None and self._reloads != before:
            self._backfill.follow_tables()
            self.reconcile_soon()

    def compare_tables(self) -> None:
        """Compare the tables in force with the inventory, if there is one."""
        self._keep_tags()
        if self.snapshot is not None and self.has_api_key:
            mapped = self.pipeline.state.points.by_asset.keys()
            compare_with_tables(self.snapshot, mapped=mapped, status=self.status.inventory)

    def _keep_tags(self) -> None:
        """Store the tags of automatic assets: neither a new name nor a namesake moves a topic."""
        made = self.pipeline.state.points.auto_tags
        if self.snapshot is not None and not made.items() <= self.snapshot.tags.items():
            self.snapshot = replace(self.snapshot, tags={**self.snapshot.tags, **made})
            self.state_store.save(StateChanges(assets=self.snapshot))

    def _tags(self) -> Mapping[str, AutoTag]:
        return {} if self.snapshot is None else self.snapshot.tags

    async def _accept_page(self, items: list[Item]) -> None:
        """Hand the readings in a page of the API's list of assets to what uses them."""
        plans = self.pipeline.state.points.by_asset
        listed = read_page(items, plans, now_ms=self.clock_ms(), item_time=self._item_time)
        self._monitor.accept_page({asset: one.newest_ms for asset, one in listed.items() if one.readings})
        if self._backfill is not None:
            await self._backfill.accept_page(listed)

    async def _accept_snapshot(self, snapshot: AssetSnapshot) -> None:
        """Replace the inventory; have the tables compiled anew if it describes any asset otherwise."""
        before, self.snapshot = self.snapshot, snapshot
        await self._accept_connections(snapshot)
        points = self.pipeline.state.points
        relevant = None if points.has_automatic else points.by_asset.keys()  # None: any asset
        if await asyncio.to_thread(compile_the_same, before, snapshot, of=relevant):
            self.compare_tables()
        else:
            self.on_assets_changed()
        self._monitor.finish_list()
        if self._backfill is not None:
            self._backfill.finish_list()

    async def _accept_connections(self, snapshot: AssetSnapshot) -> None:
        """Take in which devices are connected, and ask again if webhooks and list contradict each other."""
        for number, known in enumerate(snapshot.assets.values()):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
            if known.online is not None:
                self.pipeline.set_online(known.id, known.online, at_ms=second_of(snapshot))
        if self._doubts.accept_list(snapshot):
            self.reconcile_soon()

    def _accept_events(self, records: Sequence[Record]) -> None:
        for record in records:
            state = read_online(record.event) if record.event.type == STATUS_CHANGED else None
            if state is not None and self._doubts.accept_event(state, self.snapshot):
                self.reconcile_soon()

    def _freeze_readings(self) -> None:
        """Exempt readings that were backfilled in numbers from garbage collection, which they slow down."""
        readings = self.status.refill.readings
        if readings - self._frozen_readings >= _MANY_READINGS:
            self._frozen_readings = readings
            freeze_new_objects()


async def keep_running(
    name: str, work: Callable[[], Awaitable[None]], *, first_pause_s: float = _FIRST_PAUSE_S
) -> None:
    """Run `work` until cancelled. Whatever it raises, it is called again, with back-off; logged once."""
    loop, task = asyncio.get_running_loop(), cast("asyncio.Task[None]", asyncio.current_task())
    backoff = Backoff(first_s=first_pause_s, longest_s=_LONGEST_PAUSE_S)
    logged: str | None = None
    while True:
        began_s = loop.time()
        reason = "it came to an end"
        try:
            await work()
        except asyncio.CancelledError as error:
            if task.cancelling():
                raise
            reason = internal_error_text(error)  # something inside of it was cancelled
        except Exception as error:  # noqa: BLE001 - whatever it is, events must go on
            reason = _first_reason(error)
        if loop.time() - began_s > _LONGEST_PAUSE_S:  # it had worked
            backoff.reset()
            logged = None
        if reason != logged:
            log.error("infodeck.failed", part=name, reason=reason, restarts="with back-off; events go on")
        logged = reason
        await asyncio.sleep(backoff.next_s())


def _first_reason(error: Exception) -> str:
    """Return what was the first to go wrong, where several tasks went down together."""
    return _first_reason(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error_text(error)
