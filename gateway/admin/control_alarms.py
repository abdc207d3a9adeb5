"""What `gateway alarms` asks of the running gateway over its control socket, and the dashboard of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.admin.control_requests import answer, document_of, person_of
from gateway.errors import CommandError

if TYPE_CHECKING:
    from gateway.alarms import Alarms


class AlarmControl:
    """Answers `GET /alarms` and `POST /alarms/acknowledge` of `{"name": "webhook-silent"}`."""

    def __init__(self, alarms: Alarms) -> None:
        """Take the gateway's alarms."""
        self._alarms = alarms

    def routes(self) -> list[web.RouteDef]:
        """Return what is answered, see `control_application`."""
        return [web.get("/alarms", self.show), web.post("/alarms/acknowledge", self._acknowledge)]

    async def show(self, _: web.Request) -> web.Response:
        """Answer with the alarms that hold, the oldest first, and those that are over, the newest first."""
        return answer(
            {
                "current": [asdict(alarm) for alarm in self._alarms.current()],
                "past": [asdict(alarm) for alarm in self._alarms.past()],
            }
        )

    async def _acknowledge(self, request: web.Request) -> web.Response:
        name = (await document_of(request)).get("name")
        if not isinstance(name, str):
            raise CommandError("`name` is missing: the name of an alarm")
        if not self._alarms.acknowledge(name, by=person_of(request)):
            holding = ", ".join(alarm.name for alarm in self._alarms.current()) or "none"
            raise CommandError(f"no alarm `{name}` holds (those that do: {holding})")
        return answer({"acknowledged": name})
