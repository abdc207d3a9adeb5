"""Posts events at an even pace and counts what becomes of them, for `gateway simulate`."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import aiohttp
import orjson

from gateway.cli.own_intake import ANSWER_WITHIN_S, own_tls, signed_headers
from gateway.infodeck.request_errors import failure_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_OK = 200
_CONNECTIONS = 50
_LATE_S = 0.25  # who is later than this goes on from here, without making up for it in a burst
_LONGEST_REASON = 120


@dataclass(slots=True)
class Tally:
    """What became of the events. `refused` counts by code and reason; `took_ms` by two significant digits."""

    sent: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    took_ms: Counter[float] = field(default_factory=Counter)
    slipped_s: float = 0.0  # by which the schedule was put off, because answers came too slowly
    began_s: float = field(default_factory=time.monotonic)
    ended_s: float | None = None

    @property
    def lasted_s(self) -> float:
        """For how long events have been sent."""
        return (self.ended_s or time.monotonic()) - self.began_s

    @property
    def rate(self) -> float:
        """Events per second that were really sent."""
        return self.sent / self.lasted_s if self.lasted_s > 0 else 0.0

    def percentile_ms(self, share: float) -> float:
        """Return the milliseconds within which this share of the answers came."""
        wanted, seen = share * self.took_ms.total(), 0
        for took_ms in sorted(self.took_ms):
            seen += self.took_ms[took_ms]
            if seen >= wanted:
                return took_ms
        return 0.0

    def note(self, reason: str | None, *, took_s: float) -> None:
        """Count an answer; `reason` None: accepted."""
        if reason is None:
            self.accepted += 1
        else:
            self.refused[reason] += 1
        self.took_ms[float(f"{took_s * 1000:.2g}")] += 1


class Traffic:
    """Takes events from an endless iterator when their time has come; `tally` is up to date at any time."""

    def __init__(self, *, url: str, secret: bytes, events: Iterator[dict[str, Any]], rate: float) -> None:
        """`rate`: events per second."""
        self.tally = Tally()
        self._url = url
        self._secret = secret
        self._events = events
        self._rate = rate
        self._connections = asyncio.Semaphore(_CONNECTIONS)

    async def run(self, *, for_s: float | None, stop: asyncio.Event) -> None:
        """Send until the time is over or `stop` is set, then wait for the answers under way."""
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=own_tls())
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as group,
        ):
            self.tally = Tally()
            pacing = group.create_task(self._pace(session, group, for_s=for_s), name="pace")
            stopping = group.create_task(stop.wait(), name="stop")
            await asyncio.wait([pacing, stopping], return_when=asyncio.FIRST_COMPLETED)
            self.tally.ended_s = time.monotonic()
            pacing.cancel()
            stopping.cancel()

    async def _pace(
        self, session: aiohttp.ClientSession, group: asyncio.TaskGroup, *, for_s: float | None
    ) -> None:
        """Send each event in its own time: number n at n / rate, whenever the one before went."""
        began_s = time.monotonic()
        end_s = None if for_s is None else began_s + for_s
        for number in count():
            due_s = began_s + number / self._rate
            if end_s is not None and due_s >= end_s:
                await asyncio.sleep(end_s - time.monotonic())
                return
            await asyncio.sleep(due_s - time.monotonic())
            await self._connections.acquire()
            late_s = time.monotonic() - due_s
            if late_s > _LATE_S:
                began_s += late_s
                self.tally.slipped_s += late_s
            self.tally.sent += 1
            group.create_task(self._post(session, next(self._events)), name=f"event {number}")

    async def _post(self, session: aiohttp.ClientSession, event: dict[str, Any]) -> None:
        body = orjson.dumps(event)
        began_s = time.perf_counter()
        try:
            headers = signed_headers(body, self._secret)
            async with session.post(self._url, data=body, headers=headers) as response:
                answer = await response.read()
            reason = None if response.status == _OK else f"{response.status} {_said(answer)}".strip()
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = failure_of(error, within_s=ANSWER_WITHIN_S).reason[:_LONGEST_REASON]
        finally:
            self._connections.release()
        self.tally.note(reason, took_s=time.perf_counter() - began_s)


def _said(answer: bytes) -> str:
    """Return the reason in an answer, on one line."""
    try:
        document = orjson.loads(answer)
    except orjson.JSONDecodeError:
        document = None
    said = document.get("error") if isinstance(document, dict) else None
    text = said if isinstance(said, str) else answer.decode(errors="replace")
    return " ".join(text.split())[:_LONGEST_REASON]
