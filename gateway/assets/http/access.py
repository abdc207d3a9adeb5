"""How this gateway gets at Infodeck's API: where it is, whose it is, and with which secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import __version__
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.config.secrets import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAccess:
    """`api` is the base URL, without a slash at its end. The key reads; the Bearer token manages webhooks."""

    api: str
    organization: str
    api_key: Secret | None = None
    bearer_token: Secret | None = None

    def headers(self, *, bearer: bool) -> dict[str, str]:
        """Return what every request carries; raise GatewayError where its secret is missing or none."""
        if bearer:
            secret = {"Authorization": f"Bearer {_header(self.bearer_token, 'infodeck.bearer_token')}"}
        else:
            secret = {"X-Api-Key": _header(self.api_key, "infodeck.api_key")}
        return {"Accept": "application/json", "User-Agent": f"building-gateway/{__version__}", **secret}

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
