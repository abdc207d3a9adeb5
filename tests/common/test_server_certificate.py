"""A server's certificate is renewed for new connections while open ones go on."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from typing import TYPE_CHECKING

import pytest
import uvloop
from structlog.testing import capture_logs
from support.authority import Authority
from support.waiting import until

from gateway.errors import GatewayError
from gateway.tls import ServerCertificate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Files:
    """The certificate and key that a server reads, and an authority that renews them."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.certificate, self.key = folder / "server.pem", folder / "server.key"
        self.install("first")

    def install(self, holder: str) -> None:
        """Put a new pair in the place of the present one, one file after the other."""
        certificate, key = self.authority.issue(holder)
        shutil.copy(certificate, self.certificate)
        shutil.copy(key, self.key)

    def client(self) -> ssl.SSLContext:
        """Return the context of a client that trusts the authority."""
        context = ssl.create_default_context(cafile=self.authority.certificate)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo until the client closes."""
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


def holder_seen(writer: asyncio.StreamWriter) -> str:
    """Return the name in the server's certificate."""
    certificate = writer.get_extra_info("peercert")
    return str(dict(pair for (pair,) in certificate["subject"])["commonName"])


async def connect(server: asyncio.Server, files: Files) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect as a client that checks the certificate."""
    port = server.sockets[0].getsockname()[1]
    return await asyncio.open_connection("127.0.0.1", port, ssl=files.client())


async def renew(folder: Path) -> None:
    """Renew a certificate while clients are connected, then spoil it."""
    files = Files(folder)
    served = ServerCertificate("intake.tls", files.certificate, files.key)
    keeping = asyncio.create_task(served.keep_current(poll_s=0.02))
    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=served.lasting)
    reader, writer = await connect(server, files)
    assert holder_seen(writer) == "first"
    with capture_logs() as logs:
        files.install("second")
        await until(lambda: any(log["event"] == "certificate.renewed" for log in logs))
        writer.write(b"still here\n")
        assert await reader.readline() == b"still here\n"
        _, newer = await connect(server, files)
        assert holder_seen(newer) == "second"
        files.key.write_text("half a k")
        await until(lambda: any(log["event"] == "certificate.refused" for log in logs))
        _, newest = await connect(server, files)
        assert holder_seen(newest) == "second"
        refused = [log for log in logs if log["event"] == "certificate.refused"]
    assert len(refused) == 1
    assert refused[0]["reason"].startswith(f"intake.tls: {files.certificate} and {files.key} can't be used: ")
    for each in (writer, newer, newest):
        each.close()
    keeping.cancel()
    server.close()


@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_new_connections_get_the_renewed_certificate(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Open connections go on, half-written files change nothing, and each change has one log line."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(renew(tmp_path))


def test_a_certificate_that_cannot_be_used_at_the_start_is_an_error(tmp_path: Path) -> None:
    """The error has the setting and the files."""
    files = Files(tmp_path)
    files.certificate.write_text("")
    with pytest.raises(GatewayError, match=r"^intake\.tls: .*server\.pem and .*server\.key can't be used: "):
        ServerCertificate("intake.tls", files.certificate, files.key)
