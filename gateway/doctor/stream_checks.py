"""What a stream, a consumer and a user's permissions risk, by JetStream's documents of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.config.value_types import rounded_size_text
from gateway.doctor.diagnosis import Finding, ok, problem, warning
from gateway.events import parse_time
from gateway.jetstream.subjects import covers, event_subject, organization_subjects
from gateway.text import count_text, duration_text, short_list
from gateway.tools.stream_setup import NS_PER_MS, REPLICAS, SETUP, stream_changes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.intake.source_config import NatsSourceConfig
    from gateway.jetstream.api import Document

_SHORTEST_AGE_MS = 3 * 86_400_000  # a long weekend
_LEAST_WINDOW_MS = 120_000
_LONGEST_WINDOW_MS = 3_600_000
_WINDOW_BYTES = 135  # of a server's memory for each message in the window; measured with 2.15
_NEARLY_FULL = 0.8
_LEAST_SPAN_MS = 3_600_000  # of messages, before their rate says anything
_MANY_PENDING = 5_000  # more than an edge catches up with in a second
_NARROW_SETUP = (
    "gateway nats setup --apply --narrow: a full stream then refuses new events, which wait in the intake's"
    " journal; other programs that publish to it are refused, too"
)
_OTHER_STREAM = "make another stream with `gateway nats setup`, and name it in the settings"
_LONGER = "with the longest time that a building is away"
_SECURITY = "see `Security` in docs/fleet.md"

# By the key that is not as it should be: what makes the stream lose events although there is room.
_RISKS = {
    "subjects": ("does not take {ours}: events wait in the journal of the intake", SETUP),
    "allow_batched": ("has no `allow_batched`: events wait in the journal of the intake", SETUP),
    "storage": ("is in memory: events are lost when its servers restart", _OTHER_STREAM),
    "retention": (
        "has the retention {before}: what one building has fetched may be missing for another one",
        _OTHER_STREAM,
    ),
    "discard": (
        "deletes its oldest events when it is full, which buildings that are away then never get",
        _NARROW_SETUP,
    ),
    "max_msgs": ("is limited to {before} events: older ones are deleted", SETUP),
    "max_msgs_per_subject": ("is limited to {before} events of an asset: older ones are deleted", SETUP),
    "no_ack": ("acknowledges nothing, so the intake waits for ever", SETUP),
}


def stream_findings(
    where: str, stream: Document, *, organization: str, journal_ms: int, now_ms: int
) -> list[Finding]:
    """Return what the stream of an intake risks, whose journal keeps events for `journal_ms`."""
    config = stream["config"]
    found = [
        *_configuration_findings(where, config, organization),
        *_replica_findings(where, stream),
        *_retention_findings(where, config, journal_ms),
        *_room_findings(where, stream, now_ms),
        *_window_findings(where, stream, now_ms),
    ]
    if found:
        return found
    age = duration_text(_milliseconds(config["max_age"])) if config["max_age"] else "any time"
    used = count_text(stream["state"]["messages"], "event", grouped=True)
    return [ok(f"{where}: {used}, {config['num_replicas']} replicas; a building may be away for {age}")]


def _configuration_findings(where: str, config: Document, organization: str) -> Iterator[Finding]:
    ours = organization_subjects(organization)
    for change in stream_changes(config, organization=organization):
        if change.key in _RISKS:
            risk, remedy = _RISKS[change.key]
            yield problem(f"{where} {risk.format(ours=ours, before=change.before)}", remedy)


def _replica_findings(where: str, stream: Document) -> Iterator[Finding]:
    replicas, cluster = stream["config"]["num_replicas"], stream.get("cluster") or {}
    if replicas < REPLICAS:
        servers, loss = (
            ("its server", "it loses") if replicas == 1 else ("one of its two servers", "both lose")
        )
        yield warning(
            f"{where} has {count_text(replicas, 'replica')}: while {servers} is away nothing is accepted, and"
            f" what {loss} is missing in every building that had not fetched it",
            f"with a cluster of three servers: {SETUP}. Until then, `intake.acknowledge: journal` and"
            " `gateway nats republish` fill a lost stream again",
        )
    peers = cluster.get("replicas") or []
    behind = [peer["name"] for peer in peers if peer.get("offline") or not peer.get("current", True)]
    if not cluster.get("leader"):
        yield problem(
            f"{where} has no leader: most of its servers are away, and nothing is accepted",
            "start the servers that are down; events wait in the journals of the intakes",
        )
    elif behind:
        yield warning(
            f"{where}: {short_list(behind)} {'is' if len(behind) == 1 else 'are'} away or behind; if one more"
            " server fails, nothing is accepted",
            "start that server, or see its log; it catches up by itself",
        )


def _retention_findings(where: str, config: Document, journal_ms: int) -> Iterator[Finding]:
    """Yield what is too short for a building that is away, or for filling a lost stream again."""
    age_ms = _milliseconds(config["max_age"])
    age = duration_text(age_ms)
    if not age_ms and config.get("max_bytes", -1) <= 0:
        yield warning(
            f"{where} has no limit: it grows until the disk of a server is full",
            f"gateway nats setup --max-age 7d --apply --narrow, {_LONGER}",
        )
    elif age_ms and age_ms < _SHORTEST_AGE_MS:
        yield warning(
            f"{where} keeps events for {age}: a building that is away for longer, such as over a long"
            " weekend, loses the rest",
            f"gateway nats setup --max-age 7d --apply, {_LONGER}",
        )
    if age_ms > journal_ms:
        yield warning(
            f"{where} keeps events for {age}, the intake's journal for {duration_text(journal_ms)} only: a"
            " lost stream can be filled again for that time, and no more",
            f"set journal.retention to {age}, and journal.max_size to what that takes",
        )


def _room_findings(where: str, stream: Document, now_ms: int) -> Iterator[Finding]:
    """Yield whether the stream is full, or will be before its oldest events are deleted."""
    config, state = stream["config"], stream["state"]
    limit, used = config.get("max_bytes", -1), state["bytes"]
    if limit <= 0:
        return
    remedy = (
        "gateway nats setup --max-bytes SIZE --apply, with more; see that the servers' disks have the room"
    )
    if used > limit * _NEARLY_FULL:
        yield problem(
            f"{where} has {used * 100 // limit} % of its {rounded_size_text(limit)}: a full one accepts"
            " nothing, and events wait in the journals of the intakes until old ones are deleted",
            remedy,
        )
        return
    span_ms, age_ms = now_ms - (parse_time(state["first_ts"]) or 0), _milliseconds(config["max_age"])
    if not state["messages"] or not age_ms or not _LEAST_SPAN_MS <= span_ms < age_ms:
        return
    needed = used * age_ms // span_ms
    if needed > limit:
        yield warning(
            f"{where} would need {rounded_size_text(needed)} for {duration_text(age_ms)} at the present rate,"
            f" and may have {rounded_size_text(limit)}: it is full after {_hours(limit * span_ms // used)}",
            remedy,
        )


def _window_findings(where: str, stream: Document, now_ms: int) -> Iterator[Finding]:
    window_ms, state = _milliseconds(stream["config"]["duplicate_window"]), stream["state"]
    recognises = f"{where} recognises repeated events for {duration_text(window_ms)}"
    if window_ms < _LEAST_WINDOW_MS:
        yield warning(
            f"{recognises} only: later ones are stored twice, which takes room, and which edge boxes ignore",
            SETUP,
        )
    elif window_ms > _LONGEST_WINDOW_MS:
        span_ms = max(1, now_ms - (parse_time(state["first_ts"]) or 0))
        memory = rounded_size_text(min(1, window_ms / span_ms) * state["messages"] * _WINDOW_BYTES)
        yield warning(
            f"{recognises}, which takes {memory} of each server's memory; edge boxes recognise them, too, for"
            " as long as their journals keep events",
            f"two minutes are enough: {SETUP}",
        )


def consumer_findings(
    where: str, consumer: Document, stream: Document | None, *, now_ms: int
) -> Iterator[Finding]:
    """Yield whether an edge keeps up, and what it may have lost; `stream` is None if it may not see it."""
    pending = consumer.get("num_pending", 0) + consumer.get("num_ack_pending", 0)
    waiting = f"{where}: {count_text(pending, 'event', grouped=True)} wait for this box"
    max_age_ms = 0 if stream is None else _milliseconds(stream["config"]["max_age"])
    active = (consumer.get("ack_floor") or {}).get("last_active")
    away_ms = 0 if active is None else now_ms - (parse_time(active) or 0)
    is_paused, requests = consumer.get("paused", False), consumer.get("num_waiting", 0)
    if is_paused:
        yield problem(
            f"{where} is paused until {consumer['config'].get('pause_until')}: no event comes until then",
            f"nats consumer resume {consumer['stream_name']} {consumer['name']}",
        )
    if requests > 1:
        yield problem(
            f"{where}: {requests} requests for events wait there, and one box has only one: another gateway"
            " reads it, too, and each gets a part",
            "stop the other one: each box has a consumer of its own. If there is none, a broken connection"
            " left a request, for two minutes at most",
        )
    if pending and max_age_ms and away_ms > max_age_ms:
        yield problem(
            f"{where}: it has fetched nothing for {_hours(away_ms)}, and the stream keeps events for"
            f" {duration_text(max_age_ms)}: older ones are gone",
            "see the check of the gateway here; the API's readings fill the gap if there is an"
            " infodeck.api_key. With a larger --max-age of `gateway nats setup`, longer outages lose nothing",
        )
    elif pending > _MANY_PENDING:
        yield warning(
            waiting,
            "see whether the gateway runs, and whether this number falls; a full or slow journal holds it"
            " back, as the check of the journal says",
        )
    elif requests <= 1 and not is_paused:
        yield ok(waiting)


def permission_findings(
    where: str, permissions: Document | None, *, organization: str, source: NatsSourceConfig | None
) -> Iterator[Finding]:
    """Yield what a user must do and may not, or may do and should not; None: it may do anything."""
    event = event_subject(organization, "any", "any")
    may_publish = _may(permissions, "publish", event)
    if source is None:
        if not may_publish:
            yield problem(
                f"{where}: this user may not publish to {organization_subjects(organization)}: events wait in"
                " the journal",
                f"allow it at the server, {_SECURITY}",
            )
        return
    may_read = _may(permissions, "subscribe", event) or _may(
        permissions, "publish", f"$JS.API.CONSUMER.CREATE.{source.stream}.any"
    )
    dangers = {"publish events": may_publish, "read every building's events": may_read}
    if may := [danger for danger, is_allowed in dangers.items() if is_allowed]:
        yield warning(
            f"{where}: this user may {' and '.join(may)}, and so may whoever takes this box",
            f"allow it only its own consumer, {_SECURITY}",
        )


def _may(permissions: Mapping[str, Any] | None, action: str, subject: str) -> bool:
    rules = (permissions or {}).get(action) or {}
    allowed = rules.get("allow")
    return (not allowed or any(covers(each, subject) for each in allowed)) and not any(
        covers(each, subject) for each in rules.get("deny") or ()
    )


def _milliseconds(nanoseconds: int) -> int:
    return nanoseconds // NS_PER_MS


def _hours(milliseconds: int) -> str:
    """Return the text of a duration in whole hours."""
    return duration_text(milliseconds // 3_600_000 * 3_600_000)
