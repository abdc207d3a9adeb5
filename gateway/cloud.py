"""Everything that asks Infodeck, put together: reconciliation, and what follows from what it says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.assets.access import ApiAccess
from gateway.assets.connection import connect
from gateway.assets.reconcile import Reconciler
from gateway.mapping.live.difference import describe_the_same

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.delivery.head import Head
    from gateway.model import AssetSnapshot
    from gateway.ports import Journal
    from gateway.settings import Infodeck, Secrets
    from gateway.status import Status

_AT_ONCE = 200  # assets; then others on the event loop have their turn


class Cloud:
    """The cloud side of one gateway. Without an API key `run` returns at once, and nothing is ever asked."""

    def __init__(
        self,
        *,
        settings: Infodeck,
        secrets: Secrets,
        journal: Journal,
        head: Head,
        status: Status,
        clock_ms: Callable[[], int],
        on_assets_changed: Callable[[], None],
    ) -> None:
        """`on_assets_changed` is called when Infodeck says something else of assets than before."""
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
        )

    @property
    def is_asked(self) -> bool:
        """Whether there is a key to ask with."""
        return self._access.api_key is not None

    def start(self) -> None:
        """Take up what was known at the last stop; call this once the journal is open."""
        self.snapshot = self._journal.snapshot()

    def reconcile_soon(self) -> None:
        """Ask the API soon: something about the assets has changed."""
        self._reconciler.request()

    async def run(self) -> None:
        """Ask until cancelled."""
        if not self.is_asked:
            return
        async with connect(self._access, share=self._settings.request_share) as api:
            await self._reconciler.run(api)

    async def _take_snapshot(self, snapshot: AssetSnapshot) -> None:
        """Remember it; have the tables compiled anew where it says something else of any asset."""
        before, self.snapshot = self.snapshot, snapshot
        await self._take_connections(snapshot)
        if not await asyncio.to_thread(describe_the_same, before, snapshot):
            self._on_assets_changed()

    async def _take_connections(self, snapshot: AssetSnapshot) -> None:
        """Take in which devices are connected, in pieces, for there may be many of them."""
        for number, known in enumerate(snapshot.assets.values()):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            if known.online is not None:
                self._head.set_online(known.id, known.online, at_ms=snapshot.at_ms)
