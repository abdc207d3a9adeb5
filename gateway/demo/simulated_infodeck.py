"""A simulated Infodeck whose halves know each other: what assets report is in its API, and goes out.

Deliveries to webhooks are at least once and in no promised order, see `gateway.demo.deliveries`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Self

from gateway.demo.deliveries import (
    TEST,
    WebhookFaults,
    WebhookSender,
    envelope,
    new_event_id,
    telemetry_event,
)
from gateway.demo.demo_building import api_item
from gateway.demo.simulated_api import new_webhook

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.demo.deliveries import Deliveries
    from gateway.demo.demo_building import SimulatedAsset
    from gateway.demo.simulated_api import SimulatedApi
    from gateway.model import Scalar

EVENT_TYPES = (
    "asset.telemetry.updated",
    "asset.status.changed",
    "asset.created",
    "asset.updated",
    "asset.deleted",
)
"""The types that the simulation sends, besides tests. Infodeck documents all of them but `asset.updated`."""


@dataclass(kw_only=True, eq=False)
class SimulatedInfodeck:
    """Inside this async context manager, every asset reports at its own pace, and webhooks get the events.

    `url` and `secret` make one webhook; others can be registered through `api`, which knows what assets
    have reported, and which may be served or not; assets that it lacks are added to it. `rate` multiplies the
    assets' pace. With `test_event` a `webhook.test` goes first. `webhook` is what goes wrong with deliveries.
    """

    organization: str
    api: SimulatedApi
    assets: Sequence[SimulatedAsset] = ()
    url: str | None = None
    secret: bytes | None = None
    rate: float = 1.0
    duplicate_share: float = 0.02
    shuffle_share: float = 0.0
    test_event: bool = True
    first_retry_s: float = 1.0
    retry_for_s: float = 24 * 3600.0

    def __post_init__(self) -> None:
        """Prepare; nothing is sent before the context is entered."""
        self.webhook = WebhookFaults(duplicate_share=self.duplicate_share, shuffle_share=self.shuffle_share)
        self._random = Random()
        self._started_s = time.time()
        self._sender = WebhookSender(
            api=self.api,
            faults=self.webhook,
            random=self._random,
            first_retry_s=self.first_retry_s,
            retry_for_s=self.retry_for_s,
        )
        self.api.items += [
            api_item(asset, organization=self.organization, now_s=self._started_s)
            for asset in self.assets
            if self.api.asset(asset.id) is None
        ]
        self.api.send_test = self.send_test
        if self.url is not None:
            made = new_webhook(
                url=self.url,
                events=list(EVENT_TYPES),
                description="this gateway",
                secret=None if self.secret is None else self.secret.decode(),
            )
            self.api.webhooks.append(made)

    @property
    def deliveries(self) -> Deliveries:
        """What became of the events so far."""
        return self._sender.counts

    async def __aenter__(self) -> Self:
        """Send the test event, then let every asset report."""
        self._stack = AsyncExitStack()
        await self._stack.enter_async_context(self._sender)
        group = await self._stack.enter_async_context(asyncio.TaskGroup())
        if self.test_event:
            self.send_test()
        for asset in self.assets:
            task = group.create_task(self._keep_reporting(asset), name=f"report {asset.id}")
            self._stack.callback(task.cancel)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop at once; what is not delivered by now never will be."""
        await self._stack.aclose()

    def report(self, asset_id: str, telemetry: Mapping[str, Scalar], *, at_s: float | None = None) -> None:
        """Have a known asset report: into shadow and history, and by webhook."""
        item = self.api.asset(asset_id)
        if item is None:
            raise LookupError(f"the simulated Infodeck knows no asset {asset_id}")
        now_s = time.time() if at_s is None else at_s
        keys = {key: value for key, value in telemetry.items() if not key.startswith("$.")}
        self.api.record_report(item, keys, at_s=now_s)
        event = telemetry_event(
            asset={name: item[name] for name in ("id", "name", "assetTypeId") if name in item},
            telemetry=telemetry,
            timestamp=int(now_s * 1000),
            event_id=new_event_id(),
            organization=self.organization,
            created_s=int(now_s),
        )
        self._sender.queue(event)

    def send_test(self, webhook: str | None = None) -> None:
        """Send a `webhook.test`, to one webhook or to all."""
        event = envelope(
            TEST,
            {},
            event_id=new_event_id(),
            organization=self.organization,
            created_s=int(time.time()),
            is_test=True,
        )
        self._sender.queue(event, only=webhook)

    async def _keep_reporting(self, asset: SimulatedAsset) -> None:
        while True:
            elapsed_s = time.time() - self._started_s
            self.report(asset.id, asset.telemetry(elapsed_s, self._random))
            await asyncio.sleep(asset.period_s * self._random.uniform(0.8, 1.2) / self.rate)
