"""The connections of a Modbus server: who may connect, and who is dropped when all places are in use."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network

    from gateway.sinks.modbus_server.connection import Connection
    from gateway.status import ClientsStatus

_DROPPED_AFTER_S = 10.0
_CALM_AFTER_S = 60.0
_MOST_LOGGED = 100  # hosts for each kind of refusal, each once

_log = structlog.get_logger()


class Clients:
    """The connections of one server, `most` at a time.

    A new connection gets the place of one that never sent a request, or of the one that has been quiet for
    longest, if that is at least ten seconds: a controller that restarts leaves dead connections behind and
    must get in again. Active connections are never dropped for a new one.
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
        self._connected: dict[Connection, None] = {}  # in the order in which they came
        self._full_s: float | None = None  # when all places were last in use; None if that was logged as over
        self._logged: dict[str, set[str]] = {}  # hosts by the reason that was logged

    def admit(self, client: Connection, host: str, *, now_s: float) -> bool:
        """Add a connection; return false if it must be dropped."""
        if not self.is_open:
            return False
        if not self._is_allowed(host):
            self.refuse(host, "its address is not in `allow`")
            return False
        if len(self._connected) >= self._most and not self._drop_quietest(host, now_s):
            self._status.refused += 1
            return False
        self._connected[client] = None
        self._update_status(now_s)
        return True

    def refuse(self, host: str, reason: str) -> None:
        """Count a refused client, and log it if it is the first one of its host with this reason."""
        self._status.refused += 1
        hosts = self._logged.setdefault(reason, set())
        if host not in hosts and len(hosts) < _MOST_LOGGED:
            hosts.add(host)
            self._log.warning(f"Modbus client refused: {reason}", client=host)

    def count(self, requests: int) -> None:
        """Count answered requests."""
        self._status.requests += requests

    def remove(self, client: Connection, *, now_s: float) -> None:
        """Free the place of a closed connection."""
        self._connected.pop(client, None)
        self._update_status(now_s)

    def close(self) -> None:
        """Admit no more connections, and close all."""
        self.is_open = False
        for client in tuple(self._connected):
            client.abort()
        self._connected.clear()
        self._status.connected = 0

    def _drop_quietest(self, host: str, now_s: float) -> bool:
        """Free a place; return false if all connections are active."""
        if self._full_s is None:
            self._log.warning(
                "Modbus connections used up (`max_connections`): quiet ones or newcomers are dropped",
                client=host,
            )
        self._full_s = now_s
        quietest = min(self._connected, key=lambda client: (client.has_asked, client.quiet_since_s))
        if quietest.has_asked and now_s - quietest.quiet_since_s < _DROPPED_AFTER_S:
            return False
        del self._connected[quietest]
        quietest.abort()
        return True

    def _update_status(self, now_s: float) -> None:
        """Count the connections; log once that places are free, after a minute: clients come and go."""
        self._status.connected = len(self._connected)
        if self._full_s is not None and now_s - self._full_s >= _CALM_AFTER_S:
            self._full_s = None
            self._log.info("Modbus clients have places again")

    def _is_allowed(self, host: str) -> bool:
        address = ip_address(host)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._allow)
