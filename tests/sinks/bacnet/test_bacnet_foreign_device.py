"""Registration at a BBMD: in simulated time, and at one of bacpypes3."""

from __future__ import annotations

import pytest
import structlog
from support.bacnet_network import SimulatedTime

from gateway.config.value_types import HostPort
from gateway.sinks.bacnet.config import ForeignDevice
from gateway.sinks.bacnet.foreign_device import BbmdRegistration
from gateway.status import BacnetStatus

_BBMD = ("192.0.2.1", 47808)
_REGISTER = bytes.fromhex("81050006012c")
_GRANTED, _REFUSED, _BROADCAST_REFUSED = bytes(2), bytes((0, 0x30)), bytes((0, 0x60))


class _Bbmd:
    """A BBMD that answers with `answer`, or not at all, and the registration of a device."""

    def __init__(self, answer: bytes | None = _GRANTED) -> None:
        self.time = SimulatedTime()
        self.answer = answer
        self.received: list[tuple[float, bytes]] = []
        self.status = BacnetStatus()
        self.times_up = 0
        self.registration = BbmdRegistration(
            ForeignDevice(bbmd=HostPort(*_BBMD)),
            send=self._receive,
            timers=self.time,
            status=self.status,
            bound_log=structlog.get_logger().bind(sink="bac"),
            on_registered=self._count,
        )
        self.registration.start()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.time.run(until_s=self.time.now_s + seconds)

    def _count(self) -> None:
        self.times_up += 1

    def _receive(self, datagram: bytes, address: tuple[str, int]) -> None:
        assert address == _BBMD
        self.received.append((self.time.now_s, datagram))
        if self.answer is not None:
            self.time.call_later(0.01, self.registration.receive_result, self.answer, _BBMD)


def test_renewal() -> None:
    """A registration is renewed at half of its time to live, and deleted at the end."""
    bbmd = _Bbmd()
    bbmd.wait(160)
    assert [round(at) for at, _ in bbmd.received] == [0, 150]
    assert {datagram for _, datagram in bbmd.received} == {_REGISTER}
    assert (bbmd.status.registration, bbmd.times_up) == ("registered", 1)
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
    assert bbmd.status.registration == "registered"
    assert bbmd.times_up == 1


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
    assert (bbmd.status.registration, bbmd.times_up) == ("registered", 2)


def test_restarted_bbmd() -> None:
    """A BBMD that refuses a broadcast is asked to register the device again, at once."""
    bbmd = _Bbmd()
    bbmd.wait(10)
    bbmd.registration.receive_result(_BROADCAST_REFUSED, _BBMD)
    assert len(bbmd.received) == 2
