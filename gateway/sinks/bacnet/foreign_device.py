"""Registration at a BBMD, which forwards broadcasts from and to other networks (clause J.5). No I/O."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from gateway.backoff import Backoff
from gateway.sinks.bacnet import frames
from gateway.sinks.bacnet.frames import Bvlc

if TYPE_CHECKING:
    from collections.abc import Callable

    import structlog

    from gateway.sinks.bacnet.config import ForeignDevice
    from gateway.sinks.bacnet.segmentation import Timer, Timers
    from gateway.status import BacnetStatus

ANSWER_TIMEOUT_S: Final = 3.0
"""How long the BBMD may take to answer."""
_SUCCESS, _BROADCAST_REFUSED = 0x0000, 0x0060  # codes of BVLC-Result
_U16 = struct.Struct(">H")


class BbmdRegistration:
    """Keeps a device registered at a BBMD from `register` to `stop`."""

    def __init__(
        self,
        config: ForeignDevice,
        *,
        send: Callable[[bytes, tuple[str, int]], object],
        timers: Timers,
        status: BacnetStatus,
        bound_log: structlog.BoundLogger,
        announcement: bytes,
    ) -> None:
        """`send` sends a datagram; `announcement` is the one to distribute once it is registered."""
        self.bbmd = (config.bbmd.host, config.bbmd.port)
        self._ttl_s = config.ttl
        self._send = send
        self._timers = timers
        self._status = status
        self._log = bound_log.bind(bbmd=str(config.bbmd))
        self._announcement = announcement
        self._backoff = Backoff(first_s=1.0, longest_s=min(30.0, config.ttl / 8))
        self._timer: Timer | None = None
        self._is_waiting = False  # for the answer to a registration
        self._lapses_at_s = 0.0
        self._status.registration = "not registered yet"

    def register(self) -> None:
        """Register now, and again at half of the time to live."""
        self._is_waiting = True
        self._call_later(ANSWER_TIMEOUT_S, self._miss_answer)
        ttl = _U16.pack(int(self._ttl_s))
        self._send(frames.bvlc(Bvlc.REGISTER_FOREIGN_DEVICE, ttl), self.bbmd)

    def stop(self, own: tuple[str, int]) -> None:
        """End the registration; `own` is the device's address."""
        if self._timer is not None:
            self._timer.cancel()
        if self._status.registration == "registered":
            entry = frames.ip_address_data(own)
            self._send(frames.bvlc(Bvlc.DELETE_FOREIGN_DEVICE_TABLE_ENTRY, entry), self.bbmd)

    def receive_result(self, data: bytes, source: tuple[str, int]) -> None:
        """Apply a BVLC-Result."""
        if source != self.bbmd or len(data) != _U16.size:
            return
        (code,) = _U16.unpack(data)
        if code == _BROADCAST_REFUSED:  # the BBMD has restarted: it does not know this device any more
            self.register()
        elif self._is_waiting:
            self._is_waiting = False
            if code == _SUCCESS:
                self._mark_registered()
            else:
                self._mark_failed(f"the BBMD refuses the registration (code 0x{code:04x})", is_certain=True)

    def _miss_answer(self) -> None:
        self._is_waiting = False
        self._mark_failed("the BBMD does not answer", is_certain=False)

    def _mark_registered(self) -> None:
        self._backoff.reset()
        self._lapses_at_s = self._timers.time() + self._ttl_s
        self._call_later(self._ttl_s / 2, self.register)
        if self._status.registration != "registered":
            self._status.registration = "registered"
            self._log.info("bacnet.registered")
            self._send(self._announcement, self.bbmd)

    def _mark_failed(self, reason: str, *, is_certain: bool) -> None:
        """Register again later; the last registration holds until it lapses, unless the BBMD refuses."""
        self._call_later(self._backoff.next_s(), self.register)
        if not is_certain and self._timers.time() < self._lapses_at_s:
            return
        if self._status.registration != reason:
            self._log.warning("bacnet.not_registered", reason=reason)
        self._status.registration = reason

    def _call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Replace the call to come."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timers.call_later(delay_s, callback)
