"""The admin server: health, readiness, metrics, status and the dashboard, and who may use it.

Programs and browsers of this machine may look; others need the admin token. A browser sends it as the
password of HTTP Basic authentication, with any user, and a program as a Bearer. What changes something needs
a Bearer in any case, which browsers send for no other page.
"""

from __future__ import annotations

import asyncio
import hmac
from base64 import b64decode
from ipaddress import ip_address
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.http_server import connection_of, json_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp.typedefs import Handler

    from gateway.admin.dashboard import Dashboard
    from gateway.config.secrets import Secret
    from gateway.config.value_types import Network
    from gateway.status import Status

_ACTIONS = "/api/actions/"  # `require_bearer` checks the token there
_FORWARDED = ("X-Forwarded-For", "Forwarded")  # set by a proxy: the request is not from this machine
_OTHER_NAME = "ask by 127.0.0.1 or localhost"
_NO_PROXY = "plain HTTP is accepted from trusted proxies only"
_NO_TOKEN = "no admin.token is set in gateway.yaml, and this needs it"  # noqa: S105 - a text
_WRONG_TOKEN = "the admin token is missing or wrong"  # noqa: S105 - a text
_ASK = {"WWW-Authenticate": 'Basic realm="gateway: any user, the admin token as password", charset="UTF-8"'}


def admin_application(
    *,
    status: Status,
    admission: Admission,
    dashboard: Dashboard,
    refresh: Callable[[], None],
    problems: Callable[[], list[str]],
) -> web.Application:
    """Return the application.

    `refresh` brings the status up to date; `problems` returns why the gateway makes no progress, if so.
    """

    async def healthz(_: web.Request) -> web.Response:
        found = problems()
        return json_answer({"healthy": not found, "problems": found}, code=503 if found else 200)

    async def readyz(_: web.Request) -> web.Response:
        reasons = [] if status.ready else ["starting or stopping"]  # an absent sink is none: events wait
        reasons += [] if status.journal.state == "ok" else [status.journal.state]
        return json_answer({"ready": not reasons, "reasons": reasons}, code=503 if reasons else 200)

    async def show_status(_: web.Request) -> web.Response:
        refresh()
        return json_answer(status.snapshot())

    async def show_metrics(request: web.Request) -> web.Response:
        encode_metrics = await asyncio.to_thread(_load_metrics)
        refresh()
        body, content_type = encode_metrics(status, accept=request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    application = web.Application(middlewares=[admission.admit])
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/metrics", show_metrics)
    application.router.add_get("/api/status", show_status)
    dashboard.add_to(application)
    return application


def _load_metrics() -> Callable[..., tuple[bytes, str]]:
    """Import what answers `/metrics`; not every gateway is asked for them."""
    from gateway.admin.metrics import encode_metrics  # noqa: PLC0415 - Prometheus's library is slow to load

    return encode_metrics


class Admission:
    """Lets requests in or refuses them."""

    def __init__(self, token: Secret | None, *, trusted_proxies: Sequence[Network] | None) -> None:
        """Accept `trusted_proxies` from other machines; None: everybody, over TLS."""
        self._token = None if token is None else token.reveal()
        self._trusted_proxies = trusted_proxies

    @web.middleware
    async def admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Handle the request, or answer what is missing."""
        peer, own = _addresses(request)
        has_token = self._has_token(request, "bearer", "basic")
        if not self.may_connect(peer, own):
            return json_answer({"error": _NO_PROXY}, code=403)
        if request.path.startswith(_ACTIONS) and not has_token:
            return await handler(request)
        if not has_token:
            is_here = ip_address(peer).is_loopback or peer == own
            if not is_here or any(name in request.headers for name in _FORWARDED):
                return self._refusal(headers=_ASK)
            if not _names_this_machine(request):
                return json_answer({"error": _OTHER_NAME}, code=403)
        if (connection := connection_of(request.transport)) is not None:
            connection.mark_verified()
        return await handler(request)

    @web.middleware
    async def require_bearer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Handle a request that changes something if it has the token as a Bearer."""
        return await handler(request) if self._has_token(request, "bearer") else self._refusal(headers={})

    def may_connect(self, peer: str, own: str) -> bool:
        """Return whether the other end is this machine, a trusted proxy, or connected by TLS."""
        address = ip_address(peer)
        if self._trusted_proxies is None or address.is_loopback or peer == own:
            return True
        return any(address in network for network in self._trusted_proxies)

    def _refusal(self, *, headers: dict[str, str]) -> web.Response:
        if self._token is None:
            return json_answer({"error": _NO_TOKEN}, code=403)
        response = json_answer({"error": _WRONG_TOKEN}, code=401)
        response.headers.update(headers)
        return response

    def _has_token(self, request: web.Request, *schemes: str) -> bool:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if self._token is None or scheme.lower() not in schemes:
            return False
        as_sent = given.encode(errors="surrogateescape")  # what is no UTF-8 is no token, but may be sent
        if scheme.lower() == "basic":
            as_sent = _password(as_sent)
        return hmac.compare_digest(as_sent, self._token)


def _addresses(request: web.Request) -> tuple[str, str]:
    """Return the addresses of both ends, and others if the connection is gone already."""
    transport = request.transport
    ends = [transport.get_extra_info(name) if transport else None for name in ("peername", "sockname")]
    peer, own = (end[0].partition("%")[0] if end else "" for end in ends)
    return peer or "0.0.0.0", own  # noqa: S104 - compared, not listened on


def _names_this_machine(request: web.Request) -> bool:
    """Return whether the host in the request is an address or `localhost`.

    The host name of a page from the internet may lead to this machine, too (DNS rebinding).
    """
    try:
        name = (request.url.host or "").rstrip(".").lower()
    except ValueError:  # a port that is no number, half an address
        return False
    return name == "localhost" or ":" in name or name.replace(".", "").isdigit()


def _password(credentials: bytes) -> bytes:
    """Return the password of Basic credentials, b"" if they are none."""
    try:
        return b64decode(credentials, validate=True).partition(b":")[2]
    except ValueError:
        return b""
