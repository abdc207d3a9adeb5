"""Who may connect to the Modbus server, and who gives way when all places are taken."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network

    from gateway.status import ClientsStatus

_GIVES_WAY_AFTER_S = 10.0
_CALM_AFTER_S = 60.0
_MOST_NAMED = 100  # hosts that are logged for each kind of refusal, each once

_log = structlog.get_logger()


class Client(Protocol):
    """A connection."""

    @property
    def has_asked(self) -> bool:
        """Say whether any request of it was complete."""

    @property
    def quiet_since_s(self) -> float:
        """Return the loop's time of its last whole request, or of its beginning before that."""

    def abort(self) -> None:
        """Close it at once."""


class Clients:
    """The connections of one server.

    When all places are taken, a newcomer gets the one of a client that never asked anything, or else of
    the client that has asked nothing for longest, if that is ten seconds or more: a controller that restarts
    leaves dead connections behind and must get in again. Clients at work are never dropped for a newcomer.
    """

    def __init__(
        self,
        *,
        allow: Sequence[IPv4Network | IPv6Network],
        most: int,
        status: ClientsStatus,
        log_fields: dict[str, str],
    ) -> None:
        self.is_open = False
        self._allow = allow
        self._most = most
        self._status = status
        self._log = _log.bind(**log_fields)
        self._connected: dict[Client, None] = {}  # in the order in which they came
        self._full_s: float | None = None  # when all places were last taken; None: it is calm
        self._named: dict[str, set[str]] = {}  # hosts by what was logged about them

    def admit(self, client: Client, host: str, *, now_s: float) -> bool:
        """Say whether a client may stay."""
        if not self.is_open:
            return False
        if not self._is_allowed(host):
            self.refuse(host, "its address is not in `allow`")
            return False
        if len(self._connected) >= self._most and not self._make_room(host, now_s):
            self._status.refused += 1
            return False
        self._connected[client] = None
        self._status.connected = len(self._connected)
        self._note_places(now_s)
        return True

    def refuse(self, host: str, reason: str) -> None:
        """Count a client that may not stay, and log it if it is the first one of its host and reason."""
        self._status.refused += 1
        named = self._named.setdefault(reason, set())
        if host not in named and len(named) < _MOST_NAMED:
            named.add(host)
            self._log.warning(f"Modbus client refused: {reason}", client=host)

    def count(self, requests: int) -> None:
        """Take note of answered requests."""
        self._status.requests += requests

    def leave(self, client: Client, *, now_s: float) -> None:
        """Make room for another client."""
        self._connected.pop(client, None)
        self._status.connected = len(self._connected)
        self._note_places(now_s)

    def close(self) -> None:
        """Let nobody in any more, and close every connection."""
        self.is_open = False
        for client in tuple(self._connected):
            client.abort()
        self._connected.clear()
        self._status.connected = 0

    def _make_room(self, host: str, now_s: float) -> bool:
        if self._full_s is None:
            self._log.warning(
                "Modbus connections used up (`max_connections`): quiet ones or newcomers are dropped",
                client=host,
            )
        self._full_s = now_s
        quietest = min(self._connected, key=lambda client: (client.has_asked, client.quiet_since_s))
        if quietest.has_asked and now_s - quietest.quiet_since_s < _GIVES_WAY_AFTER_S:
            return False
        del self._connected[quietest]
        quietest.abort()
        return True

    def _note_places(self, now_s: float) -> None:
        """Log that there are places again, once there were some for a minute: clients come and go quickly."""
        if self._full_s is not None and now_s - self._full_s >= _CALM_AFTER_S:
            self._full_s = None
            self._log.info("Modbus clients have places again")

    def _is_allowed(self, host: str) -> bool:
        address = ip_address(host)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._allow)
