"""Requests about alarms, dead letters, retained topics and signing secrets.

Commands send them over the control socket, the dashboard sends the first two with the admin token.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web

from gateway.admin.control_socket import make_durable, read_document, uid_of, user_of
from gateway.config.secrets import is_usable
from gateway.errors import CommandError
from gateway.http_server import json_answer
from gateway.records import StateChanges

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

    from gateway.alarms import Alarms
    from gateway.intake.signing_secrets import SigningSecrets
    from gateway.ports import StateStore
    from gateway.records import StoredDeadLetter
    from gateway.status import SinkStatus

log = structlog.get_logger()

MOST_AT_ONCE = 1000
_GONE = "there is no dead letter of this number, or it is gone by now"


def alarm_routes(alarms: Alarms) -> list[web.RouteDef]:
    """Return `GET /alarms` and `POST /alarms/acknowledge` of `{"name": "webhook-silent"}`."""

    async def show(_: web.Request) -> web.Response:
        return answer_alarms(alarms)

    async def acknowledge(request: web.Request) -> web.Response:
        name = (await read_document(request)).get("name")
        if not isinstance(name, str):
            raise CommandError("`name` is missing: the name of an alarm")
        if not alarms.acknowledge(name, by=user_of(request)):
            holding = ", ".join(alarm.name for alarm in alarms.current()) or "none"
            raise CommandError(f"no alarm `{name}` holds (those that do: {holding})")
        return json_answer({"acknowledged": name})

    return [web.get("/alarms", show), web.post("/alarms/acknowledge", acknowledge)]


def answer_alarms(alarms: Alarms) -> web.Response:
    """Answer with the alarms that hold, the oldest first, and the past ones, the newest first."""
    return json_answer(
        {
            "current": [asdict(alarm) for alarm in alarms.current()],
            "past": [asdict(alarm) for alarm in alarms.past()],
        }
    )


class DeadLetterRequests:
    """Answers `POST /deadletters/retry` and `POST /deadletters/drop`, both of `{"numbers": [5, 7]}`."""

    def __init__(
        self,
        *,
        state_store: StateStore,
        retry: Callable[[Sequence[StoredDeadLetter]], dict[int, str]],
        sinks: Mapping[str, SinkStatus],
    ) -> None:
        """Set up; `retry` queues dead letters for their sinks and returns, by number, why others can't be."""
        self._state_store = state_store
        self._retry = retry
        self._sinks = sinks

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, for `control_application`."""
        return [
            web.post("/deadletters/retry", self._answer_retry),
            web.post("/deadletters/drop", self._answer_drop),
        ]

    async def _answer_retry(self, request: web.Request) -> web.Response:
        """Answer once they are queued: which ones, why others are not, and how the sinks are.

        A dead letter is gone from the journal once its sink has written it.
        """
        numbers = _numbers(await read_document(request))
        left = dict.fromkeys(numbers, _GONE)
        queued: list[int] = []
        async for letters in self._stored(numbers):
            refused = self._retry(letters)
            queued += [each.number for each in letters if each.number not in refused]
            left |= refused
        for number in queued:
            del left[number]
        if queued:
            log.info("deadletters.retried", numbers=queued, uid=uid_of(request))
        return json_answer(
            {
                "handed_out": queued,
                "left": [{"number": number, "reason": reason} for number, reason in sorted(left.items())],
                "sinks": {
                    name: {"state": status.state, "last_error": status.last_error}
                    for name, status in self._sinks.items()
                },
            }
        )

    async def _answer_drop(self, request: web.Request) -> web.Response:
        """Answer once they are removed for good: which ones, and which numbers do not exist."""
        numbers = _numbers(await read_document(request))
        dropped = [each.number async for letters in self._stored(numbers) for each in letters]
        if dropped:
            self._state_store.save(StateChanges(removed_dead_letters=dropped))
            log.info("deadletters.dropped", numbers=dropped, uid=uid_of(request))
            await make_durable(self._state_store.flush)
        return json_answer({"dropped": dropped, "unknown": sorted({*numbers}.difference(dropped))})

    async def _stored(self, numbers: list[int]) -> AsyncIterator[list[StoredDeadLetter]]:
        """Yield the dead letters that exist, as many at a time as the journal reads."""
        while letters := await self._state_store.dead_letters(numbers):
            yield letters
            numbers = [number for number in numbers if number > letters[-1].number]


def _numbers(document: dict[str, Any]) -> list[int]:
    numbers = document.get("numbers")
    if not isinstance(numbers, list) or not 0 < len(numbers) <= MOST_AT_ONCE:
        raise CommandError(f"`numbers` is missing: a list of one to {MOST_AT_ONCE} dead letters' numbers")
    if any(type(number) is not int or not 0 < number < 1 << 63 for number in numbers):
        raise CommandError("`numbers` holds something that is no number of a dead letter")
    return sorted(set(numbers))


def retained_topic_routes(*, state_store: StateStore, sinks: Collection[str]) -> list[web.RouteDef]:
    """Return `GET /retained` and `POST /retained/forget` of `{"sink": name}`."""

    async def show(_: web.Request) -> web.Response:
        """Answer with the sinks that clear their retained topics by themselves."""
        return json_answer({"sinks": [*sinks]})

    async def forget(request: web.Request) -> web.Response:
        """Forget the retained topics of a sink that is gone; the command has cleared them."""
        sink = (await read_document(request)).get("sink")
        if not isinstance(sink, str) or sink in sinks:
            raise CommandError("`sink` is no name of a sink that is gone")
        topics = state_store.at_start.retained.get(sink, {})
        state_store.save(StateChanges(retained={(sink, topic): None for topic in topics}))
        log.info("retained.forgotten", sink=sink, topics=len(topics), uid=uid_of(request))
        await make_durable(state_store.flush)
        return json_answer({"forgotten": len(topics)})

    return [web.get("/retained", show), web.post("/retained/forget", forget)]


def signing_secret_routes(signing: SigningSecrets) -> list[web.RouteDef]:
    """Return `GET /signing-secrets` and `POST /signing-secrets`; no answer has a secret in it."""

    async def show(_: web.Request) -> web.Response:
        return described(problem=None)

    async def announce(request: web.Request) -> web.Response:
        """Take `{"secret": text, "keep_previous": bool}`; answer once it is accepted, and on disk.

        If it can't be written, `problem` says why; it is accepted all the same.
        """
        document = await read_document(request)
        secret, keep = document.get("secret"), document.get("keep_previous", True)
        if not isinstance(secret, str) or not is_usable(secret):
            raise CommandError("`secret` is missing: the new signing secret, as a text of one line")
        if not isinstance(keep, bool):
            raise CommandError("`keep_previous` is true or false")
        problem = await signing.announce(secret.encode(), keep_previous=keep)
        log.info("signing_secrets.rotated", previous=len(signing.previous), kept=keep, uid=uid_of(request))
        return described(problem=problem)

    def described(*, problem: str | None) -> web.Response:
        previous = [
            {"since_ms": one.replaced_ms, "last_used_ms": one.last_used_ms} for one in signing.previous
        ]
        return json_answer({"current": len(signing.current), "previous": previous, "problem": problem})

    return [web.get("/signing-secrets", show), web.post("/signing-secrets", announce)]
