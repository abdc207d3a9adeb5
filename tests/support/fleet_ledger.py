"""A ledger of deliveries to a fleet: what was answered with 200, against what each journal has."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import aiohttp

from gateway.journal.journal_file import id_hash
from support.daemon import sign, telemetry
from support.proxies import PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from support.proxies import Proxy

_ANSWER_WITHIN_S = 30.0  # as Infodeck's
_AGAIN_AFTER_S = 0.2


class DeliveryLedger:
    """Posts signed events and keeps their ids by asset, in the order in which they were answered with 200.

    An asset's next event follows once the last one is answered; one that is refused or lost on its way is
    posted again until it is answered, as Infodeck does. `name` keeps the ids of several ledgers apart.
    """

    def __init__(self, name: str, proxy: Proxy, assets: Iterable[str], *, pause_s: float = 0.0) -> None:
        self._name = name
        self.answered: dict[str, list[str]] = {asset: [] for asset in assets}
        self.repeated = 0
        self._url = f"https://127.0.0.1:{proxy.port}{PATH}"
        self._tls = proxy.client()
        self._pause_s = pause_s
        self._is_stopped = False

    def events(self, site: str | None = None) -> list[str]:
        """Return the ids answered with 200, of all sites or one."""
        return [
            event_id
            for asset, events in self.answered.items()
            if site is None or asset.startswith(f"ast-{site}-")
            for event_id in events
        ]

    def seen_by(self, journal: Path) -> dict[str, list[str]]:
        """Return the ledger's events in a journal by asset, each asset's in the journal's order."""
        seen: dict[str, list[str]] = {asset: [] for asset in self.answered}
        by_id = {event_id: asset for asset, events in self.answered.items() for event_id in events}
        for event_id in journalled(journal, by_id):
            if event_id in by_id:
                seen[by_id[event_id]].append(event_id)
        return seen

    def expected_at(self, site: str) -> dict[str, list[str]]:
        """Return what an edge's journal should have: all events of its site, and no other."""
        own = set(self.events(site))
        return {asset: [each for each in events if each in own] for asset, events in self.answered.items()}

    def until_in(self, journal: Path, *, site: str | None = None, within_s: float = 120.0) -> None:
        """Return once a journal has all events, of all sites or one; or after that time."""
        due = set(self.events(site))
        wait_for(lambda: due <= set(journalled(journal, due)), within_s=within_s)

    async def run(self) -> None:
        """Post for all assets at once, until stopped; every event begun is answered then."""
        timeout = aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S)
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
            asyncio.TaskGroup() as tasks,
        ):
            for asset in self.answered:
                tasks.create_task(self._post_all(session, asset))

    async def until_answered(self, more: int) -> None:
        """Return once so many more events are answered."""
        due = len(self.events()) + more
        while len(self.events()) < due:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.02)

    def stop(self) -> None:
        """Let each asset's present event be its last."""
        self._is_stopped = True

    async def _post_all(self, session: aiohttp.ClientSession, asset: str) -> None:
        while not self._is_stopped:
            number = len(self.answered[asset])
            event_id = f"evt_{self._name}_{asset}_{number}"
            value = value_of(number)
            body = telemetry(event_id, asset, {"temperature": value}, time_ms=time.time_ns() // 1_000_000)
            while not await self._is_answered(session, body):
                self.repeated += 1
                await asyncio.sleep(_AGAIN_AFTER_S)
            self.answered[asset].append(event_id)
            await asyncio.sleep(self._pause_s)

    async def _is_answered(self, session: aiohttp.ClientSession, body: bytes) -> bool:
        try:
            async with session.post(
                self._url, data=body, headers={"x-infodeck-signature": sign(body)}
            ) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False


def value_of(number: int) -> float:
    """Return the temperature of an asset's event, exact in binary."""
    return 10 + number % 400 / 16


def journalled(path: Path, ids: Iterable[str]) -> list[str]:
    """Return the ids of a journal's events in its order; an event that is none of `ids` is `?`."""
    known = {id_hash(event_id): event_id for event_id in ids}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT id_hash FROM events ORDER BY seq").fetchall()
    return [known.get(stored, "?") for (stored,) in rows]


def wait_for(holds: Callable[[], bool], *, within_s: float = 120.0) -> None:
    """Return once `holds` returns true; or after that time, so that what is asserted next shows why."""
    deadline = time.monotonic() + within_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
