"""Why a request to Infodeck failed and what to do about it: refused with an answer, or no answer at all."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
import orjson

from gateway.errors import ApiRefusalError, GatewayError, TransientError, system_reason
from gateway.text import sanitise_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yarl import URL

    from gateway.infodeck.api_client import ApiAccess

_BUSY_S = 60.0  # the rate limit counts by the minute
_LONGEST_RETRY_AFTER_S = 3600.0
_LONGEST_QUOTE = 200

_TRANSIENT = frozenset({408, 425, 429})
# By status: Infodeck's guide, "Troubleshooting", and its table of the two secrets.
_ADVICE = {
    401: "check infodeck.api_key: it begins with `idt_live_`, has 32 characters behind it, and must not be"
    " revoked; a webhook's signing secret is no API key",
    403: "API access requires Infodeck's Professional plan, and a key that may read the organization"
    " {organization}: ask whoever manages it",
    404: "check infodeck.organization ({organization}) and infodeck.api ({api})",
    422: "check infodeck.organization ({organization}) and infodeck.api ({api})",
}
_BEARER_ADVICE = _ADVICE | {
    401: "check infodeck.bearer_token: a JWT of a user who may manage webhooks, and not an expired one; an"
    " API key is refused here",
    403: "the user of infodeck.bearer_token may not manage webhooks of {organization}: that takes a role that"
    " may, and the organization Infodeck's Professional plan; ask whoever manages it",
    422: "something in the request is wrong, see Infodeck's words for what: the URL, an event type, or"
    " infodeck.organization ({organization})",
}
_OTHER_ADVICE = "check infodeck.api ({api})"


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, *, access: ApiAccess, bearer: bool
) -> GatewayError:
    """Return the error for an answer other than 2xx. `bearer`: it was sent with the token, not the key."""
    answered = f"the API answered {status}{_quote(body, access)}"
    if status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        default_s = _BUSY_S if status == HTTPStatus.TOO_MANY_REQUESTS else None
        return TransientError(answered, retry_after_s=_retry_after_s(headers, default_s))
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        answered += f", a redirect to {_quotable(headers.get('Location', 'nowhere'), access)}"
        advice = "infodeck.api must be the address itself ({api})"
    else:
        advice = (_BEARER_ADVICE if bearer else _ADVICE).get(status, _OTHER_ADVICE)
    advice = advice.format(organization=access.organization, api=access.api)
    return ApiRefusalError(answered, advice=advice, status=status)


def _retry_after_s(headers: Mapping[str, str], default_s: float | None) -> float | None:
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(text)
        since = parsedate_to_datetime(headers["Date"]) if "Date" in headers else datetime.now(UTC)
        return min(max(0.0, (until - since).total_seconds()), _LONGEST_RETRY_AFTER_S)
    except (ValueError, TypeError, OverflowError):  # no date, or one that cannot be compared
        return default_s


def _quote(body: bytes, access: ApiAccess) -> str:
    """Return the API's own reason in brackets, if it states one, without secrets."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(document, dict):
        return ""
    error = document.get("error")
    inner = error.get("message") if isinstance(error, dict) else error
    found = next((text for text in (document.get("message"), inner) if isinstance(text, str)), "")
    words = _quotable(found, access)
    return f" ({words})" if words else ""


def _quotable(text: str, access: ApiAccess) -> str:
    """Return foreign text as a short line, without secrets that it echoes."""
    for secret in access.secret_texts():
        text = text.replace(secret, "***")
    return sanitise_line(text, longest=_LONGEST_QUOTE)


class Stage(Enum):
    """How far a request got before it failed. A bad certificate is divided by what is wrong with it."""

    NAME = auto()
    CONNECTION = auto()
    TIME = auto()
    PLAIN = auto()  # the server does not speak TLS
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
        return self in {Stage.CERTIFICATE_DATES, Stage.CERTIFICATE_NAME, Stage.CERTIFICATE_ISSUER}


_CERTIFICATES = {  # by OpenSSL's verify codes, X509_V_ERR_…
    9: (Stage.CERTIFICATE_DATES, "that is not valid yet"),
    10: (Stage.CERTIFICATE_DATES, "that has expired"),
    18: (Stage.CERTIFICATE_ISSUER, "that is self-signed"),
    19: (Stage.CERTIFICATE_ISSUER, "of an authority that is not trusted here"),
    20: (Stage.CERTIFICATE_ISSUER, "of an authority that is not known here, or without the chain to one"),
    62: (Stage.CERTIFICATE_NAME, "for other names"),
    64: (Stage.CERTIFICATE_NAME, "for other addresses"),
}
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"})

_CHECK_API = "check infodeck.api"
API_ADVICE = {
    Stage.NAME: "check infodeck.api and the DNS here",
    Stage.PLAIN: _CHECK_API,
    Stage.CERTIFICATE_DATES: "check this machine's clock; if it is right, the server's certificate must be"
    " renewed",
    Stage.CERTIFICATE_NAME: _CHECK_API,
    Stage.CERTIFICATE_ISSUER: "where a firewall or proxy looks into TLS, its authority's certificate must be"
    " installed on this machine, or it must let this host through as it is",
    Stage.HTTP: _CHECK_API,
    Stage.PROXY: "see infodeck.proxy, or HTTPS_PROXY and NO_PROXY where the gateway runs",
}
"""What to do if Infodeck's API was the server, for the stages where that can be said."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why no answer came. `reason` is a predicate: it continues a sentence that begins with the host."""

    stage: Stage
    reason: str


def unreachable(url: URL, error: Exception, *, within_s: float, proxy: URL | None = None) -> GatewayError:
    """Return the error for a request to the API that got no answer, with advice.

    It is a `TransientError` unless somebody has to do something first.
    """
    failure = failure_of(error, within_s=within_s, proxy=proxy)
    advice = API_ADVICE.get(failure.stage)
    text = f"{url.host} {failure.reason}" + ("" if advice is None else f": {advice}")
    is_lasting = failure.stage is Stage.PLAIN or failure.stage.is_certificate
    return GatewayError(text) if is_lasting else TransientError(text)


def failure_of(error: BaseException, *, within_s: float, proxy: URL | None = None) -> Failure:
    """Return how far a request got that failed with `error`, and whether its proxy is the cause."""
    failure = _direct_failure(error, within_s=within_s)
    if proxy is None or failure.stage not in {Stage.NAME, Stage.CONNECTION, Stage.PROXY}:
        return failure
    way = f"is asked through the proxy {proxy.host}:{proxy.port}"
    return Failure(Stage.PROXY, f"{way}, which {failure.reason}")


def _direct_failure(error: BaseException, *, within_s: float) -> Failure:
    """Return how far a request got. The order matters: some of these errors are kinds of others."""
    match error:
        case TimeoutError():
            failure = Failure(Stage.TIME, f"did not answer within {within_s:g} s")
        case aiohttp.ClientConnectorCertificateError():
            failure = _system_failure(error.certificate_error)
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
            answer = f"answers {error.status} ({sanitise_line(error.message, longest=100)})"
            failure = Failure(Stage.PROXY, answer)
        case aiohttp.ClientPayloadError():
            failure = Failure(Stage.BROKEN_OFF, "broke off in the middle of an answer")
        case _:
            failure = Failure(Stage.HTTP, "answers something that is not HTTP")
    return failure


def _system_failure(error: Exception) -> Failure:
    match error:
        case socket.gaierror():
            return _name_failure(error)
        case ssl.SSLCertVerificationError():
            usual = Stage.CERTIFICATE_ISSUER, f"that is not accepted ({error.verify_message})"
            stage, words = _CERTIFICATES.get(error.verify_code, usual)
            return Failure(stage, f"shows a certificate {words}")
        case ssl.SSLError():
            return _tls_failure(error)
        case OSError():
            return Failure(Stage.CONNECTION, f"can't be reached: {system_reason(error)}")
    return Failure(Stage.CERTIFICATE_ISSUER, f"shows a certificate that is not accepted ({error})")


def _name_failure(error: OSError) -> Failure:
    return Failure(Stage.NAME, f"can't be reached: its name is not found ({system_reason(error)})")


def _tls_failure(error: ssl.SSLError) -> Failure:
    reason: str = getattr(error, "reason", None) or str(error)  # not every error has the documented attribute
    if reason in _NO_TLS:
        return Failure(Stage.PLAIN, "does not speak TLS")
    return Failure(Stage.TLS, f"does not agree with us on TLS: {reason.replace('_', ' ').lower()}")
