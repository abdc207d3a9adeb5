"""The examples for nginx and Caddy as real servers: only addresses and certificates differ from the files."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.building import eventually
from support.daemon import REPOSITORY, sign
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from support.authority import Authority

PATH = "/webhooks/infodeck"
NGINX = REPOSITORY / "config/nginx"
CADDY = REPOSITORY / "config/caddy"
KEPT = "/etc/letsencrypt/live/gateway.example.com"


@dataclass
class Proxy:
    """A running proxy, and a client that trusts its certificate."""

    port: int
    authority: Authority

    def ask(
        self, body: bytes, *, path: str = PATH, method: str = "POST", signature: str | None = None
    ) -> int:
        """Return the status of the answer."""
        with closing(
            http.client.HTTPSConnection("127.0.0.1", self.port, context=self.client())
        ) as connection:
            connection.request(method, path, body, {"X-Infodeck-Signature": signature or sign(body)})
            return connection.getresponse().status

    def client(self) -> ssl.SSLContext:
        """Return the TLS context of a client."""
        context = ssl.create_default_context(cafile=self.authority.certificate)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

    def is_listening(self) -> bool:
        """Return whether the proxy accepts connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def replaced(text: str, by: Mapping[str, str]) -> str:
    """Return the text after these replacements, each of which must apply."""
    for old, new in by.items():
        assert old in text
        text = text.replace(old, new)
    return text


def nginx(folder: Path, example: Path, proxy: Proxy, addresses: Mapping[str, str]) -> list[str]:
    """Return the command of an example, with other `addresses` of gateways."""
    certificate, key = proxy.authority.issue("proxy", kind="RSA")
    site = replaced(
        example.read_text(),
        {
            "listen 443 ssl;": f"listen 127.0.0.1:{proxy.port} ssl;",
            "    listen [::]:443 ssl;\n": "",
            f"{KEPT}/fullchain.pem": str(certificate),
            f"{KEPT}/privkey.pem": str(key),
            **addresses,
        },
    )
    (folder / "gateway.conf").write_text(site)
    own = "".join(
        f"{what}_temp_path {folder}/{what};" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; user root; pid {folder}/pid; error_log {folder}/error.log; events {{}}"
        f" http {{ access_log off; {own} include {folder}/gateway.conf; }}"
    )
    return ["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, example: Path, proxy: Proxy, addresses: Mapping[str, str]) -> list[str]:
    """Return the command of an example, with other `addresses` of gateways."""
    certificate, key = proxy.authority.issue("proxy", kind="RSA")
    named = {"gateway.example.com {": f"https://127.0.0.1:{proxy.port} {{\n\ttls {certificate} {key}"}
    site = replaced(example.read_text(), {**named, **addresses})
    (folder / "Caddyfile").write_text(
        f"{{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system {folder}\n}}\n{site}"
    )
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@contextmanager
def running_proxy(
    folder: Path,
    command: Callable[[Path, Path, Proxy, Mapping[str, str]], list[str]],
    example: Path,
    *,
    authority: Authority,
    addresses: Mapping[str, str],
) -> Iterator[Proxy]:
    """Run `nginx` or `caddy` with an example, in front of gateways at other `addresses`."""
    proxy = Proxy(free_port(), authority)
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(
            command(folder, example, proxy, addresses), stdout=log, stderr=log, cwd=folder
        )
    try:
        eventually(proxy.is_listening, True)  # noqa: FBT003 - what is compared
        yield proxy
    finally:
        process.terminate()
        process.wait(timeout=60)
