"""A simulated Infodeck: reports its assets' telemetry by signed webhooks, as the real one does.

At least once, in no promised order: an event that is not answered with 200 is sent again with
exponential back-off, for up to 24 hours, while newer ones go out; some are sent twice for no reason.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from random import Random
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import orjson

from gateway import signature

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from gateway.demo.assets import SimulatedAsset
    from gateway.model import Scalar

_ANSWER_WITHIN_S = 30.0
_GIVE_UP_AFTER_S = 24 * 3600.0
_LONGEST_PAUSE_S = 3600.0


@dataclass(slots=True)
class Deliveries:
    """What became of the events so far. `failed` counts attempts, the others count events."""

    delivered: int = 0  # answered with 200
    failed: int = 0
    duplicates: int = 0  # delivered ones that were sent again nevertheless
    given_up: int = 0


class SimulatedInfodeck:
    """Inside this async context manager, every asset reports to `url` at its own pace.

    `rate` multiplies that pace; `secret` signs; `organization` is Infodeck's id of the customer.
    `duplicate_share` of the events go out twice, and with `test_event` a `webhook.test` goes first.
    The same `seed` gives the same event ids and noise; `clock` gives Unix seconds.
    """

    def __init__(
        self,
        *,
        url: str,
        secret: bytes,
        organization: str,
        assets: Sequence[SimulatedAsset],
        rate: float = 1.0,
        duplicate_share: float = 0.02,
        test_event: bool = True,
        first_retry_s: float = 1.0,
        retry_for_s: float = _GIVE_UP_AFTER_S,
        seed: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing is sent before the context is entered."""
        self.deliveries = Deliveries()
        self._url = url
        self._secret = secret
        self._organization = organization
        self._assets = assets
        self._rate = rate
        self._duplicate_share = duplicate_share
        self._test_event = test_event
        self._first_retry_s = first_retry_s
        self._retry_for_s = retry_for_s
        self._random = Random(seed)
        self._clock = clock
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start reporting."""
        group = await self._stack.enter_async_context(asyncio.TaskGroup())
        reporting = group.create_task(self._run(), name="simulated Infodeck")
        self._stack.callback(reporting.cancel)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Stop at once; what is not delivered by now never will be."""
        await self._stack.__aexit__(exc_type, exc, traceback)

    async def _run(self) -> None:
        """Send the test event, then let every asset report until cancelled."""
        timeout = aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            if self._test_event:
                event = webhook_test_event(
                    event_id=self._event_id(), organization=self._organization, now_s=self._clock()
                )
                group.create_task(self._deliver(session, event), name=f"deliver {event['id']}")
            for asset in self._assets:
                group.create_task(self._report(session, group, asset), name=f"report {asset.id}")

    async def _report(
        self, session: aiohttp.ClientSession, group: asyncio.TaskGroup, asset: SimulatedAsset
    ) -> None:
        """Report one asset for ever; each event is delivered beside the next ones."""
        started_s = self._clock()
        while True:
            now_s = self._clock()
            event = telemetry_event(
                asset=asset,
                telemetry=asset.telemetry(now_s - started_s, self._random),
                event_id=self._event_id(),
                organization=self._organization,
                now_s=now_s,
            )
            group.create_task(self._deliver(session, event), name=f"deliver {event['id']}")
            await asyncio.sleep(asset.period_s * self._random.uniform(0.8, 1.2) / self._rate)

    async def _deliver(self, session: aiohttp.ClientSession, event: dict[str, Any]) -> None:
        """Post one event until it is answered with 200, or for as long as Infodeck would."""
        body = orjson.dumps(event)
        give_up_s = time.monotonic() + self._retry_for_s
        pause_s = self._first_retry_s
        while not await self._post(session, body):
            if time.monotonic() + pause_s > give_up_s:
                self.deliveries.given_up += 1
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self.deliveries.delivered += 1
        if self._random.random() < self._duplicate_share:
            self.deliveries.duplicates += 1
            await self._post(session, body)

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> bool:
        """Sign and post once; say whether the answer was 200."""
        headers = {
            "Content-Type": "application/json",
            signature.HEADER: signature.sign(body, self._secret, int(self._clock())),
        }
        try:
            async with session.post(self._url, data=body, headers=headers) as response:
                accepted = response.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError):
            accepted = False
        if not accepted:
            self.deliveries.failed += 1
        return accepted

    def _event_id(self) -> str:
        return f"evt_{self._random.getrandbits(128):032x}"


def telemetry_event(
    *,
    asset: SimulatedAsset,
    telemetry: dict[str, Scalar],
    event_id: str,
    organization: str,
    now_s: float,
) -> dict[str, Any]:
    """Return an `asset.telemetry.updated` envelope with the readings as a map."""
    return {
        "id": event_id,
        "type": "asset.telemetry.updated",
        "organizationId": organization,
        "created": int(now_s),
        "data": {
            "object": {
                "id": asset.id,
                "name": asset.name,
                "assetTypeId": asset.type,
                "telemetry": telemetry,
                "timestamp": int(now_s * 1000),
            }
        },
        "livemode": True,
    }


def webhook_test_event(*, event_id: str, organization: str, now_s: float) -> dict[str, Any]:
    """Return the envelope that Infodeck's "send test event" posts."""
    return {
        "id": event_id,
        "type": "webhook.test",
        "organizationId": organization,
        "created": int(now_s),
        "data": {"object": {}},
        "livemode": False,
        "isTest": True,
    }
