"""Watching whether webhooks arrive, put together: what they bring, what the API has, and who judges."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog

from gateway.infodeck.delivery_log import summarise_deliveries
from gateway.infodeck.delivery_monitor.arrivals import Arrivals
from gateway.infodeck.delivery_monitor.webhook_watch import WebhookWatch
from gateway.logs import unforeseen

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.alarms import Alarms
    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.infodeck.both_sides import BothSides
    from gateway.infodeck.delivery_monitor.pace import Pace
    from gateway.model import Record
    from gateway.ports import EventLog
    from gateway.status import Status

_EVENTS_AT_ONCE = 250
_MOST_EVENTS = 10_000  # looked at for the last one that a webhook brought
_ASSETS_AT_ONCE = 500

log = structlog.get_logger()


class Watching:
    """One gateway's. `take` and `end_round` are told what the API lists."""

    def __init__(
        self,
        *,
        alarms: Alarms,
        status: Status,
        event_log: EventLog,
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
        self._event_log = event_log
        self._sides = sides
        self._webhook = webhook
        self._arrivals = Arrivals(sides.mapped)
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
        self._event_log.subscribe(self._arrivals.accept)

    async def run(self, api: InfodeckApi) -> None:
        """Watch until cancelled."""
        await self._restore()
        if self._webhook is None:
            await self._watch.run()
        else:
            url, webhook_id = self._webhook
            await self._watch.run(partial(summarise_deliveries, api, url=url, webhook_id=webhook_id))

    def take(self, items: list[Item]) -> None:
        """Look at a page of assets as the API lists them."""
        for asset, time_ms in self._sides.newest_in_api(items):
            self._watch.see(asset, time_ms)

    def end_round(self, *, at_ms: int) -> None:
        """Note that the API has listed everything, as of `at_ms`."""
        self._watch.listed(at_ms=at_ms)

    async def _restore(self) -> None:
        """Take over when webhooks came last before the start, as far as newest events and kept values tell.

        Without that, a gateway that is started often would never notice that none comes.
        """
        before = Arrivals(self._sides.mapped)
        try:
            await self._read_back(before)
            used_ms = await self._newest_kept_ms() or before.mapped_ms  # where only the API's values are kept
        except Exception as error:  # noqa: BLE001 - it is only what was before; watching begins without
            log.error("watch.forgot", reason=unforeseen(error))  # noqa: TRY400 - no traceback
            used_ms = None
        self._watch.restore(before.received_ms or used_ms, used_ms=used_ms)

    async def _read_back(self, before: Arrivals) -> None:
        """Read events from the newest back, until there is one that a webhook brought for the tables."""
        end = self._event_log.head
        earliest = max(0, end - _MOST_EVENTS)
        while end > earliest and before.mapped_ms is None:
            begin = max(earliest, end - _EVENTS_AT_ONCE)
            found = Arrivals(self._sides.mapped)
            found.accept(await self._read(begin, end))
            before.received_ms = before.received_ms or found.received_ms
            before.mapped_ms = found.mapped_ms
            end = begin

    async def _read(self, after: int, through: int) -> list[Record]:
        """Return all events in a part of the journal."""
        records: list[Record] = []
        while after < through and (more := await self._event_log.read(after, through - after)):
            records += more
            after = more[-1].seq
        return [record for record in records if record.seq <= through]

    async def _newest_kept_ms(self) -> int | None:
        """Return the time of the newest reading by a webhook that a point has kept, None if there is none."""
        newest_ms = 0
        for number, asset in enumerate(list(self._sides.mapped())):
            if number % _ASSETS_AT_ONCE == 0:
                await asyncio.sleep(0)
            newest_ms = max(newest_ms, self._sides.newest_by_webhook(asset))
        return newest_ms or None
