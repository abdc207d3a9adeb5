"""Requests to Infodeck's API through an HTTP proxy, by setting and by environment."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.authority import Authority
from support.config_files import write
from support.daemon import REPOSITORY
from support.forward_proxy import forward_proxy
from support.ports import free_port
from support.raw_server import http, raw_server
from support.webhook_commands import command

from gateway.config.secrets import Secret
from gateway.errors import ConfigError, GatewayError
from gateway.infodeck.api_client import ApiAccess, connect
from gateway.settings import load_settings
from gateway.tls import server_context

if TYPE_CHECKING:
    from pathlib import Path

HOST = "infodeck.example"
TOKEN = "eyJ.made.up"
PASSWORD = "of-the-proxy"
EMPTY = http("200 OK", b'{"data":[]}')


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Make a certificate authority."""
    return Authority(tmp_path)


async def list_webhooks(
    folder: Path, *settings: str, api: str = f"https://{HOST}/api/v2", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command that requests the API, with these environment variables."""
    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text(TOKEN)
    lines = ["organization: o-test", f'api: "{api}"', "bearer_token: {file: token}", *settings]
    config = write(
        folder,
        f"infodeck: {{{', '.join(lines)}}}\nintake: {{signing_secrets: [{{env: S}}]}}\n",
        "gateway.yaml",
    )
    variables = {"S": "x", **os.environ, **environment}
    done = await asyncio.to_thread(
        subprocess.run,
        command(config, "list"),
        cwd=REPOSITORY,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert PASSWORD not in done.stdout + done.stderr
    return done


@pytest.mark.parametrize("by", ["setting", "HTTPS_PROXY", "https_proxy"])
async def test_the_api_is_requested_through_the_proxy(tmp_path: Path, authority: Authority, by: str) -> None:
    """TLS passes through: the proxy sees the host's name, but no token or path."""
    pair = authority.issue("api", f"subjectAltName = DNS:{HOST}")
    trust = {"SSL_CERT_FILE": str(authority.certificate)}
    async with (
        raw_server([], default=EMPTY, tls=server_context("x", *pair)) as api,
        forward_proxy(api.port) as proxy,
    ):
        if by == "setting":
            elsewhere = f"http://127.0.0.1:{free_port()}"
            done = await list_webhooks(
                tmp_path, f'proxy: "http://127.0.0.1:{proxy.port}"', HTTPS_PROXY=elsewhere, **trust
            )
        else:
            url = f"http://user:{PASSWORD}@127.0.0.1:{proxy.port}"
            done = await list_webhooks(tmp_path, **{by: url}, **trust)
    assert done.returncode == 0, done.stderr
    assert [head.splitlines()[0] for head in proxy.heads] == [f"CONNECT {HOST}:443 HTTP/1.1"]
    assert TOKEN not in proxy.heads[0]
    assert f"Bearer {TOKEN}" in api.heads[0]
    credentials = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    assert (f"Proxy-Authorization: Basic {credentials}" in proxy.heads[0]) is (by != "setting")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Return an environment without proxies."""
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def access(api: str = f"https://{HOST}/api/v2") -> ApiAccess:
    """Return the access to an API with a token."""
    return ApiAccess(api=api, organization="o-test", bearer_token=Secret(TOKEN.encode()))


async def error_of(api: ApiAccess) -> str:
    """Return the error of a request."""
    async with connect(api, share=1, attempts=1) as infodeck:
        with pytest.raises(GatewayError) as raised:
            await infodeck.webhooks()
    assert PASSWORD not in str(raised.value)
    return str(raised.value)


async def test_hosts_in_no_proxy_are_requested_directly(environment: pytest.MonkeyPatch) -> None:
    """Hosts in NO_PROXY and loopback are requested directly."""
    nobody = f"http://127.0.0.1:{free_port()}"
    environment.setenv("http_proxy", nobody)
    environment.setenv("HTTPS_PROXY", nobody)
    async with (
        raw_server([], default=EMPTY) as api,
        connect(access(f"http://127.0.0.1:{api.port}/api"), share=1) as infodeck,
    ):
        assert await infodeck.webhooks() == []
    environment.setenv("NO_PROXY", "*")
    error = await error_of(access("https://no-such-host.invalid/api"))
    assert "no-such-host.invalid can't be reached: its name is not found" in error


@pytest.mark.parametrize(
    ("refusal", "found"),
    [
        ("407 Proxy Authentication Required", "answers 407 (Proxy Authentication Required)"),
        ("503 Service Unavailable", "answers 503 (Service Unavailable)"),
        (None, "can't be reached: Connection refused"),
    ],
)
async def test_a_refusing_proxy_is_named(
    environment: pytest.MonkeyPatch, refusal: str | None, found: str
) -> None:
    """The error names the proxy, without its password."""
    async with forward_proxy(free_port()) as proxy:
        proxy.refusal = refusal
        port = free_port() if refusal is None else proxy.port
        environment.setenv("HTTPS_PROXY", f"http://user:{PASSWORD}@127.0.0.1:{port}")
        error = await error_of(access())
    assert f"{HOST} is asked through the proxy 127.0.0.1:{port}, which {found}" in error
    assert "infodeck.proxy, or HTTPS_PROXY and NO_PROXY" in error


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("socks5://127.0.0.1:1080", " (socks5://127.0.0.1:1080)"),
        (f"http://bob:{PASSWORD}@127.0.0.1:port", ""),
        ("http://[::1:3128", ""),
        ("http://", ""),
    ],
)
async def test_a_proxy_of_another_kind_is_refused(
    environment: pytest.MonkeyPatch, proxy: str, shown: str
) -> None:
    """What is no HTTP proxy is refused; an address that cannot be read is not shown."""
    environment.setenv("HTTPS_PROXY", proxy)
    assert await error_of(access()) == f"HTTPS_PROXY{shown} is no http or https proxy"


@pytest.mark.parametrize(
    ("proxy", "problem"),
    [
        (f"http://user:{PASSWORD}@127.0.0.1:3128", "no user or password here"),
        ("127.0.0.1:3128", "the address of an http proxy is expected"),
        ("socks5://127.0.0.1:1080", "the address of an http proxy is expected"),
        ("http://p/x", "the address of an http proxy is expected"),
        ("http://p:99999", "the address of an http proxy is expected"),
    ],
)
def test_a_setting_that_is_no_proxy_is_refused(tmp_path: Path, proxy: str, problem: str) -> None:
    """gateway.yaml holds no password, and the address of an HTTP proxy only."""
    text = (
        f'infodeck: {{organization: o-test, proxy: "{proxy}"}}\nintake: {{signing_secrets: [{{env: S}}]}}\n'
    )
    with pytest.raises(ConfigError, match=rf"infodeck\.proxy: {problem}") as raised:
        load_settings(write(tmp_path, text, "gateway.yaml")).require()
    assert PASSWORD not in str(raised.value)
