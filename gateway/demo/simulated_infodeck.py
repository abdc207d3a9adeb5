"""A simulated Infodeck whose halves know each other: what assets report is in its API, and goes out.

Deliveries to webhooks are at least once and in no promised order, see `gateway.demo.deliveries`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
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
from gateway.demo.simulated_api import SimulatedApi

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from gateway.demo.deliveries import Deliveries
    from gateway.demo.demo_building import SimulatedAsset
    from gateway.demo.endpoints import Item
    from gateway.model import Scalar

EVENT_TYPES = (
    "asset.telemetry.updated",
    "asset.status.changed",
    "asset.created",
    "asset.updated",
    "asset.deleted",
)
"""The types that the simulation sends, besides tests. Infodeck documents all of them but `asset.updated`."""

_ANSWER_WITHIN_S = 30.0
_GIVE_UP_AFTER_S = 24 * 3600.0
_MOST_WAITING = 20_000


class SimulatedInfodeck:
    """Inside this async context manager, every asset reports at its own pace, and webhooks get the events.

    `url` and `secret` make one webhook; others can be registered through `api`, which knows what assets
    have reported, and which may be served or not. `rate` multiplies the assets' pace. With `test_event` a
    `webhook.test` goes first. `webhook` is what goes wrong with deliveries, `deliveries` what became of
    them. The same `seed` gives the same noise; `clock` gives Unix seconds.
    """

    def __init__(
        self,
        *,
        organization: str,
        assets: Sequence[SimulatedAsset] = (),
        url: str | None = None,
        secret: bytes | None = None,
        api: SimulatedApi | None = None,
        rate: float = 1.0,
        duplicate_share: float = 0.02,
        shuffle_share: float = 0.0,
        test_event: bool = True,
        first_retry_s: float = 1.0,
        retry_for_s: float = _GIVE_UP_AFTER_S,
        answer_within_s: float = _ANSWER_WITHIN_S,
        most_waiting: int = _MOST_WAITING,
        seed: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing is sent before the context is entered. Assets that `api` lacks are added to it."""
        self.api = api or SimulatedApi(organization=organization, api_key="", items=[])
        self.webhook = WebhookFaults(duplicate_share=duplicate_share, shuffle_share=shuffle_share)
        self._organization = organization
        self._devices = {asset.id: asset for asset in assets}
        self._rate = rate
        self._test_event = test_event
        self._random = Random(seed)
        self._clock = clock
        self._started_s = clock()
        self._outbox = WebhookSender(
            self.api,
            faults=self.webhook,
            random=self._random,
            clock=clock,
            first_retry_s=first_retry_s,
            retry_for_s=retry_for_s,
            answer_within_s=answer_within_s,
            most_waiting=most_waiting,
        )
        self._group: asyncio.TaskGroup | None = None
        self._stack = AsyncExitStack()
        self.api.items += [
            api_item(asset, organization=organization, now_s=self._started_s)
            for asset in assets
            if self.api.asset(asset.id) is None
        ]
        self.api.send_test = self.send_test
        if url is not None:
            self.api.webhooks.append(
                new_webhook(
                    url=url,
                    events=list(EVENT_TYPES),
                    description="this gateway",
                    secret=None if secret is None else secret.decode(),
                )
            )

    @property
    def deliveries(self) -> Deliveries:
        """What became of the events so far."""
        return self._outbox.counts

    async def __aenter__(self) -> Self:
        """Start reporting."""
        group = await self._stack.enter_async_context(asyncio.TaskGroup())
        running = group.create_task(self._run(), name="simulated Infodeck")
        self._stack.callback(running.cancel)
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

    def report(self, asset_id: str, telemetry: Mapping[str, Scalar], *, at_s: float | None = None) -> None:
        """Have a known asset report: into shadow and history, and by webhook. It is connected again."""
        now_s = self._clock() if at_s is None else at_s
        item = self._known(asset_id)
        if not _is_connected(item):
            self.connect(asset_id)
        self.api.record_report(item, telemetry, at_s=now_s)
        event = telemetry_event(
            asset={name: item[name] for name in ("id", "name", "assetTypeId") if name in item},
            telemetry=telemetry,
            timestamp=int(now_s * 1000),
            event_id=self._event_id(),
            organization=self._organization,
            created_s=int(now_s),
        )
        self._outbox.queue(event)

    def send_test(self, webhook: str | None = None) -> None:
        """Send a `webhook.test`, to one webhook or to all."""
        event = envelope(
            TEST,
            {},
            event_id=self._event_id(),
            organization=self._organization,
            created_s=int(self._clock()),
            is_test=True,
        )
        self._outbox.queue(event, only=webhook)

    def add_asset(self, asset: SimulatedAsset) -> None:
        """Install an asset that reports from now on."""
        item = api_item(asset, organization=self._organization, now_s=self._clock())
        self.api.items.append(item)
        self._devices[asset.id] = asset
        self._announce("asset.created", item)
        if self._group is not None:
            self._group.create_task(self._keep_reporting(asset), name=f"report {asset.id}")

    def remove_asset(self, asset_id: str) -> None:
        """Remove an asset; it reports no more."""
        item = self._known(asset_id)
        self.api.items.remove(item)
        self._devices.pop(asset_id, None)
        self._announce("asset.deleted", item)

    def rename(self, asset_id: str, name: str) -> None:
        """Give an asset another name."""
        self._change("asset.updated", self._known(asset_id), {"name": name})

    def disconnect(self, asset_id: str) -> None:
        """Have an asset's device lose its connection; it reports no more until `connect`."""
        change = {"status": "Offline", "connectionStatus": False}
        self._change("asset.status.changed", self._known(asset_id), change)

    def connect(self, asset_id: str) -> None:
        """Have an asset's device come back."""
        change = {"status": "Online", "connectionStatus": True}
        self._change("asset.status.changed", self._known(asset_id), change)

    async def _run(self) -> None:
        """Send the test event, then let every asset report and everything be delivered, until cancelled."""
        if self._test_event:
            self.send_test()
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._outbox.run(), name="deliver")
            for asset in self._devices.values():
                group.create_task(self._keep_reporting(asset), name=f"report {asset.id}")

    async def _keep_reporting(self, asset: SimulatedAsset) -> None:
        """Report one asset for as long as it is there."""
        while self._devices.get(asset.id) is asset:
            if _is_connected(self._known(asset.id)):
                elapsed_s = self._clock() - self._started_s
                self.report(asset.id, asset.telemetry(elapsed_s, self._random))
            await asyncio.sleep(asset.period_s * self._random.uniform(0.8, 1.2) / self._rate)

    def _change(self, kind: str, item: Item, change: Mapping[str, Any]) -> None:
        previous = {name: item.get(name) for name in asset_in_event(change)}
        item.update(change, updatedAt=int(self._clock()))
        self._announce(kind, item, previous=previous)

    def _announce(self, kind: str, item: Item, *, previous: Mapping[str, Any] | None = None) -> None:
        """Send an event with the whole asset in it, as it is now."""
        event = envelope(
            kind,
            asset_in_event(item),
            event_id=self._event_id(),
            organization=self._organization,
            created_s=int(self._clock()),
            previous=previous,
        )
        self._outbox.queue(event)

    def _known(self, asset_id: str) -> Item:
        item = self.api.asset(asset_id)
        if item is None:
            raise LookupError(f"the simulated Infodeck knows no asset {asset_id}")
        return item

    def _event_id(self) -> str:
        return f"evt_{self._random.getrandbits(128):032x}"


def _is_connected(item: Item) -> bool:
    return item.get("connectionStatus") is not False
