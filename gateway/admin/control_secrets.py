"""What `gateway webhooks rotate` asks of the running gateway, over its control socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from gateway.admin.control_requests import answer, document_of, uid_of
from gateway.config.secrets import is_usable
from gateway.errors import CommandError

if TYPE_CHECKING:
    from gateway.intake.signing_secrets import SigningSecrets

log = structlog.get_logger()


class SecretControl:
    """Answers `GET` and `POST /signing-secrets`; no answer has a secret in it."""

    def __init__(self, signing: SigningSecrets) -> None:
        self._signing = signing

    def routes(self) -> list[web.RouteDef]:
        """Return what is answered, see `control_application`."""
        return [web.get("/signing-secrets", self._show), web.post("/signing-secrets", self._announce)]

    async def _show(self, _: web.Request) -> web.Response:
        return self._answer(None)

    async def _announce(self, request: web.Request) -> web.Response:
        """`{"secret": text, "keep_previous": bool}`: answered once it is accepted, and on disk.

        Where it can't be written, `problem` says why; it is accepted all the same.
        """
        asked = await document_of(request)
        secret, keep = asked.get("secret"), asked.get("keep_previous", True)
        if not isinstance(secret, str) or not is_usable(secret):
            raise CommandError("`secret` is missing: the new signing secret, as a text of one line")
        if not isinstance(keep, bool):
            raise CommandError("`keep_previous` is true or false")
        problem = await self._signing.announce(secret.encode(), keep_previous=keep)
        log.info(
            "signing_secrets.rotated", previous=len(self._signing.previous), kept=keep, uid=uid_of(request)
        )
        return self._answer(problem)

    def _answer(self, problem: str | None) -> web.Response:
        signing = self._signing
        previous = [
            {"since_ms": one.replaced_ms, "last_used_ms": one.last_used_ms} for one in signing.previous
        ]
        return answer({"current": signing.current_count, "previous": previous, "problem": problem})
