"""Modbus/TCP Security for the Modbus server: TLS with certificates on both sides, and roles.

TLS runs in memory between the connection and its requests, not in asyncio's transport: a client is let in
or dropped, and holds a place for a limited time, before any of it begins.

Source: MODBUS/TCP Security Protocol Specification, MB-TCP-Security-v21 (2018).
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Final, cast

from pydantic import Field
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT, RelativePath
from gateway.sinks.modbus_server.answers import NothingAllowed
from gateway.sinks.modbus_server.connection import Connection
from gateway.sinks.modbus_server.roles import role_in
from gateway.tls import ServerCertificate, alert_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sinks.modbus_server.clients import Clients
    from gateway.sinks.modbus_server.connection import Answering

_HANDSHAKE_WITHIN_S: Final = 10.0
_SEALED_BYTES: Final = 4096  # what is taken from the socket at once
_GAVE_UP: Final = "it gave up, perhaps over the gateway's certificate"


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


class TlsConnections:
    """Makes the connections of a server's TLS port."""

    def __init__(self, config: ModbusTls, *, setting: str) -> None:
        """Read the files; raises GatewayError, with the setting's name, where they can't be used."""
        self._certificate = ServerCertificate(
            setting, config.certificate, config.key, client_authority=config.client_ca
        )
        self._roles = frozenset(config.roles)

    def __call__(self, *, answers: Answering, clients: Clients, idle_timeout_s: float) -> Connection:
        """Make the connection of one client."""
        return _TlsConnection(
            context=self._certificate.current,
            may_read=self._may_read,
            answers=answers,
            clients=clients,
            idle_timeout_s=idle_timeout_s,
        )

    async def keep_current(self) -> None:
        """Have connections to come use what stands in the files then, until cancelled."""
        await self._certificate.keep_current()

    def _may_read(self, certificate: bytes) -> bool:
        return not self._roles or role_in(certificate) in self._roles


class _TlsConnection(Connection):
    """One client on a TLS port: a connection whose requests and answers go through TLS."""

    def __init__(
        self,
        *,
        context: ssl.SSLContext,
        may_read: Callable[[bytes], bool],
        answers: Answering,
        clients: Clients,
        idle_timeout_s: float,
    ) -> None:
        super().__init__(
            answers=answers, clients=clients, idle_timeout_s=min(idle_timeout_s, _HANDSHAKE_WITHIN_S)
        )
        self._idle_timeout_s = idle_timeout_s
        self._may_read = may_read
        self._sealed = bytearray(_SEALED_BYTES)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._is_shaking_hands = True
        self._has_begun = False

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the buffer is as large as it is
        return memoryview(self._sealed)

    def buffer_updated(self, nbytes: int) -> None:
        """Open what came and answer the requests in it; what is no TLS ends the connection."""
        self._has_begun = True
        self._incoming.write(memoryview(self._sealed)[:nbytes])
        try:
            if self._is_shaking_hands:
                self._shake_hands()
            self._open_requests()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            if self._is_shaking_hands:
                self._refuse(_reason(error))
            self._flush()  # the alert that tells it why
            self._transport.close()

    def eof_received(self) -> None:
        """Tell of a client that gives up without a word, as many do that do not accept our certificate."""
        if self._has_begun and self._is_shaking_hands:
            self._refuse(_GAVE_UP)

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room for another client, and tell of one that gives up even less politely."""
        if exc is not None:  # it was not ended by us, nor by its end of file
            self.eof_received()
        super().connection_lost(exc)

    def _refuse(self, reason: str) -> None:
        self._is_shaking_hands = False  # that is over: it is told of once
        self._clients.refuse(self._host, f"no TLS with it: {reason}")

    def _shake_hands(self) -> None:
        self._tls.do_handshake()
        self._is_shaking_hands = False
        self._patience_s = self._idle_timeout_s
        if not self._may_read(self._tls.getpeercert(binary_form=True) or b""):
            self._clients.refuse(self._host, "its certificate has none of the roles in `tls.roles`")
            self._answers = NothingAllowed()

    def _open_requests(self) -> None:
        """Answer what is there; raises SSLWantReadError when nothing is left."""
        while not self._transport.is_closing():
            count = self._tls.read(_SEALED_BYTES, super().get_buffer(-1))
            if count:
                super().buffer_updated(cast("int", count))  # bytes only where it is given no buffer
            else:  # the client has said goodbye
                self._end()

    def _send(self, answers: bytes) -> None:
        self._tls.write(answers)
        self._flush()

    def _end(self) -> None:
        with suppress(ssl.SSLError):  # the other side need not say goodbye
            self._tls.unwrap()
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._transport.write(self._outgoing.read())


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLZeroReturnError):
        return _GAVE_UP
    alert = alert_in(error)
    return f"{_GAVE_UP}: {alert}" if alert else (error.reason or str(error)).replace("_", " ").lower()
