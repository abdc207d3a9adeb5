"""TLS contexts and certificates, for what the gateway serves and for servers that it connects to."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

import structlog

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography.x509 import Certificate

log = structlog.get_logger()

_POLL_S = 2.0
# Of TLS 1.2, suites with ephemeral keys and authenticated encryption; TLS 1.3 has no others. OpenSSL would
# also accept RSA key exchange, where a leaked key opens recorded traffic, and CBC, which was broken often.
_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"

_FileState = tuple[int, int, int, int] | None
"""Device, inode, size and time of change of a file; None if there is no file."""


class ServerCertificate:
    """A server's certificate and key, loaded again when their files change, as at each renewal.

    Open connections go on; new ones get the new certificate. Files that cannot be used are logged once, and
    the certificate in force stays.
    """

    def __init__(
        self, setting: str, certificate: Path, key: Path, *, client_authority: Path | None = None
    ) -> None:
        """Read the files; raises GatewayError as `server_context` does."""
        self._setting = setting
        self._files = [file for file in (certificate, key, client_authority) if file is not None]
        self._make_context = partial(
            server_context, setting, certificate, key, client_authority=client_authority
        )
        self._loaded = self._seen = self._file_states()
        self.current = self._make_context()
        """The context for a single connection."""
        self.lasting = self._make_context()
        """The context for a server that is given one once: each handshake switches to the current one."""
        self.lasting.sni_callback = self._use_current

    async def keep_current(self, *, poll_s: float = _POLL_S) -> None:
        """Check the files for changes until cancelled."""
        while True:
            await asyncio.sleep(poll_s)
            before, self._seen = self._seen, await asyncio.to_thread(self._file_states)
            if self._seen != before or self._seen == self._loaded:  # still being written, or unchanged
                continue
            self._loaded = self._seen
            try:
                self.current = await asyncio.to_thread(self._make_context)
            except GatewayError as error:
                log.error("certificate.refused", reason=str(error), advice="the one in force stays")  # noqa: TRY400 - the reason is enough
            else:
                log.info("certificate.renewed", setting=self._setting)

    def _use_current(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self.current  # OpenSSL calls this before it sends a certificate

    def _file_states(self) -> list[_FileState]:
        return [_file_state(file) for file in self._files]


def server_context(
    setting: str, certificate: Path, key: Path, *, client_authority: Path | None = None
) -> ssl.SSLContext:
    """Return a server's context: TLS 1.2 or newer, forward-secret suites only.

    With an authority, clients need a certificate issued by it.

    Raises GatewayError with setting, files and reason if the files cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_SUITES)
    _load_pair(context, setting, certificate, key)
    if client_authority is not None:
        _accept_private_authorities(context)
        context.verify_mode = ssl.CERT_REQUIRED
        with _naming(setting, client_authority):
            context.load_verify_locations(client_authority)
    return context


def client_context(
    setting: str, *, authority: Path | None, certificate: Path | None, key: Path | None
) -> ssl.SSLContext:
    """Return a client's context, as strict; it trusts only the authority, or the system's without one.

    Raises GatewayError as `server_context` does.
    """
    with _naming(setting, *(() if authority is None else (authority,))):
        context = ssl.create_default_context(cafile=authority)
    _accept_private_authorities(context)
    context.set_ciphers(_SUITES)
    if certificate is not None and key is not None:
        _load_pair(context, setting, certificate, key)
    return context


def alert_in(error: ssl.SSLError) -> str:
    """Return the alert that the other side sent, such as "unknown ca"; "" if it sent none."""
    return _reason(error).partition(" alert ")[2]


@dataclass(frozen=True, slots=True)
class Validity:
    """A certificate's period of validity (Unix seconds), its names, and whether it is self-signed.

    `cryptography` parses certificates; it is loaded at the first one.
    """

    from_s: float
    until_s: float
    names: tuple[str, ...]
    is_self_signed: bool

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Return that of the first certificate in a PEM file; raises ValueError if there is none."""
        from cryptography import x509  # noqa: PLC0415 - slow to load, and rarely needed

        certificate = x509.load_pem_x509_certificates(pem)[0]
        return cls(
            certificate.not_valid_before_utc.timestamp(),
            certificate.not_valid_after_utc.timestamp(),
            _names(certificate),
            certificate.issuer == certificate.subject,
        )

    def covers(self, host: str) -> bool:
        """Return whether the certificate is valid for a server of this name."""
        host = host.lower().rstrip(".")
        _, _, parent = host.partition(".")
        names = {name.lower() for name in self.names}
        return host in names or (bool(parent) and f"*.{parent}" in names)


def _names(certificate: Certificate) -> tuple[str, ...]:
    """Return the names that clients compare; they ignore the subject's common name."""
    from cryptography import x509  # noqa: PLC0415 - slow to load, and rarely needed

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    return (*names.get_values_for_type(x509.DNSName), *addresses)


def _load_pair(context: ssl.SSLContext, setting: str, certificate: Path, key: Path) -> None:
    with _naming(setting, certificate, key):
        # Without a password, OpenSSL asks for that of an encrypted key on the terminal.
        context.load_cert_chain(certificate, key, password="")


def _accept_private_authorities(context: ssl.SSLContext) -> None:
    # Python 3.13 requires extensions that private authorities, made by `openssl req -x509`, do not have;
    # chain, dates and a server's name are still checked.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT


@contextmanager
def _naming(setting: str, *files: Path) -> Iterator[None]:
    """Raise GatewayError with the setting and the files instead of errors, which name neither."""
    try:
        for file in files:
            file.open("rb").close()
        yield
    except ssl.SSLError as error:
        names = " and ".join(map(str, files))
        raise GatewayError(f"{setting}: {names} can't be used: {_reason(error)}") from error
    except OSError as error:
        raise GatewayError(f"{setting}: {error.filename} can't be read: {error.strerror}") from error


def _reason(error: ssl.SSLError) -> str:
    """Return the reason in words, without the ssl module's prefix."""
    return (error.reason or str(error)).replace("_", " ").lower()


def _file_state(file: Path) -> _FileState:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns
