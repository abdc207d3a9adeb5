"""How the simulated Infodeck delivers events: signed, at least once, with growing pauses, in no sure order.

Whatever waits is in one heap of bounded size, and a few connections empty it: neither an endpoint that is
away nor a flood of events makes memory or tasks grow for ever.
"""

from __future__ import annotations

import asyncio
import heapq
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from gateway.intake import signature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from gateway.demo.endpoints import Item, SimulatedOrganization
    from gateway.model import Scalar


TEST = "webhook.test"
TELEMETRY = "asset.telemetry.updated"
_METADATA = {"manufacturer": "nameOfManufacturer", "model": "modelName", "serialNumber": "serialNumber"}
_TIMES = {"created": "createdAt", "updated": "updatedAt"}  # Unix seconds


def envelope(
    kind: str,
    thing: Mapping[str, Any],
    *,
    event_id: str,
    organization: str,
    created_s: int,
    previous: Mapping[str, Any] | None = None,
    is_test: bool = False,
) -> dict[str, Any]:
    """Return an event of type `kind` about `thing`; `previous` are the changed attributes as they were."""
    data: dict[str, Any] = {"object": dict(thing)}
    if previous is not None:
        data["previousAttributes"] = dict(previous)
    event: dict[str, Any] = {
        "id": event_id,
        "type": kind,
        "organizationId": organization,
        "created": created_s,
        "data": data,
        "livemode": not is_test,
    }
    return event | {"isTest": True} if is_test else event


def asset_in_event(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return what events have of an asset, as far as it is known; the API names things otherwise."""
    named = ("id", "name", "assetTypeId", "locationId", "status")
    thing = {name: item[name] for name in named if name in item}
    metadata = {name: item[listed] for name, listed in _METADATA.items() if listed in item}
    times = {name: item[listed] for name, listed in _TIMES.items() if listed in item}
    return thing | ({"metadata": metadata} if metadata else {}) | times


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
    """Return readings of one asset, which `asset` names; `timestamp` says when, in Unix s or ms."""
    thing = {**asset, "telemetry": dict(telemetry), "timestamp": timestamp}
    return envelope(
        TELEMETRY,
        thing,
        event_id=event_id,
        organization=organization,
        created_s=created_s,
        is_test=is_test,
    )


def new_event_id() -> str:
    """Return an id that no other event has."""
    return f"evt_{secrets.token_hex(12)}"


_CONNECTIONS = 16
_LONGEST_PAUSE_S = 3600.0
_LOOK_AGAIN_S = 0.05  # while deliveries are paused
_FAILING_AFTER = 5  # attempts in a row; Infodeck does not say how many
_LONGEST_LOG = 1000
_LONGEST_REASON = 200


@dataclass(slots=True)
class WebhookFaults:
    """What goes wrong on the way, to be changed at any time. Shares are between 0 and 1.

    While `paused`, nothing is sent, and what is due waits. `drop_share` of the events are never sent;
    `duplicate_share` are sent once more after they were delivered; `shuffle_share` are held back for about
    `held_back_s`, so that later ones overtake them. Of the attempts, `wrong_signature_share` are signed
    with another secret and `garbage_share` carry no event, and so they fail. `skew_s` is how far
    Infodeck's clock is ahead of ours in signatures.
    """

    paused: bool = False
    drop_share: float = 0.0
    duplicate_share: float = 0.0
    shuffle_share: float = 0.0
    held_back_s: float = 3.0
    wrong_signature_share: float = 0.0
    garbage_share: float = 0.0
    skew_s: float = 0.0


@dataclass(slots=True)
class Deliveries:
    """What became of the events so far. `failed` counts attempts, the others count events.

    Each webhook that gets an event counts by itself. `overflowed` found no room in the queue.
    """

    delivered: int = 0  # answered with 200
    failed: int = 0
    duplicates: int = 0  # delivered ones that were sent again nevertheless
    given_up: int = 0
    dropped: int = 0
    overflowed: int = 0


@dataclass(slots=True, order=True)
class _Delivery:
    """One event on its way to one webhook; the first in order is due first."""

    due_s: float
    number: int
    webhook: str = field(compare=False)
    event: dict[str, Any] = field(compare=False)
    body: bytes = field(compare=False)
    give_up_s: float = field(compare=False)
    pause_s: float = field(compare=False)
    attempt: int = field(default=1, compare=False)
    is_duplicate: bool = field(default=False, compare=False)


class WebhookSender:
    """Takes events with `put`, and delivers them to the webhooks of `state` while `run` runs."""

    def __init__(
        self,
        state: SimulatedOrganization,
        *,
        faults: WebhookFaults,
        random: Random,
        clock: Callable[[], float],
        first_retry_s: float,
        retry_for_s: float,
        answer_within_s: float,
        most_waiting: int,
    ) -> None:
        """`clock` gives Unix seconds; `most_waiting` deliveries are kept at once."""
        self.counts = Deliveries()
        self._state = state
        self._faults = faults
        self._random = random
        self._clock = clock
        self._first_retry_s = first_retry_s
        self._retry_for_s = retry_for_s
        self._answer_within_s = answer_within_s
        self._most_waiting = most_waiting
        self._numbers = count()
        self._waiting: list[_Delivery] = []
        self._news = asyncio.Event()
        self._failures_in_a_row: dict[str, int] = {}

    def queue(self, event: dict[str, Any], *, only: str | None = None) -> None:
        """Queue an event for each webhook that subscribes to its type, or for one alone."""
        body = orjson.dumps(event)
        for webhook in self._state.webhooks:
            if webhook["id"] == only or (only is None and _subscribes_to(webhook, event["type"])):
                self._begin(webhook["id"], event, body)

    async def run(self) -> None:
        """Deliver until cancelled."""
        timeout = aiohttp.ClientTimeout(total=self._answer_within_s)
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
            asyncio.TaskGroup() as group,
        ):
            for number in range(_CONNECTIONS):
                group.create_task(self._work(session), name=f"simulated Infodeck, connection {number}")

    def _begin(self, webhook: str, event: dict[str, Any], body: bytes) -> None:
        if self._happens(self._faults.drop_share):
            self.counts.dropped += 1
            return
        now_s = time.monotonic()
        held_back_s = 0.0
        if self._happens(self._faults.shuffle_share):
            held_back_s = self._faults.held_back_s * self._random.uniform(0.5, 1.5)
        self._queue(
            _Delivery(
                due_s=now_s + held_back_s,
                number=next(self._numbers),
                webhook=webhook,
                event=event,
                body=body,
                give_up_s=now_s + held_back_s + self._retry_for_s,
                pause_s=self._first_retry_s,
            )
        )

    def _queue(self, delivery: _Delivery) -> None:
        if len(self._waiting) >= self._most_waiting:
            self.counts.overflowed += 1
            return
        heapq.heappush(self._waiting, delivery)
        self._news.set()

    async def _work(self, session: aiohttp.ClientSession) -> None:
        while True:
            await self._deliver(session, await self._next())

    async def _next(self) -> _Delivery:
        """Return what is due, once something is."""
        while True:
            wait_s: float | None = None
            if self._faults.paused:
                wait_s = _LOOK_AGAIN_S
            elif self._waiting:
                wait_s = self._waiting[0].due_s - time.monotonic()
                if wait_s <= 0:
                    return heapq.heappop(self._waiting)
            self._news.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait_s)

    async def _deliver(self, session: aiohttp.ClientSession, delivery: _Delivery) -> None:
        """Attempt once; where that fails, have it attempted again until it is given up."""
        webhook = self._state.webhook(delivery.webhook)
        accepted = webhook is not None and await self._attempt(session, webhook, delivery)
        if delivery.is_duplicate:
            return
        if accepted:
            self.counts.delivered += 1
            if self._happens(self._faults.duplicate_share):
                self.counts.duplicates += 1
                delivery.is_duplicate = True
                self._again(delivery, in_s=0.0)
        elif webhook is None or time.monotonic() + delivery.pause_s > delivery.give_up_s:
            self.counts.given_up += 1
        else:
            self._again(delivery, in_s=delivery.pause_s)
            delivery.pause_s = min(2 * delivery.pause_s, _LONGEST_PAUSE_S)

    def _again(self, delivery: _Delivery, *, in_s: float) -> None:
        delivery.due_s = time.monotonic() + in_s
        delivery.attempt += 1
        self._queue(delivery)

    async def _attempt(self, session: aiohttp.ClientSession, webhook: Item, delivery: _Delivery) -> bool:
        """Sign and post once, and write it into the delivery log; say whether the answer was 200."""
        began_s = time.monotonic()
        code: int | None = None
        body = b"<html>" if self._happens(self._faults.garbage_share) else delivery.body
        headers = {"Content-Type": "application/json", signature.HEADER: self._signature(webhook, body)}
        try:
            async with session.post(webhook["url"], data=body, headers=headers) as response:
                code = response.status
            reason = None if code == HTTPStatus.OK else f"HTTP {code}"
        except TimeoutError:
            reason = f"no answer within {self._answer_within_s:g} s"
        except aiohttp.ClientError as error:
            reason = str(error)[:_LONGEST_REASON] or type(error).__name__
        self._log(webhook, delivery, code=code, reason=reason, took_s=time.monotonic() - began_s)
        self._judge(webhook, failed=reason is not None)
        return reason is None

    def _signature(self, webhook: Item, body: bytes) -> str:
        secret = str(webhook.get("signingSecret", "")).encode()
        if self._happens(self._faults.wrong_signature_share):
            secret += b"-but-wrong"
        return signature.sign(body, secret, int(self._clock() + self._faults.skew_s))

    def _log(
        self, webhook: Item, delivery: _Delivery, *, code: int | None, reason: str | None, took_s: float
    ) -> None:
        """Note an attempt; Infodeck's documents name code, time and reason, the other names are plausible."""
        log = self._state.deliveries.setdefault(webhook["id"], [])
        log.insert(
            0,
            {
                "id": f"dlv_{self._random.getrandbits(64):016x}",
                "eventId": delivery.event["id"],
                "eventType": delivery.event["type"],
                "statusCode": code,
                "responseTimeMs": round(took_s * 1000),
                "failureReason": reason,
                "attempt": delivery.attempt,
                "createdAt": int(self._clock()),
            },
        )
        del log[_LONGEST_LOG:]

    def _judge(self, webhook: Item, *, failed: bool) -> None:
        """Mark a webhook that keeps failing, as Infodeck does, and one that is well again."""
        row = self._failures_in_a_row.get(webhook["id"], 0) + 1 if failed else 0
        self._failures_in_a_row[webhook["id"]] = row
        if failed:
            self.counts.failed += 1
        webhook["status"] = "Failing" if row >= _FAILING_AFTER else "Active"

    def _happens(self, share: float) -> bool:
        return share > 0 and self._random.random() < share


def _subscribes_to(webhook: Item, kind: str) -> bool:
    """Return whether a webhook is subscribed to a type of events; tests go to all."""
    events = webhook.get("events")
    return kind == TEST or not events or kind in events
