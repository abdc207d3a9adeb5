"""Connections to real nats-servers: TLS, NKeys, and the words for what goes wrong."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from support.authority import Authority
from support.link import Link
from support.nats_servers import NatsServer, UserKey
from support.ports import free_port

from gateway.config.secrets import SecretSource
from gateway.errors import ConfigError, GatewayError, TransientError
from gateway.jetstream.config import NatsConfig, NatsTls, parse_nats_url
from gateway.jetstream.connection import open_connection

if TYPE_CHECKING:
    from pathlib import Path


async def connect(url: str, **settings: Any) -> str:
    """Connect once; return the server's name."""
    config = NatsConfig(servers=(parse_nats_url(url),), stream="INFODECK", **settings)
    async with open_connection(config, setting="source", name="hq") as client:
        await client.flush()
        return str(client._server_info["server_name"])


def secret(folder: Path, content: str) -> SecretSource:
    """Write a secret into a file of its own."""
    file = folder / "secret"
    file.write_text(content)
    file.chmod(0o600)
    return SecretSource("file", str(file))


async def test_an_nkey_opens_the_door_to_its_user_alone(tmp_path: Path) -> None:
    """The seed signs the server's challenge; another one is refused, with what to check."""
    ours, other = UserKey(), UserKey()
    settings = f"authorization {{users: [{{nkey: {ours.public}}}]}}"
    with NatsServer(tmp_path, settings=settings) as server:
        assert await connect(server.url, nkey=secret(tmp_path, ours.seed + "\n")) == "nats-1"
        for login in ({"nkey": secret(tmp_path, other.seed)}, {}):
            with pytest.raises(TransientError, match=r"Authorization Violation.*check `credentials`"):
                await connect(server.url, **login)


@pytest.mark.parametrize("content", ["SUA", "not a seed", "SAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"])
async def test_secrets_of_another_kind_are_named(tmp_path: Path, content: str) -> None:
    """What is no seed and no .creds file is reported with its place, without what it contains."""
    source = secret(tmp_path, content)
    url = f"nats://127.0.0.1:{free_port()}"
    with pytest.raises(ConfigError, match="no seed of a user's NKey") as nkey:
        await connect(url, nkey=source)
    with pytest.raises(ConfigError, match=r"is no \.creds file") as credentials:
        await connect(url, credentials=source)
    assert content not in str(nkey.value) + str(credentials.value)


async def test_tls_needs_a_certificate_that_we_trust(tmp_path: Path) -> None:
    """With its authority the server is accepted, without it the reason is given."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    with NatsServer(tmp_path, tls=(certificate, key)) as server:
        assert await connect(server.url, tls=NatsTls(ca=authority.certificate)) == "nats-1"
        with pytest.raises(TransientError, match="unable to get local issuer certificate"):
            await connect(server.url)
        with pytest.raises(GatewayError, match=rf"source.tls: {tmp_path}/none can't be read"):
            await connect(server.url, tls=NatsTls(ca=tmp_path / "none"))


async def test_a_tls_connection_ends_without_noise(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A server that is killed ends `lost` with the reason, and asyncio has nothing to log."""
    authority = Authority(tmp_path)
    with NatsServer(tmp_path, tls=authority.issue("server")) as server:
        url, tls = parse_nats_url(server.url), NatsTls(ca=authority.certificate)
        config = NatsConfig(servers=(url,), stream="INFODECK", tls=tls)
        async with open_connection(config, setting="source", name="hq") as client:
            server.kill()
            assert await client.lost == "the connection broke"
    assert caplog.records == []


async def test_a_refused_login_over_tls_makes_no_noise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason is raised, and asyncio has nothing to log: a gateway tries again for as long as it takes."""
    authority, ours = Authority(tmp_path), UserKey()
    settings = f"authorization {{users: [{{nkey: {ours.public}}}]}}"
    with NatsServer(tmp_path, tls=authority.issue("server"), settings=settings) as server:
        with pytest.raises(TransientError, match="Authorization Violation"):
            await connect(
                server.url, tls=NatsTls(ca=authority.certificate), nkey=secret(tmp_path, UserKey().seed)
            )
        await asyncio.sleep(0)  # until the transport has reported its end
    assert caplog.records == []


async def test_the_url_decides_about_tls(tmp_path: Path) -> None:
    """A server without TLS gets no connection by a tls:// URL; one with TLS says that it needs such a URL."""
    certificate, key = Authority(tmp_path).issue("server")
    with (
        NatsServer(tmp_path) as plain,
        NatsServer(tmp_path, name="nats-2", tls=(certificate, key)) as secured,
    ):
        with pytest.raises(TransientError, match=r"the server has no TLS: .* write nats://"):
            await connect(plain.url.replace("nats:", "tls:"))
        with pytest.raises(TransientError, match="the server requires TLS: write tls://"):
            await connect(secured.url.replace("tls:", "nats:"))


async def test_no_server() -> None:
    """A server that is away is named, with the system's reason."""
    port = free_port()
    with pytest.raises(TransientError, match=rf"^nats://127.0.0.1:{port}: {os.strerror(111)}"):
        await connect(f"nats://127.0.0.1:{port}")


async def test_a_loss_is_noticed_with_data_to_write(tmp_path: Path) -> None:
    """A connection that is reset while something waits to be written ends `lost`, as any other."""
    with NatsServer(tmp_path) as server:
        async with Link(server.port, delay_s=0.05) as link:
            config = NatsConfig(servers=(parse_nats_url(f"nats://127.0.0.1:{link.port}"),), stream="INFODECK")
            async with (
                open_connection(config, setting="source", name="hq") as client,
                asyncio.timeout(60),
            ):
                for _ in range(20):  # more than the link has read when it is cut
                    await client.publish("a", bytes(100_000))
                    await asyncio.sleep(0)
                await client._send_command(b"PUB a 0\r\n\r\n")
                await link.cut()
                assert await client.lost == "the connection broke"
