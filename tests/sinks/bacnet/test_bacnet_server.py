"""The sockets of a BACnet device: who is answered where, several devices on one machine, floods, faults."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.bacnet_parts import BROADCAST, DEVICE, HOST, BacnetRig, RawClient, make_object
from support.mqtt_parts import make_update

from gateway.config.value_types import HostPort
from gateway.errors import GatewayError
from gateway.model import Cov
from gateway.sinks.bacnet import codec, frames
from gateway.sinks.bacnet.config import BacnetConfig
from gateway.sinks.bacnet.frames import Bvlc, Pdu, Peer
from gateway.sinks.bacnet.udp_sockets import LIMITED_BROADCAST, broadcast_addresses

POINT = make_object("L03/ZN-T")
CLIENT = "127.0.0.3"
WHO_IS = frames.broadcast(frames.unconfirmed_request(8, b""))
READ = frames.confirmed_request(12, 1, codec.context(0, codec.object_data(0, 1)) + codec.context(1, b"\x55"))


def make_rig(**config: Any) -> BacnetRig:
    """Return a sink whose one point has a value."""
    rig = BacnetRig([POINT], **config)
    rig.latest.take([make_update(POINT, 21.5)])
    return rig


def i_am(device: int = DEVICE) -> bytes:
    """Return the I-Am of a device."""
    identifier = codec.object_identifier(codec.object_data(8, device))
    return frames.unconfirmed_request(0, identifier + I_AM_END)


I_AM_END = b"\x22\x05\xc4\x91\x01\x22\x03\xe7"  # 1476 bytes, segmented-transmit, vendor 999


def forwarded_who_is(sender: Peer) -> bytes:
    """Return a Who-Is as a BBMD forwards it."""
    origin = frames.ip_address_data(sender.address)
    return frames.bvlc(Bvlc.FORWARDED_NPDU, origin + b"\1\0" + frames.unconfirmed_request(8, b""))


def listener(port: int) -> socket.socket:
    """Return a socket that receives broadcasts."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.settimeout(5)
    bound.bind((BROADCAST, port))
    return bound


async def test_a_device_that_starts_is_heard_by_all() -> None:
    """It broadcasts one I-Am."""
    rig = make_rig()
    with listener(rig.port) as heard:
        async with rig.make_sink():
            assert heard.recv(2048) == frames.broadcast(i_am())


async def test_two_devices_of_one_machine_answer_a_broadcast() -> None:
    """At the same port of two addresses, and each of them by unicast."""
    first = make_rig()
    second = make_rig(host="127.0.0.4", port=first.port, device=3102)
    async with first.make_sink(), second.make_sink():
        with RawClient(first.port) as client:
            client.send(WHO_IS, to=BROADCAST)
            answers = {await client.receive(), await client.receive()}
    assert answers == {frames.unicast(i_am(device), client.peer) for device in (DEVICE, 3102)}


async def test_all_addresses_need_one_socket() -> None:
    """At 0.0.0.0 a device answers what comes to it alone and to all."""
    rig = make_rig(host="0.0.0.0")  # noqa: S104 - that is what is tested
    async with rig.make_sink():
        with RawClient(rig.port) as client:
            assert (await client.ask(WHO_IS, to=BROADCAST))[6:] == i_am()
            assert await client.read(0, 1, 85) == codec.real(21.5)


def test_all_addresses_have_the_broadcasts_of_all_networks() -> None:
    """Also without a default route, where nothing can be sent to 255.255.255.255."""
    listen = HostPort("0.0.0.0", 47808)  # noqa: S104 - that is what is tested
    found = broadcast_addresses(BacnetConfig(type="bacnet", device=DEVICE, listen=listen))
    assert BROADCAST in found
    assert LIMITED_BROADCAST not in found


async def test_a_limited_broadcast_is_answered_once() -> None:
    """Also where it is written as the network's broadcast address."""
    rig = make_rig(broadcast=IPv4Address(LIMITED_BROADCAST))
    async with rig.make_sink():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
            asking.bind((CLIENT, 0))
            asking.settimeout(0.5)
            asking.sendto(WHO_IS, (LIMITED_BROADCAST, rig.port))
            loop = asyncio.get_running_loop()
            assert (await loop.run_in_executor(None, asking.recv, 2048))[6:] == i_am()
            with pytest.raises(TimeoutError):
                await loop.run_in_executor(None, asking.recv, 2048)


@pytest.mark.parametrize("option", [None, socket.SO_REUSEADDR, socket.SO_REUSEPORT])
async def test_a_port_in_use_is_never_shared(option: int | None) -> None:
    """Even where the other program would share it; once it is free, the device starts."""
    rig = make_rig()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        if option is not None:
            other.setsockopt(socket.SOL_SOCKET, option, 1)
        other.bind((HOST, rig.port))
        with pytest.raises(GatewayError, match=rf"{HOST}:{rig.port}: Address already in use; another BACnet"):
            await rig.make_sink().__aenter__()
    async with rig.make_sink():
        with RawClient(rig.port) as client:
            assert await client.is_heard()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"host": "198.51.100.77"}, "`listen` must be an address of this machine"),
        (
            {"broadcast": IPv4Address("198.51.100.255")},
            "write the broadcast address of its network",
        ),
    ],
)
async def test_an_address_of_another_machine_is_an_error(config: dict[str, Any], message: str) -> None:
    """It says what to write."""
    with pytest.raises(GatewayError, match=message):
        await make_rig(**config).make_sink().__aenter__()


async def test_clients_outside_of_allow_are_ignored() -> None:
    """Also where another device forwards what they sent."""
    rig = make_rig(allow=(IPv4Network(f"{CLIENT}/32"),))
    async with rig.make_sink():
        with RawClient(rig.port) as client, RawClient(rig.port, host="127.0.0.5") as stranger:
            for frame, to in ((WHO_IS, BROADCAST), (frames.unicast(READ, client.peer), HOST)):
                stranger.send(frame, to=to)
            client.send(forwarded_who_is(stranger.peer), to=BROADCAST)
            assert (await client.ask(WHO_IS, to=BROADCAST))[6:] == i_am()
            assert await client.read(0, 1, 85) == codec.real(21.5)
            assert stranger.is_quiet()
    assert rig.status.clients is not None
    assert (rig.status.clients.refused, rig.status.clients.last) == (2, CLIENT)


async def test_a_device_behind_a_router_is_answered_through_it() -> None:
    """The answer names its network and address."""
    rig = make_rig()
    source = b"\x00\x05\x01\x07"
    async with rig.make_sink():
        with RawClient(rig.port) as client:
            for apdu, answered in ((READ, 3), (frames.unconfirmed_request(8, b""), 1)):
                frame = frames.bvlc(Bvlc.ORIGINAL_UNICAST, b"\x01\x08" + source + apdu)
                answer = await client.ask(frame)
                assert answer[4:11] == b"\x01\x20" + source + b"\xff"
                assert answer[11] >> 4 == answered


async def test_a_forwarded_broadcast_is_answered_to_its_first_sender() -> None:
    """Not to the BBMD that forwarded it."""
    rig = make_rig()
    async with rig.make_sink():
        with RawClient(rig.port) as bbmd, RawClient(rig.port, host="127.0.0.5") as asking:
            bbmd.send(forwarded_who_is(asking.peer), to=BROADCAST)
            assert (await asking.receive())[6:] == i_am()
            assert bbmd.is_quiet()


async def test_what_only_a_bbmd_does_is_refused() -> None:
    """So that a foreign device need not wait for an answer."""
    async with (rig := make_rig()).make_sink():
        with RawClient(rig.port) as client:
            register = frames.bvlc(Bvlc.REGISTER_FOREIGN_DEVICE, b"\0\x3c")
            assert await client.ask(register) == frames.bvlc_result(0x30)


async def test_a_flood_of_long_reads_leaves_time_for_others() -> None:
    """While requests of one client wait, other tasks of the gateway get their turns, and others an answer."""
    numbers = range(1, 151)
    rig = BacnetRig([make_object(f"L03/ZN-T{number}", number) for number in numbers])
    reads = b"".join(
        codec.context(0, codec.object_data(0, number)) + b"\x1e\x09\x08\x1f" for number in numbers
    )
    turns = 0
    async with rig.make_sink():
        with RawClient(rig.port) as client, RawClient(rig.port) as other:
            for invoke_id in range(60):  # its socket holds them and one more
                client.send(frames.unicast(bytes((0x02, 0x75, invoke_id, 14)) + reads, client.peer))
            answered = asyncio.create_task(other.read(8, DEVICE, 76, 0))
            while not answered.done():
                await asyncio.sleep(0)
                turns += 1
            assert await answered == codec.unsigned(151)
    assert turns > 8


async def test_requests_wait_while_the_gateway_is_busy() -> None:
    """400 that come at once are all answered, more than a socket holds where nobody asks for room."""
    rig = make_rig()
    async with rig.make_sink():
        with ExitStack() as stack:
            clients = [stack.enter_context(RawClient(rig.port)) for _ in range(4)]
            for client in clients * 100:
                client.send(frames.unicast(READ, client.peer))
            for client in clients * 100:
                assert (await client.receive())[6] >> 4 == Pdu.COMPLEX_ACK


async def test_a_fault_inside_is_logged_once_and_ends_nothing() -> None:
    """What one object cannot encode fails alone, and is counted."""
    broken = make_object("L03/CO2", 2, cov=Cov("a fault", 1000))  # type: ignore[arg-type]
    rig = BacnetRig([POINT, broken])
    increment = codec.context(0, codec.object_data(0, 2)) + codec.context(1, b"\x16")
    with capture_logs() as logs:
        async with rig.make_sink():
            with RawClient(rig.port) as client:
                for _ in range(3):
                    client.send(frames.unicast(frames.confirmed_request(12, 1, increment), client.peer))
                assert (await client.read(0, 1, 77)) == codec.character_string("L03/ZN-T")
    assert [(each["event"], each["client"]) for each in logs] == [("bacnet.request_failed", CLIENT)]
    assert rig.status.bacnet is not None
    assert rig.status.bacnet.failed_requests == 3
