"""How this gateway gets at Infodeck's API: where it is, whose it is, and with which secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.request import getproxies, proxy_bypass

from yarl import URL

from gateway import __version__
from gateway.config.scalars import HostPort
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.config.secrets import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAccess:
    """`api` is the base URL, without a slash at its end. The key reads; the Bearer token manages webhooks.

    `proxy` is the URL of the proxy to ask through; None: the environment says, as for other programs.
    """

    api: str
    organization: str
    proxy: str | None = None
    api_key: Secret | None = None
    bearer_token: Secret | None = None

    def headers(self, *, bearer: bool) -> dict[str, str]:
        """Return what every request carries; raise GatewayError where its secret is missing or none."""
        if bearer:
            secret = {"Authorization": f"Bearer {_header(self.bearer_token, 'infodeck.bearer_token')}"}
        else:
            secret = {"X-Api-Key": _header(self.api_key, "infodeck.api_key")}
        return {"Accept": "application/json", "User-Agent": f"building-gateway/{__version__}", **secret}

    def proxy_url(self) -> URL | None:
        """Return what to ask through, None where the API is asked directly; raise GatewayError.

        This machine itself is not asked through a proxy that the environment names.
        """
        if self.proxy is not None:
            return URL(self.proxy)
        url = URL(self.api)
        host = url.host or ""
        named = getproxies().get(url.scheme)
        if not named or HostPort(host, 0).is_loopback or proxy_bypass(host):
            return None
        try:
            proxy = URL(named if "://" in named else f"http://{named}")
            shown = f" ({proxy.with_user(None)})"
        except ValueError:
            proxy, shown = URL(), ""  # there may be a password in what cannot be read
        if proxy.scheme not in {"http", "https"} or not proxy.host:
            raise GatewayError(f"{url.scheme.upper()}_PROXY{shown} is no http or https proxy")
        return proxy

    def secret_texts(self) -> list[str]:
        """Return every secret as it would stand in a text, to be taken out of it."""
        secrets = [secret for secret in (self.api_key, self.bearer_token) if secret is not None]
        return [text for secret in secrets if (text := secret.reveal().decode("latin-1").strip())]


def _header(secret: Secret | None, setting: str) -> str:
    if secret is None:
        raise GatewayError(f"{setting} is not set, and nothing can be asked without it")
    text = secret.reveal().decode("latin-1").strip()
    if not text.isascii() or not text.isprintable():
        raise GatewayError(f"{setting} has characters that no such secret has: check what its source holds")
    return text
