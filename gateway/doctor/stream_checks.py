"""What a stream, a consumer and a user's permissions risk, by JetStream's documents of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.config.value_types import rounded_size_text
from gateway.doctor.diagnosis import Finding, ok, problem, warning
from gateway.events import parse_time
from gateway.jetstream.subjects import covers, event_subject, organization_subjects
from gateway.text import count_text, duration_text, short_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.intake.source_config import NatsSourceConfig

Document = dict[str, Any]

_NS_PER_MS = 1_000_000
_SHORTEST_AGE_MS = 3 * 86_400_000  # a long weekend
_LEAST_WINDOW_MS = 120_000
_LONGEST_WINDOW_MS = 3_600_000
_WINDOW_BYTES = 135  # of a server's memory for each message in the window; measured with 2.15
_WANTED_REPLICAS = 3
_NEARLY_FULL = 0.8
_LEAST_SPAN_MS = 3_600_000  # of messages, before their rate says anything
_MANY_PENDING = 5_000  # more than an edge catches up with in a second
_SETUP = "`gateway nats setup` with these settings shows the change, and makes it with --apply"


def stream_findings(
    where: str, stream: Document, *, organization: str, journal_ms: int, now_ms: int
) -> list[Finding]:
    """Return what the stream of an intake risks, whose journal keeps events for `journal_ms`."""
    config = stream["config"]
    found = [
        *_kept_findings(where, config, organization),
        *_replica_findings(where, stream),
        *_retention_findings(where, config, journal_ms),
        *_room_findings(where, stream, now_ms),
        *_window_findings(where, stream, now_ms),
    ]
    if found:
        return found
    age = duration_text(_milliseconds(config["max_age"])) if config["max_age"] else "any time"
    used = f"{count_text(stream['state']['messages'], 'event', grouped=True)}"
    return [ok(f"{where}: {used}, {config['num_replicas']} replicas; a building may be away for {age}")]


def _kept_findings(where: str, config: Document, organization: str) -> Iterator[Finding]:
    """Yield what makes the stream lose events although there is room."""
    wanted = organization_subjects(organization)
    if not any(covers(subject, wanted) for subject in config.get("subjects") or []):
        yield problem(f"{where} does not take {wanted}: events wait in the journal of the intake", _SETUP)
    if config["storage"] != "file":
        yield problem(
            f"{where} is in memory: events are lost when its servers restart",
            "make another stream with `gateway nats setup`, and name it in the settings",
        )
    if config["retention"] != "limits":
        yield problem(
            f"{where} has the retention {config['retention']}: what one building has fetched may be"
            " missing for"
            " another one, or for one that is set up later",
            "make another stream with `gateway nats setup`, and name it in the settings",
        )
    if config["discard"] != "new":
        yield problem(
            f"{where} deletes its oldest events when it is full, which buildings that are away then never"
            " get",
            "gateway nats setup --apply --narrow: a full stream then refuses new events, which wait in the"
            " intake's journal; other programs that publish to it are refused, too",
        )
    if config.get("max_msgs", -1) > 0 or config.get("max_msgs_per_subject", -1) > 0:
        yield problem(
            f"{where} is limited to a number of events, in all or per asset: older ones are deleted", _SETUP
        )
    if config.get("no_ack"):
        yield problem(f"{where} acknowledges nothing, so the intake waits for ever", _SETUP)


def _replica_findings(where: str, stream: Document) -> Iterator[Finding]:
    replicas, cluster = stream["config"]["num_replicas"], stream.get("cluster") or {}
    if replicas < _WANTED_REPLICAS:
        servers = "its server" if replicas == 1 else "one of its two servers"
        yield warning(
            f"{where} has {count_text(replicas, 'replica')}: while {servers} is away nothing is accepted,"
            " and what"
            f" {'it loses' if replicas == 1 else 'both lose'} is missing in every building that had not"
            " fetched it",
            f"with a cluster of three servers: {_SETUP}. Until then, `intake.acknowledge: journal` and"
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
    if not age_ms and config.get("max_bytes", -1) <= 0:
        yield warning(
            f"{where} has no limit: it grows until the disk of a server is full",
            "gateway nats setup --max-age 7d --apply --narrow, with the longest time that a building is away",
        )
    elif age_ms and age_ms < _SHORTEST_AGE_MS:
        yield warning(
            f"{where} keeps events for {duration_text(age_ms)}: a building that is away for longer, such"
            " as over"
            " a long weekend, loses the rest",
            "gateway nats setup --max-age 7d --apply, with the longest time that a building is away",
        )
    if age_ms > journal_ms:
        yield warning(
            f"{where} keeps events for {duration_text(age_ms)}, the intake's journal for"
            f" {duration_text(journal_ms)}"
            " only: a lost stream can be filled again for that time, and no more",
            f"set journal.retention to {duration_text(age_ms)}, and journal.max_size to what that takes",
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
            " nothing, and"
            " events wait in the journals of the intakes until old ones are deleted",
            remedy,
        )
        return
    span_ms, age_ms = now_ms - (parse_time(state["first_ts"]) or 0), _milliseconds(config["max_age"])
    if not state["messages"] or not age_ms or not _LEAST_SPAN_MS <= span_ms < age_ms:
        return
    needed = used * age_ms // span_ms
    if needed > limit:
        full_after = duration_text(limit * span_ms // used // 3_600_000 * 3_600_000)
        yield warning(
            f"{where} would need {rounded_size_text(needed)} for {duration_text(age_ms)} at the present"
            " rate, and may"
            f" have {rounded_size_text(limit)}: it is full after {full_after}",
            remedy,
        )


def _window_findings(where: str, stream: Document, now_ms: int) -> Iterator[Finding]:
    window_ms, state = _milliseconds(stream["config"]["duplicate_window"]), stream["state"]
    if window_ms < _LEAST_WINDOW_MS:
        yield warning(
            f"{where} recognises repeated events for {duration_text(window_ms)} only: later ones are"
            " stored twice,"
            " which takes room, and which edge boxes ignore",
            _SETUP,
        )
    elif window_ms > _LONGEST_WINDOW_MS:
        span_ms = max(1, now_ms - (parse_time(state["first_ts"]) or 0))
        memory = rounded_size_text(min(1, window_ms / span_ms) * state["messages"] * _WINDOW_BYTES)
        yield warning(
            f"{where} recognises repeated events for {duration_text(window_ms)}, which takes {memory} of each"
            " server's memory; edge boxes recognise them, too, for as long as their journals keep events",
            f"two minutes are enough: {_SETUP}",
        )


def consumer_findings(
    where: str, consumer: Document, stream: Document | None, *, now_ms: int
) -> Iterator[Finding]:
    """Yield whether an edge keeps up, and what it may have lost; `stream` is None if it may not see it."""
    if consumer.get("paused"):
        yield problem(
            f"{where} is paused until {consumer['config'].get('pause_until')}: no event comes until then",
            f"nats consumer resume {consumer['stream_name']} {consumer['name']}",
        )
    if (requests := consumer.get("num_waiting", 0)) > 1:
        yield problem(
            f"{where}: {requests} requests for events wait there, and one box has only one: another gateway"
            " reads it, too, and each gets a part",
            "stop the other one: each box has a consumer of its own. If there is none, a broken connection"
            " left a request, for two minutes at most",
        )
    pending = consumer.get("num_pending", 0) + consumer.get("num_ack_pending", 0)
    waiting = f"{count_text(pending, 'event', grouped=True)} wait for this box"
    max_age_ms = 0 if stream is None else _milliseconds(stream["config"]["max_age"])
    active = (consumer.get("ack_floor") or {}).get("last_active")
    away_ms = 0 if active is None else now_ms - (parse_time(active) or 0)
    if pending and max_age_ms and away_ms > max_age_ms:
        yield problem(
            f"{where}: it has fetched nothing for {duration_text(away_ms // 3_600_000 * 3_600_000)}, and"
            " the stream"
            f" keeps events for {duration_text(max_age_ms)}: older ones are gone",
            "see the check of the gateway here; the API's readings fill the gap if there is an"
            " infodeck.api_key."
            " With a larger --max-age of `gateway nats setup`, longer outages lose nothing",
        )
    elif pending > _MANY_PENDING:
        yield warning(
            f"{where}: {waiting}",
            "see whether the gateway runs, and whether this number falls; a journal that is full or slow"
            " holds it"
            " back, as the check of the journal says",
        )
    elif requests <= 1 and not consumer.get("paused"):
        yield ok(f"{where}: {waiting}")


def permission_findings(
    where: str, permissions: Document | None, *, organization: str, source: NatsSourceConfig | None
) -> Iterator[Finding]:
    """Yield what a user must do and may not, or may do and should not; None: it may do anything."""
    event = event_subject(organization, "any", "any")
    if source is None:
        if permissions is not None and not _may(permissions, "publish", event):
            yield problem(
                f"{where}: this user may not publish to {organization_subjects(organization)}: events"
                " wait in the"
                " journal",
                "allow it at the server, see `Security` in docs/fleet.md",
            )
        return
    create = f"$JS.API.CONSUMER.CREATE.{source.stream}.any"
    dangers = {
        "publish events": permissions is None or _may(permissions, "publish", event),
        "read every building's events": permissions is None
        or _may(permissions, "publish", create)
        or _may(permissions, "subscribe", event),
    }
    if may := [danger for danger, is_allowed in dangers.items() if is_allowed]:
        yield warning(
            f"{where}: this user may {' and '.join(may)}, and so may whoever takes this box",
            "allow it only its own consumer, see `Security` in docs/fleet.md",
        )


def _may(permissions: Mapping[str, Any], action: str, subject: str) -> bool:
    rules = permissions.get(action) or {}
    allowed = rules.get("allow")
    return (not allowed or any(covers(each, subject) for each in allowed)) and not any(
        covers(each, subject) for each in rules.get("deny") or ()
    )


def _milliseconds(nanoseconds: int) -> int:
    return int(nanoseconds // _NS_PER_MS)
