"""One GET, looked at closely: how far it got, and how long it took."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

import aiohttp

from gateway.errors import system_reason

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_BODY_BYTES = 1 << 20
_VERIFY_REASONS = {  # of OpenSSL, X509_V_ERR_…
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is self-signed",
    19: "its certificate is of an authority that is not trusted here",
    20: "its certificate, or the chain behind it, is of an authority that is not known here",
    62: "its certificate is for other names",
    64: "its certificate is for other addresses",
}


class Stage(Enum):
    """How far a request got before it failed."""

    NAME = auto()
    CONNECTION = auto()
    TIME = auto()
    CERTIFICATE = auto()
    TLS = auto()
    HTTP = auto()


@dataclass(frozen=True, slots=True)
class Response:
    """What came back. Times are Unix seconds, of this machine's clock."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    asked_s: float
    answered_s: float

    @property
    def took_s(self) -> float:
        """How long the answer took."""
        return self.answered_s - self.asked_s


@dataclass(frozen=True, slots=True)
class Failure:
    """Why nothing came back. `reason` is about the host, in words that follow on its name."""

    stage: Stage
    reason: str


async def get(url: str, *, within_s: float, tls: ssl.SSLContext | bool = True) -> Response | Failure:
    """Ask without credentials; redirects are not followed. `tls` False: certificates are not verified."""
    timeout = aiohttp.ClientTimeout(total=within_s)
    asked_s = time.time()
    try:
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as session,
            session.get(url, allow_redirects=False, ssl=tls) as response,
        ):
            answered_s = time.time()
            body = await response.content.read(_MOST_BODY_BYTES)
            return Response(response.status, response.headers, body, asked_s, answered_s)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return failure_of(error, within_s=within_s)


def failure_of(error: BaseException, *, within_s: float) -> Failure:
    """Say how far a request got that failed with `error`. Some of these errors are kinds of others."""
    if isinstance(error, TimeoutError):
        return Failure(Stage.TIME, f"did not answer within {within_s:g} s")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Failure(Stage.CERTIFICATE, certificate_reason(error.certificate_error))
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    match cause:
        case socket.gaierror():
            failure = Failure(Stage.NAME, "cannot be found: no name server knows an address of it")
        case ssl.SSLCertVerificationError():
            failure = Failure(Stage.CERTIFICATE, certificate_reason(cause))
        case ssl.SSLError():
            reason = (cause.reason or str(cause)).replace("_", " ").lower()
            failure = Failure(Stage.TLS, f"does not speak TLS as expected: {reason}")
        case OSError():
            failure = Failure(Stage.CONNECTION, f"cannot be connected to: {system_reason(cause)}")
        case _:
            failure = Failure(Stage.HTTP, f"does not answer as HTTP: {str(error) or type(error).__name__}")
    return failure


def certificate_reason(error: Exception) -> str:
    """Return what is wrong with a server's certificate, in words."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error}"
    return _VERIFY_REASONS.get(error.verify_code, f"its certificate is not accepted: {error.verify_message}")
