"""Registration at a BBMD: in simulated time, and at one of bacpypes3."""

from __future__ import annotations

import socket
from ipaddress import IPv4Network

import pytest
import structlog
from support.bacnet_clients import bacpypes
from support.bacnet_network import SimulatedTime
from support.bacnet_parts import DEVICE, HOST, BacnetRig, RawClient, make_object
from support.ports import free_port

from gateway.config.value_types import HostPort
from gateway.errors import GatewayError
from gateway.sinks.bacnet import frames
from gateway.sinks.bacnet.config import ForeignDevice
from gateway.sinks.bacnet.foreign_device import BbmdRegistration
from gateway.sinks.bacnet.frames import Bvlc
from gateway.status import BacnetStatus

_BBMD = ("192.0.2.1", 47808)
_I_AM = b"I-Am"
_REGISTER = bytes.fromhex("81050006012c")
_GRANTED, _REFUSED, _BROADCAST_REFUSED = bytes(2), bytes((0, 0x30)), bytes((0, 0x60))


class _Bbmd:
    """A BBMD that answers with `answer`, or not at all, and the registration of a device."""

    def __init__(self, answer: bytes | None = _GRANTED) -> None:
        self.time = SimulatedTime()
        self.answer = answer
        self.received: list[tuple[float, bytes]] = []
        self.status = BacnetStatus()
        self.announced_s: list[int] = []
        self.registration = BbmdRegistration(
            ForeignDevice(bbmd=HostPort(*_BBMD)),
            send=self._receive,
            timers=self.time,
            status=self.status,
            bound_log=structlog.get_logger().bind(sink="bac"),
            announcement=_I_AM,
        )
        self.registration.register()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.time.run(until_s=self.time.now_s + seconds)

    def _receive(self, datagram: bytes, address: tuple[str, int]) -> None:
        assert address == _BBMD
        if datagram == _I_AM:
            self.announced_s.append(round(self.time.now_s))
            return
        self.received.append((self.time.now_s, datagram))
        if self.answer is not None:
            self.time.call_later(0.01, self.registration.receive_result, self.answer, _BBMD)


def test_renewal() -> None:
    """A registration is renewed at half of its time to live, and deleted at the end."""
    bbmd = _Bbmd()
    bbmd.wait(160)
    assert [round(at) for at, _ in bbmd.received] == [0, 150]
    assert {datagram for _, datagram in bbmd.received} == {_REGISTER}
    assert (bbmd.status.registration, bbmd.announced_s) == ("registered", [0])
    bbmd.registration.stop(("192.0.2.10", 47809))
    assert bbmd.received[-1][1] == bytes.fromhex("8108000ac000020abac1")
    bbmd.wait(1000)
    assert len(bbmd.received) == 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(None, "the BBMD does not answer"), (_REFUSED, "the BBMD refuses the registration (code 0x0030)")],
)
def test_bbmd_without_registration(answer: bytes | None, reason: str) -> None:
    """A BBMD that is silent or refuses is asked again, ever more seldom, and the reason is in the status."""
    bbmd = _Bbmd(answer)
    bbmd.registration.receive_result(_GRANTED, ("192.0.2.66", 47808))  # not the BBMD
    bbmd.wait(1800)
    bbmd.received.clear()
    bbmd.wait(600)
    assert bbmd.status.registration == reason
    assert 14 < len(bbmd.received) < 40
    bbmd.answer = _GRANTED
    bbmd.wait(60)
    assert (bbmd.status.registration, len(bbmd.announced_s)) == ("registered", 1)


def test_missed_renewal() -> None:
    """A missed renewal is repeated, and shows only when the registration has lapsed."""
    bbmd = _Bbmd()
    bbmd.wait(100)
    bbmd.answer = None
    bbmd.wait(199)
    assert bbmd.status.registration == "registered"
    bbmd.wait(60)
    assert bbmd.status.registration == "the BBMD does not answer"
    bbmd.answer = _GRANTED
    bbmd.wait(60)
    assert (bbmd.status.registration, len(bbmd.announced_s)) == ("registered", 2)


def test_restarted_bbmd() -> None:
    """A BBMD that refuses a broadcast is asked to register the device again, at once."""
    bbmd = _Bbmd()
    bbmd.wait(10)
    bbmd.registration.receive_result(_BROADCAST_REFUSED, _BBMD)
    assert len(bbmd.received) == 2


async def test_discovery_through_a_bbmd() -> None:
    """A client in another network finds the device through a BBMD, which has the device registered."""
    # On loopback everything is one network, so the device gets no broadcasts but those of the BBMD.
    bbmd_port, device_port = free_port(), free_port()
    bbmd_address = f"127.0.0.4:{bbmd_port}"
    settings = ForeignDevice(bbmd=HostPort("127.0.0.4", bbmd_port))
    rig = BacnetRig([make_object("ZN-T")], port=device_port, foreign_device=settings)
    async with bacpypes(bbmd_address, instance=1, is_bbmd=True) as bbmd, rig.make_sink():
        await bbmd.wait_for(lambda: [each.device for each in bbmd.i_ams] == [DEVICE])
        assert rig.status.bacnet is not None
        assert rig.status.bacnet.registration == "registered"
        async with bacpypes(f"127.0.0.3:{free_port()}", instance=2, bbmd=bbmd_address) as client:
            await client.who_is(DEVICE, DEVICE, broadcast=True)
            await client.wait_for(lambda: DEVICE in [each.device for each in client.i_ams])


async def test_a_restarted_device_whose_port_is_taken() -> None:
    """The error says so, also if the device was registered before."""
    settings = ForeignDevice(bbmd=HostPort("127.0.0.4", free_port()))
    rig = BacnetRig([make_object("ZN-T")], foreign_device=settings)
    rig.status.bacnet = BacnetStatus(registration="registered")
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind((HOST, rig.port))
        with pytest.raises(GatewayError, match="another BACnet program of this machine has the port"):
            await rig.make_sink().__aenter__()
    assert rig.status.bacnet.registration == "not registered yet"


async def test_a_bbmd_outside_of_allow() -> None:
    """It forwards, but what it asks itself is not answered."""
    with RawClient(free_port()) as bbmd:
        foreign_device = ForeignDevice(bbmd=HostPort(*bbmd.peer.address))
        allow = (IPv4Network("192.0.2.0/24"),)
        rig = BacnetRig([make_object("ZN-T")], foreign_device=foreign_device, allow=allow)
        bbmd.device = (HOST, rig.port)
        async with rig.make_sink():
            assert await bbmd.receive() == frames.bvlc(Bvlc.REGISTER_FOREIGN_DEVICE, b"\x01\x2c")
            bbmd.within_s = 0.3
            for property_number in (85, 28):
                with pytest.raises(TimeoutError):
                    await bbmd.read(0, 1, property_number)


async def test_forwarded_requests() -> None:
    """A forwarded request from elsewhere than the BBMD is not answered: its address could be anybody's."""
    rig = BacnetRig([make_object("ZN-T")])
    async with rig.make_sink():
        with RawClient(rig.port, within_s=0.3) as client:
            who_is = bytes.fromhex("01001008")
            forwarded = frames.bvlc(Bvlc.FORWARDED_NPDU, frames.ip_address_data(client.peer.address) + who_is)
            with pytest.raises(TimeoutError):
                await client.ask(forwarded)
            client.within_s = 60
            assert (await client.ask(frames.bvlc(Bvlc.ORIGINAL_UNICAST, who_is)))[6] == 0x10
