"""Why Infodeck's API gave no answer: in plain words, and whether waiting can help."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import aiohttp

from gateway.errors import GatewayError, TransientError, system_reason

if TYPE_CHECKING:
    from yarl import URL

_OTHER_ISSUER = (
    "whoever issued it is unknown here; where a proxy looks into TLS, its authority's certificate must be"
    " installed on this machine"
)
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"})


def unreachable(url: URL, error: aiohttp.ClientError | OSError) -> GatewayError:
    """Return the error that a request without an answer stands for; a later one may have more luck.

    Not so where the server's certificate is not accepted: then somebody has to do something first.
    """
    host = str(url.host)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return GatewayError(_certificate_reason(host, error.certificate_error))
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return _tls_error(url, error.os_error)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        reason = (
            f"its name is not found ({system_reason(error.os_error)}); check infodeck.api and the DNS here"
        )
    elif isinstance(error, aiohttp.ClientConnectorError):
        reason = system_reason(error.os_error)
    elif isinstance(error, aiohttp.ServerDisconnectedError):
        reason = "it hung up without an answer"
    elif isinstance(error, aiohttp.ClientPayloadError):
        return TransientError(f"{host} broke off in the middle of an answer")
    elif isinstance(error, aiohttp.ClientResponseError):
        return TransientError(f"{host} answers something that is not HTTP: check infodeck.api")
    else:
        reason = system_reason(error) if isinstance(error, OSError) else str(error) or type(error).__name__
    return TransientError(f"{host} can't be reached: {reason}")


def _certificate_reason(host: str, error: Exception) -> str:
    """Say what is wrong with a certificate, and what to do."""
    said = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else str(error)
    if "expired" in said or "not yet valid" in said:
        advice = "check this machine's clock; if it is right, the server's certificate must be renewed"
    elif "mismatch" in said or "not valid for" in said:
        advice = "it is for another name: check infodeck.api"
    else:
        advice = _OTHER_ISSUER
    return f"the certificate of {host} is not accepted ({said}): {advice}"


def _tls_error(url: URL, error: OSError) -> GatewayError:
    reason = (error.reason if isinstance(error, ssl.SSLError) else None) or str(error)
    if reason in _NO_TLS:
        return GatewayError(f"{url.host}:{url.port} does not speak TLS: check infodeck.api")
    return TransientError(f"no TLS with {url.host}: {reason.replace('_', ' ').lower()}")
