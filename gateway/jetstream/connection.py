"""Connects to NATS: TLS, credentials and NKeys as secrets, and why a connection fails, in the user's words.

nats-py's own reconnection stays off: whoever connects must look again at what the server has, and has its own
back-off. Its NKeys need a library for one signature; `cryptography` signs here.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import StaleConnectionError
from nats.js.errors import NotFoundError, ServiceUnavailableError

from gateway.errors import ConfigError, TransientError, system_reason
from gateway.jetstream.config import NatsTls
from gateway.jetstream.subjects import subject_token
from gateway.tls import client_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.config.secrets import SecretSource
    from gateway.jetstream.config import NatsConfig

CONNECT_WITHIN_S: Final = 5
_PING_EVERY_S = 10  # a peer that vanishes without closing is found after two
_CLOSE_WITHIN_S = 2.0
_INFO_WITHIN_S = 3.0
_SEED = re.compile(rb"-BEGIN USER NKEY SEED-+\s+(\S+)\s")
_JWT = re.compile(rb"-BEGIN NATS USER JWT-+\s+(\S+)\s")
_SEED_BYTES = 36  # two of the kind, the key, two of the checksum
_USER_PREFIX = 20 << 3
_DENIED = re.compile(r"permissions violation for (\w+) to \"([^\"]*)\"", re.IGNORECASE)


class NatsConnection(Client):
    """A client that does not reconnect. `lost` is done, with the reason, once the connection has ended.

    `on_denied` is called with each permission that is missing: what needs it gets no answer.
    """

    def __init__(self, *, with_tls: bool) -> None:
        super().__init__()
        self._with_tls = with_tls
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.on_denied: Callable[[str], None] = lambda _: None
        self.failures: list[Exception] = []
        """Why servers did not let us in; what `connect` raises says only that there is none left."""

    async def report_error(self, error: Exception) -> None:
        """Handle what the server reports beside answers; nats-py calls it."""
        if not self.is_connected:
            self.failures.append(error)
        elif (reason := _denied_text(error)) is not None:
            self.on_denied(reason)

    async def mark_lost(self) -> None:
        """Complete `lost`; nats-py calls it."""
        error = self.last_error
        if self.lost.done():
            return
        if error is None or isinstance(error, OSError | StaleConnectionError):
            self.lost.set_result("the connection broke")
        else:
            self.lost.set_result(f"the server ended the connection: {error_reason(error)}")

    def _connect_command(self) -> bytes:
        """Make TLS known to asyncio's stream, as nats-py does not: it would log a warning at every end."""
        if self._with_tls:
            transport = self._transport._io_writer.transport  # type: ignore[union-attr]  # noqa: SLF001 - it has no other
            transport.get_protocol().connection_made(transport)
        return super()._connect_command()

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: FBT001, FBT002 - nats-py's
        """Insist on what the URL says: nats-py would go on in the clear where a server announces no TLS."""
        if initial_connection:
            if self._with_tls and not (info.get("tls_required") or info.get("tls_available")):
                raise NatsError("the server has no TLS: set it up there, or write nats:// in `servers`")
            if not self._with_tls and info.get("tls_required"):
                raise NatsError("the server requires TLS: write tls:// in `servers`")
            info["tls_required"] = self._with_tls
        await super()._process_info(info, initial_connection)

    async def _close(self, status: int, do_cbs: bool = True) -> None:  # noqa: FBT001, FBT002 - nats-py's
        """Write nothing more after an error: nats-py would fail at that, and not say that it is closed."""
        if self.last_error is not None:
            self._pending, self._pending_data_size = [], 0
        await super()._close(status, do_cbs)

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        """Read broken headers as none: nats-py would read nothing more, with each connection again."""
        try:
            found: dict[str, str] | None = await super()._process_headers(headers)
        except (IndexError, ValueError):
            return None
        return found


@asynccontextmanager
async def open_connection(config: NatsConfig, *, setting: str, name: str) -> AsyncIterator[NatsConnection]:
    """Yield a connected client, which does not reconnect.

    `setting` is the path of the settings, for messages. `name` is this gateway's: the server's monitoring
    shows it, and answers come below `_INBOX.<name>`, so that permissions can keep gateways apart.
    Raise TransientError if no server lets us in, GatewayError or ConfigError if secrets or certificates
    cannot be used.
    """
    context = await asyncio.to_thread(_tls_context, config, setting)
    public_key, login = await asyncio.to_thread(_login, config)
    client = NatsConnection(with_tls=context is not None)
    client._public_nkey = public_key  # noqa: SLF001 - only its own code for keys would set it
    try:
        await _connect(client, config, name=name, tls=context, **login)
        yield client
    finally:
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                await client.close()


async def _connect(client: NatsConnection, config: NatsConfig, *, name: str, **options: Any) -> None:
    servers = [str(server) for server in config.servers]
    try:
        async with asyncio.timeout(CONNECT_WITHIN_S * (len(servers) + 1)):
            await client.connect(
                servers,
                name=name,
                inbox_prefix=f"_INBOX.{subject_token(name)}",
                error_cb=client.report_error,
                closed_cb=client.mark_lost,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=CONNECT_WITHIN_S,
                ping_interval=_PING_EVERY_S,
                **options,
            )
    except (NatsError, OSError, TimeoutError) as error:
        cause = client.failures[-1] if client.failures else error
        raise TransientError(f"{', '.join(servers)}: {error_reason(cause)}") from error


def error_reason(error: Exception) -> str:
    """Return why something failed, in words, and what to check if the server refuses the login."""
    text = " ".join(str(error).removeprefix("nats: ").split()).strip("'\"")
    if "authorization violation" in text.lower() or "authentication" in text.lower():
        return f"{text}; check `credentials` or `nkey`, and the user at the server"
    if isinstance(error, ssl.SSLError):
        return (getattr(error, "verify_message", "") or error.reason or text).replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return system_reason(error)
    return text or ("no answer" if isinstance(error, TimeoutError) else type(error).__name__)


def _denied_text(error: Exception) -> str | None:
    """Return which permission is missing if that is what the server reports; None for other errors.

    nats-py has the subject in lower case.
    """
    found = _DENIED.search(str(error))
    if found is None:
        return None
    verb = "subscribe" if found[1].lower().startswith("sub") else "publish"
    return f"the user may not {verb} to {found[2]}: its `permissions` at the server must allow it"


async def missing_stream_text(client: Client, stream: str, subject: str) -> str:
    """Return why no stream takes a subject: it has to be set up, or no server leads it just now."""
    advice = "`gateway nats setup` shows what to do"
    try:
        info = await client.jetstream(timeout=_INFO_WITHIN_S).stream_info(stream)
    except NotFoundError:
        return f"there is no stream {stream}: {advice}"
    except ServiceUnavailableError as error:
        return f"JetStream is not available ({error.description or 'no server has it'}): {advice}"
    except (NatsError, TimeoutError):
        return f"no server leads the stream {stream} at present; if that lasts, {advice}"
    if info.cluster is not None and not info.cluster.leader:
        return f"the stream {stream} has no leader at present: most of its servers must run"
    return (
        f"the stream {stream} does not take {subject}, only {', '.join(info.config.subjects or ())}: {advice}"
    )


def _login(config: NatsConfig) -> tuple[str | None, dict[str, Any]]:
    """Return the public key of this gateway's NKey and nats-py's options; None without one.

    The secrets are read anew, so that renewed ones are used with the next connection.
    """
    if config.nkey is not None:
        public_key, sign = _signer(config.nkey, config.nkey.resolve().reveal())
        return public_key, {"signature_cb": sign}
    if config.credentials is None:
        return None, {}
    content = config.credentials.resolve().reveal() + b"\n"
    jwt, seed = _JWT.search(content), _SEED.search(content)
    if jwt is None or seed is None:
        raise ConfigError([f"the secret {config.credentials} is no .creds file: it has a JWT and an NKey"])
    public_key, sign = _signer(config.credentials, seed[1])
    return public_key, {"signature_cb": sign, "user_jwt_cb": lambda: bytearray(jwt[1])}


def _signer(source: SecretSource, seed: bytes) -> tuple[str, Callable[[str], bytes]]:
    """Return the public key of a user's NKey, and what signs a nonce of the server with it, in base64."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - slow to load

    try:
        raw = base64.b32decode(seed.strip() + b"=" * (-len(seed.strip()) % 8))
    except binascii.Error:
        raw = b""
    if len(raw) != _SEED_BYTES or not seed.startswith(b"SU"):
        raise ConfigError([f"the secret {source} is no seed of a user's NKey: that begins with SU"])
    key = Ed25519PrivateKey.from_private_bytes(raw[2:-2])
    public = bytes([_USER_PREFIX]) + key.public_key().public_bytes_raw()
    encoded = base64.b32encode(public + binascii.crc_hqx(public, 0).to_bytes(2, "little")).decode()
    return encoded.rstrip("="), lambda nonce: base64.b64encode(key.sign(nonce.encode()))


def _tls_context(config: NatsConfig, setting: str) -> ssl.SSLContext | None:
    if not config.servers[0].tls:
        return None
    tls = config.tls or NatsTls()
    return client_context(f"{setting}.tls", authority=tls.ca, certificate=tls.certificate, key=tls.key)
