"""Why a request failed, by the errors of aiohttp and of the system."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from gateway.errors import TransientError
from gateway.infodeck.request_errors import API_ADVICE, Stage, failure_of, unreachable

KEY = ConnectionKey("api.example", 443, True, True, None, None, None)  # noqa: FBT003 - aiohttp's own


def system(number: int) -> OSError:
    """Return an error as the system raises it."""
    return OSError(number, os.strerror(number))


def certificate(code: int, words: str) -> ssl.SSLCertVerificationError:
    """Return an error as OpenSSL's verification raises it."""
    error = ssl.SSLCertVerificationError(1, words)
    error.verify_code, error.verify_message = code, words
    return error


@pytest.mark.parametrize(
    ("error", "stage", "reason"),
    [
        (TimeoutError(), Stage.TIME, "did not answer within 3 s"),
        (
            aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "Name or service not known")),
            Stage.NAME,
            "can't be reached: its name is not found (Name or service not known)",
        ),
        (
            aiohttp.ClientConnectorDNSError(KEY, OSError(None, "Domain name not found")),  # by aiodns
            Stage.NAME,
            "can't be reached: its name is not found (Domain name not found)",
        ),
        (
            aiohttp.ClientConnectorError(KEY, system(errno.ECONNREFUSED)),
            Stage.CONNECTION,
            "can't be reached: Connection refused",
        ),
        (
            aiohttp.ClientConnectorError(KEY, TimeoutError(errno.ETIMEDOUT, "by the kernel")),
            Stage.CONNECTION,
            "can't be reached: Connection timed out",
        ),
        (system(errno.ECONNRESET), Stage.CONNECTION, "can't be reached: Connection reset by peer"),
        (
            aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong")),
            Stage.TLS,
            "does not agree with us on TLS: ",
        ),
        (
            aiohttp.ClientConnectorCertificateError(KEY, certificate(10, "certificate has expired")),
            Stage.CERTIFICATE_DATES,
            "shows a certificate that has expired",
        ),
        (certificate(62, "hostname mismatch"), Stage.CERTIFICATE_NAME, "shows a certificate for other names"),
        (
            certificate(23, "certificate revoked"),
            Stage.CERTIFICATE_ISSUER,
            "shows a certificate that is not accepted (certificate revoked)",
        ),
        (
            aiohttp.ServerDisconnectedError(),
            Stage.BROKEN_OFF,
            "can't be reached: it hung up without an answer",
        ),
        (
            aiohttp.ClientConnectionError("Connection closed"),
            Stage.BROKEN_OFF,
            "can't be reached: Connection closed",
        ),
        (aiohttp.ClientPayloadError(), Stage.BROKEN_OFF, "broke off in the middle of an answer"),
        (aiohttp.InvalidURL("http:///"), Stage.HTTP, "answers something that is not HTTP"),
    ],
)
def test_each_failure_by_how_far_it_got(error: Exception, stage: Stage, reason: str) -> None:
    """Each error has a stage, and a reason that continues a sentence."""
    failure = failure_of(error, within_s=3)
    assert failure.stage is stage
    assert failure.reason.startswith(reason)


@pytest.mark.parametrize(
    ("error", "text", "may_pass"),
    [
        (system(errno.ECONNREFUSED), "api.example can't be reached: Connection refused", True),
        (
            certificate(10, "certificate has expired"),
            "api.example shows a certificate that has expired: " + API_ADVICE[Stage.CERTIFICATE_DATES],
            False,
        ),
    ],
)
def test_what_lasts_comes_with_advice(error: OSError, text: str, may_pass: bool) -> None:  # noqa: FBT001 - a column
    """A refused certificate is a lasting error, a refused connection a transient one."""
    raised = unreachable(URL("https://api.example/v2"), error, within_s=3)
    assert str(raised) == text
    assert isinstance(raised, TransientError) is may_pass
