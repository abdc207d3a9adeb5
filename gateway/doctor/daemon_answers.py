"""What the running gateway says of itself, as its admin port shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from gateway.doctor.probe import Failure, Stage, get
from gateway.status import kept_for

if TYPE_CHECKING:
    from gateway.settings import Admin

_ANSWER_WITHIN_S = 4.0
_OK = 200
_OF_NO_GATEWAY = frozenset({Stage.BROKEN_OFF, Stage.HTTP})


@dataclass(frozen=True, slots=True)
class Running:
    """`status` is the document of `/api/status`, None where there is none; `reason` says why then.

    `is_other`: something answers there that is no gateway. `is_silent`: somebody listens, but does not
    answer.
    """

    status: dict[str, Any] | None
    reason: str = ""
    is_other: bool = False
    is_silent: bool = False

    def section(self, name: str) -> dict[str, Any]:
        """Return a part of the status, empty where there is none: the daemon may be of another version."""
        return as_mapping((self.status or {}).get(name))

    def sink(self, name: str) -> dict[str, Any]:
        """Return what it says of one sink."""
        return as_mapping(self.section("sinks").get(name))

    def is_connected(self, sink: str) -> bool:
        """Say whether the running gateway has this sink's receiver."""
        return self.sink(sink).get("connected") is True

    @property
    def kept(self) -> str | None:
        """The sink for which most events are kept, and how many; None where nothing waits."""
        sinks = {name: self.sink(name) for name in self.section("sinks")}
        return kept_for((name, text(sink, "state"), int(number(sink, "lag"))) for name, sink in sinks.items())


async def ask_daemon(settings: Admin) -> Running:
    """Ask the gateway that listens here, on this machine: its certificate names another host."""
    admin = settings.listen
    answer = await get(f"{settings.url}/api/status", within_s=_ANSWER_WITHIN_S, tls=False)
    if isinstance(answer, Failure):
        return Running(
            None,
            f"{admin} {answer.reason}",
            is_other=answer.stage in _OF_NO_GATEWAY,
            is_silent=answer.stage is Stage.TIME,
        )
    try:
        status = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        status = None
    if answer.status != _OK or not isinstance(status, dict) or "intake" not in status:
        return Running(None, f"what answers on {admin} is no gateway ({answer.status})", is_other=True)
    return Running(status)


def number(section: dict[str, Any], key: str) -> float:
    """Return a number of the status, 0 where there is none."""
    value = section.get(key)
    return value if isinstance(value, int | float) else 0


def text(section: dict[str, Any], key: str) -> str:
    """Return a text of the status, "" where there is none."""
    value = section.get(key)
    return value if isinstance(value, str) else ""


def mappings(listed: object) -> list[dict[str, Any]]:
    """Return what is listed, as far as it is what this version knows: the daemon may be of another one."""
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def as_mapping(value: Any) -> dict[str, Any]:
    """Return a part of the status, empty where it is none: the daemon may be of another version."""
    return value if isinstance(value, dict) else {}
