"""Points with BACnet objects, and what a test's subscriber does with notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bacpypes3.apdu import APDU, ConfirmedCOVNotificationRequest, UnconfirmedCOVNotificationRequest
from bacpypes3.pdu import PDU
from bacpypes3.primitivedata import Double, Real
from bacpypes3.primitivedata import ObjectType as BacnetType

from gateway.model import BacnetObject, Cov, ObjectType, OnStale, Point, Quality, Scalar, StalePolicy, Update
from gateway.sinks.bacnet import codec
from gateway.sinks.bacnet.frames import Pdu, Peer
from gateway.sinks.bacnet.objects import ServedObject

if TYPE_CHECKING:
    from collections.abc import Callable

SINK = "bac"


def bacnet_point(name: str, shape: BacnetObject, *, cov: float | None = None) -> Point:
    """Return a point with one object; `cov` is its deadband."""
    return Point(
        site="hq",
        tag="L03",
        point=name,
        asset="ast-1",
        source=name.lower(),
        unit_of_measure=None,
        stale_after_ms=None,
        on_stale=OnStale(StalePolicy.HOLD),
        cov=None if cov is None else Cov(cov, 300_000),
        mqtt=None,
        objects=(shape,),
    )


def analog_input(
    instance: int,
    *,
    value: float | None = None,
    cov: float | None = None,
    kind: ObjectType = ObjectType.ANALOG_INPUT,
) -> ServedObject:
    """Return the object of a point with a number."""
    shape = BacnetObject(SINK, kind, instance)
    served = ServedObject(bacnet_point(f"P{instance}", shape, cov=cov), shape)
    if value is not None:
        show(served, value)
    return served


def show(served: ServedObject, value: Scalar, *, quality: Quality = Quality.GOOD) -> None:
    """Let an object show a value."""
    served.apply(Update(served.point, value, value, quality, 1_000, seq=1, event_id="evt_1"), value)


class SimulatedSubscriber:
    """Decodes notifications with bacpypes3, and answers confirmed ones unless `answers` says otherwise.

    `answers` gets an invoke id and returns the APDU to send back, or None to stay silent.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.sent: list[bytes] = []
        self.values: list[tuple[int, float]] = []
        """Instance and Present_Value of each notification."""
        self.answer: Callable[[bytes, Peer], None] = lambda _apdu, _peer: None
        self.answers: Callable[[int], bytes | None] = lambda invoke_id: bytes(
            (Pdu.SIMPLE_ACK << 4, invoke_id, 1)
        )

    def receive(self, apdu: bytes) -> None:
        """Handle a notification."""
        self.sent.append(apdu)
        notification = decode_notification(apdu)
        self.values.append((notification.monitoredObjectIdentifier[1], _present_value(notification)))
        if apdu[0] >> 4 == Pdu.CONFIRMED_REQUEST and (answer := self.answers(apdu[2])) is not None:
            self.answer(answer, self.peer)


def _present_value(notification: Any) -> float:
    is_large = notification.monitoredObjectIdentifier[0] == BacnetType.largeAnalogValue
    return float(notification.listOfValues[0].value.cast_out(Double if is_large else Real))


def decode_notification(apdu: bytes) -> Any:
    """Return what bacpypes3 understands of a notification."""
    is_confirmed = apdu[0] >> 4 == Pdu.CONFIRMED_REQUEST
    kind = ConfirmedCOVNotificationRequest if is_confirmed else UnconfirmedCOVNotificationRequest
    return kind.decode(APDU.decode(PDU(apdu)))


def subscribe_request(
    served: ServedObject, *, process: int = 1, confirmed: bool | None = None, lifetime_s: int | None = None
) -> bytes:
    """Return the parameters of SubscribeCOV."""
    body = codec.context(0, codec.unsigned_data(process)) + codec.context(1, served.identifier)
    if confirmed is not None:
        body += codec.context(2, bytes((confirmed,)))
    return body if lifetime_s is None else body + codec.context(3, codec.unsigned_data(lifetime_s))
