"""COV notifications on their way: the newest value of an object, at a pace that each subscriber answers.

Source: ANSI/ASHRAE 135, clauses 13.6, 13.7 and 13.1 (what counts as a change). No I/O.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import InitVar, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from gateway.model import is_within_deadband
from gateway.sinks.bacnet import codec, frames
from gateway.sinks.bacnet.segmentation import RETRIES
from gateway.sinks.bacnet.standard import ConfirmedService, Property, UnconfirmedService

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sinks.bacnet.frames import Peer
    from gateway.sinks.bacnet.objects import ServedObject
    from gateway.sinks.bacnet.segmentation import SendApdu, Timers
    from gateway.status import BacnetStatus

APDU_TIMEOUT_S: Final = 3.0
"""How long the answer to a request of the server may take (APDU_Timeout)."""
MOST_IN_FLIGHT: Final = 16
"""Confirmed notifications that one subscriber has not answered yet, at most."""
LONGEST_SILENCE_S: Final = 600.0
"""A subscriber that answers nothing for so long loses its subscriptions: longer than a switch restarts."""
_BURST, _PAUSE_S = 50, 0.1
"""Unconfirmed notifications to one subscriber, and the seconds until the next ones. What comes faster than a
subscriber reads is lost, and nobody notices: the receive buffer of Linux holds about 270 of them.
"""
_NO_ROOM_S = 0.01  # until the network has taken some of what is to be sent
_SLICE = 200  # notifications between two turns of the event loop: a few milliseconds
_UNCONFIRMED_HEADER = frames.unconfirmed_request(UnconfirmedService.UNCONFIRMED_COV_NOTIFICATION, b"")
_BEFORE_VALUE = codec.opening(4) + codec.context(0, bytes((Property.PRESENT_VALUE,))) + codec.opening(2)
_BEFORE_FLAGS = codec.closing(2) + codec.context(0, bytes((Property.STATUS_FLAGS,))) + codec.opening(2)
_AFTER_FLAGS = codec.closing(2) + codec.closing(4)


@dataclass(slots=True, eq=False)
class Subscription:
    """One subscription, and what its subscriber was last sent."""

    subscriber: Subscriber
    process_id: int
    served: ServedObject
    device_identifier: InitVar[bytes]
    is_confirmed: bool
    is_active: bool = True
    ends_at_s: float = math.inf
    is_under_way: bool = False
    """Whether it waits to be sent, or for its answer."""
    sent_flags: bytes | None = None
    """The Status_Flags that were sent last; None has the object sent, whatever it shows."""
    sent_present_value: bytes = b""
    sent_value: Any = None
    apdu: bytes = b""
    """The confirmed notification that was sent last."""
    attempts: int = 0  # to send it
    repeated_at_s: float = 0.0  # without an answer
    head: bytes = field(init=False)
    """The parameters of a notification that never change."""
    listed: bytes = field(init=False)
    """A BACnetCOVSubscription without its last parameter, the time remaining."""

    def __post_init__(self, device_identifier: bytes) -> None:
        """Encode what never changes."""
        process_id = codec.unsigned_data(self.process_id)
        identifier = self.served.identifier
        self.head = (
            codec.context(0, process_id) + codec.context(1, device_identifier) + codec.context(2, identifier)
        )
        recipient = self.subscriber.recipient + codec.context(1, process_id)
        monitored = codec.context(0, identifier) + codec.context(1, bytes((Property.PRESENT_VALUE,)))
        self.listed = b"\x0e%b\x0f\x1e%b\x1f\x29%c" % (recipient, monitored, self.is_confirmed)

    def end(self) -> None:
        """Send nothing more."""
        self.is_active = False
        self.subscriber.subscriptions.discard(self)
        self.subscriber.waiting.pop(self, None)
        self.subscriber.postponed.pop(self, None)

    @property
    def has_news(self) -> bool:
        """Whether the object differs enough from what was sent last."""
        served = self.served
        if served.status_flags != self.sent_flags:
            return True
        if served.present_value == self.sent_present_value:
            return False
        increment = served.cov_increment
        return not increment or not is_within_deadband(served.value, self.sent_value, increment)

    def time_remaining(self, now_s: float) -> bytes:
        """Return the encoded seconds until it ends, rounded up, at least 1; 0 if it has no end."""
        return _time_remaining(0 if self.ends_at_s == math.inf else max(math.ceil(self.ends_at_s - now_s), 1))


@lru_cache(4096)
def _time_remaining(seconds: int) -> bytes:
    return codec.context(3, codec.unsigned_data(seconds))


class Subscriber:
    """A peer with subscriptions, and its notifications: how many confirmed, and how fast unconfirmed ones."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        mac = peer.mac or frames.ip_address_data(peer.address)
        self.recipient = b"\x0e\x1e%b%b\x1f\x0f" % (codec.unsigned(peer.network), codec.application(6, mac))
        self.subscriptions: set[Subscription] = set()
        self.in_flight: dict[int, Subscription] = {}  # by invoke id, oldest first
        self.waiting: OrderedDict[Subscription, None] = OrderedDict()  # the oldest first
        self.silent_since_s: float | None = None  # when the first notification without an answer was sent
        self.postponed: OrderedDict[Subscription, None] = OrderedDict()  # unconfirmed, the oldest first
        self.burst_left = _BURST
        self._invoke_id = 0

    @property
    def has_room(self) -> bool:
        """Whether another confirmed notification may be sent; a silent peer gets one at a time."""
        return len(self.in_flight) < (MOST_IN_FLIGHT if self.silent_since_s is None else 1)

    def next_invoke_id(self) -> int:
        """Return an invoke id that is not in use."""
        self._invoke_id = (self._invoke_id + 1) & 0xFF
        while self._invoke_id in self.in_flight:
            self._invoke_id = (self._invoke_id + 1) & 0xFF
        return self._invoke_id


class Notifier:
    """Sends the notifications of all subscriptions. Used on the event loop."""

    def __init__(
        self,
        *,
        send: SendApdu,
        timers: Timers,
        status: BacnetStatus,
        end: Callable[[Subscription], None],
        end_silent: Callable[[Subscriber], None],
    ) -> None:
        """`end` ends a subscription that its subscriber does not know, `end_silent` all of a silent one."""
        self._send = send
        self._timers = timers
        self._status = status
        self._end = end
        self._end_silent = end_silent
        self._ready: deque[Subscription] = deque()  # while there are any, _send_slice() is called
        self._paced: set[Subscriber] = set()  # those with unconfirmed notifications since the last pause

    def notify(self, subscription: Subscription) -> None:
        """Send the object's present value soon; what is under way is compared with it when it has arrived."""
        if not subscription.is_under_way:
            subscription.is_under_way = True
            self._make_ready(subscription)

    def receive_answer(self, subscriber: Subscriber, invoke_id: int, *, is_unknown: bool) -> None:
        """Go on after the answer to a notification: it has arrived, or the subscriber refuses it for good.

        `is_unknown`: the subscriber does not know the subscription, which ends.
        """
        subscription = subscriber.in_flight.pop(invoke_id, None)
        if subscription is None:
            return  # late, or sent twice
        subscriber.silent_since_s = None
        if is_unknown and subscription.is_active:
            self._end(subscription)
        self._finish(subscription)
        self._send_waiting(subscriber)

    def repeat_unanswered(self, subscriber: Subscriber, now_s: float) -> None:
        """Send what had no answer in time again, or give it up after the last attempt."""
        for invoke_id, subscription in list(subscriber.in_flight.items()):
            if subscription.repeated_at_s > now_s:
                continue
            if subscription.attempts <= RETRIES and subscription.is_active:
                self._send_apdu(subscription, now_s)
            else:
                del subscriber.in_flight[invoke_id]
                self._give_up(subscription, now_s)
        self._send_waiting(subscriber)

    def _give_up(self, subscription: Subscription, now_s: float) -> None:
        subscriber = subscription.subscriber
        if subscription.attempts > RETRIES:
            if subscriber.silent_since_s is None:
                subscriber.silent_since_s = now_s - APDU_TIMEOUT_S * subscription.attempts
            if now_s - subscriber.silent_since_s >= LONGEST_SILENCE_S and subscriber.subscriptions:
                self._end_silent(subscriber)
        subscription.sent_flags = None  # it is not known to have arrived
        self._finish(subscription)

    def _finish(self, subscription: Subscription) -> None:
        subscription.is_under_way = False
        if subscription.is_active and subscription.has_news:
            self.notify(subscription)

    def _make_ready(self, subscription: Subscription) -> None:
        """Send its notification in the next turn of the loop."""
        if not self._ready:
            self._timers.call_later(0.0, self._send_slice)
        self._ready.append(subscription)

    def _send_slice(self) -> None:
        """Send some of what is ready; the rest in the next turn of the loop, so that others get theirs."""
        ready, now_s, delay_s = self._ready, self._timers.time(), 0.0
        try:
            for _ in range(min(len(ready), _SLICE)):
                subscription = ready.popleft()
                if subscription.is_active and not self._send_or_queue(subscription, now_s):
                    ready.appendleft(subscription)
                    delay_s = _NO_ROOM_S
                    break
        finally:  # whatever fails, the others are sent
            if ready:
                self._timers.call_later(delay_s, self._send_slice)

    def _send_or_queue(self, subscription: Subscription, now_s: float) -> bool:
        """Send a notification if its subscriber can take it; return False if the network cannot now."""
        subscriber = subscription.subscriber
        if subscription.is_confirmed:
            if subscriber.has_room:
                self._send_confirmed(subscription, now_s)
            else:
                subscriber.waiting[subscription] = None
        elif subscriber.burst_left:
            return self._send_unconfirmed(subscription, now_s)
        else:
            subscriber.postponed[subscription] = None
        return True

    def _send_unconfirmed(self, subscription: Subscription, now_s: float) -> bool:
        """Send a notification that nobody answers; return False if there is no room for it now."""
        subscriber = subscription.subscriber
        if not self._send(_UNCONFIRMED_HEADER + _notification(subscription, now_s), subscriber.peer):
            return False
        self._status.notifications += 1
        subscription.is_under_way = False
        subscriber.burst_left -= 1
        if not self._paced:
            self._timers.call_later(_PAUSE_S, self._end_pause)
        self._paced.add(subscriber)
        return True

    def _end_pause(self) -> None:
        """Send the next unconfirmed notifications of each subscriber."""
        for subscriber in self._paced:
            subscriber.burst_left = _BURST
            for _ in range(min(len(subscriber.postponed), _BURST)):
                self._make_ready(subscriber.postponed.popitem(last=False)[0])
        self._paced = {each for each in self._paced if each.postponed}
        if self._paced:
            self._timers.call_later(_PAUSE_S, self._end_pause)

    def _send_waiting(self, subscriber: Subscriber) -> None:
        now_s = self._timers.time()
        while subscriber.waiting and subscriber.has_room:
            self._send_confirmed(subscriber.waiting.popitem(last=False)[0], now_s)

    def _send_confirmed(self, subscription: Subscription, now_s: float) -> None:
        subscriber = subscription.subscriber
        invoke_id = subscriber.next_invoke_id()
        subscription.apdu = frames.confirmed_request(
            ConfirmedService.CONFIRMED_COV_NOTIFICATION, invoke_id, _notification(subscription, now_s)
        )
        subscription.attempts = 0
        subscriber.in_flight[invoke_id] = subscription
        self._status.notifications += 1
        self._send_apdu(subscription, now_s)

    def _send_apdu(self, subscription: Subscription, now_s: float) -> None:
        subscription.attempts += 1
        subscription.repeated_at_s = now_s + APDU_TIMEOUT_S
        self._send(subscription.apdu, subscription.subscriber.peer, expects_reply=True)


def _notification(subscription: Subscription, now_s: float) -> bytes:
    """Return the parameters of a notification with the present value, which is the sent one from now on."""
    served = subscription.served
    subscription.sent_flags, subscription.sent_present_value = served.status_flags, served.present_value
    subscription.sent_value = served.value
    value = _BEFORE_VALUE + served.present_value + _BEFORE_FLAGS + served.status_flags + _AFTER_FLAGS
    return subscription.head + subscription.time_remaining(now_s) + value
