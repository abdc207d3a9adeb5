"""`gateway status`: the health of the running gateway: what it receives, what it writes, what is wrong.

The exit code is 0 if it accepts events, every sink's receiver is connected and no alarm holds; otherwise 1.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson

from gateway.cli.loading import add_config_argument
from gateway.clock import now_ms
from gateway.config.secrets import ROTATE_AFTER_S
from gateway.config.value_types import rounded_size_text, size_text
from gateway.doctor.daemon_status import ask_daemon, value_at
from gateway.errors import CommandError
from gateway.events import ABOUT_ASSETS
from gateway.settings import load_settings
from gateway.text import align_columns, count_text, sanitise_line, second_text, span_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from gateway.doctor.daemon_status import DaemonStatus

Row = tuple[str, str]
_LONGEST_TYPE = 40
_MOST_UNSHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_argument(parser)
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="json: all of /api/status; default: text"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the status; return 0 if all is well."""
    remains = load_settings(arguments.config).remains.value
    if remains is None:
        raise CommandError(f"{arguments.config}: `gateway check` says what is wrong in it")
    daemon = asyncio.run(ask_daemon(remains.admin))
    if daemon.status is None:
        raise CommandError(
            f"the gateway is not running: {daemon.reason}; `systemctl status gateway` says more"
        )
    if arguments.format == "json":
        print(orjson.dumps(daemon.status, option=orjson.OPT_INDENT_2).decode())
    else:
        print(align_columns(_rows(daemon, now_ms()), indent=""), end="")
    return 0 if _is_well(daemon) else 1


def _is_well(daemon: DaemonStatus) -> bool:
    sinks = daemon.mapping_at("sinks").values()
    return (
        daemon.at("ready", default=False)
        and daemon.at("journal.state", "") == "ok"
        and all(value_at(sink, "connected", default=False) for sink in sinks)
        and (not daemon.mapping_at("source") or daemon.at("source.connected", default=False))
        and not daemon.list_at("alarms")
    )


def _rows(daemon: DaemonStatus, at_ms: int) -> Iterator[Row]:
    def ago(path: str) -> str:
        return span_text((at_ms - daemon.at(path, at_ms)) / 1000)

    is_ready, state = daemon.at("ready", default=False), daemon.at("journal.state", "")
    source = daemon.mapping_at("source") or None
    refused = "takes no events: " + (state if is_ready else "it is starting or stopping")
    yield (
        daemon.at("name", ""),
        f"takes events, runs for {ago('started_ms')}" if is_ready and state == "ok" else refused,
    )
    yield "intake" if source is None else "events", _intake(daemon, ago("journal.last_event_ms"))
    if source is not None:
        yield "source", _source(daemon, ago("source.last_message_ms"))
    if unused := _unused(daemon):
        yield "no point", unused
    for secret in daemon.list_at("intake.secrets"):
        yield "secret", _secret(secret, at_ms)
    used, limit = daemon.at("journal.bytes_used", 0), daemon.at("journal.bytes_limit", 0)
    letters = count_text(daemon.at("journal.dead_letters", 0), "dead letter")
    yield "journal", f"{rounded_size_text(used)} of {size_text(limit)}, {letters}"
    for corrupt in daemon.list_at("journal.corrupt_files"):
        yield "", f"a corrupt one was moved aside: {corrupt}"
    yield "tables", _tables(daemon)
    qualities = daemon.mapping_at("qualities").items()
    yield "points", ", ".join(f"{count} {name}" for name, count in qualities if count)
    for name, reason in list(daemon.mapping_at("mapping.unshown").items())[:_MOST_UNSHOWN]:
        yield "bad", f"{name}: {reason}"
    for name, sink in daemon.mapping_at("sinks").items():
        yield f"sink {name}", _sink(sink)
    yield "Infodeck", _infodeck(daemon, ago("reconcile.last_success_ms"))
    alarms = daemon.list_at("alarms")
    for alarm in alarms:
        since = second_text(value_at(alarm, "since_ms", 0))
        acknowledged = ", acknowledged" if value_at(alarm, "acknowledged_ms", 0) else ""
        yield (
            "ALARM",
            f"{value_at(alarm, 'name', '')} since {since}{acknowledged}: {value_at(alarm, 'reason', '')}",
        )
    if not alarms:
        yield "alarms", "none"


def _intake(daemon: DaemonStatus, last: str) -> str:
    is_any = daemon.at("journal.last_event_ms", 0)
    events = count_text(daemon.at("journal.accepted", 0), "event")
    parts = [
        f"{events}, {f'the last one {last} ago' if is_any else 'none since the start'}",
        f"{daemon.at('journal.duplicates', 0)} came again",
    ]
    if published := daemon.at("mapping.published", 0):
        parts.append(f"{published} for the `events` of sinks")
    if refused := daemon.mapping_at("intake.refused"):
        parts.append("refused: " + ", ".join(f"{count} {reason}" for reason, count in refused.items()))
    return "; ".join(parts)


def _source(daemon: DaemonStatus, last: str) -> str:
    """Return whether events can come, and how many wait in the stream."""
    state = daemon.at("source.state", "")
    named = f"{daemon.at('source.stream', '')}, consumer {daemon.at('source.consumer', '')}"
    pending = daemon.at("source.pending", 0)
    parts = [f"{daemon.at('source.type', '')} {named}, {state}"]
    if state == "up":
        parts.append(f"{count_text(pending, 'event')} wait there" if pending else "nothing waits")
    if daemon.at("source.last_message_ms", 0):
        parts.append(f"the last message {last} ago")
    if verified := daemon.mapping_at("source.verified_by"):
        parts.append("verified by " + ", ".join(f"{name} ({count})" for name, count in verified.items()))
    if unusable := daemon.mapping_at("source.unusable"):
        parts.append("dropped: " + ", ".join(f"{count} {reason}" for reason, count in unusable.items()))
    if waits_for := daemon.at("source.waits_for_journal", ""):
        parts.append(f"what was fetched waits for the journal: {waits_for}")
    if state != "up":
        parts.append(daemon.at("source.last_error", ""))
    return "; ".join(filter(None, parts))


def _unused(daemon: DaemonStatus) -> str:
    """Return which events were accepted and reached no point; without `asset.…`, which query the API."""
    ignored = sorted(daemon.mapping_at("intake.ignored_types").items())
    counts = {
        "of another organization": daemon.at("intake.other_organization", 0),
        "for a test": daemon.at("intake.test_events", 0),
        **{
            sanitise_line(kind, longest=_LONGEST_TYPE): count
            for kind, count in ignored
            if not kind.startswith(ABOUT_ASSETS)
        },
        "of assets in no table": daemon.at("mapping.unmapped", 0),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _secret(secret: object, at_ms: int) -> str:
    used_ms, changed_ms = value_at(secret, "last_used_ms", 0), value_at(secret, "changed_ms", at_ms)
    used = f"used {span_text((at_ms - used_ms) / 1000)} ago" if used_ms else "not used since the start"
    age_s = (at_ms - changed_ms) / 1000
    due = ": renew it, `gateway webhooks rotate`" if age_s > ROTATE_AFTER_S else ""
    return f"{value_at(secret, 'source', '')}, {used}, known for {span_text(age_s)}{due}"


def _tables(daemon: DaemonStatus) -> str:
    points = count_text(daemon.at("tables.points", 0), "point")
    what = f"{points} of {count_text(daemon.at('tables.assets', 0), 'asset')}"
    if problems := daemon.list_at("tables.problems"):
        return f"{what}; those on disk are refused: {problems[0]}"
    return f"{what}, since {second_text(daemon.at('tables.loaded_ms', 0))}"


def _sink(sink: object) -> str:
    lag, state = value_at(sink, "lag", 0), value_at(sink, "state", "")
    behind = f"{count_text(lag, 'event')} behind ({span_text(value_at(sink, 'lag_s', 0.0))})"
    written = f"{value_at(sink, 'written', 0)} written"
    parts = [f"{value_at(sink, 'type', '')}, {state}, {behind if lag else 'nothing waits'}, {written}"]
    if letters := value_at(sink, "dead_letters", 0):
        parts.append(f"{letters} refused")
    if value_at(sink, "bacnet", {}):
        parts += _bacnet(sink)
    if state != "up":
        parts.append(value_at(sink, "last_error", ""))
    return "; ".join(filter(None, parts))


def _bacnet(sink: object) -> Iterator[str]:
    last = value_at(sink, "clients.last", "")
    yield count_text(value_at(sink, "clients.requests", 0), "request") + (
        f", the last from {last}" if last else ""
    )
    subscriptions = count_text(value_at(sink, "bacnet.subscriptions", 0), "subscription")
    yield f"{subscriptions} of {count_text(value_at(sink, 'clients.connected', 0), 'client')}"
    if ignored := value_at(sink, "clients.refused", 0):
        yield f"{count_text(ignored, 'datagram')} ignored: from outside of `allow`"
    if dropped := value_at(sink, "bacnet.dropped_subscriptions", 0):
        yield f"{count_text(dropped, 'subscription')} dropped: the client did not answer"
    if registration := value_at(sink, "bacnet.registration", ""):
        yield f"BBMD: {registration}"


def _infodeck(daemon: DaemonStatus, last: str) -> str:
    state = daemon.at("reconcile.state", "")
    if state == "off":
        return "not asked: there is no infodeck.api_key"
    if daemon.at("reconcile.last_success_ms", 0):
        known = count_text(daemon.at("reconcile.assets", 0), "asset")
        unmapped, gone = daemon.at("inventory.unmapped", 0), daemon.at("inventory.gone", 0)
        parts = [f"{known}, as of {last} ago", f"{unmapped} in no table, {gone} gone"]
    else:
        parts = [f"not heard of yet ({state})"]
    if state == "failing":
        parts.append(daemon.at("reconcile.last_error", ""))
    return "; ".join(filter(None, [*parts, daemon.at("reconcile.trouble", "")]))
