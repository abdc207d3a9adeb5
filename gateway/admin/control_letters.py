"""What `gateway deadletters retry` and `drop` ask of the running gateway, over its control socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import structlog
from aiohttp import web

from gateway.admin.control_requests import answer, document_of, make_durable, uid_of
from gateway.errors import CommandError
from gateway.records import StateChanges

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from gateway.ports import StateStore
    from gateway.records import StoredDeadLetter
    from gateway.status import SinkStatus

log = structlog.get_logger()

MOST_AT_ONCE = 1000
_GONE = "there is no dead letter of this number, or it is gone by now"


class Retries(Protocol):
    """What hands dead letters to their sinks again, and settles those that are written then."""

    def retry(self, letters: Sequence[StoredDeadLetter]) -> dict[int, str]:
        """Hand them out; return by number for which of them nothing was done, and why."""


class LetterControl:
    """Answers `POST /deadletters/retry` and `POST /deadletters/drop`, both of `{"numbers": [5, 7]}`."""

    def __init__(self, *, state_store: StateStore, retries: Retries, sinks: Mapping[str, SinkStatus]) -> None:
        """Take the sinks' states, to say what a letter waits for."""
        self._state_store = state_store
        self._retries = retries
        self._sinks = sinks

    def routes(self) -> list[web.RouteDef]:
        """Return what is answered, see `control_application`."""
        return [
            web.post("/deadletters/retry", self._retry),
            web.post("/deadletters/drop", self._drop),
        ]

    async def _retry(self, request: web.Request) -> web.Response:
        """Answer once they are handed out: which ones, why others are not, and how the sinks are.

        What becomes of them, the journal shows: a letter is gone from it once its sink has written it.
        """
        numbers = _numbers(await document_of(request))
        left = dict.fromkeys(numbers, _GONE)
        handed_out: list[int] = []
        async for letters in self._stored(numbers):
            refused = self._retries.retry(letters)
            handed_out += [each.number for each in letters if each.number not in refused]
            left |= refused
        for number in handed_out:
            del left[number]
        if handed_out:
            log.info("deadletters.retried", numbers=handed_out, uid=uid_of(request))
        return answer(
            {
                "handed_out": handed_out,
                "left": [{"number": number, "reason": reason} for number, reason in sorted(left.items())],
                "sinks": {name: _state(status) for name, status in self._sinks.items()},
            }
        )

    async def _drop(self, request: web.Request) -> web.Response:
        """Answer once they are forgotten for good: which ones, and which numbers there are not."""
        numbers = _numbers(await document_of(request))
        dropped = [each.number async for letters in self._stored(numbers) for each in letters]
        if dropped:
            self._state_store.save(StateChanges(removed_dead_letters=dropped))
            log.info("deadletters.dropped", numbers=dropped, uid=uid_of(request))
            await make_durable(self._state_store.flush)
        return answer({"dropped": dropped, "unknown": sorted({*numbers}.difference(dropped))})

    async def _stored(self, numbers: list[int]) -> AsyncIterator[list[StoredDeadLetter]]:
        """Yield the letters that there are, as many at a time as the journal reads."""
        while letters := await self._state_store.dead_letters(numbers):
            yield letters
            numbers = [number for number in numbers if number > letters[-1].number]


def _numbers(asked: dict[str, Any]) -> list[int]:
    numbers = asked.get("numbers")
    if not isinstance(numbers, list) or not 0 < len(numbers) <= MOST_AT_ONCE:
        raise CommandError(f"`numbers` is missing: a list of one to {MOST_AT_ONCE} dead letters' numbers")
    if any(type(number) is not int or not 0 < number < 1 << 63 for number in numbers):
        raise CommandError("`numbers` holds something that is no number of a dead letter")
    return sorted(set(numbers))


def _state(status: SinkStatus) -> dict[str, str | None]:
    return {"state": status.state, "last_error": status.last_error}
