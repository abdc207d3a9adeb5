"""Why a request got no answer: how far it got, in plain words, and whether waiting can help."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

import aiohttp

from gateway.errors import GatewayError, TransientError, system_reason
from gateway.text import sanitise_line

if TYPE_CHECKING:
    from yarl import URL


class Stage(Enum):
    """How far a request got before it failed; a certificate by what is wrong with it."""

    NAME = auto()
    CONNECTION = auto()
    TIME = auto()
    PLAIN = auto()  # where TLS is expected
    TLS = auto()
    CERTIFICATE_DATES = auto()
    CERTIFICATE_NAME = auto()
    CERTIFICATE_ISSUER = auto()
    BROKEN_OFF = auto()
    HTTP = auto()
    PROXY = auto()

    @property
    def is_certificate(self) -> bool:
        """Whether the server was reached, and its certificate not accepted."""
        return self in _CERTIFICATE_STAGES


_CERTIFICATE_STAGES = frozenset({Stage.CERTIFICATE_DATES, Stage.CERTIFICATE_NAME, Stage.CERTIFICATE_ISSUER})
_OF_THE_PROXY = frozenset({Stage.NAME, Stage.CONNECTION, Stage.PROXY})  # where there is one
_LASTING = _CERTIFICATE_STAGES | {Stage.PLAIN}  # until somebody mends it
_CERTIFICATES = {  # by what OpenSSL says of one, X509_V_ERR_…
    9: (Stage.CERTIFICATE_DATES, "that is not valid yet"),
    10: (Stage.CERTIFICATE_DATES, "that has expired"),
    18: (Stage.CERTIFICATE_ISSUER, "that is self-signed"),
    19: (Stage.CERTIFICATE_ISSUER, "of an authority that is not trusted here"),
    20: (Stage.CERTIFICATE_ISSUER, "of an authority that is not known here, or without the chain to one"),
    62: (Stage.CERTIFICATE_NAME, "for other names"),
    64: (Stage.CERTIFICATE_NAME, "for other addresses"),
}
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"})

API_ADVICE = {
    Stage.NAME: "check infodeck.api and the DNS here",
    Stage.PLAIN: "check infodeck.api",
    Stage.CERTIFICATE_DATES: (
        "check this machine's clock; if it is right, the server's certificate must be renewed"
    ),
    Stage.CERTIFICATE_NAME: "check infodeck.api",
    Stage.CERTIFICATE_ISSUER: (
        "where a firewall or proxy looks into TLS, its authority's certificate must be installed on this"
        " machine, or it must let this host through as it is"
    ),
    Stage.HTTP: "check infodeck.api",
    Stage.PROXY: "see infodeck.proxy, or HTTPS_PROXY and NO_PROXY where the gateway runs",
}
"""What to do where it was Infodeck's API that was asked, and where that can be said in a word."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why nothing came back. `reason` is about the host, in words that follow on its name."""

    stage: Stage
    reason: str


def unreachable(
    url: URL, error: aiohttp.ClientError | OSError, *, within_s: float, proxy: URL | None = None
) -> GatewayError:
    """Return the error that a request to the API without an answer stands for, with what to do.

    It is a `TransientError` unless somebody has to do something first.
    """
    failure = failure_of(error, within_s=within_s, proxy=proxy)
    advice = API_ADVICE.get(failure.stage)
    text = f"{url.host} {failure.reason}" + ("" if advice is None else f": {advice}")
    return GatewayError(text) if failure.stage in _LASTING else TransientError(text)


def failure_of(error: BaseException, *, within_s: float, proxy: URL | None = None) -> Failure:
    """Say how far a request got that failed with `error`, or that it is the proxy that is in its way."""
    failure = _failure_of(error, within_s=within_s)
    if proxy is None or failure.stage not in _OF_THE_PROXY:
        return failure
    way = f"is asked through the proxy {proxy.host}:{proxy.port}"
    return Failure(Stage.PROXY, f"{way}, which {failure.reason}")


def _failure_of(error: BaseException, *, within_s: float) -> Failure:
    """Say how far a request got, to the API or its proxy. Some of these errors are kinds of others."""
    match error:
        case TimeoutError():
            failure = Failure(Stage.TIME, f"did not answer within {within_s:g} s")
        case aiohttp.ClientConnectorCertificateError():
            failure = _certificate_failure(error.certificate_error)
        case aiohttp.ClientConnectorDNSError():  # whatever the resolver itself raises
            failure = _name_failure(error.os_error)
        case aiohttp.ClientConnectorError():
            failure = _system_failure(error.os_error)
        case OSError():
            failure = _system_failure(error)
        case aiohttp.ServerDisconnectedError():
            failure = Failure(Stage.BROKEN_OFF, "can't be reached: it hung up without an answer")
        case aiohttp.ClientConnectionError():
            failure = Failure(Stage.BROKEN_OFF, f"can't be reached: {error}")
        case aiohttp.ClientHttpProxyError():
            failure = Failure(
                Stage.PROXY, f"answers {error.status} ({sanitise_line(error.message, longest=100)})"
            )
        case aiohttp.ClientPayloadError():
            failure = Failure(Stage.BROKEN_OFF, "broke off in the middle of an answer")
        case _:
            failure = Failure(Stage.HTTP, "answers something that is not HTTP")
    return failure


def _system_failure(error: OSError) -> Failure:
    match error:
        case socket.gaierror():
            return _name_failure(error)
        case ssl.SSLCertVerificationError():
            return _certificate_failure(error)
        case ssl.SSLError():
            return _tls_failure(error)
    return Failure(Stage.CONNECTION, f"can't be reached: {system_reason(error)}")


def _name_failure(error: OSError) -> Failure:
    return Failure(Stage.NAME, f"can't be reached: its name is not found ({system_reason(error)})")


def _certificate_failure(error: Exception) -> Failure:
    """Say what is wrong with a server's certificate."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return Failure(Stage.CERTIFICATE_ISSUER, f"shows a certificate that is not accepted ({error})")
    usual = Stage.CERTIFICATE_ISSUER, f"that is not accepted ({error.verify_message})"
    stage, words = _CERTIFICATES.get(error.verify_code, usual)
    return Failure(stage, f"shows a certificate {words}")


def _tls_failure(error: ssl.SSLError) -> Failure:
    reason: str = getattr(error, "reason", None) or str(error)  # not each has the attribute that it documents
    if reason in _NO_TLS:
        return Failure(Stage.PLAIN, "does not speak TLS")
    return Failure(Stage.TLS, f"does not agree with us on TLS: {reason.replace('_', ' ').lower()}")
