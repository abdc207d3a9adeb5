"""Streams and consumers as they should be, compared with those that are there, for `gateway nats setup`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.config.value_types import size_text
from gateway.intake.pull_consumer import FETCH_SIZE
from gateway.jetstream.subjects import covers, filter_subjects, organization_subjects
from gateway.text import duration_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.intake.source_config import NatsSourceConfig
    from gateway.jetstream.api import Document, JetStreamApi

_REPLICAS = 3
_MAX_AGE_S = 7 * 86400.0
_UNLIMITED = -1
_NS_PER_S, _NS_PER_MS = 1_000_000_000, 1_000_000

# What a stream must have so that no event is lost in it: a full one refuses events, which the intakes keep.
_STREAM = {
    "retention": "limits",
    "storage": "file",
    "discard": "new",
    "duplicate_window": 120 * _NS_PER_S,  # more takes memory; an edge's journal recognises events for longer
    "max_msgs": _UNLIMITED,
    "max_msgs_per_subject": _UNLIMITED,
    "no_ack": False,
}
_CONSUMER = {
    "deliver_policy": "all",
    "ack_policy": "explicit",
    "ack_wait": 30 * _NS_PER_S,
    "max_deliver": _UNLIMITED,
    "max_ack_pending": FETCH_SIZE,  # so that nothing overtakes what is delivered again
    "headers_only": False,
    "inactive_threshold": 0,  # otherwise JetStream deletes the consumer of a box that is away
    "max_batch": 0,  # these three would limit what the source may request
    "max_bytes": 0,
    "max_expires": 0,
}
_DURATIONS = frozenset({"max_age", "duplicate_window", "ack_wait", "inactive_threshold", "max_expires"})
_MORE_SUBJECTS = "events that the consumer has passed already do not come"
_FEWER_LOSE = {
    "max_age": "older events are deleted at once",
    "max_bytes": "if it has more, its oldest events are deleted at once",
    "num_replicas": "fewer servers have each event",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """What the user asked for. None: as it is, or the default of a new stream."""

    replicas: int | None = None
    max_age_s: float | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One key that differs. `loses` says what is lost by the change, `note` what else to know of it."""

    key: str
    before: Any
    after: Any
    loses: str = ""
    note: str = ""

    @property
    def values(self) -> str:
        """What it was and will be."""
        after = _shown(self.key, self.after)
        return after if self.before is None else f"{_shown(self.key, self.before)} -> {after}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one stream or consumer lacks; `found` is JetStream's document of it, None if it is absent."""

    stream: str
    consumer: str | None
    found: Document | None
    changes: Sequence[Change]

    def __str__(self) -> str:
        return f"stream {self.stream}" + ("" if self.consumer is None else f", consumer {self.consumer}")

    @property
    def loses(self) -> bool:
        """Whether any of it deletes or refuses events, or keeps them from being fetched."""
        return any(change.loses for change in self.changes)

    async def apply(self, api: JetStreamApi) -> None:
        """Do it; all other keys stay as they are."""
        is_new = self.found is None
        present = {} if self.found is None else self.found["config"]
        config = present | {change.key: change.after for change in self.changes}
        if self.consumer is None:
            await api.write_stream({**config, "name": self.stream}, is_new=is_new)
            return
        if "filter_subjects" in config:
            config.pop("filter_subject", None)  # the same as a list of one, and never both
        await api.write_consumer(self.stream, {**config, "durable_name": self.consumer}, is_new=is_new)


async def plan_stream(api: JetStreamApi, stream: str, *, organization: str, limits: StreamLimits) -> Plan:
    """Return what the stream of an intake lacks."""
    found = await api.stream(stream)
    present = None if found is None else found["config"]
    wanted = organization_subjects(organization)
    if present is None:
        max_age_s = _MAX_AGE_S if limits.max_age_s is None else limits.max_age_s
        config = {
            "subjects": [wanted],
            **_STREAM,
            "num_replicas": limits.replicas or _REPLICAS,
            "max_age": round(max_age_s) * _NS_PER_S,
            "max_bytes": _UNLIMITED if limits.max_bytes is None else limits.max_bytes,
        }
    else:
        subjects = present.get("subjects") or []
        covered = any(covers(subject, wanted) for subject in subjects)
        config = {"subjects": subjects if covered else [*subjects, wanted], **_STREAM}
        config["num_replicas"] = limits.replicas or max(_REPLICAS, present.get("num_replicas", 1))
        if limits.max_age_s is not None:
            config["max_age"] = round(limits.max_age_s) * _NS_PER_S
        if limits.max_bytes is not None:
            config["max_bytes"] = limits.max_bytes
    return Plan(stream, None, found, list(_changes(present, config)))


async def plan_consumer(api: JetStreamApi, source: NatsSourceConfig) -> Plan:
    """Return what the consumer of an edge lacks."""
    found = await api.consumer(source.stream, source.consumer)
    present = None
    if found is not None:
        present = found["config"] | {"filter_subjects": filter_subjects(found["config"])}
    config = {"filter_subjects": list(source.subjects), **_CONSUMER}
    return Plan(source.stream, source.consumer, found, list(_changes(present, config)))


def _changes(present: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> Iterator[Change]:
    for key, after in wanted.items():
        if present is None:
            yield Change(key, None, after)
            continue
        before = present.get(key, None if after else after)  # what is off or 0 may be left out
        if isinstance(after, list) and set(after) == set(before or ()):
            continue
        if before != after:
            note = _MORE_SUBJECTS if key == "filter_subjects" else ""
            yield Change(key, before, after, _loss(key, before, after), note)


def _loss(key: str, before: Any, after: Any) -> str:
    if key == "filter_subjects":
        gone = [each for each in before or [">"] if not any(covers(wide, each) for wide in after)]
        return f"events of {', '.join(gone)} come no more" if gone else ""
    if key == "discard":
        return "a full stream then refuses new events, of other programs too"
    is_less = key in _FEWER_LOSE and after > 0 and not 0 < (before or 0) <= after
    return _FEWER_LOSE[key] if is_less else ""


def _shown(key: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "all"
    if key in _DURATIONS:
        return duration_text(value // _NS_PER_MS) if value else "unlimited"
    if value == _UNLIMITED or (value == 0 and not isinstance(value, bool)):
        return "unlimited"
    if key == "max_bytes":
        return size_text(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
