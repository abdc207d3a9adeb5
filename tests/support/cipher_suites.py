"""The suites of TLS 1.2 that a server accepts, tried one by one."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FORWARD_SECRET = {  # and authenticated encryption, by the kind of the server's certificate
    kind: {
        f"ECDHE-{kind}-{cipher}" for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    }
    for kind in ("RSA", "ECDSA")
}


def client(suites: str, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """Return a client with these suites of TLS 1.2, however weak."""
    context = ssl._create_unverified_context()  # noqa: S323 - whose certificate it is does not matter here
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{suites}:@SECLEVEL=0")
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


def all_suites() -> list[str]:
    """Return every suite of TLS 1.2 and older that needs a certificate, weak ones first of all."""
    found = (suite["name"] for suite in client("ALL:!aNULL:!PSK:!SRP").get_ciphers())
    return [name for name in found if not name.startswith("TLS_")]


def spoken_at(port: int, certificate: tuple[Path, Path] | None = None) -> set[str]:
    """Return the suites with which a server on loopback completes a handshake."""
    return {suite for suite in all_suites() if _is_spoken(port, client(suite, certificate))}


def _is_spoken(port: int, context: ssl.SSLContext) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        try:
            context.wrap_socket(connection).close()
        except (ssl.SSLError, ConnectionError):
            return False
    return True
