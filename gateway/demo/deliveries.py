"""How the simulated Infodeck delivers events: signed, at least once, with growing pauses, in any order."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import orjson

from gateway.intake import signature
from gateway.mapping.paths import set_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from gateway.demo.simulated_api import Item, SimulatedApi
    from gateway.model import Scalar


TEST = "webhook.test"
TELEMETRY = "asset.telemetry.updated"


def envelope(
    kind: str,
    thing: Mapping[str, Any],
    *,
    event_id: str,
    organization: str,
    created_s: int,
    is_test: bool = False,
) -> dict[str, Any]:
    """Return an event of type `kind` about `thing`."""
    event: dict[str, Any] = {
        "id": event_id,
        "type": kind,
        "organizationId": organization,
        "created": created_s,
        "data": {"object": dict(thing)},
        "livemode": not is_test,
    }
    return event | {"isTest": True} if is_test else event


def telemetry_event(
    *,
    asset: Mapping[str, Any],
    telemetry: Mapping[str, Scalar],
    timestamp: int,
    event_id: str,
    organization: str,
    created_s: int,
    is_test: bool = False,
) -> dict[str, Any]:
    """Return readings of the asset that `asset` names, measured at `timestamp`, in Unix s or ms.

    A key of `telemetry` that is a path (`$.data.object…`) is the place of its reading in the event.
    """
    by_path = {key: value for key, value in telemetry.items() if key.startswith("$.")}
    by_key = {key: value for key, value in telemetry.items() if key not in by_path}
    thing = {**asset, "telemetry": by_key, "timestamp": timestamp}
    event = envelope(
        TELEMETRY, thing, event_id=event_id, organization=organization, created_s=created_s, is_test=is_test
    )
    for path, value in by_path.items():
        set_path(path, event, value)
    return event


def new_event_id() -> str:
    """Return an id that no other event has."""
    return f"evt_{secrets.token_hex(12)}"


_CONNECTIONS = 16
_MOST_WAITING = 2_000  # deliveries; neither a lost endpoint nor a flood of events fills the memory
_ANSWER_WITHIN_S = 30.0
_GIVE_UP_AFTER_S = 24 * 3600.0
_LONGEST_PAUSE_S = 3600.0
_LOOK_AGAIN_S = 0.05  # while deliveries are paused
_HELD_BACK_S = 3.0
_FAILING_AFTER = 5  # attempts in a row; Infodeck does not say how many
_LONGEST_LOG = 1000
_LONGEST_REASON = 200


@dataclass(slots=True)
class WebhookFaults:
    """What goes wrong on the way, to be changed at any time. Shares are between 0 and 1.

    While `paused`, nothing is sent. `duplicate_share` of the events are sent once more after they were
    delivered; `shuffle_share` are held back, so that later ones arrive first. `skew_s` is how far Infodeck's
    clock is ahead of ours in signatures.
    """

    paused: bool = False
    duplicate_share: float = 0.0
    shuffle_share: float = 0.0
    skew_s: float = 0.0


@dataclass(slots=True)
class Deliveries:
    """What became of the events so far, for each webhook. `failed` counts attempts, the others events."""

    delivered: int = 0  # answered with 200
    failed: int = 0
    duplicates: int = 0  # delivered ones that were sent again nevertheless
    given_up: int = 0
    overflowed: int = 0  # found no room


@dataclass(kw_only=True, eq=False)
class WebhookSender:
    """Inside this async context manager, queued events are delivered to the webhooks of `api`."""

    api: SimulatedApi
    faults: WebhookFaults
    random: Random
    first_retry_s: float = 1.0
    retry_for_s: float = _GIVE_UP_AFTER_S
    counts: Deliveries = field(default_factory=Deliveries, init=False)

    async def __aenter__(self) -> Self:
        """Open connections."""
        self._connections = asyncio.Semaphore(_CONNECTIONS)
        self._failures_in_a_row: dict[str, int] = {}
        self._waiting: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()
        timeout = aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S)
        self._session = await self._stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        self._group = await self._stack.enter_async_context(asyncio.TaskGroup())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop at once; what is not delivered by now never will be."""
        for task in self._waiting:
            task.cancel()
        await self._stack.aclose()

    def queue(self, event: dict[str, Any], *, only: str | None = None) -> None:
        """Queue an event for each webhook that subscribes to its type, or for one alone."""
        for webhook in self.api.webhooks:
            if webhook["id"] != only and not (only is None and _subscribes_to(webhook, event["type"])):
                continue
            if len(self._waiting) >= _MOST_WAITING:
                self.counts.overflowed += 1
                continue
            task = self._group.create_task(self._deliver(webhook["id"], event), name=f"deliver {event['id']}")
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _deliver(self, webhook_id: str, event: dict[str, Any]) -> None:
        if self._happens(self.faults.shuffle_share):
            await asyncio.sleep(_HELD_BACK_S * self.random.uniform(0.5, 1.5))
        give_up_s, pause_s = time.monotonic() + self.retry_for_s, self.first_retry_s
        number = 1
        while not await self._attempt(webhook_id, event, number=number):
            if time.monotonic() + pause_s > give_up_s or self.api.webhook(webhook_id) is None:
                self.counts.given_up += 1
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            number += 1
        self.counts.delivered += 1
        if self._happens(self.faults.duplicate_share):
            self.counts.duplicates += 1
            await self._attempt(webhook_id, event, number=number + 1)

    async def _attempt(self, webhook_id: str, event: dict[str, Any], *, number: int) -> bool:
        """Sign and post once, and write it into the delivery log; return whether the answer was 200."""
        async with self._connections:
            while self.faults.paused:  # noqa: ASYNC110 - there is no notification
                await asyncio.sleep(_LOOK_AGAIN_S)
            webhook = self.api.webhook(webhook_id)
            if webhook is None:
                return False
            began_s = time.monotonic()
            code, reason = await self._post(webhook, orjson.dumps(event))
        entry = {
            "id": f"dlv_{self.random.getrandbits(64):016x}",
            "eventId": event["id"],
            "eventType": event["type"],
            "statusCode": code,
            "responseTimeMs": round((time.monotonic() - began_s) * 1000),
            "failureReason": reason,
            "attempt": number,
            "createdAt": int(time.time()),
        }
        log = self.api.deliveries.setdefault(webhook_id, [])
        log.insert(0, entry)
        del log[_LONGEST_LOG:]
        self._judge(webhook, failed=reason is not None)
        return reason is None

    async def _post(self, webhook: Item, body: bytes) -> tuple[int | None, str | None]:
        secret = str(webhook.get("signingSecret", "")).encode()
        signed = signature.sign(body, secret, int(time.time() + self.faults.skew_s))
        headers = {"Content-Type": "application/json", signature.HEADER: signed}
        try:
            async with self._session.post(webhook["url"], data=body, headers=headers) as response:
                return (
                    response.status,
                    None if response.status == HTTPStatus.OK else f"HTTP {response.status}",
                )
        except TimeoutError:
            return None, f"no answer within {_ANSWER_WITHIN_S:g} s"
        except aiohttp.ClientError as error:
            return None, str(error)[:_LONGEST_REASON] or type(error).__name__

    def _judge(self, webhook: Item, *, failed: bool) -> None:
        """Mark a webhook that keeps failing, as Infodeck does, and one that is well again."""
        row = self._failures_in_a_row.get(webhook["id"], 0) + 1 if failed else 0
        self._failures_in_a_row[webhook["id"]] = row
        self.counts.failed += failed
        webhook["status"] = "Failing" if row >= _FAILING_AFTER else "Active"

    def _happens(self, share: float) -> bool:
        return share > 0 and self.random.random() < share


def _subscribes_to(webhook: Item, kind: str) -> bool:
    """Return whether a webhook is subscribed to a type of events; tests go to all."""
    events = webhook.get("events")
    return kind == TEST or not events or kind in events
