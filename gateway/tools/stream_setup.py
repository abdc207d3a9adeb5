"""Streams and consumers as they should be, and what differs in those that are there. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.config.value_types import size_text
from gateway.jetstream.config import FETCH_SIZE
from gateway.jetstream.subjects import covers, filter_subjects, organization_subjects
from gateway.text import duration_text

if TYPE_CHECKING:
    from gateway.intake.source_config import NatsSourceConfig

Config = dict[str, Any]
"""The configuration of a stream or consumer, in JetStream's keys and units: durations are nanoseconds."""

_UNLIMITED = -1
NS_PER_S, NS_PER_MS = 1_000_000_000, 1_000_000
REPLICAS = 3  # so that one server may be lost
SETUP = "`gateway nats setup` with these settings shows the change, and makes it with --apply"
_MAX_AGE = 7 * 86_400 * NS_PER_S  # of a new stream

# What a stream must have so that no event is lost in it: a full one refuses events, which the intakes keep.
_STREAM = {
    "allow_batched": True,  # the sink publishes in batches
    "retention": "limits",
    "storage": "file",
    "discard": "new",
    "duplicate_window": 120 * NS_PER_S,  # more takes memory; an edge's journal recognises events for longer
    "max_msgs": _UNLIMITED,
    "max_msgs_per_subject": _UNLIMITED,
    "no_ack": False,
}
_CONSUMER = {
    "deliver_policy": "all",
    "ack_policy": "explicit",
    "ack_wait": 30 * NS_PER_S,
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
_FULL_REFUSES = "a full stream then refuses new events, of other programs too"
_FEWER_LOSE = {
    "max_age": "older events are deleted at once",
    "max_bytes": "if it has more, its oldest events are deleted at once",
    "num_replicas": "fewer servers have each event",
}


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


def stream_changes(present: Config | None, *, organization: str, asked: Config | None = None) -> list[Change]:
    """Return what the stream of an intake lacks; `present` is None for a new one.

    `asked` are `num_replicas`, `max_age` and `max_bytes` as the user wants them; otherwise they stay as they
    are, but with three replicas at least.
    """
    there = present or {}
    subjects, ours = there.get("subjects") or [], organization_subjects(organization)
    wanted = {
        "subjects": subjects if any(covers(each, ours) for each in subjects) else [*subjects, ours],
        **_STREAM,
        "num_replicas": max(REPLICAS, there.get("num_replicas", 0)),
        "max_age": there.get("max_age", _MAX_AGE),
        "max_bytes": there.get("max_bytes", _UNLIMITED),
        **(asked or {}),
    }
    return _changes(present, wanted)


def consumer_changes(present: Config | None, source: NatsSourceConfig) -> list[Change]:
    """Return what the consumer of an edge lacks; `present` is None for a new one."""
    if present is not None:
        present = {**present, "filter_subjects": filter_subjects(present)}
    return _changes(present, {"filter_subjects": list(source.subjects), **_CONSUMER})


def _changes(present: Config | None, wanted: Config) -> list[Change]:
    if present is None:
        return [Change(key, None, after) for key, after in wanted.items()]
    changes = []
    for key, after in wanted.items():
        before = present.get(key, None if after else after)  # what is off or 0 may be left out
        is_list = isinstance(after, list)
        if before != after and not (is_list and set(after) == set(before or ())):
            note = _MORE_SUBJECTS if key == "filter_subjects" else ""
            changes.append(Change(key, before, after, _loss(key, before, after), note))
    return changes


def _loss(key: str, before: Any, after: Any) -> str:
    if key == "filter_subjects":
        gone = [each for each in before or [">"] if not any(covers(wide, each) for wide in after)]
        return f"events of {', '.join(gone)} come no more" if gone else ""
    if key == "discard":
        return _FULL_REFUSES
    is_less = key in _FEWER_LOSE and after > 0 and not 0 < (before or 0) <= after
    return _FEWER_LOSE[key] if is_less else ""


def _shown(key: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "all"
    if value == _UNLIMITED or (value == 0 and not isinstance(value, bool)):
        return "unlimited"
    if key in _DURATIONS:
        return duration_text(value // NS_PER_MS)
    if key == "max_bytes":
        return size_text(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
