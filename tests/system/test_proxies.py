"""The examples for nginx and Caddy, run by the real servers in front of the real gateway."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.authority import Authority
from support.building import eventually
from support.cipher_suites import FORWARD_SECRET, spoken_at
from support.daemon import Daemon, sign, telemetry
from support.mosquitto import Mosquitto
from support.proxies import CADDY, KEPT, NGINX, Proxy, caddy, nginx, running_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOM = "ast-a1b2c3d4"
EXAMPLES = [(nginx, NGINX / "gateway.conf"), (caddy, CADDY / "Caddyfile")]


@dataclass
class Proxied(Proxy):
    """A proxy with a gateway behind it."""

    daemon: Daemon


@pytest.fixture(params=EXAMPLES, ids=["nginx", "caddy"], scope="module")
def proxied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """Run broker, gateway and each proxy, for all tests of this file."""
    folder = tmp_path_factory.mktemp("proxied")
    command, example = request.param
    with Mosquitto(folder) as broker:
        daemon = Daemon(folder, broker.port)
        daemon.start()
        addresses = {"127.0.0.1:8080": f"127.0.0.1:{daemon.intake_port}"}
        try:
            with running_proxy(
                folder, command, example, authority=Authority(folder), addresses=addresses
            ) as proxy:
                yield Proxied(proxy.port, proxy.authority, daemon)
        finally:
            daemon.kill()


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
        socket.create_connection(("127.0.0.1", proxied.port), timeout=60) as connection,
        pytest.raises(ssl.SSLError),
    ):
        old.wrap_socket(connection, server_hostname="127.0.0.1")


def test_forward_secret_suites_only(proxied: Proxied) -> None:
    """Of all suites of TLS 1.2, the proxy accepts those with ephemeral keys and authenticated encryption."""
    assert spoken_at(proxied.port) == FORWARD_SECRET["RSA"]


@pytest.mark.parametrize("name", ["gateway.conf", "intakes.conf"])
def test_nginx_examples_are_valid_as_they_are(tmp_path: Path, name: str) -> None:
    """`nginx -t` reports nothing but the missing certificate."""
    certificate, key = Authority(tmp_path).issue("proxy")
    site = (NGINX / name).read_text().replace(f"{KEPT}/fullchain.pem", str(certificate))
    (tmp_path / name).write_text(site.replace(f"{KEPT}/privkey.pem", str(key)))
    whole = f"pid {tmp_path}/pid; events {{}} http {{ access_log off; include {tmp_path}/{name}; }}"
    (tmp_path / "nginx.conf").write_text(whole)
    tested = subprocess.run(
        ["nginx", "-t", "-p", tmp_path, "-e", tmp_path / "error.log", "-c", tmp_path / "nginx.conf"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stderr


@pytest.mark.parametrize("name", ["Caddyfile", "Caddyfile.intakes"])
def test_caddy_examples_are_valid_as_they_are(tmp_path: Path, name: str) -> None:
    """`caddy adapt` accepts them, and `caddy fmt` would change nothing."""
    shutil.copy(CADDY / name, tmp_path)
    for command in (["adapt", "--adapter", "caddyfile", "--config"], ["fmt", "--diff"]):
        done = subprocess.run(
            ["caddy", *command, tmp_path / name], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert not [line for line in done.stdout.splitlines() if line.startswith(("+", "-"))]
