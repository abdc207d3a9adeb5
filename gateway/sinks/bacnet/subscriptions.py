"""COV subscriptions: who is notified of which object, for how long (ANSI/ASHRAE 135, clauses 13.1 and 13.14).

They are in memory, as the standard allows: after a restart, clients subscribe again when theirs would end.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

from gateway.sinks.bacnet.codec import MalformedError, RefusedServiceError, TagReader
from gateway.sinks.bacnet.frames import Pdu
from gateway.sinks.bacnet.notifier import Notifier, Subscriber, Subscription
from gateway.sinks.bacnet.standard import ErrorClass, ErrorCode, RejectReason

if TYPE_CHECKING:
    from collections.abc import Mapping

    import structlog

    from gateway.sinks.bacnet.frames import Peer
    from gateway.sinks.bacnet.objects import ServedObject
    from gateway.sinks.bacnet.segmentation import SendApdu, Timers
    from gateway.status import BacnetStatus, ClientsStatus

_CHECK_S = 1.0  # between looks at what has ended and what was not answered
_SLICE = 25  # subscribers between two turns of the event loop: a few milliseconds if none answers
_HOSTS_AT_LEAST = 4  # an IP address, a router too, may have a quarter of all subscriptions
_HIGHEST_NUMBER = 0xFFFF_FFFF
_UNKNOWN_SUBSCRIPTION = re.compile(  # an Error-PDU of any class; numbers may have leading zeros
    rb"\x50..(?:\x91.|\x92..|\x93.{3}|\x94.{4})(?:\x91|\x92\0|\x93\0\0|\x94\0\0\0)%c"
    % ErrorCode.UNKNOWN_SUBSCRIPTION,
    re.DOTALL,
)


class Subscriptions:
    """All COV subscriptions of a device. Used on the event loop; `use_objects` first."""

    def __init__(
        self,
        *,
        device_identifier: bytes,
        most: int,
        send: SendApdu,
        timers: Timers,
        bound_log: structlog.BoundLogger,
        clients: ClientsStatus,
        status: BacnetStatus,
    ) -> None:
        """`most` is the number of subscriptions of all peers."""
        self._device_identifier = device_identifier
        self._most = most
        self._timers = timers
        self._log = bound_log
        self._clients = clients
        self._status = status
        self._notifier = Notifier(
            send=send, timers=timers, status=status, end=self._end, end_silent=self._end_silent
        )
        self._objects: Mapping[bytes, ServedObject] = {}
        self._by_key: dict[tuple[Peer, int, bytes], Subscription] = {}
        self._by_object: dict[bytes, dict[Subscription, None]] = {}
        self._subscribers: dict[Peer, Subscriber] = {}
        self._of_host: Counter[str] = Counter()  # subscriptions
        self._unchecked: list[Subscriber] = []  # in this second
        self._next_check = timers.call_later(_CHECK_S, self._check)

    def use_objects(self, objects: Mapping[bytes, ServedObject]) -> None:
        """Go on with other objects, by identifier: notify what differs, end what is gone."""
        self._objects = objects
        for identifier, subscriptions in list(self._by_object.items()):
            served = objects.get(identifier)
            for subscription in list(subscriptions):
                if served is None:
                    self._end(subscription)
                else:
                    subscription.served = served
            if served is not None:
                self.notify_change(served)

    def notify_change(self, served: ServedObject) -> None:
        """Notify the subscribers of an object whose value or flags may have changed."""
        for subscription in self._by_object.get(served.identifier, ()):
            if subscription.has_news:
                self._notifier.notify(subscription)

    def subscribe(self, body: bytes, peer: Peer) -> None:
        """Execute SubscribeCOV; the first notification follows in the next turn of the loop.

        Raise MalformedError or RefusedServiceError.
        """
        reader = TagReader(body)
        process_id = reader.unsigned(0)
        identifier = reader.object_identifier(1)
        is_confirmed = reader.optional_boolean(2)
        lifetime_s = reader.optional_unsigned(3)
        reader.end()
        if max(process_id, lifetime_s or 0) > _HIGHEST_NUMBER:
            raise MalformedError(RejectReason.PARAMETER_OUT_OF_RANGE)
        key = peer, process_id, identifier
        if is_confirmed is not None:
            self._begin_or_renew(key, is_confirmed=is_confirmed, lifetime_s=lifetime_s or 0)
        elif lifetime_s is not None:
            raise MalformedError(RejectReason.MISSING_REQUIRED_PARAMETER)
        elif (cancelled := self._by_key.get(key)) is not None:
            self._end(cancelled)

    def receive_answer(self, apdu: bytes, peer: Peer) -> None:
        """Apply the answer to a notification: a SimpleACK, an error, a reject or an abort.

        A peer aborts what it has no resources for now: the notification is repeated, as without an answer.
        """
        subscriber = self._subscribers.get(peer)
        if subscriber is None:
            return
        kind = apdu[0] >> 4
        if kind == Pdu.ABORT:
            subscriber.silent_since_s = None
        else:
            is_unknown = _UNKNOWN_SUBSCRIPTION.match(apdu) is not None
            self._notifier.receive_answer(subscriber, apdu[1], is_unknown=is_unknown)

    def active_subscriptions(self) -> bytes:
        """Return the encoded Active_COV_Subscriptions of the device (clause 12.11.39)."""
        now_s = self._timers.time()
        return b"".join([each.listed + each.time_remaining(now_s) for each in self._by_key.values()])

    def close(self) -> None:
        """End all subscriptions."""
        self._next_check.cancel()
        for subscription in list(self._by_key.values()):
            self._end(subscription)
        self._clients.connected = 0

    def _begin_or_renew(self, key: tuple[Peer, int, bytes], *, is_confirmed: bool, lifetime_s: int) -> None:
        subscription = self._by_key.get(key)
        if subscription is not None and subscription.is_confirmed is not is_confirmed:
            self._end(subscription)
            subscription = None
        if subscription is None:
            subscription = self._begin(key, is_confirmed=is_confirmed)
        subscription.ends_at_s = self._timers.time() + lifetime_s if lifetime_s else math.inf
        subscription.sent_flags = None
        self._notifier.notify(subscription)

    def _begin(self, key: tuple[Peer, int, bytes], *, is_confirmed: bool) -> Subscription:
        peer, process_id, identifier = key
        served = self._objects.get(identifier)
        if served is None:
            is_device = identifier == self._device_identifier
            code = ErrorCode.OPTIONAL_FUNCTIONALITY_NOT_SUPPORTED if is_device else ErrorCode.UNKNOWN_OBJECT
            raise RefusedServiceError(ErrorClass.OBJECT, code)
        subscriber = self._subscribers.get(peer) or Subscriber(peer)
        most_of_host = max(self._most // _HOSTS_AT_LEAST, 1)
        if len(self._by_key) >= self._most or self._of_host[peer.host] >= most_of_host:
            self._status.refused_subscriptions += 1
            raise RefusedServiceError(ErrorClass.RESOURCES, ErrorCode.NO_SPACE_TO_ADD_LIST_ELEMENT)
        self._subscribers[peer] = subscriber
        self._clients.connected = len(self._subscribers)
        subscription = Subscription(subscriber, process_id, served, self._device_identifier, is_confirmed)
        subscriber.subscriptions.add(subscription)
        self._by_key[key] = subscription
        self._of_host[peer.host] += 1
        self._by_object.setdefault(identifier, {})[subscription] = None
        self._status.subscriptions = len(self._by_key)
        return subscription

    def _end(self, subscription: Subscription) -> None:
        peer, identifier = subscription.subscriber.peer, subscription.served.identifier
        del self._by_key[peer, subscription.process_id, identifier]
        self._of_host[peer.host] -= 1
        if not self._of_host[peer.host]:
            del self._of_host[peer.host]
        of_object = self._by_object[identifier]
        del of_object[subscription]
        if not of_object:
            del self._by_object[identifier]
        subscription.end()
        self._status.subscriptions = len(self._by_key)

    def _end_silent(self, subscriber: Subscriber) -> None:
        self._log.warning(
            "bacnet.subscriber_silent",
            peer=str(subscriber.peer),
            subscriptions=len(subscriber.subscriptions),
            meaning="it answers no notification; its subscriptions have ended, it must subscribe again",
        )
        self._status.dropped_subscriptions += len(subscriber.subscriptions)
        for subscription in list(subscriber.subscriptions):
            self._end(subscription)

    def _check(self) -> None:
        """Check some subscribers; the rest in the next turn of the loop, so that others get theirs."""
        unchecked = self._unchecked or list(self._subscribers.values())
        checked, self._unchecked = unchecked[:_SLICE], unchecked[_SLICE:]
        self._next_check = self._timers.call_later(0.0 if self._unchecked else _CHECK_S, self._check)
        now_s = self._timers.time()
        for subscriber in checked:
            self._check_subscriber(subscriber, now_s)

    def _check_subscriber(self, subscriber: Subscriber, now_s: float) -> None:
        """End what has lived long enough, repeat what was not answered."""
        for ended in [each for each in subscriber.subscriptions if each.ends_at_s <= now_s]:
            self._end(ended)
        if subscriber.in_flight:
            self._notifier.repeat_unanswered(subscriber, now_s)
        elif not subscriber.subscriptions:
            del self._subscribers[subscriber.peer]
            self._clients.connected = len(self._subscribers)
