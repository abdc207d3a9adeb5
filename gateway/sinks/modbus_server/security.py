"""Modbus/TCP Security for the Modbus server: TLS with certificates on both sides, and roles.

TLS runs in memory between connection and requests. asyncio's transport reports a connection only after its
handshake, so that `allow` and `max_connections` could not stop an unfinished one; and it closes a refused
handshake without an alert, and without a reason to log. See test_allow_comes_before_tls,
test_an_unfinished_handshake_gives_way, test_who_is_not_served and test_clients_that_give_up.

Source: MODBUS/TCP Security Protocol Specification, MB-TCP-Security-v21 (2018).
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Annotated, Any, Final, cast

from pydantic import Field
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT, RelativePath
from gateway.sinks.modbus_server.connection import Connection
from gateway.tls import ServerCertificate, alert_in

_HANDSHAKE_WITHIN_S: Final = 10.0
_SEALED_BYTES: Final = 4096  # read from the socket at once
_GAVE_UP: Final = "it gave up, perhaps over the gateway's certificate"
_ROLE: Final = "1.3.6.1.4.1.50316.802.1"  # the extension, section 8.3 of the specification


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ModbusTls:
    """Modbus/TCP Security; its port is 802. Clients without a certificate of `client_ca` are dropped."""

    certificate: RelativePath
    """PEM file with the server's certificate and its chain."""
    key: RelativePath
    """PEM file with its private key."""
    client_ca: RelativePath
    """PEM file with the authorities of the clients: the protocol asks for certificates on both sides."""
    roles: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Roles that may read, by the role in the client's certificate; without any, every client may."""

    def load(self, setting: str) -> ServerCertificate:
        """Read the files; raises GatewayError, with the setting's name, if they cannot be used."""
        if self.roles:
            certificate_role(b"")  # loads what parses certificates, which takes a while, before clients come
        return ServerCertificate(setting, self.certificate, self.key, client_authority=self.client_ca)


class TlsConnection(Connection):
    """One client on a TLS port: requests and answers pass through TLS."""

    def __init__(
        self, certificate: ServerCertificate, roles: tuple[str, ...], *, idle_timeout_s: float, **rest: Any
    ) -> None:
        super().__init__(idle_timeout_s=min(idle_timeout_s, _HANDSHAKE_WITHIN_S), **rest)
        self._idle_timeout_s = idle_timeout_s
        self._roles = roles
        self._sealed = bytearray(_SEALED_BYTES)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = certificate.current.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._in_handshake = True
        self._has_begun = False

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the buffer has a fixed size
        """Return where the next sealed bytes go."""
        return memoryview(self._sealed)

    def buffer_updated(self, nbytes: int) -> None:
        """Decrypt what came and answer the requests in it; what is not TLS ends the connection."""
        self._has_begun = True
        self._incoming.write(memoryview(self._sealed)[:nbytes])
        try:
            if self._in_handshake:
                self._continue_handshake()
            self._read_requests()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            if self._in_handshake:
                self._refuse(_reason(error))
            self._flush()  # the alert with the reason
            self._transport.close()

    def eof_received(self) -> None:
        """Count a client that closes during the handshake: many do so if they refuse our certificate."""
        if self._has_begun and self._in_handshake:
            self._refuse(_GAVE_UP)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place; count a client that resets the connection during the handshake."""
        if exc is not None:  # not closed by us, nor by its end of file
            self.eof_received()
        super().connection_lost(exc)

    def _refuse(self, reason: str) -> None:
        self._in_handshake = False  # so that it is counted once
        self._clients.refuse(self._host, f"no TLS with it: {reason}")

    def _continue_handshake(self) -> None:
        self._tls.do_handshake()
        self._in_handshake = False
        self._quiet_limit_s = self._idle_timeout_s
        if (
            self._roles
            and certificate_role(self._tls.getpeercert(binary_form=True) or b"") not in self._roles
        ):
            self._clients.refuse(self._host, "its certificate has none of the roles in `tls.roles`")
            self._may_read = False

    def _read_requests(self) -> None:
        """Answer the decrypted requests; raises SSLWantReadError when nothing is left."""
        while not self._transport.is_closing():
            count = self._tls.read(_SEALED_BYTES, super().get_buffer(-1))
            if count:
                super().buffer_updated(cast("int", count))  # with a buffer, `read` returns a number
            else:  # the client has closed TLS
                self._end()

    def _send(self, answers: bytes) -> None:
        self._tls.write(answers)
        self._flush()

    def _end(self) -> None:
        with suppress(ssl.SSLError):  # the client need not close TLS, too
            self._tls.unwrap()
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._transport.write(self._outgoing.read())


def certificate_role(certificate: bytes) -> str | None:
    """Return the role in a DER certificate that OpenSSL has verified; None if there is no single one."""
    from cryptography import x509  # noqa: PLC0415 - slow to load, and rarely needed
    from cryptography.hazmat import asn1  # noqa: PLC0415 - likewise

    try:
        extensions = x509.load_der_x509_certificate(certificate).extensions
        role = extensions.get_extension_for_oid(x509.ObjectIdentifier(_ROLE)).value
        return asn1.decode_der(str, role.public_bytes())  # no other kind of string
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return None


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLZeroReturnError):
        return _GAVE_UP
    alert = alert_in(error)
    return f"{_GAVE_UP}: {alert}" if alert else (error.reason or str(error)).replace("_", " ").lower()
