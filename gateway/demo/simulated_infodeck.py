"""A simulated Infodeck whose halves know each other: what assets report is in its API, and goes out.

Deliveries to webhooks are at least once and in no promised order, see `gateway.demo.deliveries`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Self

from gateway.demo.deliveries import (
    TEST,
    WebhookFaults,
    WebhookSender,
    asset_in_event,
    envelope,
    telemetry_event,
)
from gateway.demo.demo_building import api_item
from gateway.demo.endpoints import new_webhook

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.demo.deliveries import Deliveries
    from gateway.demo.demo_building import SimulatedAsset
    from gateway.demo.endpoints import Item
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
        self._devices = {asset.id: asset for asset in self.assets}
        self._random = Random()
        self._started_s = time.time()
        self._sender = WebhookSender(
            organization=self.api,
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
        self._group = await self._stack.enter_async_context(asyncio.TaskGroup())
        if self.test_event:
            self.send_test()
        for asset in self._devices.values():
            self._start_reporting(asset)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop at once; what is not delivered by now never will be."""
        await self._stack.aclose()

    def report(self, asset_id: str, telemetry: Mapping[str, Scalar], *, at_s: float | None = None) -> None:
        """Have a known asset report: into shadow and history, and by webhook. It is connected again."""
        now_s = time.time() if at_s is None else at_s
        item = self._known(asset_id)
        if not _is_connected(item):
            self.connect(asset_id)
        self.api.record_report(item, telemetry, at_s=now_s)
        event = telemetry_event(
            asset={name: item[name] for name in ("id", "name", "assetTypeId") if name in item},
            telemetry=telemetry,
            timestamp=int(now_s * 1000),
            event_id=self._event_id(),
            organization=self.organization,
            created_s=int(now_s),
        )
        self._sender.queue(event)

    def send_test(self, webhook: str | None = None) -> None:
        """Send a `webhook.test`, to one webhook or to all."""
        self._sender.queue(self._event(TEST, {}, is_test=True), only=webhook)

    def add_asset(self, asset: SimulatedAsset) -> None:
        """Install an asset that reports from now on."""
        item = api_item(asset, organization=self.organization, now_s=time.time())
        self.api.items.append(item)
        self._devices[asset.id] = asset
        self._announce("asset.created", item)
        self._start_reporting(asset)

    def remove_asset(self, asset_id: str) -> None:
        """Remove an asset; it reports no more."""
        item = self._known(asset_id)
        self.api.items.remove(item)
        self._devices.pop(asset_id, None)
        self._announce("asset.deleted", item)

    def rename(self, asset_id: str, name: str) -> None:
        """Give an asset another name."""
        self._change("asset.updated", asset_id, {"name": name})

    def disconnect(self, asset_id: str) -> None:
        """Have an asset's device lose its connection; it reports no more until `connect`."""
        self._change("asset.status.changed", asset_id, {"status": "Offline", "connectionStatus": False})

    def connect(self, asset_id: str) -> None:
        """Have an asset's device come back."""
        self._change("asset.status.changed", asset_id, {"status": "Online", "connectionStatus": True})

    def _start_reporting(self, asset: SimulatedAsset) -> None:
        task = self._group.create_task(self._keep_reporting(asset), name=f"report {asset.id}")
        self._stack.callback(task.cancel)

    async def _keep_reporting(self, asset: SimulatedAsset) -> None:
        """Report one asset for as long as it is there."""
        while self._devices.get(asset.id) is asset:
            if _is_connected(self._known(asset.id)):
                elapsed_s = time.time() - self._started_s
                self.report(asset.id, asset.telemetry(elapsed_s, self._random))
            await asyncio.sleep(asset.period_s * self._random.uniform(0.8, 1.2) / self.rate)

    def _change(self, kind: str, asset_id: str, change: Mapping[str, Any]) -> None:
        item = self._known(asset_id)
        previous = {name: item.get(name) for name in asset_in_event(change)}
        item.update(change, updatedAt=int(time.time()))
        self._announce(kind, item, previous=previous)

    def _announce(self, kind: str, item: Item, *, previous: Mapping[str, Any] | None = None) -> None:
        """Send an event with the whole asset in it, as it is now."""
        self._sender.queue(self._event(kind, asset_in_event(item), previous=previous))

    def _event(
        self,
        kind: str,
        thing: Mapping[str, Any],
        *,
        previous: Mapping[str, Any] | None = None,
        is_test: bool = False,
    ) -> dict[str, Any]:
        return envelope(
            kind,
            thing,
            event_id=self._event_id(),
            organization=self.organization,
            created_s=int(time.time()),
            previous=previous,
            is_test=is_test,
        )

    def _known(self, asset_id: str) -> Item:
        item = self.api.asset(asset_id)
        if item is None:
            raise LookupError(f"the simulated Infodeck knows no asset {asset_id}")
        return item

    def _event_id(self) -> str:
        return f"evt_{self._random.getrandbits(128):032x}"


def _is_connected(item: Item) -> bool:
    return item.get("connectionStatus") is not False
