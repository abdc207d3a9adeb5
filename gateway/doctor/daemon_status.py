"""The status of the running daemon, as its admin port shows it, and the HTTP GET that all checks use."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from gateway.infodeck.request_errors import Failure, Stage, failure_of
from gateway.status import kept_for

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from yarl import URL

    from gateway.settings import AdminSettings

_ANSWER_WITHIN_S = 4.0
_MOST_BODY_BYTES = 1 << 20
_OK = 200
_NOT_A_GATEWAY = frozenset({Stage.BROKEN_OFF, Stage.HTTP})


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """`status` is the document of `/api/status`, None if there is none; then `reason` says why.

    `is_other`: something that is not a gateway answers. `is_silent`: the port is open, but nothing answers.
    """

    status: dict[str, Any] | None
    reason: str = ""
    is_other: bool = False
    is_silent: bool = False

    def section(self, name: str) -> dict[str, Any]:
        """Return a part of the status, empty if there is none: the daemon may be of another version."""
        return as_mapping((self.status or {}).get(name))

    def sink(self, name: str) -> dict[str, Any]:
        """Return the status of one sink."""
        return as_mapping(self.section("sinks").get(name))

    def is_connected(self, sink: str) -> bool:
        """Return whether the running gateway is connected to the receiver of a sink."""
        return self.sink(sink).get("connected") is True

    @property
    def kept(self) -> str | None:
        """The sink for which most events are kept, and how many; None if nothing waits."""
        sinks = {name: self.sink(name) for name in self.section("sinks")}
        return kept_for((name, text(sink, "state"), int(number(sink, "lag"))) for name, sink in sinks.items())


async def ask_daemon(settings: AdminSettings) -> DaemonStatus:
    """Ask the gateway on this machine; its certificate is not verified, since it names another host."""
    admin = settings.listen
    answer = await get(f"{settings.url}/api/status", within_s=_ANSWER_WITHIN_S, tls=False)
    if isinstance(answer, Failure):
        return DaemonStatus(
            None,
            f"{admin} {answer.reason}",
            is_other=answer.stage in _NOT_A_GATEWAY,
            is_silent=answer.stage is Stage.TIME,
        )
    try:
        status = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        status = None
    if answer.status != _OK or not isinstance(status, dict) or "intake" not in status:
        return DaemonStatus(None, f"what answers on {admin} is no gateway ({answer.status})", is_other=True)
    return DaemonStatus(status)


def number(section: dict[str, Any], key: str) -> float:
    """Return a number of the status, 0 if there is none."""
    value = section.get(key)
    return value if isinstance(value, int | float) else 0


def text(section: dict[str, Any], key: str) -> str:
    """Return a text of the status, "" if there is none."""
    value = section.get(key)
    return value if isinstance(value, str) else ""


def mappings(listed: object) -> list[dict[str, Any]]:
    """Return the mappings of a list, without anything else: the daemon may be of another version."""
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def as_mapping(value: Any) -> dict[str, Any]:
    """Return a part of the status, empty if it is no mapping: the daemon may be of another version."""
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The answer to a GET. Times are Unix seconds by this machine's clock."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    asked_s: float
    answered_s: float

    @property
    def took_s(self) -> float:
        """How long the answer took."""
        return self.answered_s - self.asked_s


async def get(
    url: str, *, within_s: float, tls: ssl.SSLContext | bool = True, proxy: URL | None = None
) -> HttpAnswer | Failure:
    """Ask without credentials; redirects are not followed. `tls` False: certificates are not verified."""
    timeout = aiohttp.ClientTimeout(total=within_s)
    asked_s = time.time()
    try:
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as session,
            session.get(url, allow_redirects=False, ssl=tls, proxy=proxy) as response,
        ):
            answered_s = time.time()
            body = await response.content.read(_MOST_BODY_BYTES)
            return HttpAnswer(response.status, response.headers, body, asked_s, answered_s)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return failure_of(error, within_s=within_s, proxy=proxy)
