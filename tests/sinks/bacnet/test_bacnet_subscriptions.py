"""COV subscriptions in simulated time: what is notified, when, and to whom no more."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
import structlog
from bacpypes3.basetypes import COVSubscription
from bacpypes3.constructeddata import SequenceOf
from bacpypes3.pdu import PDUData
from bacpypes3.primitivedata import TagList
from hypothesis import given
from hypothesis import strategies as st
from support.bacnet_network import SimulatedTime
from support.bacnet_points import (
    SimulatedSubscriber,
    analog_input,
    decode_notification,
    show,
    subscribe_request,
)

from gateway.model import ObjectType, Quality
from gateway.sinks.bacnet import codec
from gateway.sinks.bacnet.codec import MalformedError, RefusedServiceError
from gateway.sinks.bacnet.frames import Peer
from gateway.sinks.bacnet.notifier import APDU_TIMEOUT_S, LONGEST_SILENCE_S, MOST_IN_FLIGHT
from gateway.sinks.bacnet.segmentation import RETRIES
from gateway.sinks.bacnet.standard import ErrorClass, ErrorCode, RejectReason
from gateway.sinks.bacnet.subscriptions import Subscriptions
from gateway.status import BacnetStatus, ClientsStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.sinks.bacnet.objects import ServedObject

_DEVICE = codec.object_data(8, 3101)
_PEER, _OTHER = Peer("192.0.2.7", 47808), Peer("192.0.2.1", 47808, 12, b"\x05")


class _Device:
    """Subscriptions of a device with some objects, and simulated subscribers."""

    def __init__(self, objects: Iterable[ServedObject], *, most: int = 10_000) -> None:
        self.time = SimulatedTime()
        self.has_room = True  # in the network, for what is sent
        self.clients = ClientsStatus()
        self.status = BacnetStatus()
        self.subscribers = {peer: SimulatedSubscriber(peer) for peer in (_PEER, _OTHER)}
        self.subscriptions = Subscriptions(
            device_identifier=_DEVICE,
            most=most,
            send=self._send,
            timers=self.time,
            bound_log=structlog.get_logger(),
            clients=self.clients,
            status=self.status,
        )
        for subscriber in self.subscribers.values():
            subscriber.answer = self._answer_soon
        self.use(objects)

    def use(self, objects: Iterable[ServedObject]) -> None:
        """Serve other objects."""
        self.subscriptions.use_objects({each.identifier: each for each in objects})

    def subscribe(
        self,
        served: ServedObject,
        *,
        process: int = 1,
        peer: Peer = _PEER,
        confirmed: bool = False,
        lifetime_s: int = 0,
    ) -> None:
        """Subscribe to an object."""
        request = subscribe_request(served, process=process, confirmed=confirmed, lifetime_s=lifetime_s)
        self.subscriptions.subscribe(request, peer)

    def show(self, served: ServedObject, value: float, *, quality: Quality = Quality.GOOD) -> None:
        """Let an object show a value, and notify."""
        show(served, value, quality=quality)
        self.subscriptions.notify_change(served)

    def wait(self, seconds: float = 0.1) -> None:
        """Let time pass."""
        self.time.run(until_s=self.time.now_s + seconds)

    def _send(self, apdu: bytes, peer: Peer, *, expects_reply: bool = False, priority: int = 0) -> bool:
        assert (expects_reply, priority) == (apdu[0] >> 4 == 0, 0)
        if self.has_room:
            self.subscribers[peer].receive(apdu)
        return self.has_room

    def _answer_soon(self, apdu: bytes, peer: Peer) -> None:
        self.time.call_later(0.01, self.subscriptions.receive_answer, apdu, peer)


@pytest.mark.parametrize("confirmed", [False, True])
def test_first_notification_and_changes(*, confirmed: bool) -> None:
    """A subscriber gets the present value, NaN before a reading, then changes of COV_Increment or more."""
    device = _Device([served := analog_input(7, cov=0.5)])
    device.subscribe(served, process=18, confirmed=confirmed, lifetime_s=60)
    subscriber = device.subscribers[_PEER]
    assert subscriber.sent == []  # the answer to the subscription comes first
    device.wait(10)
    for value in (21.5, 21.9, 22.0, 22.4, 21.6, 21.5):
        device.show(served, value)
        device.wait()
    assert [str(value) for _, value in subscriber.values] == ["nan", "21.5", "22.0", "21.5"]
    notification = decode_notification(subscriber.sent[1])
    assert notification.subscriberProcessIdentifier == 18
    assert str(notification.initiatingDeviceIdentifier) == "device,3101"
    assert str(notification.monitoredObjectIdentifier) == "analog-input,7"
    assert notification.timeRemaining == 50
    assert device.status.notifications == 4


@pytest.mark.parametrize("kind", [ObjectType.ANALOG_INPUT, ObjectType.LARGE_ANALOG_VALUE])
@given(steps=st.lists(st.integers(-3, 3), max_size=30), increment=st.sampled_from([0.0, 0.1, 0.3]))
def test_increment(kind: ObjectType, steps: list[int], increment: float) -> None:
    """A value is notified if it differs from the last notified one by the increment or more, in decimals."""
    device = _Device([served := analog_input(1, value=21.5, cov=increment or None, kind=kind)])
    subscription = subscribe_request(served, confirmed=False)
    device.subscriptions.subscribe(subscription, _PEER)
    device.wait()
    expected, tenths, sent = 1, 215, 215
    for step in steps:
        tenths += step
        if tenths != sent and abs(tenths - sent) >= round(increment * 10):
            expected, sent = expected + 1, tenths
        device.show(served, tenths / 10)
        device.wait()
    assert device.status.notifications == expected


def test_flags_always_notify() -> None:
    """A change of Status_Flags is notified although the value stays within the increment."""
    device = _Device([served := analog_input(1, value=21.5, cov=5)])
    device.subscribe(served)
    device.wait()
    for quality in (Quality.STALE, Quality.STALE, Quality.FORCED, Quality.GOOD):
        device.show(served, 21.5, quality=quality)
        device.wait()
    flags = [apdu[-4:-2] for apdu in device.subscribers[_PEER].sent]
    assert len(flags) == 4
    assert len(set(flags)) == 3


@given(
    peers=st.lists(st.sampled_from([_PEER, _OTHER]), min_size=1, max_size=3),
    faults=st.data(),
    values=st.lists(st.tuples(st.integers(1, 20), st.integers(0, 99)), max_size=50),
)
def test_newest_value_arrives(
    peers: list[Peer], faults: st.DataObject, values: list[tuple[int, int]]
) -> None:
    """With missing and refusing answers, at most 16 are in flight, and the newest value arrives at last."""
    objects = [analog_input(instance, value=-1) for instance in range(1, 21)]
    device = _Device(objects)
    losses = 20

    def answers(invoke_id: int) -> bytes | None:
        nonlocal losses
        if losses and faults.draw(st.booleans()):
            losses -= 1
            return faults.draw(
                st.sampled_from([None, bytes((0x60, invoke_id, 9)), bytes((0x71, invoke_id, 0))])
            )
        return bytes((0x20, invoke_id, 1))

    for peer in peers:
        device.subscribers[peer].answers = answers
        for served in objects:
            device.subscribe(served, peer=peer, confirmed=True)
    for instance, value in values:
        device.show(objects[instance - 1], value)
        device.wait(faults.draw(st.sampled_from([0.0, 0.001, 1.0])))
        for subscriber in device.subscriptions._subscribers.values():
            assert len(subscriber.in_flight) <= MOST_IN_FLIGHT
    device.wait(600)
    newest = dict.fromkeys(range(1, 21), -1.0) | {instance: float(value) for instance, value in values}
    for peer in peers:
        assert dict(device.subscribers[peer].values) == newest


def test_newest_value_wins() -> None:
    """While a notification is in flight, values are not queued: the newest follows on the answer."""
    device = _Device([served := analog_input(1, value=0)])
    device.subscribe(served, confirmed=True)
    device.time.run(until_s=0.001)
    for value in (1, 2, 3):
        device.show(served, value)
    device.wait()
    assert device.subscribers[_PEER].values == [(1, 0.0), (1, 3.0)]


def test_slow_subscriber() -> None:
    """A notification without an answer is repeated as it was, three times; then the newest value is sent."""
    device = _Device([served := analog_input(1, value=0)])
    subscriber = device.subscribers[_PEER]
    subscriber.answers = lambda _: None
    device.subscribe(served, confirmed=True)
    device.wait(APDU_TIMEOUT_S)
    device.show(served, 5)
    device.wait((APDU_TIMEOUT_S + 1) * (RETRIES + 1) - 1)
    assert len(set(subscriber.sent)) == 2
    assert subscriber.sent.count(subscriber.sent[0]) == RETRIES + 1
    assert subscriber.values[RETRIES + 1] == (1, 5.0)


@pytest.mark.parametrize("confirmed", [False, True])
def test_full_network(*, confirmed: bool) -> None:
    """What the network has no room for is sent when it has, with the newest values."""
    objects = [analog_input(instance, value=0) for instance in range(300)]
    device = _Device(objects)
    device.has_room = False
    for served in objects:
        device.subscribe(served, confirmed=confirmed)
    device.wait()
    for served in objects:
        device.show(served, 1)
    device.has_room = True
    device.wait(APDU_TIMEOUT_S + 1)
    assert dict(device.subscribers[_PEER].values) == dict.fromkeys(range(300), 1.0)


def test_pace_of_unconfirmed_notifications() -> None:
    """When all values change at once, a subscriber gets them at a pace that it reads, the newest of each."""
    objects = [analog_input(instance, value=0) for instance in range(300)]
    device = _Device(objects)
    for served in objects:
        device.subscribe(served)
    device.subscribe(objects[-1], peer=_OTHER)
    device.wait(10)
    received = device.subscribers[_PEER].values
    received.clear()
    for value in (1, 2):
        for served in objects:
            device.show(served, value)
        device.wait(0.01)
    assert device.subscribers[_OTHER].values[-1] == (299, 2.0)
    device.subscriptions.subscribe(subscribe_request(objects[-1]), _PEER)  # cancelled
    for step in range(1, 20):
        assert len(received) <= 50 * step
        device.wait(0.1)
    assert dict(received) == dict.fromkeys(range(299), 2.0)


def test_silent_subscriber() -> None:
    """A subscriber that answers nothing loses its subscriptions after ten minutes; others keep theirs."""
    objects = [analog_input(instance, value=0) for instance in range(100)]
    device = _Device(objects)
    device.subscribers[_PEER].answers = lambda _: None
    for served in objects:
        device.subscribe(served, confirmed=True)
        device.subscribe(served, peer=_OTHER, confirmed=True)
    device.wait(LONGEST_SILENCE_S - 5)
    assert device.status.subscriptions == 200
    device.wait(25)
    assert (device.status.subscriptions, device.status.dropped_subscriptions) == (100, 100)
    assert len(device.subscribers[_OTHER].sent) == 100
    assert len(device.subscribers[_PEER].sent) < 300  # one at a time, after the first ones
    device.wait(2 * APDU_TIMEOUT_S)
    assert device.clients.connected == 1


def test_many_silent_subscribers() -> None:
    """However many answer nothing, no turn of the event loop has more than some of the repeated messages."""
    device = _Device([served := analog_input(1, value=0)])
    sent_in: list[int] = []
    for number in range(1000):
        peer = Peer("192.0.2.1", 47808, 12, number.to_bytes(2, "big"))
        subscriber = device.subscribers[peer] = SimulatedSubscriber(peer)
        subscriber.answers = lambda _: sent_in.append(device.time.turn)
        device.subscribe(served, peer=peer, confirmed=True)
    device.wait(APDU_TIMEOUT_S * (RETRIES + 2))
    assert len(sent_in) >= 1000 * (RETRIES + 1)
    assert max(Counter(sent_in).values()) <= 200


def test_returning_subscriber() -> None:
    """A subscriber that answers again in time keeps its subscriptions and gets all present values."""
    objects = [analog_input(instance, value=0) for instance in range(40)]
    device = _Device(objects)
    subscriber = device.subscribers[_PEER]
    answers, subscriber.answers = subscriber.answers, lambda _: None
    for served in objects:
        device.subscribe(served, confirmed=True)
    device.wait(40)
    subscriber.answers = answers
    for served in objects:
        device.show(served, 7)
    device.wait(20)
    assert dict(subscriber.values) == dict.fromkeys(range(40), 7.0)


def test_aborting_subscriber() -> None:
    """A subscriber that aborts, for want of resources, gets its notifications again, however often."""
    device = _Device([served := analog_input(1, value=0)])
    subscriber = device.subscribers[_PEER]
    answers, subscriber.answers = subscriber.answers, lambda invoke_id: bytes((0x71, invoke_id, 9))
    device.subscribe(served, confirmed=True)
    device.show(served, 1)
    device.wait(LONGEST_SILENCE_S * 2)
    subscriber.values.clear()
    subscriber.answers = answers
    device.wait(10)
    assert subscriber.values == [(1, 1.0)]


@pytest.mark.parametrize(
    "class_and_code", ["9105 914f", "9105 92004f", "9400000005 940000004f", "92012c 914f", "9105 914f 00"]
)
def test_unknown_subscription(class_and_code: str) -> None:
    """A subscriber that does not know a subscription ends it, as a restarted one does, however it says so."""
    device = _Device([served := analog_input(1, value=0)])
    error = bytes.fromhex(class_and_code)
    device.subscribers[_PEER].answers = lambda invoke_id: bytes((0x50, invoke_id, 1)) + error
    device.subscribe(served, confirmed=True)
    device.wait()
    assert device.status.subscriptions == 0
    device.show(served, 1)
    device.wait(30)
    assert device.status.notifications == 1
    assert device.clients.connected == 0


@pytest.mark.parametrize(
    "class_and_code", ["9105 92914f", "9105 914e", "914f 9100", "9105 924f00", "914f", ""]
)
def test_another_error_keeps_the_subscription(class_and_code: str) -> None:
    """A code that only ends with the same bytes is another one, such as one of a vendor: 37199."""
    device = _Device([served := analog_input(1, value=0)])
    error = bytes.fromhex(class_and_code)
    device.subscribers[_PEER].answers = lambda invoke_id: bytes((0x50, invoke_id, 1)) + error
    device.subscribe(served, confirmed=True)
    device.wait()
    assert device.status.subscriptions == 1


def test_lifetime_renewal_and_cancellation() -> None:
    """A subscription ends with its lifetime, unless it is renewed; one without end ends by cancellation."""
    device = _Device([served := analog_input(1, value=0)])
    device.subscribe(served, process=1, lifetime_s=10)
    device.subscribe(served, process=2, lifetime_s=10)
    device.subscribe(served, process=3)
    device.wait(9)
    device.subscribe(served, process=2, lifetime_s=10, confirmed=True)
    device.wait(2)
    assert device.status.subscriptions == 2
    device.wait(10)
    assert device.status.subscriptions == 1
    for process in (3, 3, 4):
        device.subscriptions.subscribe(subscribe_request(served, process=process), _PEER)
    device.wait(2)
    assert (device.status.subscriptions, device.clients.connected) == (0, 0)
    sent = [decode_notification(apdu) for apdu in device.subscribers[_PEER].sent]
    assert Counter(each.subscriberProcessIdentifier for each in sent) == {1: 1, 2: 2, 3: 1}


def test_active_subscriptions() -> None:
    """Active_COV_Subscriptions lists each with its recipient, object, kind and time remaining."""
    device = _Device([served := analog_input(1, value=0)])
    device.subscribe(served, process=300, lifetime_s=60, confirmed=True)
    device.subscribe(served, peer=_OTHER)
    device.wait(0.5)
    tags = TagList.decode(PDUData(device.subscriptions.active_subscriptions()))
    listed = SequenceOf(COVSubscription).decode(tags)
    first, second = listed
    assert first.recipient.processIdentifier == 300
    assert bytes(first.recipient.recipient.address.macAddress) == b"\xc0\x00\x02\x07\xba\xc0"
    assert second.recipient.recipient.address.networkNumber == 12
    assert bytes(second.recipient.recipient.address.macAddress) == b"\x05"
    assert [str(each.monitoredPropertyReference.objectIdentifier) for each in listed] == [
        "analog-input,1"
    ] * 2
    assert [bool(each.issueConfirmedNotifications) for each in listed] == [True, False]
    assert [each.timeRemaining for each in listed] == [60, 0]


def test_reload() -> None:
    """Subscriptions go on with a reloaded object, whose change is notified; those of a removed one end."""
    kept, removed = analog_input(1, value=1), analog_input(2, value=2)
    device = _Device([kept, removed])
    for served in (kept, removed):
        device.subscribe(served)
    device.wait()
    device.use([analog_input(1, value=1)])
    device.wait()
    assert device.status.notifications == 2
    device.use([reloaded := analog_input(1, value=5)])
    device.wait()
    device.show(reloaded, 6)
    device.wait()
    assert device.subscribers[_PEER].values == [(1, 1.0), (2, 2.0), (1, 5.0), (1, 6.0)]
    assert device.status.subscriptions == 1


def test_limits() -> None:
    """An IP address may have a quarter of the subscriptions, all together all; a renewal needs no room."""
    device = _Device([served := analog_input(1, value=0)], most=8)
    others = [Peer(f"192.0.2.{number}", 47808) for number in range(21, 27)]
    for process in (1, 2, 1):
        device.subscribe(served, process=process)
    for another in (_PEER, Peer(_PEER.host, 50_000), _PEER._replace(network=12, mac=b"\5")):
        _assert_no_space(device, served, another)
    for process in (1, 1):
        device.subscriptions.subscribe(subscribe_request(served, process=process), _PEER)  # cancelled
    device.subscribe(served, process=9)
    for peer in others:
        device.subscribe(served, peer=peer)
    _assert_no_space(device, served, Peer("192.0.2.30", 47808))
    device.subscribe(served, peer=others[0])
    assert (device.status.subscriptions, device.status.refused_subscriptions) == (8, 4)


def _assert_no_space(device: _Device, served: ServedObject, peer: Peer) -> None:
    with pytest.raises(RefusedServiceError) as refused:
        device.subscribe(served, process=9, peer=peer)
    space = codec.enumerated(ErrorClass.RESOURCES) + codec.enumerated(ErrorCode.NO_SPACE_TO_ADD_LIST_ELEMENT)
    assert refused.value.encoded == space


_SERVED = analog_input(1)
_MISSING = codec.object_data(0, 2)


@pytest.mark.parametrize(
    ("identifier", "code"),
    [(_MISSING, ErrorCode.UNKNOWN_OBJECT), (_DEVICE, ErrorCode.OPTIONAL_FUNCTIONALITY_NOT_SUPPORTED)],
)
def test_refused_objects(identifier: bytes, code: ErrorCode) -> None:
    """An object that is not there is refused, and so is the device, which has no COV."""
    device = _Device([_SERVED])
    body = codec.context(0, b"\x01") + codec.context(1, identifier) + codec.context(2, b"\x00")
    with pytest.raises(RefusedServiceError) as refused:
        device.subscriptions.subscribe(body, _PEER)
    assert refused.value.encoded == codec.enumerated(ErrorClass.OBJECT) + codec.enumerated(code)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", RejectReason.MISSING_REQUIRED_PARAMETER),
        (subscribe_request(_SERVED, lifetime_s=60), RejectReason.MISSING_REQUIRED_PARAMETER),
        (subscribe_request(_SERVED, process=1 << 32), RejectReason.PARAMETER_OUT_OF_RANGE),
        (subscribe_request(_SERVED, confirmed=True, lifetime_s=1 << 32), RejectReason.PARAMETER_OUT_OF_RANGE),
        (subscribe_request(_SERVED) + b"\x49\x00", RejectReason.TOO_MANY_ARGUMENTS),
    ],
)
def test_malformed_requests(body: bytes, reason: RejectReason) -> None:
    """A request that cannot be understood is rejected with its reason."""
    with pytest.raises(MalformedError) as malformed:
        _Device([_SERVED]).subscriptions.subscribe(body, _PEER)
    assert malformed.value.reason == reason


@given(apdu=st.binary(min_size=1, max_size=12))
def test_odd_answers(apdu: bytes) -> None:
    """No answer to a notification, however odd, stops the others."""
    device = _Device([served := analog_input(1, value=0)])
    device.subscribers[_PEER].answers = lambda _: None
    device.subscribe(served, confirmed=True)
    device.wait()
    device.subscriptions.receive_answer(b"\x50" + apdu, _PEER)
    device.subscriptions.receive_answer(b"\x50\x01\x01" + apdu, _PEER)
    device.wait(60)
