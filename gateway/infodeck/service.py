"""Everything that asks Infodeck, put together: what it knows, what webhooks missed, whether they come."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from gateway.events import STATUS_CHANGED, read_online
from gateway.infodeck.api_client import connect
from gateway.infodeck.backfilling import Refilling
from gateway.infodeck.both_sides import BothSides
from gateway.infodeck.delivery_monitor.pace import Pace
from gateway.infodeck.inventory import compare_with_tables
from gateway.infodeck.lasting import lasting
from gateway.infodeck.monitoring import Watching
from gateway.infodeck.reconcile import Reconciler
from gateway.infodeck.transport import ApiAccess
from gateway.mapping.paths import compile_path
from gateway.mapping.table_changes import describe_the_same
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
    from gateway.settings import Infodeck, Secrets
    from gateway.status import ReconcileStatus, RefillStatus, Status

_MANY_READINGS = 5_000
_AT_ONCE = 200  # assets; then others on the event loop have their turn


class InfodeckService:
    """All that asks Infodeck. Without an API key, deliveries are monitored all the same."""

    def __init__(
        self,
        *,
        settings: Infodeck,
        secrets: Secrets,
        event_log: EventLog,
        state_store: StateStore,
        head: Pipeline,
        status: Status,
        alarms: Alarms,
        clock_skew_s: float,
        clock_ms: Callable[[], int],
        on_assets_changed: Callable[[], None],
    ) -> None:
        """`on_assets_changed` is called when Infodeck says something else of assets than before.

        It has the tables compiled anew, and calls `follow_tables` when that is done.
        `clock_skew_s` is how far Infodeck's clock may be off ours.
        """
        self.snapshot: AssetSnapshot | None = None  # what Infodeck's API knows of assets
        self._api: InfodeckApi | None = None  # once it runs
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
        self._head = head
        self._clock_ms = clock_ms
        self._clock_skew_ms = round(clock_skew_s * 1000)
        self._on_assets_changed = on_assets_changed
        self._said: dict[str, OnlineState] = {}  # by events of connections since the last list
        self._item_time = None if settings.refill.time is None else compile_path(settings.refill.time)
        self._journal_status = status.journal
        self._journal_was_ok = True
        self._tables_status = status.tables
        self._reloads = 0
        self._refill_status = status.refill
        self._reconcile_status = status.reconcile
        self._settled = 0
        self._inventory_status = status.inventory
        self._reconciler = self._make_reconciler(status.reconcile)
        self._refilling = self._make_refilling(status.refill) if settings.refill.enabled else None
        self._watching = self._make_watching(alarms, status, clock_skew_s)

    @property
    def is_asked(self) -> bool:
        """Whether there is a key to ask with."""
        return self._access.api_key is not None

    def start(self) -> None:
        """Take up what was known at the last stop; call this once the journal is open."""
        self.snapshot = self._state_store.at_start.assets
        self.take_stock()
        self._watching.start()
        if self.is_asked:
            self._event_log.subscribe(self._compare_connections)

    def reconcile_soon(self) -> None:
        """Ask the API soon: something about the assets has changed."""
        self._reconciler.request()

    def tick(self) -> None:
        """Ask the API soon after the journal could take no events: Infodeck may have given some up.

        To be called once a second, as for what the refill leaves in memory and for what requests wait for.
        """
        self._settle_readings()
        self._reconcile_status.trouble = None if self._api is None else self._api.trouble
        is_ok = self._journal_status.state == "ok"
        if is_ok and not self._journal_was_ok:
            self.reconcile_soon()
        self._journal_was_ok = is_ok

    def follow_tables(self) -> None:
        """Take stock after a reload, and ask soon: Infodeck may have a value for points that came with it."""
        self.take_stock()
        before, self._reloads = self._reloads, self._tables_status.reloads
        if self._refilling is not None and self._reloads != before:
            self._refilling.follow_tables()
            self.reconcile_soon()

    def take_stock(self) -> None:
        """Compare the tables in force with what Infodeck knows, if it was ever asked."""
        self._keep_tags()
        if self.snapshot is not None and self.is_asked:
            mapped = self._head.state.points.by_asset.keys()
            compare_with_tables(self.snapshot, mapped=mapped, status=self._inventory_status)

    def _keep_tags(self) -> None:
        """Have automatic assets keep their tags: neither a new name nor a namesake moves a topic."""
        made = self._head.state.points.made_tags
        if self.snapshot is not None and not made.items() <= self.snapshot.tags.items():
            self.snapshot = replace(self.snapshot, tags={**self.snapshot.tags, **made})
            self._state_store.save(StateChanges(assets=self.snapshot))

    def _tags(self) -> Mapping[str, AutoTag]:
        return {} if self.snapshot is None else self.snapshot.tags

    async def run(self) -> None:
        """Ask and watch until cancelled. A part that fails begins again, and nothing else suffers."""
        share = self._settings.request_share
        async with connect(self._access, share=share) as api, asyncio.TaskGroup() as tasks:
            self._api = api
            for name, work in self._parts():
                tasks.create_task(lasting(name, partial(work, api)), name=name)

    def _parts(self) -> Iterator[tuple[str, Callable[[InfodeckApi], Awaitable[None]]]]:
        """Yield what there is to do, in order: gaps are to be known before any event can come."""
        if self.is_asked and self._refilling is not None:
            yield "refilling", self._refilling.run
        yield "watch webhooks", self._watching.run
        if self.is_asked:
            yield "reconcile", self._reconciler.run

    def _make_reconciler(self, status: ReconcileStatus) -> Reconciler:
        settings = self._settings
        return Reconciler(
            organization=settings.organization,
            every_s=settings.reconcile.every,
            state_store=self._state_store,
            status=status,
            clock_ms=self._clock_ms,
            on_snapshot=self._take_snapshot,
            tags=self._tags,
            on_items=self._take_items,
            shadows=settings.refill.shadows,
        )

    def _make_refilling(self, status: RefillStatus) -> Refilling:
        refill = self._settings.refill
        return Refilling(
            organization=self._settings.organization,
            tolerance_s=refill.tolerance,
            item_time=self._item_time,
            history_after_s=refill.history_after,
            metric_time=refill.metric_time,
            metric_value=refill.metric_value,
            event_log=self._event_log,
            state_store=self._state_store,
            image=lambda: self._head.state,
            status=status,
            clock_ms=self._clock_ms,
        )

    def _make_watching(self, alarms: Alarms, status: Status, clock_skew_s: float) -> Watching:
        settings = self._settings
        webhook, has_token = settings.webhook, self._access.bearer_token is not None
        return Watching(
            alarms=alarms,
            status=status,
            event_log=self._event_log,
            sides=BothSides(
                image=lambda: self._head.state,
                snapshot=lambda: self.snapshot,
                clock_ms=self._clock_ms,
                item_time=self._item_time,
                keep_alive_unit=settings.keep_alive_unit,
            ),
            pace=Pace.of(
                delivery_s=settings.refill.tolerance,
                skew_s=clock_skew_s,
                silence_s=settings.silence,
                reconcile_every_s=settings.reconcile.every,
            ),
            clock_ms=self._clock_ms,
            ask_api=self.reconcile_soon,
            webhook=(webhook.url, webhook.id) if webhook is not None and has_token else None,
        )

    def _take_items(self, items: list[Item]) -> None:
        """Show a page of assets, as the API lists them, to whoever looks for more than the assets."""
        if self._refilling is not None:
            self._refilling.take(items)
        self._watching.take(items)
        self._settle_readings()

    async def _take_snapshot(self, snapshot: AssetSnapshot) -> None:
        """Remember it; have the tables compiled anew where it says something else of any asset."""
        before, self.snapshot = self.snapshot, snapshot
        await self._take_connections(snapshot)
        self._compare_list(snapshot)
        points = self._head.state.points
        of = None if points.has_automatic else points.by_asset.keys()  # others are nothing to these tables
        if await asyncio.to_thread(describe_the_same, before, snapshot, of=of):
            self.take_stock()
        else:
            self._on_assets_changed()
        self._watching.end_round(at_ms=snapshot.at_ms)
        if self._refilling is not None:
            await self._refilling.end_round()

    def _settle_readings(self) -> None:
        """Spare many readings that were refilled the search for garbage, which takes longer with each."""
        refilled = self._refill_status.readings
        if refilled - self._settled >= _MANY_READINGS:
            self._settled = refilled
            freeze_new_objects()

    async def _take_connections(self, snapshot: AssetSnapshot) -> None:
        """Take in which devices are connected, in pieces, for there may be many of them."""
        for number, known in enumerate(snapshot.assets.values()):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            if known.online is not None:
                self._head.set_online(known.id, known.online, at_ms=_second_of(snapshot))

    def _compare_connections(self, records: Sequence[Record]) -> None:
        """Ask the API again where a webhook says something else of a device than the list did at its time.

        Clocks differ, and the list may be behind the events: nothing else says which one is newer.
        """
        for record in records:
            state = read_online(record.event) if record.event.type == STATUS_CHANGED else None
            if state is None:
                continue
            before = self._said.get(state.asset)
            if before is None or before.at_ms <= state.at_ms:
                self._said[state.asset] = state
            if self.snapshot is not None and self._overrules(self.snapshot, state, by_at_least_ms=1):
                self.reconcile_soon()

    def _compare_list(self, snapshot: AssetSnapshot) -> None:
        """Do so also for the webhooks that came before the list was there: it overrules its own second."""
        said, self._said = self._said, {}
        if any(self._overrules(snapshot, state, by_at_least_ms=0) for state in said.values()):
            self.reconcile_soon()

    def _overrules(self, snapshot: AssetSnapshot, state: OnlineState, *, by_at_least_ms: int) -> bool:
        """Say whether the list says something else of a device, and seems to be a little newer."""
        known = snapshot.assets.get(state.asset)
        if known is None or known.online is None or known.online is state.online:
            return False
        return by_at_least_ms <= _second_of(snapshot) - state.at_ms <= self._clock_skew_ms


def _second_of(snapshot: AssetSnapshot) -> int:
    """Return the second in which the API was asked: Infodeck tells of an event no more than that."""
    return snapshot.at_ms // 1000 * 1000
