"""Checks of BACnet devices: who may read them, their port, their instance in the network, their BBMD.

Nothing is changed anywhere: a Who-Is is answered, and so is the request for a BBMD's table.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from gateway.doctor.diagnosis import Finding, ok, problem, warning
from gateway.doctor.machine_checks import allowed_findings
from gateway.errors import system_reason
from gateway.sinks.bacnet import codec, frames
from gateway.sinks.bacnet.frames import Bvlc
from gateway.sinks.bacnet.standard import ObjectKind, UnconfirmedService
from gateway.sinks.bacnet.udp_sockets import EVERYWHERE, LIMITED_BROADCAST, broadcast_addresses
from gateway.text import count_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.config.value_types import HostPort
    from gateway.doctor.facts import Facts
    from gateway.sinks.bacnet.config import BacnetConfig
    from gateway.sinks.bacnet.frames import Packet, Peer

_ANSWERS_WITHIN_S = 1.0
_LONGEST = 2048
_I_AM = frames.unconfirmed_request(UnconfirmedService.I_AM, b"\xc4")
_COUNTED = (
    (
        "dropped_subscriptions",
        "subscription",
        "ended since the start: the client did not answer",
        "the log names it (bacnet.subscriber_silent); have it subscribe again, and renew that regularly",
    ),
    (
        "refused_subscriptions",
        "subscription",
        "refused since the start, beyond the limits",
        "raise sinks.{name}.max_subscriptions, of which one client may have a quarter",
    ),
    (
        "failed_requests",
        "request",
        "failed since the start by a fault of the gateway",
        "please report it, with the lines bacnet.request_failed of the log",
    ),
)

Address = tuple[str, int]


async def check_bacnet(facts: Facts) -> list[Finding]:
    """Check each BACnet device; the sinks run side by side."""
    devices = facts.settings.bacnet_devices.items()
    found = await asyncio.gather(*(_device(name, config, facts) for name, config in devices))
    return [finding for findings in found for finding in findings]


async def _device(name: str, config: BacnetConfig, facts: Facts) -> list[Finding]:
    faults = list(allowed_findings(name, config))
    is_running = facts.daemon.status is not None or facts.daemon.is_silent
    if not is_running and (taken := _port_finding(name, config.listen)) is not None:
        return [*faults, taken]  # nothing can be sent from an address that is none of this machine
    found = await asyncio.gather(_network_faults(name, config), _bbmd_faults(name, config, facts))
    faults += [fault for part in found for fault in part]
    faults += _counted_faults(name, facts)
    where = f"{name}: device {config.device} at {config.listen}"
    return faults or [ok(f"{where}; no other device of its network has this instance")]


def _port_finding(name: str, address: HostPort) -> Finding | None:
    try:
        with socket.socket(type=socket.SOCK_DGRAM) as probe:
            probe.bind((address.host, address.port))
    except OSError as error:
        remedy = "give an address of this machine"
        if error.errno == errno.EADDRINUSE:
            remedy = (
                f"see who has it: ss -lunp 'sport = :{address.port}'; two BACnet programs on one machine need"
                " an address each, or another port"
            )
        return problem(
            f"sinks.{name}.listen: {address} cannot be listened on: {system_reason(error)}", remedy
        )
    return None


async def _network_faults(name: str, config: BacnetConfig) -> list[Finding]:
    """Report other devices that have the instance, by their answers to a Who-Is."""
    broadcasts = broadcast_addresses(config)
    if not broadcasts:
        return [
            warning(
                f"{name}: the interface of {config.listen.host} has no broadcast address: no client finds the"
                " device",
                f"write it as sinks.{name}.broadcast",
            )
        ]
    return [
        problem(
            f"{name}: {other} is device {config.device}, too",
            f"give one of them another instance, here sinks.{name}.device: a BMS takes one for the other",
        )
        for other in await _others(config, broadcasts)
    ]


def _counted_faults(name: str, facts: Facts) -> Iterator[Finding]:
    """Report what the running gateway has counted; a client that is not notified sees old values."""
    for counter, noun, what, remedy in _COUNTED:
        if count := facts.daemon.at(f"sinks.{name}.bacnet.{counter}", 0):
            yield warning(f"{name}: {count_text(count, noun)} {what}", remedy.format(name=name))


async def _others(config: BacnetConfig, broadcasts: Iterable[str]) -> list[str]:
    limit = codec.unsigned_data(config.device)
    limits = codec.context(0, limit) + codec.context(1, limit)
    who_is = frames.broadcast(frames.unconfirmed_request(UnconfirmedService.WHO_IS, limits))
    asked = {(host, config.listen.port) for host in broadcasts}
    to_all = {*asked, (LIMITED_BROADCAST, config.listen.port)}  # many devices answer to all
    answers = await _answers(who_is, asked, host=config.listen.host, also_at=to_all)
    packets = [packet for datagram, source in answers if (packet := _packet(datagram, source)) is not None]
    expected = _I_AM + codec.object_data(ObjectKind.DEVICE, config.device)
    devices = {packet.peer for packet in packets if packet.apdu.startswith(expected)}
    return sorted(str(peer) for peer in devices if not _is_own(peer, config.listen))


def _packet(datagram: bytes, source: Address) -> Packet | None:
    found = frames.split_datagram(datagram, source)
    return None if found is None else frames.read_npdu(found[1], found[2], is_broadcast=False)


def _is_own(peer: Peer, listen: HostPort) -> bool:
    if peer.network or peer.port != listen.port:
        return False
    return peer.host == listen.host or (listen.host == EVERYWHERE and _is_here(peer.host))


def _is_here(host: str) -> bool:
    """Return whether an address is one of this machine."""
    with suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return True
    return False


async def _bbmd_faults(name: str, config: BacnetConfig, facts: Facts) -> list[Finding]:
    """Report a BBMD that does not answer; of a running gateway, what it says of its registration."""
    if config.foreign_device is None:
        return []
    bbmd = config.foreign_device.bbmd
    state = facts.daemon.at(f"sinks.{name}.bacnet.registration", "")
    if not state:
        is_answering = await _is_answering((bbmd.host, bbmd.port), config.listen.host)
        state = "registered" if is_answering else "no BBMD answers"
    if state == "registered":
        return []
    found = problem(
        f"{name}: {state}: {bbmd}",
        f"is sinks.{name}.foreign_device.bbmd the address of a BBMD that accepts foreign devices, and is UDP"
        " open both ways? Until then, no BMS of another network finds the gateway",
    )
    return [found]


async def _is_answering(bbmd: Address, host: str) -> bool:
    request = frames.bvlc(Bvlc.READ_BROADCAST_DISTRIBUTION_TABLE, b"")
    for _ in range(2):  # a datagram may be lost
        if any(source == bbmd for _, source in await _answers(request, [bbmd], host=host)):
            return True
    return False


async def _answers(
    datagram: bytes, asked: Iterable[Address], *, host: str, also_at: Iterable[Address] = ()
) -> list[tuple[bytes, Address]]:
    """Send a datagram from a free port of `host`; return what comes within a moment, with the senders.

    It may come to the addresses `also_at` as well, where others may receive, too. What cannot be sent is
    lost, as any datagram may be.
    """
    with ExitStack() as closing:
        sockets = []
        for address in ((host, 0), *also_at):
            opened = closing.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            sockets.append(opened)
            opened.settimeout(0)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):  # none of this machine
                opened.bind(address)
        for address in asked:
            with suppress(OSError):
                sockets[0].sendto(datagram, address)
        await asyncio.sleep(_ANSWERS_WITHIN_S)
        return [answer for opened in sockets for answer in _received(opened)]


def _received(opened: socket.socket) -> Iterator[tuple[bytes, Address]]:
    with suppress(OSError):  # no more, or refused by the other machine
        while True:
            yield opened.recvfrom(_LONGEST)
