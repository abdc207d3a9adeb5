"""The status of the running gateway, as its admin port shows it, and the HTTP GET that all checks use."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import aiohttp
import orjson

from gateway.infodeck.request_errors import Failure, Stage, failure_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from yarl import URL

    from gateway.settings import AdminSettings

T = TypeVar("T")

_WITHIN_S = 4.0
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

    def at(self, path: str, default: T) -> T:
        """Return what is at a path such as `journal.state`: see `value_at`."""
        return value_at(self.status, path, default)

    def list_at(self, path: str) -> list[Any]:
        """Return the list at a path, empty if there is none."""
        return value_at(self.status, path, [])

    def mapping_at(self, path: str) -> dict[str, Any]:
        """Return the mapping at a path, empty if there is none."""
        return value_at(self.status, path, {})


def value_at(document: object, path: str, default: T) -> T:
    """Return what is at `path`, `default` if nothing of its type is: the daemon may be of another version."""
    for key in path.split("."):
        document = document.get(key) if isinstance(document, dict) else None
    kind = (int, float) if isinstance(default, float) else type(default)
    return cast("T", document) if isinstance(document, kind) else default


async def ask_daemon(settings: AdminSettings) -> DaemonStatus:
    """Ask the gateway on this machine; its certificate is not verified, since it names another host."""
    admin = settings.listen
    answer = await get(f"{settings.url}/api/status", within_s=_WITHIN_S, tls=False)
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


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The answer to a GET. Times are Unix seconds by this machine's clock."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    asked_s: float
    answered_s: float


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
