"""What the gateway speaks where it is the client."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from support.authority import Authority
from support.cipher_suites import FORWARD_SECRET, all_suites

from gateway.tls import client_context

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", FORWARD_SECRET)
async def test_a_server_with_weak_suites_alone_is_not_spoken_to(tmp_path: Path, kind: str) -> None:
    """With each suite of TLS 1.2 in turn as a server's only one: forward-secret ones work, no other does."""
    authority = Authority(tmp_path)
    pair = authority.issue("server", kind=kind)
    ours = client_context("test", authority=authority.certificate, certificate=None, key=None)
    spoken = {suite for suite in all_suites() if await is_spoken(ours, offering(suite, pair))}
    assert spoken == FORWARD_SECRET[kind]


def offering(suite: str, pair: tuple[Path, Path]) -> ssl.SSLContext:
    """Return a server that speaks one suite of TLS 1.2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{suite}:@SECLEVEL=0")
    context.load_cert_chain(*pair)
    return context


async def is_spoken(client: ssl.SSLContext, server: ssl.SSLContext) -> bool:
    """Say whether both come to a handshake."""

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listening = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=server)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        with suppress(ssl.SSLError, ConnectionError):
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
            writer.transport.abort()
            return True
    return False
