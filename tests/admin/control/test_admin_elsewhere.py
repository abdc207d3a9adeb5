"""The admin port for other machines: over TLS or behind a proxy, and only with the token."""

from __future__ import annotations

import base64
import socket
import ssl
import urllib.error
import urllib.request
from contextlib import ExitStack
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
from support.certificates import make_authority
from support.daemon import REPOSITORY, Daemon
from support.ports import free_port
from support.processes import run_gateway
from support.waiting import until

from gateway.admin.admin_server import Admission
from gateway.config.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "made-up-admin-token-1"
ELSEWHERE = {"X-Forwarded-For": "192.0.2.77"}
PATHS = ("/", "/static/main.js", "/metrics", "/api/status", "/api/points", "/healthz", "/readyz")


def basic(token: str) -> dict[str, str]:
    """Return the header that a browser sends."""
    return {"Authorization": "Basic " + base64.b64encode(f"anybody:{token}".encode()).decode()}


class AdminDaemon(Daemon):
    """A daemon with these admin settings; `ask` sends requests over HTTPS or HTTP."""

    def prepare(self, admin: str, *, token: str = TOKEN) -> None:
        """Write the settings, and the token."""
        (self.folder / "token").touch(mode=0o600)
        (self.folder / "token").write_text(token)
        settings = self.config.read_text()
        listen = f'admin: {{listen: "127.0.0.1:{self.admin_port}"}}'
        assert listen in settings
        self.config.write_text(settings.replace(listen, f"admin: {{{admin}}}"))

    def ask(self, path: str, headers: dict[str, str], *, scheme: str = "https") -> tuple[int, dict[str, str]]:
        """Return status and headers of the answer."""
        context = None
        if scheme == "https":
            context = ssl.create_default_context(cafile=self.folder / "ca.pem")
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the authority is made by `openssl req -x509`
        request = urllib.request.Request(f"{scheme}://127.0.0.1:{self.admin_port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60, context=context) as answer:
                return answer.status, dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers)


@pytest.fixture(scope="module")
def open_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdminDaemon]:
    """Run a daemon whose admin port listens on all addresses, with TLS."""
    folder = make_authority(tmp_path_factory.mktemp("gw"))
    (folder / "broker.key").chmod(0o600)
    daemon = AdminDaemon(folder, free_port(), REPOSITORY / "mappings")
    daemon.prepare(
        f'listen: "0.0.0.0:{daemon.admin_port}", token: {{file: token}},'
        " tls: {certificate: broker.pem, key: broker.key}"
    )
    process = daemon.launch()
    while (
        run_gateway("status", "-c", daemon.config).returncode not in (0, 1)
        or "gateway.ready" not in daemon.log
    ):
        assert process.poll() is None, daemon.log
    yield daemon
    daemon.kill()


@pytest.mark.parametrize("path", PATHS)
def test_from_elsewhere_the_token_is_needed(open_daemon: AdminDaemon, path: str) -> None:
    """Other machines need the token for every path, as a Bearer or as a Basic password."""
    code, headers = open_daemon.ask(path, ELSEWHERE)
    assert (code, headers["WWW-Authenticate"].partition(" ")[0]) == (401, "Basic")
    for wrong in ({"Authorization": "Bearer wrong"}, basic("wrong"), {"Authorization": "Basic ?"}):
        assert open_daemon.ask(path, ELSEWHERE | wrong)[0] == 401
    for right in ({"Authorization": f"Bearer {TOKEN}"}, basic(TOKEN)):
        assert open_daemon.ask(path, ELSEWHERE | right | {"Host": "gateway.example.com"})[0] == 200


def test_actions_need_a_bearer(open_daemon: AdminDaemon) -> None:
    """A Basic password is not enough, because browsers send it for requests of any page."""
    code, headers = open_daemon.ask("/api/actions/token", ELSEWHERE | basic(TOKEN))
    assert (code, "WWW-Authenticate" in headers) == (401, False)
    assert open_daemon.ask("/api/actions/token", ELSEWHERE | {"Authorization": f"Bearer {TOKEN}"})[0] == 200


def test_this_machine_needs_no_token(open_daemon: AdminDaemon) -> None:
    """Requests to a foreign host name are refused all the same."""
    assert open_daemon.ask("/healthz", {})[0] == 200
    assert open_daemon.ask("/healthz", {"Host": "evil.example.com"})[0] == 403
    shown = run_gateway("status", "-c", open_daemon.config)
    assert "test-box" in shown.stdout, shown.stderr


def test_an_open_dashboard_keeps_its_connection(open_daemon: AdminDaemon) -> None:
    """Its stream outlasts more silent connections than the port allows."""
    connections = 200
    context = ssl._create_unverified_context()  # noqa: S323 - whose certificate it is does not matter here
    url = f"https://127.0.0.1:{open_daemon.admin_port}/api/stream"
    page = urllib.request.Request(url, headers=ELSEWHERE | basic(TOKEN))
    with urllib.request.urlopen(page, timeout=60, context=context) as stream, ExitStack() as stack:
        assert stream.readline() == b"event: tables\n"
        for _ in range(connections):
            silent = socket.create_connection(
                ("127.0.0.1", open_daemon.admin_port), timeout=60, source_address=("127.0.0.2", 0)
            )
            stack.enter_context(silent)
        assert open_daemon.ask("/readyz", ELSEWHERE | basic(TOKEN))[0] == 200
        lines = [stream.readline() for _ in range(40)]
    assert all(lines), "the page was cut off"


async def test_behind_a_proxy_on_this_machine(tmp_path: Path) -> None:
    """Requests through the proxy need the token; plain HTTP is accepted from it."""
    daemon = AdminDaemon(tmp_path, free_port(), REPOSITORY / "mappings")
    daemon.prepare(
        f'listen: "0.0.0.0:{daemon.admin_port}", token: {{file: token}}, trusted_proxies: [192.0.2.0/24]'
    )
    daemon.start()
    try:
        assert daemon.ask("/metrics", ELSEWHERE, scheme="http")[0] == 401
        assert daemon.ask("/metrics", ELSEWHERE | basic(TOKEN), scheme="http")[0] == 200
        await until(lambda: daemon.ask("/readyz", {}, scheme="http")[0] == 200)
    finally:
        daemon.kill()


@pytest.mark.parametrize(
    ("peer", "may"),
    [("127.0.0.1", True), ("198.51.100.9", True), ("192.0.2.7", True), ("192.0.3.7", False), ("::1", True)],
)
def test_plain_http_is_accepted_from_trusted_proxies_only(peer: str, may: bool) -> None:  # noqa: FBT001 - a case
    """And from this machine, at any of its addresses."""
    admission = Admission(Secret(TOKEN.encode()), trusted_proxies=[ip_network("192.0.2.0/24")])
    assert admission.may_connect(peer, own="198.51.100.9") == may


def test_a_short_token_is_refused(tmp_path: Path) -> None:
    """The gateway does not start, and the message says what to do."""
    daemon = AdminDaemon(tmp_path, free_port(), REPOSITORY / "mappings")
    daemon.prepare(f'listen: "127.0.0.1:{daemon.admin_port}", token: {{file: token}}', token="a" * 19)
    done = run_gateway("run", "-c", daemon.config)
    assert done.returncode == 1
    assert "admin.token: a token has 20 characters or more: `openssl rand -hex 16` makes one" in done.stderr
