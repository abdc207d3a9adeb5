"""The requests that show or change something in the running gateway.

Commands send them over the control socket; those of `BuildingRequests` also the dashboard, with the token.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web

from gateway.admin.dashboard_points import point_places
from gateway.config.secrets import is_usable
from gateway.errors import CommandError, JournalError
from gateway.records import StateChanges
from gateway.state.overrides import LONGEST_OVERRIDE_S, parse_override
from gateway.text import second_text, unknown_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping

    from gateway.admin.control_socket import Answer, Caller, ControlRequest
    from gateway.alarms import Alarms
    from gateway.delivery.pipeline import Pipeline
    from gateway.intake.signing_secrets import SigningSecrets
    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point
    from gateway.ports import StateStore
    from gateway.records import Override, StoredDeadLetter
    from gateway.status import SinkStatus

log = structlog.get_logger()

MOST_AT_ONCE = 1000
_GONE = "there is no dead letter of this number, or it is gone by now"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildingRequests:
    """Requests about points, dead letters and alarms. `topics` are those of MQTT sinks."""

    pipeline: Pipeline
    state_store: StateStore
    alarms: Alarms
    sinks: Mapping[str, SinkStatus]
    topics: Mapping[str, TopicScheme]
    clock_ms: Callable[[], int]

    def by_route(self) -> dict[str, ControlRequest]:
        """Return the requests, for `control_application`."""
        return {
            "POST /force": self.force,
            "POST /release": self.release,
            "GET /forced": self.show_forced,
            "POST /deadletters/retry": self.retry,
            "POST /deadletters/drop": self.drop,
            "GET /alarms": self.show_alarms,
            "POST /alarms/acknowledge": self.acknowledge,
        }

    async def force(self, document: dict[str, Any], caller: Caller) -> Answer:
        """Force `{"point": name, "value": scalar, "for_s": seconds}`; answer once that is durable."""
        for_s: Any = document.get("for_s")
        if type(for_s) not in {int, float} or not 0 < for_s <= LONGEST_OVERRIDE_S:
            raise CommandError("a point is forced for more than 0 s and for 24 h at most")
        point = await self._point(document.get("point"))
        value = parse_override(point, document.get("value"))
        until_ms = self.clock_ms() + round(for_s * 1000)
        self.pipeline.force(point, value, until_ms=until_ms)
        log.info("point.forced", point=point.name, value=value, until=second_text(until_ms), uid=caller.uid)
        forced = [one for one in self.pipeline.state.overrides() if one.point == point.name]
        described = self._described(forced[0])
        await _make_durable(self.state_store)
        return described

    async def release(self, document: dict[str, Any], caller: Caller) -> Answer:
        """Release `{"point": name}` or `{"all": true}`; answer once that is durable."""
        state = self.pipeline.state
        forced = [state.points.by_name[override.point] for override in state.overrides()]
        if document.get("all") is not True:
            point = await self._point(document.get("point"))
            if point not in forced:
                raise web.HTTPConflict(text=f"{point.name} is not forced")
            forced = [point]
        for point in forced:
            if self.pipeline.release(point):
                log.info("point.released", point=point.name, reason="asked", uid=caller.uid)
        await _make_durable(self.state_store)
        return {"released": [point.name for point in forced]}

    async def show_forced(self, _document: dict[str, Any], _caller: Caller) -> Answer:
        """Return the current overrides."""
        return {"forced": [self._described(one) for one in self.pipeline.state.overrides()]}

    async def _point(self, name: object) -> Point:
        if not isinstance(name, str):
            raise CommandError("`point` is missing: the name of a point, such as L03-RM312/ZN-T")
        by_name = self.pipeline.state.points.by_name
        if name not in by_name:  # with many points, looking for a similar name takes a second
            message = await asyncio.to_thread(unknown_name, "point", name, by_name)
            raise web.HTTPNotFound(text=f"{name}: {message}")
        return by_name[name]

    def _described(self, override: Override) -> Answer:
        """Return the override, and the topics and registers that show it."""
        point = self.pipeline.state.points.by_name[override.point]
        return {
            "point": override.point,
            "value": override.value,
            "unit_of_measure": point.unit_of_measure,
            "since_ms": override.since_ms,
            "until_ms": override.until_ms,
            **point_places(point, self.topics),
        }

    async def retry(self, document: dict[str, Any], caller: Caller) -> Answer:
        """Queue `{"numbers": [5, 7]}`; answer which, why others are not, and the sinks' states.

        A dead letter is gone from the journal once its sink has written it.
        """
        numbers = _numbers(document)
        left = dict.fromkeys(numbers, _GONE)
        queued: list[int] = []
        async for letters in self._stored(numbers):
            refused = self.pipeline.retry(letters)
            queued += [each.number for each in letters if each.number not in refused]
            left |= refused
        for number in queued:
            del left[number]
        if queued:
            log.info("deadletters.retried", numbers=queued, uid=caller.uid)
        return {
            "handed_out": queued,
            "left": [{"number": number, "reason": reason} for number, reason in sorted(left.items())],
            "sinks": {
                name: {"state": status.state, "last_error": status.last_error}
                for name, status in self.sinks.items()
            },
        }

    async def drop(self, document: dict[str, Any], caller: Caller) -> Answer:
        """Remove `{"numbers": [5, 7]}` for good; answer which, and which numbers do not exist."""
        numbers = _numbers(document)
        dropped = [each.number async for letters in self._stored(numbers) for each in letters]
        if dropped:
            self.state_store.save(StateChanges(removed_dead_letters=dropped))
            log.info("deadletters.dropped", numbers=dropped, uid=caller.uid)
            await _make_durable(self.state_store)
        return {"dropped": dropped, "unknown": sorted({*numbers}.difference(dropped))}

    async def _stored(self, numbers: list[int]) -> AsyncIterator[list[StoredDeadLetter]]:
        """Yield the dead letters that exist, as many at a time as the journal reads."""
        while letters := await self.state_store.dead_letters(numbers):
            yield letters
            numbers = [number for number in numbers if number > letters[-1].number]

    async def show_alarms(self, _document: dict[str, Any], _caller: Caller) -> Answer:
        """Return the current alarms, oldest first, and the past ones, newest first."""
        return alarm_lists(self.alarms)

    async def acknowledge(self, document: dict[str, Any], caller: Caller) -> Answer:
        """Acknowledge `{"name": "webhook-silent"}`."""
        name = document.get("name")
        if not isinstance(name, str):
            raise CommandError("`name` is missing: the name of an alarm")
        if not self.alarms.acknowledge(name, by=caller.name):
            current = ", ".join(alarm.name for alarm in self.alarms.current()) or "none"
            raise CommandError(f"no alarm `{name}` holds (those that do: {current})")
        return {"acknowledged": name}


def alarm_lists(alarms: Alarms) -> Answer:
    """Return the current alarms, oldest first, and the past ones, newest first."""
    return {
        "current": [asdict(alarm) for alarm in alarms.current()],
        "past": [asdict(alarm) for alarm in alarms.past()],
    }


def _numbers(document: dict[str, Any]) -> list[int]:
    numbers = document.get("numbers")
    if not isinstance(numbers, list) or not 0 < len(numbers) <= MOST_AT_ONCE:
        raise CommandError(f"`numbers` is missing: a list of one to {MOST_AT_ONCE} dead letters' numbers")
    if any(type(number) is not int or not 0 < number < 1 << 63 for number in numbers):
        raise CommandError("`numbers` holds something that is no number of a dead letter")
    return sorted(set(numbers))


def retained_topic_requests(state_store: StateStore, *, sinks: Collection[str]) -> dict[str, ControlRequest]:
    """Return the requests about topics that sinks have left; running `sinks` clear theirs by themselves."""

    async def show(_document: dict[str, Any], _caller: Caller) -> Answer:
        return {"sinks": [*sinks]}

    async def forget(document: dict[str, Any], caller: Caller) -> Answer:
        """Forget the retained topics of `{"sink": name}`, which is gone; the command has cleared them."""
        sink = document.get("sink")
        if not isinstance(sink, str) or sink in sinks:
            raise CommandError("`sink` is no name of a sink that is gone")
        topics = state_store.at_start.retained.get(sink, {})
        state_store.save(StateChanges(retained={(sink, topic): None for topic in topics}))
        log.info("retained.forgotten", sink=sink, topics=len(topics), uid=caller.uid)
        await _make_durable(state_store)
        return {"forgotten": len(topics)}

    return {"GET /retained": show, "POST /retained/forget": forget}


def signing_secret_requests(signing: SigningSecrets) -> dict[str, ControlRequest]:
    """Return the requests about signing secrets; no answer has a secret in it."""

    async def show(_document: dict[str, Any], _caller: Caller) -> Answer:
        return described(problem=None)

    async def announce(document: dict[str, Any], caller: Caller) -> Answer:
        """Use `{"secret": text, "keep_previous": bool}`; answer once it is accepted, and on disk.

        If it can't be written, `problem` says why; it is accepted all the same.
        """
        secret, keep = document.get("secret"), document.get("keep_previous", True)
        if not isinstance(secret, str) or not is_usable(secret):
            raise CommandError("`secret` is missing: the new signing secret, as a text of one line")
        if not isinstance(keep, bool):
            raise CommandError("`keep_previous` is true or false")
        problem = await signing.announce(secret.encode(), keep_previous=keep)
        log.info("signing_secrets.rotated", previous=len(signing.previous), kept=keep, uid=caller.uid)
        return described(problem=problem)

    def described(*, problem: str | None) -> Answer:
        previous = [
            {"since_ms": one.replaced_ms, "last_used_ms": one.last_used_ms} for one in signing.previous
        ]
        return {"current": len(signing.current), "previous": previous, "problem": problem}

    return {"GET /signing-secrets": show, "POST /signing-secrets": announce}


async def _make_durable(state_store: StateStore) -> None:
    """Return once what was done is on disk; raise JournalError, which says that it is done but not there."""
    try:
        await state_store.flush()
    except JournalError as error:
        raise JournalError(
            f"done, but a restart would forget it, for it can't be written to disk: {error}",
            retry_after_s=error.retry_after_s,
        ) from error
