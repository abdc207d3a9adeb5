"""A BACnet client, device or BBMD made of bacpypes3, in a process of its own: runs as a program, see `main`.

Lines of JSON on its standard input are requests, see `bacnet_clients.py`; each gets a line on its output.
I-Am, I-Have and notifications are lines as well.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from typing import TYPE_CHECKING, Any

from bacpypes3.apdu import (
    ConfirmedCOVNotificationRequest,
    ErrorPDU,
    ErrorRejectAbortNack,
    IAmRequest,
    IHaveRequest,
    SimpleAckPDU,
    SubscribeCOVRequest,
    UnconfirmedCOVNotificationRequest,
)
from bacpypes3.basetypes import ErrorType, PropertyIdentifier, PropertyReference
from bacpypes3.constructeddata import AnyAtomic
from bacpypes3.ipv4.app import BBMDApplication, ForeignApplication, NormalApplication
from bacpypes3.local.analog import AnalogInputObject
from bacpypes3.local.device import DeviceObject
from bacpypes3.pdu import IPv4Address
from bacpypes3.primitivedata import BitString, Boolean, ObjectIdentifier, Real
from bacpypes3.service.cov import ChangeOfValueServices
from bacpypes3.vendor import get_vendor_info

if TYPE_CHECKING:
    from collections.abc import Callable

_TTL_S = 60


def emit(**line: Any) -> None:
    """Print a line."""
    print(json.dumps(line), flush=True)


def plain(value: Any) -> Any:
    """Return a value as JSON has it: enumerations as numbers, an object identifier as type and instance."""
    for kind, convert in _PLAIN.items():
        if isinstance(value, kind):
            return convert(value)
    return str(value)


def plain_float(value: float) -> float | str:
    """Return a number, or text for what JSON does not have."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


_PLAIN: dict[Any, Callable[[Any], Any]] = {
    AnyAtomic: lambda value: plain(value.get_value()),
    ObjectIdentifier: lambda value: [int(value[0]), value[1]],
    BitString: list,
    Boolean: bool,
    float: plain_float,
    int: int,
    str: str,
}


def values(found: Any) -> Any:
    """Return what a property has as a list, or its error."""
    if isinstance(found, ErrorType):
        return {"error": [int(found.errorClass), int(found.errorCode)]}
    is_list = isinstance(found, list) and not isinstance(found, BitString)
    return [plain(each) for each in found] if is_list else [plain(found)]


def identifier(wanted: list[int]) -> ObjectIdentifier:
    """Make an object identifier."""
    kind, instance = wanted
    return ObjectIdentifier((kind, instance))


class Requests:
    """Does the test's requests with an application."""

    def __init__(self, application: Any, device: IPv4Address) -> None:
        self.application = application
        self.device = device

    async def answer(self, line: str) -> None:
        """Do one request and print its answer."""
        request = json.loads(line)
        number = request.pop("number")
        method = getattr(self, request.pop("do").replace("-", "_"))
        try:
            emit(number=number, answer=await method(**request))
        except ErrorPDU as error:
            emit(number=number, error=[int(error.errorClass), int(error.errorCode)])
        except ErrorRejectAbortNack as refused:
            emit(number=number, error=[int(refused.apduAbortRejectReason)])
        except TimeoutError:
            emit(number=number, failure="ERR_TIMEOUT")

    async def who_is(self, *, low: int | None, high: int | None, broadcast: bool) -> None:
        """Send a Who-Is to the device, or a broadcast."""
        self.application.who_is(low, high, None if broadcast else self.device).cancel()

    async def who_has(self, *, name: str) -> None:
        """Ask the device for the object of a name."""
        self.application.who_has(object_name=name, address=self.device).cancel()

    async def read(self, *, object: list[int], property: int, index: int | None) -> Any:
        """Read a property; its type must be the one of the standard."""
        return values(
            await self.application.read_property(
                self.device, identifier(object), PropertyIdentifier(property), index
            )
        )

    async def read_many(self, *, objects: list[tuple[list[int], list[int]]]) -> Any:
        """Read several properties of several objects at once."""
        wanted: list[Any] = []
        for each, properties in objects:
            references = [PropertyReference(propertyIdentifier=number) for number in properties]
            wanted += [identifier(each), references]
        found: dict[tuple[int, int], list[Any]] = {}
        for each, number, _, value in await self.application.read_property_multiple(self.device, wanted):
            found.setdefault((int(each[0]), each[1]), []).append([int(number), values(value)])
        return list(found.items())

    async def write(self, *, object: list[int], property: int, real: float) -> None:
        """Write a number."""
        await self.application.write_property(
            self.device, identifier(object), PropertyIdentifier(property), Real(real)
        )

    async def subscribe(
        self,
        *,
        object: list[int],
        process: int,
        cancel: bool,
        confirmed: bool,
        lifetime: int,
    ) -> None:
        """Subscribe to an object, or cancel that."""
        request = SubscribeCOVRequest(
            subscriberProcessIdentifier=process,
            monitoredObjectIdentifier=identifier(object),
            destination=self.device,
        )
        if not cancel:
            request.issueConfirmedNotifications, request.lifetime = confirmed, lifetime
        await self.application.request(request)

    async def show(self, *, instance: int, value: float) -> None:
        """Let an analog input of our own show a value."""
        known = self.application.get_object_id(identifier([0, instance]))
        if known is None:
            name = f"AI-{instance}"
            known = AnalogInputObject(
                objectIdentifier=("analog-input", instance), objectName=name, covIncrement=0.0
            )
            self.application.add_object(known)
        known.presentValue = Real(value)


class Reporting(ChangeOfValueServices):  # type: ignore[misc]
    """Prints what comes without being asked for."""

    async def do_IAmRequest(self, apdu: IAmRequest) -> None:  # noqa: N802
        """Print an I-Am."""
        _, instance = apdu.iAmDeviceIdentifier
        emit(event="i-am", address=str(apdu.pduSource), device=instance, vendor=apdu.vendorID)
        await super().do_IAmRequest(apdu)

    async def do_IHaveRequest(self, apdu: IHaveRequest) -> None:  # noqa: N802
        """Print an I-Have."""
        emit(event="i-have", object=plain(apdu.objectIdentifier), name=apdu.objectName)

    async def do_ConfirmedCOVNotificationRequest(  # noqa: N802
        self, apdu: ConfirmedCOVNotificationRequest
    ) -> None:
        """Print a notification and acknowledge it."""
        report("confirmed", apdu)
        await self.response(SimpleAckPDU(context=apdu))

    async def do_UnconfirmedCOVNotificationRequest(  # noqa: N802
        self, apdu: UnconfirmedCOVNotificationRequest
    ) -> None:
        """Print a notification."""
        report("unconfirmed", apdu)


def report(kind: str, apdu: Any) -> None:
    """Print a notification; its properties must have the types of the standard."""
    shape = get_vendor_info(0).get_object_class(apdu.monitoredObjectIdentifier[0])
    emit(
        event=kind,
        process=apdu.subscriberProcessIdentifier,
        device=plain(apdu.initiatingDeviceIdentifier),
        object=plain(apdu.monitoredObjectIdentifier),
        remaining=apdu.timeRemaining,
        values=[
            [
                int(each.propertyIdentifier),
                values(each.value.cast_out(shape.get_property_type(each.propertyIdentifier))),
            ]
            for each in apdu.listOfValues
        ],
    )


class Normal(Reporting, NormalApplication):  # type: ignore[misc]
    """A client and device."""


class Foreign(Reporting, ForeignApplication):  # type: ignore[misc]
    """A client and device that registers at a BBMD."""


class Bbmd(Reporting, BBMDApplication):  # type: ignore[misc]
    """A client and device, and a BBMD."""


async def run(own: str, device: str, instance: str, role: str, bbmd: str = "") -> None:
    """Do requests until the test ends."""
    itself = DeviceObject(
        objectIdentifier=("device", int(instance)), objectName=f"device-{instance}", vendorIdentifier=999
    )
    kind = {"normal": Normal, "foreign": Foreign, "bbmd": Bbmd}[role]
    application = kind(itself, IPv4Address(own))
    if role == "foreign":
        application.register(IPv4Address(bbmd), _TTL_S)
    requests = Requests(application, IPv4Address(device))
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    emit(event="ready")
    async with asyncio.TaskGroup() as group:
        async for line in lines:
            group.create_task(requests.answer(line.decode()))
    application.close()


def main() -> None:
    """Run with OWN DEVICE INSTANCE normal | bbmd | foreign BBMD; the addresses are `ip/bits:port`."""
    asyncio.run(run(*sys.argv[1:]))


if __name__ == "__main__":
    main()
