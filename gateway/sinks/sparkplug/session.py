"""What a Sparkplug session needs beside its messages: its number, and whether the primary host is online."""

from __future__ import annotations

import asyncio

import orjson

_MARK = "/bdSeq/"  # nothing is ever published there
_WRAPS_AT = 256


def is_bd_seq(entry: str) -> bool:
    """Return whether an entry among the retained topics is a session number instead of a topic."""
    return _MARK in entry


class BdSeq:
    """The number of a session, `bdSeq` (section 6.4.19): 0 to 255 and again, continued over restarts.

    Otherwise a former session that the broker ends only now would have the same number, and hosts would take
    its will for the death of the present session.
    """

    def __init__(self, retained: dict[str, bool], *, will_topic: str) -> None:
        """`retained` outlives the gateway. The number of the last will is stored there, as a topic."""
        self._retained = retained
        self._will_topic = will_topic
        numbers = [key.partition(_MARK)[2] for key in retained if is_bd_seq(key)]
        self.number = int(numbers[-1]) if numbers else _WRAPS_AT - 1
        """That of the last session."""

    def advance(self) -> None:
        """Use the next number, for the CONNECT that follows."""
        self.number = (self.number + 1) % _WRAPS_AT
        for former in [key for key in self._retained if is_bd_seq(key)]:
            del self._retained[former]
        self._retained[f"{self._will_topic}{_MARK}{self.number}"] = False


class PrimaryHost:
    """The state of one host application during one session (sections 5.4 and 5.5: STATE)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._state_ms = 0
        loop = asyncio.get_running_loop()
        self.is_online: asyncio.Future[str] = loop.create_future()
        """Done, with a text for the log, once the host is online."""
        self.is_gone: asyncio.Future[str] = loop.create_future()
        """Done once the host is offline after that."""

    def apply_state(self, payload: bytes) -> None:
        """Apply JSON with `online` and `timestamp`, unless it is older than the last one."""
        try:
            state = orjson.loads(payload)
            online, state_ms = state["online"], state["timestamp"]
        except (orjson.JSONDecodeError, TypeError, KeyError):
            return
        if not isinstance(online, bool) or not isinstance(state_ms, int) or state_ms < self._state_ms:
            return
        self._state_ms = state_ms
        if online and not self.is_online.done():
            self.is_online.set_result(f"the primary host {self.name} is online")
        elif not online and self.is_online.done() and not self.is_gone.done():
            self.is_gone.set_result(f"the primary host {self.name} is offline")
