"""`gateway status`: the health of the running gateway: what it receives, what it writes, what is wrong.

The exit code is 0 if it accepts events, every sink's receiver is connected and no alarm holds; otherwise 1.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from gateway.cli.loading import add_config_argument
from gateway.clock import now_ms
from gateway.config.secrets import ROTATE_AFTER_S
from gateway.config.value_types import rounded_size_text, size_text
from gateway.doctor.daemon_status import as_mapping, ask_daemon, mappings, number, text
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
        advice = "" if daemon.is_other else "; `systemctl status gateway` says more"
        raise CommandError(f"the gateway is not running: {daemon.reason}{advice}")
    if arguments.format == "json":
        print(orjson.dumps(daemon.status, option=orjson.OPT_INDENT_2).decode())
    else:
        print(align_columns(_rows(daemon, now_ms()), indent=""), end="")
    return 0 if _is_well(daemon) else 1


def _is_well(daemon: DaemonStatus) -> bool:
    status = daemon.status or {}
    sinks = daemon.section("sinks")
    return (
        status.get("ready") is True
        and text(daemon.section("journal"), "state") == "ok"
        and all(daemon.is_connected(name) for name in sinks)
        and not status.get("alarms")
    )


def _rows(daemon: DaemonStatus, at_ms: int) -> Iterator[Row]:
    status = daemon.status or {}
    journal = daemon.section("journal")
    yield str(status.get("name")), _readiness(daemon, at_ms)
    yield "intake", _intake(daemon, at_ms)
    if nowhere := _nowhere(daemon):
        yield "went nowhere", nowhere
    for secret in mappings(daemon.section("intake").get("secrets")):
        yield "secret", _secret(secret, at_ms)
    used, limit = int(number(journal, "bytes_used")), int(number(journal, "bytes_limit"))
    letters = count_text(int(number(journal, "dead_letters")), "dead letter")
    yield "journal", f"{rounded_size_text(used)} of {size_text(limit)}, {letters}"
    if corrupt := journal.get("corrupt_files"):
        yield "", f"a corrupt one was moved aside: {corrupt[-1]}"
    yield "tables", _tables(daemon)
    yield (
        "points",
        ", ".join(f"{count} {name}" for name, count in daemon.section("qualities").items() if count),
    )
    yield from _unshown(daemon.section("mapping").get("unshown"))
    for name in daemon.section("sinks"):
        yield f"sink {name}", _sink(daemon.sink(name))
    yield "Infodeck", _infodeck(daemon, at_ms)
    yield from _alarms(status.get("alarms"))


def _readiness(daemon: DaemonStatus, at_ms: int) -> str:
    state = text(daemon.section("journal"), "state")
    if (daemon.status or {}).get("ready") is not True:
        return "takes no events: it is starting or stopping"
    if state != "ok":
        return f"takes no events: {state}"
    since_ms = int(number(daemon.status or {}, "started_ms"))
    return f"takes events, runs for {span_text((at_ms - since_ms) / 1000)}"


def _intake(daemon: DaemonStatus, at_ms: int) -> str:
    journal, intake = daemon.section("journal"), daemon.section("intake")
    last_ms = int(number(journal, "last_event_ms"))
    last = f"the last one {span_text((at_ms - last_ms) / 1000)} ago" if last_ms else "none since the start"
    parts = [f"{count_text(int(number(journal, 'accepted')), 'event')}, {last}"]
    parts.append(f"{int(number(journal, 'duplicates'))} came again")
    refused = intake.get("refused")
    if isinstance(refused, dict) and refused:
        parts.append("refused: " + ", ".join(f"{count} {reason}" for reason, count in refused.items()))
    return "; ".join(parts)


def _nowhere(daemon: DaemonStatus) -> str:
    """Return which events were accepted and reached no point; without `asset.…`, which query the API."""
    intake, mapping = daemon.section("intake"), daemon.section("mapping")
    types = as_mapping(intake.get("ignored_types"))
    counts = {
        "of another organization": number(intake, "other_organization"),
        "for a test": number(intake, "test_events"),
        **{
            sanitise_line(kind, longest=_LONGEST_TYPE): number(types, kind)
            for kind in sorted(types)
            if not kind.startswith(ABOUT_ASSETS)
        },
        "of assets in no table": number(mapping, "unmapped"),
    }
    return ", ".join(f"{count:.0f} {what}" for what, count in counts.items() if count)


def _secret(secret: dict[str, Any], at_ms: int) -> str:
    used_ms, changed_ms = int(number(secret, "last_used_ms")), int(number(secret, "changed_ms"))
    used = f"used {span_text((at_ms - used_ms) / 1000)} ago" if used_ms else "not used since the start"
    age_s = (at_ms - changed_ms) / 1000
    is_written = text(secret, "source").startswith("{file")
    old = f", {span_text(age_s)} old" if is_written else f", known here for {span_text(age_s)}"
    due = ": renew it, `gateway webhooks rotate`" if changed_ms and age_s > ROTATE_AFTER_S else ""
    return f"{text(secret, 'source')}, {used}{old if changed_ms else ''}{due}"


def _tables(daemon: DaemonStatus) -> str:
    tables = daemon.section("tables")
    points, assets = int(number(tables, "points")), int(number(tables, "assets"))
    what = f"{count_text(points, 'point')} of {count_text(assets, 'asset')}"
    problems = tables.get("problems")
    if isinstance(problems, list) and problems:
        return f"{what}; those on disk are refused: {problems[0]}"
    return f"{what}, since {second_text(int(number(tables, 'loaded_ms')))}"


def _unshown(reasons: object) -> Iterator[Row]:
    """Yield the points whose newest reading cannot be shown, at most a few."""
    found = reasons if isinstance(reasons, dict) else {}
    for name, reason in list(found.items())[:_MOST_UNSHOWN]:
        yield "bad", f"{name}: {reason}"
    if len(found) > _MOST_UNSHOWN:
        yield "bad", f"{count_text(len(found) - _MOST_UNSHOWN, 'more point')}, see /api/status"


def _sink(sink: dict[str, Any]) -> str:
    lag = int(number(sink, "lag"))
    behind = (
        f"{count_text(lag, 'event')} behind ({span_text(number(sink, 'lag_s'))})" if lag else "nothing waits"
    )
    parts = [f"{text(sink, 'type')}, {text(sink, 'state')}, {behind}, {int(number(sink, 'written'))} written"]
    if letters := int(number(sink, "dead_letters")):
        parts.append(f"{letters} refused")
    if text(sink, "state") != "up" and text(sink, "last_error"):
        parts.append(text(sink, "last_error"))
    return "; ".join(parts)


def _infodeck(daemon: DaemonStatus, at_ms: int) -> str:
    reconcile, inventory = daemon.section("reconcile"), daemon.section("inventory")
    state = text(reconcile, "state")
    if state == "off":
        return "not asked: there is no infodeck.api_key"
    last_ms = int(number(reconcile, "last_success_ms"))
    trouble = text(reconcile, "trouble")
    if not last_ms:
        parts = [f"not heard of yet ({state}) {text(reconcile, 'last_error')}".rstrip(), trouble]
        return "; ".join(filter(None, parts))
    known = count_text(int(number(reconcile, "assets")), "asset")
    parts = [f"{known}, as of {span_text((at_ms - last_ms) / 1000)} ago"]
    parts.append(f"{int(number(inventory, 'unmapped'))} in no table, {int(number(inventory, 'gone'))} gone")
    if state != "ok":
        parts.append(text(reconcile, "last_error"))
    return "; ".join(filter(None, (*parts, trouble)))


def _alarms(alarms: object) -> Iterator[Row]:
    found = mappings(alarms)
    for alarm in found:
        since = second_text(int(number(alarm, "since_ms")))
        seen = ", acknowledged" if alarm.get("acknowledged_ms") else ""
        yield "ALARM", f"{alarm.get('name')} since {since}{seen}: {alarm.get('reason')}"
    if not found:
        yield "alarms", "none"
