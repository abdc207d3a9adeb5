"""The BACnet server: answers the requests in datagrams, on behalf of a device."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import structlog

from gateway.logs import internal_error_text
from gateway.sinks.bacnet import frames
from gateway.sinks.bacnet.codec import MalformedError, RefusedServiceError
from gateway.sinks.bacnet.foreign_device import BbmdRegistration
from gateway.sinks.bacnet.frames import Bvlc, Pdu
from gateway.sinks.bacnet.segmentation import SegmentedAnswers
from gateway.sinks.bacnet.services import CONFIRMED, UNCONFIRMED, AnswerTooLongError
from gateway.sinks.bacnet.standard import AbortReason, ConfirmedService, RejectReason
from gateway.sinks.bacnet.subscriptions import Subscriptions
from gateway.sinks.bacnet.udp_sockets import EVERYWHERE, UdpSockets, broadcast_addresses

if TYPE_CHECKING:
    from gateway.sinks.bacnet.config import BacnetConfig
    from gateway.sinks.bacnet.device import Device
    from gateway.sinks.bacnet.frames import ConfirmedRequest, Packet, Peer
    from gateway.status import BacnetStatus, ClientsStatus

_NPDU_FUNCTIONS = frozenset({Bvlc.ORIGINAL_UNICAST, Bvlc.ORIGINAL_BROADCAST, Bvlc.FORWARDED_NPDU})
_PLAIN_READ = re.compile(rb"\x81\x0a\x00\x11\x01[\x00\x04][\x00\x02].(.)\x0c(\x0c(.{4})\x19(.))", re.DOTALL)
_PLAIN_ANSWER = b"\x81\x0a\x00%c\x01\x00\x30%b\x0c%b\x3e%b\x3f"
_PLAIN_LENGTH = 32  # of a value with which the answer fits into any APDU
_BBMD_REFUSALS = {1: 0x10, 2: 0x20, 5: 0x30, 6: 0x40, 8: 0x50, 9: 0x60}  # what only a BBMD does (clause J.2)
_BY_SERVER = 1  # a bit of an abort: its sender is the server of the transaction
_ANSWERS = frozenset({Pdu.SIMPLE_ACK, Pdu.ERROR, Pdu.REJECT, Pdu.ABORT})  # to notifications
_MOST_HOSTS = 4096  # whose permission is remembered

_log = structlog.get_logger()


class BacnetServer:
    """Answers for a device from `listen` to `close`."""

    def __init__(
        self,
        device: Device,
        config: BacnetConfig,
        *,
        sink: str,
        clients: ClientsStatus,
        status: BacnetStatus,
    ) -> None:
        self._device = device
        self._config = config
        self._clients = clients
        self._status = status
        self._log = _log.bind(sink=sink)
        self._logged: set[str] = set()  # failures
        self._is_allowed = lru_cache(_MOST_HOSTS)(self._find_allowed)
        self._sockets = UdpSockets(self._receive)
        loop = asyncio.get_running_loop()
        self._answers = SegmentedAnswers(self.send, loop)
        self._registration: BbmdRegistration | None = None
        if config.foreign_device is not None:
            self._registration = BbmdRegistration(
                config.foreign_device,
                send=self._sockets.send,
                timers=loop,
                status=status,
                bound_log=self._log,
                announcement=frames.broadcast(device.i_am(), through_bbmd=True),
            )
        self.subscriptions = Subscriptions(
            device_identifier=device.identifier,
            most=config.max_subscriptions,
            send=self.send,
            timers=loop,
            bound_log=self._log,
            clients=clients,
            status=status,
        )
        self.subscriptions.use_objects(device.objects.by_identifier)
        device.active_subscriptions = self.subscriptions.active_subscriptions

    def listen(self) -> None:
        """Answer from now on; raise OSError if the address cannot be used."""
        self._sockets.listen(self._config.listen)

    def announce(self) -> None:
        """Broadcast which device this is, and answer broadcasts, too; register at the BBMD, if there is one.

        Raise OSError if the network's broadcast address cannot be used.
        """
        host, port = self._config.listen.host, self._config.listen.port
        broadcasts = broadcast_addresses(self._config)
        if not broadcasts:
            self._log.warning(
                "bacnet.no_broadcasts", reason=f"no network with broadcasts has {host}", write="`broadcast`"
            )
        self._sockets.listen_for_broadcasts(broadcasts)
        for address in broadcasts:
            self._sockets.send(frames.broadcast(self._device.i_am()), (address, port))
        if self._registration is not None:
            self._registration.register()

    def close(self) -> None:
        """End all subscriptions, answers and the registration, and close the sockets."""
        self.subscriptions.close()
        self._answers.close()
        if self._registration is not None:
            self._registration.stop((self._config.listen.host, self._config.listen.port))
        self._sockets.close()

    def send(self, apdu: bytes, peer: Peer, *, expects_reply: bool = False, priority: int = 0) -> bool:
        """Send an APDU to one device; return False if there is no room for it now."""
        datagram = frames.unicast(apdu, peer, expects_reply=expects_reply, priority=priority)
        return self._sockets.send(datagram, peer.address)

    def _receive(self, datagram: bytes, source: tuple[str, int], is_broadcast: bool) -> None:  # noqa: FBT001
        """Handle a datagram. Whatever is in it, the server goes on."""
        is_allowed = self._is_allowed(source[0])
        if not (is_allowed or self._is_bbmd(source)):
            self._clients.refused += 1
            return
        try:
            if is_broadcast or not is_allowed or not self._answer_plain_read(datagram, source):
                self._handle(datagram, source, is_broadcast=is_broadcast)
        except Exception as error:  # noqa: BLE001 - what fails for one client must not stop the others
            self._status.failed_requests += 1
            reason = internal_error_text(error)
            if reason not in self._logged:
                self._logged.add(reason)
                self._log.error("bacnet.request_failed", client=source[0], reason=reason)

    def _answer_plain_read(self, datagram: bytes, source: tuple[str, int]) -> bool:
        """Answer ReadProperty as most clients send it all day; return false for all else."""
        read = _PLAIN_READ.fullmatch(datagram)
        served = self._device.objects.by_identifier.get(read[3]) if read is not None else None
        if read is None or served is None:
            return False
        found = served.properties.get(read[4][0])
        value = found.encode(served) if found is not None else None
        if not isinstance(value, bytes) or len(value) > _PLAIN_LENGTH:
            return False
        self._count_request(source[0])
        self._sockets.send(_PLAIN_ANSWER % (18 + len(value), read[1], read[2], value), source)
        return True

    def _handle(self, datagram: bytes, source: tuple[str, int], *, is_broadcast: bool) -> None:
        found = frames.split_datagram(datagram, source)
        if found is None:
            return
        function, data, sender = found
        everywhere = self._config.listen.host == EVERYWHERE  # broadcasts come like all else
        if function == Bvlc.FORWARDED_NPDU and not (is_broadcast or everywhere or self._is_bbmd(source)):
            return  # the address of the sender could be anybody's
        if function in _NPDU_FUNCTIONS:
            is_broadcast |= function != Bvlc.ORIGINAL_UNICAST
            packet = frames.read_npdu(data, sender, is_broadcast=is_broadcast)
            if packet is not None and self._is_allowed(sender[0]):
                self._handle_apdu(packet)
        elif function in _BBMD_REFUSALS and not is_broadcast:
            self._sockets.send(frames.bvlc_result(_BBMD_REFUSALS[function]), source)
        elif function == Bvlc.RESULT and self._registration is not None:
            self._registration.receive_result(data, source)

    def _handle_apdu(self, packet: Packet) -> None:
        apdu, peer, is_broadcast, priority = packet
        kind = apdu[0] >> 4
        if kind == Pdu.UNCONFIRMED_REQUEST:
            self._answer_unconfirmed(apdu, peer)
        elif is_broadcast:
            return
        elif kind == Pdu.CONFIRMED_REQUEST:
            request = frames.read_confirmed_request(apdu, priority)
            if request is not None:
                self._answer_confirmed(request, peer)
        elif kind == Pdu.SEGMENT_ACK:  # by whichever role: node-bacnet acknowledges in that of a server
            self._answers.receive_ack(apdu, peer)
        elif kind == Pdu.ABORT and not apdu[0] & _BY_SERVER:
            self._answers.end(peer, apdu[1])
        elif kind in _ANSWERS:
            self.subscriptions.receive_answer(apdu, peer)

    def _answer_unconfirmed(self, apdu: bytes, peer: Peer) -> None:
        execute = UNCONFIRMED.get(apdu[1])
        if execute is None:
            return
        with suppress(MalformedError):  # there is nothing to reject
            answer = execute(self._device, apdu[2:])
            self._count_request(peer.host)
            if answer is not None:
                self.send(answer, peer)

    def _answer_confirmed(self, request: ConfirmedRequest, peer: Peer) -> None:
        """Execute a request, and send its answer, or why there is none."""
        self._count_request(peer.host)
        if self._answers.is_repeated(request, peer):
            return
        invoke_id = request.invoke_id
        try:
            answer = self._execute(request, peer)
        except MalformedError as error:
            answer = frames.reject(invoke_id, error.reason)
        except RefusedServiceError as error:
            answer = frames.error(invoke_id, request.service, error.encoded)
        except AnswerTooLongError:
            answer = frames.abort(invoke_id, AbortReason.BUFFER_OVERFLOW)
        self._answers.send(request, peer, answer)

    def _execute(self, request: ConfirmedRequest, peer: Peer) -> bytes:
        invoke_id, service, body = request.invoke_id, request.service, request.body
        if (execute := CONFIRMED.get(service)) is not None:
            return frames.complex_ack(invoke_id, service, execute(self._device, body))
        if service == ConfirmedService.SUBSCRIBE_COV:
            self.subscriptions.subscribe(body, peer)
            return frames.simple_ack(invoke_id, service)
        if service == frames.SEGMENTED:
            return frames.abort(invoke_id, AbortReason.SEGMENTATION_NOT_SUPPORTED)
        raise MalformedError(RejectReason.UNRECOGNIZED_SERVICE)

    def _count_request(self, host: str) -> None:
        self._clients.requests += 1
        self._clients.last = host

    def _is_bbmd(self, source: tuple[str, int]) -> bool:
        return self._registration is not None and source == self._registration.bbmd

    def _find_allowed(self, host: str) -> bool:
        address = IPv4Address(host)
        return any(address in network for network in self._config.allow)
