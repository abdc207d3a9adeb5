"""Who may use the admin port: programs and browsers of this machine; others need the admin token.

A browser sends the token as the password of HTTP Basic authentication, with any user, and a program as a
Bearer. What changes something needs a Bearer in any case, which browsers send for no other page.
"""

from __future__ import annotations

import hmac
from base64 import b64decode
from ipaddress import ip_address
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.http_server import connection_of, json_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.typedefs import Handler

    from gateway.config.secrets import Secret
    from gateway.config.value_types import Network

_ACTIONS = "/api/actions/"  # the dashboard checks the token there
_FORWARDED = ("X-Forwarded-For", "Forwarded")  # set by a proxy: the request is not from this machine
_OTHER_NAME = "ask by 127.0.0.1 or localhost"
_NO_PROXY = "plain HTTP is accepted from trusted proxies only"
_NO_TOKEN = "from elsewhere, the admin token is needed, and none is set in gateway.yaml"  # noqa: S105 - a text
_WRONG_TOKEN = "the admin token is missing or wrong"  # noqa: S105 - a text
_ASK = {"WWW-Authenticate": 'Basic realm="gateway: any user, the admin token as password", charset="UTF-8"'}


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
        if not self.may_connect(peer, own):
            return json_answer({"error": _NO_PROXY}, code=403)
        if self.has_token(request, schemes=("bearer", "basic")):
            return await _let_in(request, handler)
        if request.path.startswith(_ACTIONS):
            return await handler(request)
        if is_here(peer, own) and not any(name in request.headers for name in _FORWARDED):
            if _names_this_machine(request):
                return await _let_in(request, handler)
            return json_answer({"error": _OTHER_NAME}, code=403)
        return self._refuse()

    def _refuse(self) -> web.Response:
        if self._token is None:
            return json_answer({"error": _NO_TOKEN}, code=403)
        response = json_answer({"error": _WRONG_TOKEN}, code=401)
        response.headers.update(_ASK)
        return response

    def has_token(self, request: web.Request, *, schemes: Sequence[str] = ("bearer",)) -> bool:
        """Return whether the request carries the token, by one of these schemes."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if self._token is None or scheme.lower() not in schemes:
            return False
        as_sent = given.encode(errors="surrogateescape")  # what is no UTF-8 is no token, but may be sent
        if scheme.lower() == "basic":
            as_sent = _password(as_sent)
        return hmac.compare_digest(as_sent, self._token)

    @property
    def is_token_set(self) -> bool:
        """Whether the settings have a token."""
        return self._token is not None

    def may_connect(self, peer: str, own: str) -> bool:
        """Return whether the other end is this machine, a trusted proxy, or connected by TLS."""
        if self._trusted_proxies is None or is_here(peer, own):
            return True
        return any(ip_address(peer) in network for network in self._trusted_proxies)


def is_here(peer: str, own: str) -> bool:
    """Return whether a connection comes from this machine, by the addresses of both ends."""
    return ip_address(peer).is_loopback or peer == own


async def _let_in(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Handle the request; its connection is kept longer than unverified ones."""
    connection = connection_of(request.transport)
    if connection is not None:
        connection.mark_verified()
    return await handler(request)


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
