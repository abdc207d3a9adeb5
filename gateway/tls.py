"""TLS for what the gateway serves, and for servers that it connects to: certificates and keys from files."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from typing import TYPE_CHECKING

import structlog

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()

_LOOK_EVERY_S = 2.0
# Of TLS 1.2, suites with ephemeral keys and authenticated encryption; TLS 1.3 has no others. OpenSSL would
# also take RSA key exchange, where a key that gets out opens whatever was recorded, and CBC, broken often.
_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"

_State = tuple[int, int, int, int] | None  # of a file: device, inode, size, time of change; None: not there


class ServerCertificate:
    """A server's certificate and key, taken over anew when their files change, as they do at each renewal.

    Connections go on as they are; whoever connects from then on sees the new one. What can't be used is told
    once, and the one in force stays.
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
        self._loaded = self._seen = self._look()
        self.current = self._make_context()  # for who makes one connection
        self.lasting = self._make_context()  # for a server that is given it once
        self.lasting.sni_callback = self._choose

    async def keep_current(self, *, look_every_s: float = _LOOK_EVERY_S) -> None:
        """Look at the files again and again until cancelled."""
        while True:
            await asyncio.sleep(look_every_s)
            before, self._seen = self._seen, await asyncio.to_thread(self._look)
            if self._seen == before and self._seen != self._loaded:  # whoever writes is done
                self._loaded = self._seen
                await self._take_over()

    async def _take_over(self) -> None:
        try:
            self.current = await asyncio.to_thread(self._make_context)
        except (GatewayError, OSError) as error:
            log.error("certificate.refused", reason=str(error), advice="the one in force stays")  # noqa: TRY400 - the reason says it
        else:
            log.info("certificate.renewed", setting=self._setting)

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Hand each handshake over to the context in force: OpenSSL asks before it shows a certificate."""
        connection.context = self.current

    def _look(self) -> list[_State]:
        return [_state(file) for file in self._files]


def server_context(
    setting: str, certificate: Path, key: Path, *, client_authority: Path | None = None
) -> ssl.SSLContext:
    """Return a server's context: TLS 1.2 or newer, forward-secret suites only.

    With an authority, clients need a certificate of it.

    Raises GatewayError, which names the setting, the files and the reason, where the files can't be used.
    """
    for file in (certificate, key, client_authority):
        _check_readable(setting, file)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_SUITES)
    _load_pair(context, setting, certificate, key)
    if client_authority is not None:
        _require_clients_of(context, setting, client_authority)
    return context


def client_context(
    setting: str, *, authority: Path | None, certificate: Path | None, key: Path | None
) -> ssl.SSLContext:
    """Return a client's context, as strict; it trusts the authority alone, without one the system's.

    Raises GatewayError as `server_context` does.
    """
    for file in (authority, certificate, key):
        _check_readable(setting, file)
    try:
        context = ssl.create_default_context(cafile=authority)
    except ssl.SSLError as error:
        raise GatewayError(f"{setting}: {authority} can't be used: {_reason(error)}") from error
    _accept_private_authorities(context)
    context.set_ciphers(_SUITES)
    if certificate is not None and key is not None:
        _load_pair(context, setting, certificate, key)
    return context


def alert_in(error: ssl.SSLError) -> str:
    """Return what the other side's alert says, such as "unknown ca"; "" where it sent none."""
    return _reason(error).partition(" alert ")[2]


def _load_pair(context: ssl.SSLContext, setting: str, certificate: Path, key: Path) -> None:
    try:
        # Without a password, OpenSSL asks for an encrypted key's on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        raise GatewayError(f"{setting}: {certificate} and {key} can't be used: {_reason(error)}") from error


def _require_clients_of(context: ssl.SSLContext, setting: str, authority: Path) -> None:
    _accept_private_authorities(context)
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(authority)
    except ssl.SSLError as error:
        raise GatewayError(f"{setting}: {authority} can't be used: {_reason(error)}") from error


def _accept_private_authorities(context: ssl.SSLContext) -> None:
    # Python 3.13 asks for extensions that the private authorities of buildings, made by `openssl req -x509`,
    # don't have; chain, dates and a server's name are checked all the same.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT


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


def _state(file: Path) -> _State:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns
