"""What `gateway retained clear` asks of the running gateway, over its control socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from gateway.admin.control_requests import answer, document_of, make_durable, uid_of
from gateway.errors import CommandError
from gateway.records import StateChanges

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.ports import StateStore

log = structlog.get_logger()


class RetainedControl:
    """Answers `GET /retained` and `POST /retained/forget` of `{"sink": name}`."""

    def __init__(self, *, state_store: StateStore, sinks: Collection[str]) -> None:
        """Take the names of the sinks that there are."""
        self._state_store = state_store
        self._sinks = sinks

    def routes(self) -> list[web.RouteDef]:
        """Return what is answered, see `control_application`."""
        return [web.get("/retained", self._show), web.post("/retained/forget", self._forget)]

    async def _show(self, _: web.Request) -> web.Response:
        """Answer which sinks keep what they retain true by themselves."""
        return answer({"sinks": [*self._sinks]})

    async def _forget(self, request: web.Request) -> web.Response:
        """Forget what a sink that is gone has left: it was cleared."""
        sink = (await document_of(request)).get("sink")
        if not isinstance(sink, str) or sink in self._sinks:
            raise CommandError("`sink` is no name of a sink that is gone")
        topics = self._state_store.at_start.retained.get(sink, {})
        self._state_store.save(StateChanges(retained={(sink, topic): None for topic in topics}))
        log.info("retained.forgotten", sink=sink, topics=len(topics), uid=uid_of(request))
        await make_durable(self._state_store.flush)
        return answer({"forgotten": len(topics)})
