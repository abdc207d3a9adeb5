"""The cipher suites that the gateway accepts as a client."""

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
async def test_only_forward_secret_suites_connect(tmp_path: Path, kind: str) -> None:
    """Of all suites of TLS 1.2, only forward-secret ones connect."""
    authority = Authority(tmp_path)
    pair = authority.issue("server", kind=kind)
    ours = client_context("test", authority=authority.certificate, certificate=None, key=None)
    spoken = {suite for suite in all_suites() if await handshake_succeeds(ours, offering(suite, pair))}
    assert spoken == FORWARD_SECRET[kind]


def offering(suite: str, pair: tuple[Path, Path]) -> ssl.SSLContext:
    """Return a server with one suite of TLS 1.2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{suite}:@SECLEVEL=0")
    context.load_cert_chain(*pair)
    return context


async def handshake_succeeds(client: ssl.SSLContext, server: ssl.SSLContext) -> bool:
    """Return whether the handshake succeeds."""

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
