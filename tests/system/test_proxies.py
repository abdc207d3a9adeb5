"""The examples for nginx and Caddy, run by the real servers in front of the real gateway."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
import subprocess
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.authority import Authority
from support.building import eventually
from support.cipher_suites import FORWARD_SECRET, spoken_at
from support.daemon import REPOSITORY, Daemon, sign, telemetry
from support.mosquitto import Mosquitto
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROOM = "ast-a1b2c3d4"
PATH = "/webhooks/infodeck"
NGINX = REPOSITORY / "config/nginx/gateway.conf"
CADDY = REPOSITORY / "config/caddy/Caddyfile"
KEPT = "/etc/letsencrypt/live/gateway.example.com"


@dataclass
class Proxied:
    """A gateway behind a proxy, and a client that trusts the proxy's certificate."""

    daemon: Daemon
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


def replaced(text: str, **by: str) -> str:
    """Return the text after these replacements, each of which must apply."""
    for old, new in by.items():
        assert old in text
        text = text.replace(old, new)
    return text


def nginx(folder: Path, proxied: Proxied) -> list[str]:
    """Return the command; only addresses and files differ from the example."""
    certificate, key = proxied.authority.issue("proxy", kind="RSA")
    site = replaced(
        NGINX.read_text(),
        **{
            "listen 443 ssl;": f"listen 127.0.0.1:{proxied.port} ssl;",
            "    listen [::]:443 ssl;\n": "",
            "127.0.0.1:8080": f"127.0.0.1:{proxied.daemon.intake_port}",
            f"{KEPT}/fullchain.pem": str(certificate),
            f"{KEPT}/privkey.pem": str(key),
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


def caddy(folder: Path, proxied: Proxied) -> list[str]:
    """Return the command; only addresses and certificate differ from the example."""
    certificate, key = proxied.authority.issue("proxy", kind="RSA")
    site = replaced(
        CADDY.read_text(),
        **{
            "gateway.example.com {": f"https://127.0.0.1:{proxied.port} {{\n\ttls {certificate} {key}",
            "127.0.0.1:8080": f"127.0.0.1:{proxied.daemon.intake_port}",
        },
    )
    (folder / "Caddyfile").write_text(
        f"{{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system {folder}\n}}\n{site}"
    )
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@contextmanager
def running(folder: Path, command: Callable[[Path, Proxied], list[str]]) -> Iterator[Proxied]:
    """Run broker, gateway and proxy."""
    with Mosquitto(folder) as broker:
        proxied = Proxied(Daemon(folder, broker.port), free_port(), Authority(folder))
        proxied.daemon.start()
        with (folder / "proxy.log").open("wb") as log:
            process = subprocess.Popen(command(folder, proxied), stdout=log, stderr=log, cwd=folder)
        try:
            eventually(proxied.is_listening, True)  # noqa: FBT003 - what is compared
            yield proxied
        finally:
            process.terminate()
            process.wait(timeout=20)
            proxied.daemon.kill()


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"], scope="module")
def proxied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """Run the gateway behind each, for all tests of this file."""
    with running(tmp_path_factory.mktemp("proxied"), request.param) as found:
        yield found


def test_signed_deliveries_arrive_and_nothing_else_does(proxied: Proxied) -> None:
    """The body arrives unchanged; other paths and methods end at the proxy."""
    body = telemetry("evt_1", ROOM, {"temperature": 21.5})
    before = proxied.daemon.status()
    assert proxied.ask(body) == 200
    assert proxied.ask(body + b" ", signature=sign(body)) == 401
    assert proxied.ask(body, path="/api/status") == 404
    assert proxied.ask(b"", method="GET") in (403, 404)
    status = proxied.daemon.status()
    assert status["journal"]["accepted"] == before["journal"]["accepted"] + 1
    answers = Counter(status["intake"]["answers"]) - Counter(before["intake"]["answers"])
    assert answers == {"200": 1, "401": 1}


def test_a_large_body_ends_at_the_proxy(proxied: Proxied) -> None:
    """A body of the gateway's limit arrives, a larger one gets 413, or Caddy's 502."""
    filler = telemetry("evt_2", ROOM, {"text": ""})
    whole = telemetry("evt_2", ROOM, {"text": "x" * ((1 << 20) - len(filler))})
    before = proxied.daemon.status()["journal"]["accepted"]
    assert len(whole) == 1 << 20
    assert proxied.ask(whole) == 200
    assert proxied.ask(whole + b" " * 1024) in (413, 502)
    assert proxied.daemon.status()["journal"]["accepted"] == before + 1


def test_without_the_gateway_deliveries_fail(proxied: Proxied) -> None:
    """Infodeck repeats them, and the gateway accepts the same delivery once it is back."""
    body = telemetry("evt_3", ROOM, {"temperature": 21.5})
    proxied.daemon.stop()
    assert proxied.ask(body) == 502
    proxied.daemon.start()
    eventually(lambda: proxied.ask(body), 200)


def test_old_tls_is_refused(proxied: Proxied) -> None:
    """The proxy refuses TLS 1.1."""
    old = proxied.client()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", proxied.port), timeout=5) as connection,
        pytest.raises(ssl.SSLError),
    ):
        old.wrap_socket(connection, server_hostname="127.0.0.1")


def test_forward_secret_suites_only(proxied: Proxied) -> None:
    """Of all suites of TLS 1.2, the proxy accepts those with ephemeral keys and authenticated encryption."""
    assert spoken_at(proxied.port) == FORWARD_SECRET["RSA"]


def test_the_examples_are_valid_as_they_are(tmp_path: Path) -> None:
    """`nginx -t` and `caddy adapt` report nothing but the missing certificate."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("proxy")
    site = NGINX.read_text().replace(
        "/etc/letsencrypt/live/gateway.example.com/fullchain.pem", str(certificate)
    )
    (tmp_path / "gateway.conf").write_text(
        site.replace("/etc/letsencrypt/live/gateway.example.com/privkey.pem", str(key))
    )
    whole = f"pid {tmp_path}/pid; events {{}} http {{ access_log off; include {tmp_path}/gateway.conf; }}"
    (tmp_path / "nginx.conf").write_text(whole)
    tested = subprocess.run(
        ["nginx", "-t", "-p", tmp_path, "-e", tmp_path / "error.log", "-c", tmp_path / "nginx.conf"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stderr
    shutil.copy(CADDY, tmp_path)
    adapted = subprocess.run(
        ["caddy", "fmt", "--diff", tmp_path / "Caddyfile"], capture_output=True, text=True, check=False
    )
    assert adapted.returncode == 0, adapted.stderr
    assert not [line for line in adapted.stdout.splitlines() if line.startswith(("+", "-"))]
