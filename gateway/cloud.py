"""Everything that asks Infodeck, put together: reconciliation, and what follows from what it says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.assets.access import ApiAccess
from gateway.assets.both_sides import BothSides
from gateway.assets.connection import connect
from gateway.assets.pace import Pace
from gateway.assets.reconcile import Reconciler
from gateway.assets.watching import Watching
from gateway.mapping.live.difference import describe_the_same
from gateway.mapping.paths import compile_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.alarms import Alarms
    from gateway.assets.pages import Item
    from gateway.delivery.head import Head
    from gateway.model import AssetSnapshot
    from gateway.ports import Journal
    from gateway.settings import Infodeck, Secrets
    from gateway.status import Status

_AT_ONCE = 200  # assets; then others on the event loop have their turn


class Cloud:
    """The cloud side of one gateway. Without an API key, webhooks are watched all the same."""

    def __init__(
        self,
        *,
        settings: Infodeck,
        secrets: Secrets,
        journal: Journal,
        head: Head,
        status: Status,
        alarms: Alarms,
        clock_skew_s: float,
        clock_ms: Callable[[], int],
        on_assets_changed: Callable[[], None],
    ) -> None:
        """`on_assets_changed` is called when Infodeck says something else of assets than before.

        `clock_skew_s` is how far Infodeck's clock may be off ours.
        """
        self.snapshot: AssetSnapshot | None = None  # what Infodeck's API knows of assets
        self._settings = settings
        self._access = ApiAccess(
            api=settings.api,
            organization=settings.organization,
            api_key=secrets.api_key,
            bearer_token=secrets.bearer_token,
        )
        self._journal = journal
        self._head = head
        self._on_assets_changed = on_assets_changed
        self._reconciler = Reconciler(
            organization=settings.organization,
            every_s=settings.reconcile.every,
            journal=journal,
            status=status.reconcile,
            clock_ms=clock_ms,
            on_snapshot=self._take_snapshot,
            on_items=self._take_items,
        )
        self._watching = self._make_watching(alarms, status, clock_skew_s, clock_ms)

    @property
    def is_asked(self) -> bool:
        """Whether there is a key to ask with."""
        return self._access.api_key is not None

    def start(self) -> None:
        """Take up what was known at the last stop; call this once the journal is open."""
        self.snapshot = self._journal.snapshot()
        self._watching.start()

    def reconcile_soon(self) -> None:
        """Ask the API soon: something about the assets has changed."""
        self._reconciler.request()

    async def run(self) -> None:
        """Ask and watch until cancelled."""
        share = self._settings.request_share
        async with connect(self._access, share=share) as api, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watching.run(api), name="watch webhooks")
            if self.is_asked:
                tasks.create_task(self._reconciler.run(api), name="reconcile")

    def _make_watching(
        self, alarms: Alarms, status: Status, clock_skew_s: float, clock_ms: Callable[[], int]
    ) -> Watching:
        settings = self._settings
        refill, webhook = settings.refill, settings.webhook
        has_token = self._access.bearer_token is not None
        return Watching(
            alarms=alarms,
            status=status,
            journal=self._journal,
            sides=BothSides(
                image=lambda: self._head.image,
                snapshot=lambda: self.snapshot,
                clock_ms=clock_ms,
                item_time=None if refill.time is None else compile_path(refill.time),
                keep_alive_unit=settings.keep_alive_unit,
            ),
            pace=Pace.of(
                delivery_s=refill.tolerance,
                skew_s=clock_skew_s,
                silence_s=settings.silence,
                reconcile_every_s=settings.reconcile.every,
            ),
            clock_ms=clock_ms,
            ask_api=self.reconcile_soon,
            webhook=(webhook.url, webhook.id) if webhook is not None and has_token else None,
        )

    def _take_items(self, items: list[Item]) -> None:
        """Show a page of assets, as the API lists them, to whoever looks for more than the assets."""
        self._watching.take(items)

    async def _take_snapshot(self, snapshot: AssetSnapshot) -> None:
        """Remember it; have the tables compiled anew where it says something else of any asset."""
        before, self.snapshot = self.snapshot, snapshot
        await self._take_connections(snapshot)
        if not await asyncio.to_thread(describe_the_same, before, snapshot):
            self._on_assets_changed()
        self._watching.end_round(at_ms=snapshot.at_ms)

    async def _take_connections(self, snapshot: AssetSnapshot) -> None:
        """Take in which devices are connected, in pieces, for there may be many of them."""
        for number, known in enumerate(snapshot.assets.values()):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            if known.online is not None:
                self._head.set_online(known.id, known.online, at_ms=snapshot.at_ms)
