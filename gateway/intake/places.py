"""Who gives way when a port of the gateway has as many connections as it takes."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    from gateway.status import ConnectionsStatus

log = structlog.get_logger()

_CALM_AFTER_S = 60.0
_MOST_HOSTS = 1000
_SHARE_OF_FILES = 4  # one port's; the journal and the sinks need some, too


def places_of(most: int) -> int:
    """Return how many connections a port takes, `most` or fewer: open files are limited."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(most, allowed // _SHARE_OF_FILES) if allowed != resource.RLIM_INFINITY else most


class Holder(Protocol):
    """A connection."""

    def abort(self) -> None:
        """Close it at once."""


class Places:
    """The connections of one port, `most` at a time.

    A newcomer always gets a place. When all are taken, it gets that of the stranger who came first, or else
    that of the sender who has delivered nothing for longest. A stranger is a connection on which nothing
    rightly signed (at the admin port: with the token) has come, from a host that has sent none such either.
    """

    def __init__(self, port: str, most: int, *, status: ConnectionsStatus) -> None:
        """Begin empty; `port` is the setting's name, for the log."""
        self.most = most
        self._port = port
        self._status = status
        self._strangers: dict[Holder, None] = {}  # the first one came first
        self._senders: dict[Holder, None] = {}  # the first one has been quiet for longest
        self._sending_hosts: dict[str, None] = {}
        self._full_s: float | None = None  # when all places were last taken; None: it is calm

    def enter(self, holder: Holder, host: str, *, now_s: float) -> None:
        """Give a newcomer a place."""
        if len(self._strangers) + len(self._senders) >= self.most:
            self._make_room(host, now_s)
        (self._senders if host in self._sending_hosts else self._strangers)[holder] = None
        self._count(now_s)

    def trust(self, holder: Holder, host: str) -> None:
        """Take note that something rightly signed has come on this connection."""
        self._strangers.pop(holder, None)
        self._senders.pop(holder, None)
        self._senders[holder] = None
        if host not in self._sending_hosts:
            if len(self._sending_hosts) >= _MOST_HOSTS:
                del self._sending_hosts[next(iter(self._sending_hosts))]
            self._sending_hosts[host] = None

    def leave(self, holder: Holder, *, now_s: float) -> None:
        """Free its place."""
        self._strangers.pop(holder, None)
        self._senders.pop(holder, None)
        self._count(now_s)

    def _make_room(self, host: str, now_s: float) -> None:
        if self._full_s is None:
            log.warning(
                "connections.full", port=self._port, most=self.most, newcomer=host, dropped="whoever is quiet"
            )
        self._full_s = now_s
        crowd = self._strangers or self._senders
        first = next(iter(crowd))
        del crowd[first]
        self._status.dropped += 1
        first.abort()

    def _count(self, now_s: float) -> None:
        """Show how many there are; log that there is room again once there was for a minute."""
        self._status.open = len(self._strangers) + len(self._senders)
        if self._full_s is not None and now_s - self._full_s >= _CALM_AFTER_S:
            self._full_s = None
            log.info("connections.calm", port=self._port)
