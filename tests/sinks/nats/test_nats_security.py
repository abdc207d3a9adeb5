"""The NATS sink behind TLS, keys and permissions: what is missing is named."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.authority import Authority
from support.nats_parts import NatsRig, Operator, make_copies, make_copy, secret_file
from support.nats_servers import NatsServer, UserKey, add_stream, read_stream

from gateway.jetstream.config import NatsTls

if TYPE_CHECKING:
    from pathlib import Path

SETUP = "{user: admin, password: admin}"
ADMIN: dict[str, Any] = {"user": "admin", "password": "admin"}


async def test_credentials_over_tls_with_a_client_certificate(tmp_path: Path) -> None:
    """A user with a credentials file publishes over TLS; the server asks for a certificate as well."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("client", "extendedKeyUsage = clientAuth")
    operator = Operator()
    with NatsServer(
        tmp_path,
        tls=authority.issue("server"),
        client_authority=authority.certificate,
        settings=operator.settings,
    ) as server:
        credentials = secret_file(tmp_path / "intake.creds", operator.credentials())
        rig = NatsRig(
            server.url,
            credentials=credentials,
            tls=NatsTls(ca=authority.certificate, certificate=certificate, key=key),
        )
        async with rig.sink:
            await rig.until_error(make_copies(1, 5), "there is no stream INFODECK")


def permitted(key: UserKey, *, publish: str, subscribe: str) -> str:
    """Return a server's settings with one user of these permissions beside the administrator."""
    permissions = f"{{publish: {publish}, subscribe: {subscribe}}}"
    return f"authorization {{users: [{SETUP}, {{nkey: {key.public}, permissions: {permissions}}}]}}"


async def test_an_nkey_with_the_least_permissions(tmp_path: Path) -> None:
    """The sink needs to publish to its organization, and to receive below its own inbox, no more."""
    key = UserKey()
    settings = permitted(key, publish='["infodeck.o-x.>"]', subscribe='["_INBOX.edge-1.>"]')
    with NatsServer(tmp_path, settings=settings) as server:
        await add_stream(server.url, **ADMIN)
        rig = NatsRig(server.url, nkey=secret_file(tmp_path / "nkey", key.seed))
        async with rig.sink:
            await rig.deliver(make_copies(1, 50))
        assert len(await read_stream(server.url, **ADMIN)) == 50


@pytest.mark.parametrize(
    ("permissions", "words"),
    [
        (
            {"publish": '["infodeck.other.>"]', "subscribe": '["_INBOX.>"]'},
            "the user may not publish to infodeck.o-x._.ast-1: its `permissions` at the server must allow it",
        ),
        (
            {"publish": '["infodeck.>"]', "subscribe": '["_INBOX.other.>"]'},
            "the user may not subscribe to _inbox.edge-1.",
        ),
    ],
)
async def test_a_missing_permission_is_named(tmp_path: Path, permissions: dict[str, Any], words: str) -> None:
    """The reason says which permission the user lacks; with it, the events are published."""
    key = UserKey()
    with NatsServer(tmp_path, settings=permitted(key, **permissions)) as server:
        await add_stream(server.url, **ADMIN)
        rig = NatsRig(server.url, nkey=secret_file(tmp_path / "nkey", key.seed))
        async with rig.sink:
            await rig.until_error(make_copies(1, 5), words)
            assert rig.status.reconnects == 0


async def test_a_permission_that_one_event_lacks(tmp_path: Path) -> None:
    """Those before it are not published again and again, even if the server has forgotten their ids."""
    key = UserKey()
    settings = permitted(key, publish='["infodeck.o-x._.a"]', subscribe='["_INBOX.>"]')
    with NatsServer(tmp_path, settings=settings) as server:
        await add_stream(server.url, duplicate_window_s=0.1, **ADMIN)
        rig = NatsRig(server.url, nkey=secret_file(tmp_path / "nkey", key.seed))
        batch = [*(make_copy(number, "a") for number in range(1, 6)), make_copy(6, "b"), make_copy(7, "a")]
        counts = []
        async with rig.sink:
            for _ in range(8):
                await rig.until_error(batch, "may not publish to infodeck.o-x._.b")
                await asyncio.sleep(0.3)  # until the server has forgotten the ids
                counts.append(len(await read_stream(server.url, **ADMIN)))
        assert counts[-1] == counts[-4] < 15
