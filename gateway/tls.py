"""TLS with certificates and keys from files, for what the gateway serves and where it is a client."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from pathlib import Path


def server_context(
    setting: str, certificate: Path, key: Path, *, client_authority: Path | None = None
) -> ssl.SSLContext:
    """Return a server's context: TLS 1.2 or newer; with an authority, clients need a certificate of it.

    Raises GatewayError, which names the setting, the files and the reason, where the files can't be used.
    """
    for file in (certificate, key, client_authority):
        _check_readable(setting, file)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_certificate(context, setting, certificate, key)
    if client_authority is not None:
        _require_clients_of(context, setting, client_authority)
    return context


def client_context(
    setting: str, *, authority: Path | None, certificate: Path | None, key: Path | None
) -> ssl.SSLContext:
    """Return a client's context, which trusts the authority, or where that is None the system's.

    Raises GatewayError like `server_context`.
    """
    for file in (authority, certificate, key):
        _check_readable(setting, file)
    try:
        context = ssl.create_default_context(cafile=authority)
    except ssl.SSLError as error:
        raise GatewayError(f"{setting}: {authority} can't be used: {_reason(error)}") from error
    # Python 3.13 asks for extensions that the private authorities of buildings, made by
    # `openssl req -x509`, don't have; chain, dates and host name are checked all the same.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if certificate is not None and key is not None:
        _load_certificate(context, setting, certificate, key)
    return context


def _load_certificate(context: ssl.SSLContext, setting: str, certificate: Path, key: Path) -> None:
    try:
        # Without a password, OpenSSL asks for an encrypted key's on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        raise GatewayError(f"{setting}: {certificate} and {key} can't be used: {_reason(error)}") from error


def _require_clients_of(context: ssl.SSLContext, setting: str, authority: Path) -> None:
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as of a client
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(authority)
    except ssl.SSLError as error:
        raise GatewayError(f"{setting}: {authority} can't be used: {_reason(error)}") from error


def _check_readable(setting: str, file: Path | None) -> None:
    """Say which file it is: the ssl module's own errors don't."""
    try:
        if file is not None:
            file.open("rb").close()
    except OSError as error:
        raise GatewayError(f"{setting}: {file} can't be read: {error.strerror}") from error


def _reason(error: ssl.SSLError) -> str:
    """Say it in words, without what the ssl module puts around them."""
    return (error.reason or str(error)).replace("_", " ").lower()
