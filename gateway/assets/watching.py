"""Watching whether webhooks arrive, put together: what they bring, what the API has, and who judges."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.assets.watch.arrivals import Arrivals
from gateway.assets.watch.webhook_watch import WebhookWatch
from gateway.assets.webhooks.delivery_log import look_up
from gateway.events import TELEMETRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.alarms import Alarms
    from gateway.assets.both_sides import BothSides
    from gateway.assets.client import InfodeckApi
    from gateway.assets.http.pages import Item
    from gateway.assets.watch.pace import Pace
    from gateway.ports import Journal
    from gateway.status import Status

_LAST_EVENTS = 250  # looked at for the last one that a webhook brought


class Watching:
    """One gateway's. `take` and `end_round` are told what the API lists."""

    def __init__(
        self,
        *,
        alarms: Alarms,
        status: Status,
        journal: Journal,
        sides: BothSides,
        pace: Pace,
        clock_ms: Callable[[], int],
        ask_api: Callable[[], None],
        webhook: tuple[str, str | None] | None,
    ) -> None:
        """Begin with `start`.

        `ask_api` has the API asked soon. `webhook` is the address and, if known, the id of that whose
        delivery log can be read; None: there is none, or nothing to read it with.
        """
        self._journal = journal
        self._sides = sides
        self._webhook = webhook
        self._arrivals = Arrivals()
        self._watch = WebhookWatch(
            self._arrivals,
            alarms=alarms,
            status=status,
            pace=pace,
            clock_ms=clock_ms,
            mapped=sides.mapped,
            read_ms=sides.newest_by_webhook,
            keep_alive_ms=sides.keep_alive_ms,
            ask_api=ask_api,
        )

    def start(self) -> None:
        """Note what comes from now on; call this once the journal is open."""
        self._journal.subscribe(self._arrivals.accept)

    async def run(self, api: InfodeckApi) -> None:
        """Watch until cancelled."""
        self._watch.restore(await self._last_webhook_ms())
        if self._webhook is None:
            await self._watch.run()
        else:
            url, webhook_id = self._webhook
            await self._watch.run(partial(look_up, api, url=url, webhook_id=webhook_id))

    def take(self, items: list[Item]) -> None:
        """Look at a page of assets as the API lists them."""
        for asset, time_ms in self._sides.newest_in_api(items):
            self._watch.see(asset, time_ms)

    def end_round(self, *, at_ms: int) -> None:
        """Note that the API has listed everything, as of `at_ms`."""
        self._watch.listed(at_ms=at_ms)

    async def _last_webhook_ms(self) -> int | None:
        """Return when the last webhook came with telemetry, as far as the newest events tell."""
        records = await self._journal.read(max(0, self._journal.head - _LAST_EVENTS), _LAST_EVENTS)
        events = [record.event for record in records]
        came = (each.received_ms for each in events if each.type == TELEMETRY and not each.is_refilled)
        return max(came, default=None)
