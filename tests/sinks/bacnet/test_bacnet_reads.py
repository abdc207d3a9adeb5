"""What a client reads: every property of every object type, with bacpypes3's types, and the errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bacpypes3.object as bacpypes_objects
import pytest
from bacpypes3.apdu import APDU, ReadPropertyMultipleACK
from bacpypes3.basetypes import PropertyIdentifier
from bacpypes3.pdu import PDU
from support.bacnet_frames import find_malformed
from support.bacnet_parts import DEVICE, BacnetRig, RawClient, make_object
from support.mqtt_parts import make_update

from gateway.config.value_types import HostPort
from gateway.model import Cov, ObjectType
from gateway.sinks.bacnet import codec, frames
from gateway.sinks.bacnet.config import BacnetConfig
from gateway.sinks.bacnet.device import Device
from gateway.sinks.bacnet.services import read_property_multiple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.model import Scalar

MODES = ("off", "comfort", "eco")
POINTS = (
    make_object("L03/ZN-T", cov=Cov(0.5, 60_000), description="Raumtemperatur Süd"),
    make_object("L03/DOOR", 1, ObjectType.BINARY_INPUT, values=(0, 1), texts=("shut", "open")),
    make_object("L03/PUMP", 2, ObjectType.BINARY_INPUT),
    make_object("L03/MODE", 1, ObjectType.MULTI_STATE_INPUT, values=MODES, texts=MODES),
    make_object("L03/NOTE", 1, ObjectType.CHARACTERSTRING_VALUE),
    make_object("L03/KWH", 1, ObjectType.LARGE_ANALOG_VALUE),
)
VALUES: tuple[Scalar, ...] = (21.5, 1, 0, "eco", "Filter prüfen", 16_777_217.0)
CLASSES: dict[tuple[int, int], Any] = {
    (0, 1): bacpypes_objects.AnalogInputObject,
    (3, 1): bacpypes_objects.BinaryInputObject,
    (3, 2): bacpypes_objects.BinaryInputObject,
    (13, 1): bacpypes_objects.MultiStateInputObject,
    (40, 1): bacpypes_objects.CharacterStringValueObject,
    (46, 1): bacpypes_objects.LargeAnalogValueObject,
    (8, DEVICE): bacpypes_objects.DeviceObject,
}
READ, READ_MULTIPLE, WRITE, WRITE_MULTIPLE = 12, 14, 15, 16
ALL, REQUIRED, OPTIONAL, PRESENT_VALUE, PROPERTY_LIST = 8, 105, 80, 85, 371
ANALOG_INPUT = codec.context(0, codec.object_data(0, 1))
PRESENT = codec.context(1, bytes((PRESENT_VALUE,)))


@pytest.fixture
async def client() -> AsyncIterator[RawClient]:
    """Return a client of a device with an object of each type, all with good values."""
    rig = BacnetRig(POINTS)
    rig.latest.take([make_update(point, value) for point, value in zip(POINTS, VALUES, strict=True)])
    async with rig.make_sink():
        with RawClient(rig.port) as client:
            yield client


async def read_multiple(client: RawClient, identifier: tuple[int, int], *numbers: int) -> dict[str, Any]:
    """Return the properties of one object, each with bacpypes3's type; a refused one as class and code."""
    asked = b"".join(codec.context(0, codec.unsigned_data(number)) for number in numbers)
    body = codec.context(0, codec.object_data(*identifier)) + codec.opening(1) + asked + codec.closing(1)
    apdu = await client.request(READ_MULTIPLE, body)
    assert apdu[0] >> 4 == frames.Pdu.COMPLEX_ACK
    answer = ReadPropertyMultipleACK.decode(APDU.decode(PDU(apdu)))
    (result,) = answer.listOfReadAccessResults
    assert tuple(result.objectIdentifier) == identifier
    found = {}
    for each in result.listOfResults:
        name = PropertyIdentifier(each.propertyIdentifier).attr
        error = each.readResult.propertyAccessError
        if error is not None:
            found[name] = (int(error.errorClass), int(error.errorCode))
        else:
            found[name] = each.readResult.propertyValue.cast_out(CLASSES[identifier]._elements[name])
    return found


@pytest.mark.parametrize("identifier", CLASSES)
async def test_every_property_has_the_type_of_the_standard(
    client: RawClient, identifier: tuple[int, int]
) -> None:
    """`required` has exactly what bacpypes3 requires, `all` that and `optional`; Property_List lists them."""
    kind = CLASSES[identifier]
    required = {name for each in kind.__mro__ for name in getattr(each, "_required", ())}
    read = {group: await read_multiple(client, identifier, group) for group in (ALL, REQUIRED, OPTIONAL)}
    assert set(read[REQUIRED]) == required - {"propertyList"}
    assert set(read[OPTIONAL]).isdisjoint(required)
    assert set(read[ALL]) == set(read[REQUIRED]) | set(read[OPTIONAL])
    listed = await read_multiple(client, identifier, PROPERTY_LIST)
    named = {PropertyIdentifier(each).attr for each in listed["propertyList"]}
    assert named == set(read[ALL]) - {"objectIdentifier", "objectName", "objectType"}


async def test_values_and_texts(client: RawClient) -> None:
    """Each object shows its point's value, name and texts."""
    shown: list[tuple[tuple[int, int], dict[str, Any]]] = [
        ((0, 1), {"presentValue": 21.5, "objectName": "L03/ZN-T", "covIncrement": 0.5, "units": 62}),
        ((0, 1), {"description": "Raumtemperatur Süd", "reliability": 0, "statusFlags": [0, 0, 0, 0]}),
        ((3, 1), {"presentValue": 1, "inactiveText": "shut", "activeText": "open", "polarity": 0}),
        ((3, 2), {"presentValue": 0, "eventState": 0, "outOfService": 0}),
        ((13, 1), {"presentValue": 3, "numberOfStates": 3, "stateText": list(MODES)}),
        ((40, 1), {"presentValue": "Filter prüfen"}),
        ((46, 1), {"presentValue": 16_777_217.0}),
        ((8, DEVICE), {"objectName": "edge-1/bac", "vendorIdentifier": 999, "segmentationSupported": 1}),
        ((8, DEVICE), {"protocolRevision": 14, "maxApduLengthAccepted": 1476, "systemStatus": 0}),
    ]
    for identifier, expected in shown:
        read = await read_multiple(client, identifier, ALL)
        assert {name: read[name] for name in expected} == expected
    assert "inactiveText" not in await read_multiple(client, (3, 2), ALL)


async def test_services_and_types_are_those_that_are_there(client: RawClient) -> None:
    """Every claimed confirmed service is executed, every other one is rejected or refused; likewise types."""
    device = await read_multiple(client, (8, DEVICE), ALL)
    claimed = {number for number, bit in enumerate(device["protocolServicesSupported"]) if bit}
    answers = {number: await client.request(number, b"") for number in range(30)}
    recognized = {number for number, apdu in answers.items() if apdu[2:] != b"\x09"}
    assert claimed == (recognized - {WRITE, WRITE_MULTIPLE}) | {33, 34}  # and Who-Has, Who-Is
    types = {number for number, bit in enumerate(device["protocolObjectTypesSupported"]) if bit}
    assert types == {object_type for object_type, _ in CLASSES}
    assert [tuple(each) for each in device["objectList"]] == [(8, DEVICE), *list(CLASSES)[:-1]]


async def test_elements_of_arrays(client: RawClient) -> None:
    """Element 0 is the length; others count from 1."""
    assert await client.read(8, DEVICE, 76, 0) == codec.unsigned(7)
    assert await client.read(8, DEVICE, 76, 1) == codec.object_identifier(codec.object_data(8, DEVICE))
    assert await client.read(8, DEVICE, 76, 7) == codec.object_identifier(codec.object_data(46, 1))
    assert await client.read(13, 1, 110, 3) == codec.character_string("eco")
    assert await client.read(0, 1, PROPERTY_LIST, 1) == codec.enumerated(PRESENT_VALUE)


async def test_the_usual_read_is_answered_like_any_other(client: RawClient) -> None:
    """It has a short way, and the same answer as with a zero in front of the property's number."""
    for identifier in CLASSES:
        wanted = codec.context(0, codec.object_data(*identifier))
        for number in range(256):
            usual, unusual = (codec.context(1, zero + bytes((number,))) for zero in (b"", b"\0"))
            assert await client.request(READ, wanted + usual) == await client.request(READ, wanted + unusual)


async def test_the_wildcard_instance_is_this_device(client: RawClient) -> None:
    """The answer has the true instance."""
    body = codec.context(0, codec.object_data(8, 4_194_303)) + codec.context(1, bytes((77,)))
    apdu = await client.request(READ, body)
    assert apdu[3:].startswith(codec.context(0, codec.object_data(8, DEVICE)))


def _reference(identifier: bytes, number: int, element: int | None = None) -> bytes:
    at = b"" if element is None else codec.context(2, codec.unsigned_data(element))
    return identifier + codec.context(1, codec.unsigned_data(number)) + at


NO_OBJECT, DEVICE_OBJECT = (codec.context(0, codec.object_data(*each)) for each in ((0, 9), (8, DEVICE)))
VALUE = codec.opening(3) + codec.real(3) + codec.closing(3)


ERRORS = [
    (READ, _reference(NO_OBJECT, PRESENT_VALUE), (1, 31)),  # object, unknown-object
    (READ, _reference(ANALOG_INPUT, 87), (2, 32)),  # property, unknown-property: priority-array
    (READ, _reference(ANALOG_INPUT, ALL), (2, 32)),
    (READ, _reference(ANALOG_INPUT, PRESENT_VALUE, 1), (2, 50)),  # property-is-not-an-array
    (READ, _reference(DEVICE_OBJECT, 76, 8), (2, 42)),  # invalid-array-index
    (WRITE, _reference(ANALOG_INPUT, PRESENT_VALUE) + VALUE, (2, 40)),  # write-access-denied
    (WRITE, _reference(ANALOG_INPUT, 81) + VALUE + codec.context(4, b"\x10"), (2, 40)),
    (WRITE, _reference(NO_OBJECT, PRESENT_VALUE) + VALUE, (1, 31)),
    (WRITE, _reference(ANALOG_INPUT, 9999) + VALUE, (2, 32)),
    (WRITE, _reference(ANALOG_INPUT, PRESENT_VALUE, 1) + VALUE, (2, 50)),
]


@pytest.mark.parametrize(("service", "body", "expected"), ERRORS)
async def test_errors(client: RawClient, service: int, body: bytes, expected: tuple[int, int]) -> None:
    """Each failure has the class and code that the standard names."""
    apdu = await client.request(service, body)
    assert apdu == frames.error(1, service, b"".join(map(codec.enumerated, expected)))


@pytest.mark.parametrize("reference", [b"\x0a\x01\x73", b"\x09\x98\x19\x01"])
def test_a_property_that_is_not_asked_for_costs_nothing(reference: bytes) -> None:
    """A frame can have 480 references, and 10,000 subscriptions take milliseconds to encode.

    The references are Property_List, and an element of Active_COV_Subscriptions, which is no array.
    """
    config = BacnetConfig(type="bacnet", device=DEVICE, listen=HostPort("127.0.0.2", 47808))
    device = Device(config, name="edge-1/bac", revision=1)
    device.active_subscriptions = lambda: pytest.fail("the subscriptions are encoded")
    assert read_property_multiple(device, DEVICE_OBJECT + codec.opening(1) + reference + codec.closing(1))


async def test_errors_of_several_reads_are_in_the_answer(client: RawClient) -> None:
    """What can be read is read all the same."""
    numbers = (PRESENT_VALUE, 87, 77)
    assert await read_multiple(client, (0, 1), *numbers) == {
        "presentValue": 21.5,
        "priorityArray": (2, 32),
        "objectName": "L03/ZN-T",
    }
    body = codec.opening(1) + codec.context(0, bytes((ALL,))) + codec.closing(1)
    apdu = await client.request(READ_MULTIPLE, NO_OBJECT + body)
    assert apdu[3:] == NO_OBJECT + bytes.fromhex("1e 29 08 5e 91 01 91 1f 5f 1f")


async def test_a_refused_write_of_several_names_the_first(client: RawClient) -> None:
    """WritePropertyMultiple has an error of its own, with the property that could not be written."""
    attempt = codec.context(0, b"\x55") + codec.opening(2) + codec.real(3) + codec.closing(2)
    apdu = await client.request(WRITE_MULTIPLE, ANALOG_INPUT + codec.opening(1) + attempt + codec.closing(1))
    failed = codec.opening(1) + ANALOG_INPUT + PRESENT + codec.closing(1)
    assert apdu == frames.error(1, WRITE_MULTIPLE, bytes.fromhex("0e 91 02 91 28 0f") + failed)


REJECTED = [
    (READ, b"", 5),  # missing-required-parameter
    (READ, ANALOG_INPUT, 5),
    (READ, PRESENT + ANALOG_INPUT, 4),  # invalid-tag
    (READ, ANALOG_INPUT + PRESENT + b"\x29\x01\x00", 7),  # too-many-arguments
    (READ, codec.context(0, b"\0\0\0") + PRESENT, 3),  # invalid-parameter-data-type
    (READ_MULTIPLE, b"", 5),
    (READ_MULTIPLE, ANALOG_INPUT + codec.opening(1) + codec.context(0, b"\x55"), 5),
    (WRITE, _reference(ANALOG_INPUT, 85) + VALUE + codec.context(4, b"\x11"), 6),  # out-of-range
    (17, b"", 9),  # DeviceCommunicationControl: unrecognized-service
    (20, b"", 9),  # ReinitializeDevice
    (200, b"", 9),
]


@pytest.mark.parametrize(("service", "body", "reason"), REJECTED)
async def test_what_is_not_understood_is_rejected(
    client: RawClient, service: int, body: bytes, reason: int
) -> None:
    """The reason is the standard's."""
    assert await client.request(service, body) == frames.reject(1, reason)


async def test_what_would_need_segments_is_aborted(client: RawClient) -> None:
    """A request in segments, and a long answer to a client that accepts none: segmentation-not-supported."""
    segmented = bytes((0x0C, 5, 1, 0, 16, READ)) + ANALOG_INPUT + PRESENT
    assert (await client.ask(frames.unicast(segmented, client.peer)))[6:] == frames.abort(1, 4)
    whole = codec.context(0, bytes((ALL,)))
    body = codec.context(0, codec.object_data(8, DEVICE)) + codec.opening(1) + whole * 9 + codec.closing(1)
    apdu = await client.request(READ_MULTIPLE, body)
    assert apdu == frames.abort(1, 4)


async def test_tshark_finds_nothing_wrong_with_any_answer(client: RawClient) -> None:
    """Values of all properties, errors, rejections, aborts, and who and what the device is."""
    for identifier in CLASSES:
        for group in (ALL, PROPERTY_LIST, 9999):
            await read_multiple(client, identifier, group)
        for number in range(256):
            wanted = codec.context(0, codec.object_data(*identifier)) + codec.context(1, bytes((number,)))
            await client.request(READ, wanted)
    for service, body, _ in (*ERRORS, *REJECTED):
        await client.request(service, body)
    for service, body in ((8, b""), (7, codec.context(3, b"\0L03/MODE"))):
        await client.ask(frames.broadcast(frames.unconfirmed_request(service, body)))
    await client.ask(frames.bvlc(frames.Bvlc.REGISTER_FOREIGN_DEVICE, b"\0\x3c"))
    assert find_malformed(client.received) == []


@pytest.mark.parametrize("role", [0, 1])
async def test_segments_expect_a_reply(client: RawClient, role: int) -> None:
    """Each is marked so. It may be acknowledged in the role of a server too, as node-bacnet does."""
    reading = bytes((0x02, 0, 7, READ_MULTIPLE)) + DEVICE_OBJECT + codec.opening(1)  # APDUs of 50 bytes
    frame = frames.unicast(reading + codec.context(0, bytes((ALL,))) + codec.closing(1), client.peer)
    segments = [await client.ask(frame)]
    client.send(frames.unicast(bytes((0x40 | role, 7, 0, 2)), client.peer))
    segments += [await client.receive(), await client.receive()]
    assert [(each[4:6], each[6] & 0xF8, each[8]) for each in segments] == [
        (b"\x01\x04", 0x38, number) for number in range(3)
    ]
    assert client.is_quiet()


@pytest.mark.parametrize("priority", range(4))
async def test_answers_have_the_network_priority_of_their_request(client: RawClient, priority: int) -> None:
    """Values, segments, errors, rejections, aborts, acknowledgements; notifications have the normal one."""
    whole = DEVICE_OBJECT + codec.opening(1) + codec.context(0, bytes((ALL,))) + codec.closing(1)
    subscription = (
        codec.context(0, b"\1") + codec.context(1, codec.object_data(0, 1)) + codec.context(2, b"\0")
    )
    requests = [
        frames.confirmed_request(READ, 1, ANALOG_INPUT + PRESENT),
        bytes((0x02, 0, 2, READ_MULTIPLE)) + whole,  # in segments
        bytes((0x40, 2, 0, 1)),  # the next one
        bytes((0x00, 0, 3, READ_MULTIPLE)) + whole,  # aborted
        frames.confirmed_request(READ, 4, NO_OBJECT + PRESENT),
        frames.confirmed_request(WRITE, 5, ANALOG_INPUT + PRESENT + VALUE),
        frames.confirmed_request(17, 6, b""),
        frames.confirmed_request(5, 7, subscription),
    ]
    frames_sent = [frames.unicast(apdu, client.peer) for apdu in requests]
    answers = [await client.ask(each[:5] + bytes((each[5] | priority,)) + each[6:]) for each in frames_sent]
    assert [answer[6] >> 4 for answer in answers] == [3, 3, 3, 7, 5, 5, 6, 2]
    assert [answer[5] & 3 for answer in answers] == [priority] * len(answers)
    assert (await client.receive())[5] & 3 == 0
