"""Checks of the running gateway by its own status, and of its journal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gateway.config.value_types import duration_text, rounded_size_text, size_text
from gateway.doctor.daemon_status import value_at
from gateway.doctor.diagnosis import Finding, ok, problem, warning
from gateway.errors import GatewayError
from gateway.journal.database import corrupt_files
from gateway.journal.lookup import newest_events, newest_webhook_value_ms, read_error
from gateway.text import count_text, second_text, span_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.doctor.facts import Facts

_LAG_S = 60.0
_JUST_NOW_S = 60.0
_LATE_RECONCILIATIONS = 4
_MOST_EVENTS = 10_000  # looked at for the last one that a webhook brought
_NEARLY_FULL = 0.8
_LOG = "see `journalctl -u gateway`"
_SEE_API = "see the checks of API and API key here; what it last knew of assets stays"
_MORE_ROOM = (
    "see the checks of sinks and disk here, and the disk's cable or card (`dmesg`); or give the journal more"
    " room, journal.max_size. Infodeck tries again for 24 h"
)


def check_daemon(facts: Facts) -> Iterator[Finding]:
    """Check that the daemon runs, accepts events, and uses these files."""
    daemon, settings = facts.daemon, facts.settings
    name = daemon.at("name", "")
    if daemon.is_other:
        yield problem(daemon.reason, "free that port, or change admin.listen")
    elif daemon.is_silent:
        yield problem(
            f"it hangs, or another program has its port: {daemon.reason}",
            f"see who has it: ss -ltnp 'sport = :{settings.admin.listen.port}'; if it is the gateway, {_LOG},"
            " then systemctl restart gateway",
        )
    elif daemon.status is None:
        yield warning(
            f"the gateway is not running: {daemon.reason}",
            "systemctl start gateway; `systemctl status gateway` and `journalctl -u gateway` say why not",
        )
    elif name != settings.name:
        yield warning(
            f"the gateway that runs here is {name}, these settings are of {settings.name}",
            "give the settings that it runs with (-c), or restart it to apply these",
        )
    elif not daemon.at("ready", default=False):
        yield problem("it runs, but takes no events: it is starting or stopping", _LOG)
    else:
        yield ok(f"{name} runs since {second_text(daemon.at('started_ms', 0))}")


def check_alarms(facts: Facts) -> Iterator[Finding]:
    """Report the daemon's own alarms."""
    alarms = facts.daemon.list_at("alarms")
    for alarm in alarms:
        since = second_text(value_at(alarm, "since_ms", 0))
        yield problem(
            f"{value_at(alarm, 'name', '')} since {since}: {value_at(alarm, 'reason', '')}",
            "follow the other lines here; alarms are described in docs/operations.md",
        )
    if facts.daemon.status is not None and not alarms:
        yield ok("none")


def check_intake(facts: Facts) -> Iterator[Finding]:
    """Report what the intake has refused, or why the source gets nothing, and when the last event came."""
    if facts.daemon.status is None:
        return
    refusals = list(_refusals(facts) if facts.settings.source is None else _source_faults(facts))
    yield from refusals
    try:
        last_ms = _last_event_ms(facts.settings.journal.path)
    except GatewayError:
        return  # reported by the check of the journal
    age_s = (facts.now_ms - (last_ms or 0)) / 1000
    accepted = count_text(facts.daemon.at("journal.accepted", 0), "event")
    if last_ms is None:
        yield warning(
            "no event has arrived yet",
            "see the checks of webhook and public address here; `gateway webhooks test` has Infodeck send"
            " one (which is not kept), `gateway send` sends one from here"
            if facts.settings.source is None
            else "see whether the intakes get events, and whether source.subjects are this building's",
        )
    elif age_s > facts.settings.infodeck.silence:
        yield warning(
            f"the last event arrived {span_text(age_s)} ago",
            "see the checks of webhook and deliveries here"
            if facts.settings.source is None
            else "see whether the intakes get events",
        )
    elif not refusals:
        duplicates = facts.daemon.at("journal.duplicates", 0)
        again = f"; {duplicates} came twice, which is normal: each counts once" if duplicates else ""
        yield ok(f"{accepted} since the start{again}; the last one {span_text(age_s)} ago")


def _source_faults(facts: Facts) -> Iterator[Finding]:
    """Report why no events come from the source, and messages that were none for us."""
    daemon = facts.daemon
    if not daemon.at("source.connected", default=False):
        yield problem(
            f"the source is {daemon.at('source.state', '')}: {daemon.at('source.last_error', '')}",
            "see that a nats-server of source.servers is reached; values are shown as they were, and age",
        )
    elif (age_s := (facts.now_ms - daemon.at("source.last_error_ms", 0)) / 1000) < _JUST_NOW_S:
        yield warning(
            f"the source is up, but had an error {age_s:.0f} s ago: {daemon.at('source.last_error', '')}",
            "see the check of NATS stream here, and whether it comes again",
        )
    for reason, count in daemon.mapping_at("source.unusable").items():
        yield warning(
            f"{count_text(count, 'message')} of the stream dropped: {reason}",
            "see who may publish to the stream besides the gateways' intakes",
        )


def _refusals(facts: Facts) -> Iterator[Finding]:
    """Explain the refused signatures. Requests without any are not reported: scanners send them."""
    accepted = facts.daemon.at("journal.accepted", 0)
    level = warning if accepted else problem
    if count := facts.daemon.at("intake.refused.mismatch", 0):
        yield level(
            f"{_deliveries(count)} not signed with our secret, {count_text(accepted, 'event')} accepted",
            "it must be the complete secret of this webhook; after it was renewed in Infodeck, put the"
            " new one first: `gateway webhooks rotate`",
        )
    if not accepted and (count := facts.daemon.at("intake.refused.foreign", 0)):
        yield warning(
            f"{_deliveries(count)} neither signed with our secret nor of our organization",
            "nothing, if another service posts here; otherwise see whether a proxy changes bodies",
        )
    if count := facts.daemon.at("intake.refused.outside tolerance", 0):
        age_s = facts.daemon.at("intake.signature_age_s", 0.0)
        tolerance = duration_text(facts.settings.clock_skew_s)
        yield level(
            f"{_deliveries(count)} correctly signed, but more than {tolerance} ago or ahead;"
            f" the last one was {age_s:.0f} s old",
            "see the check of the clock here; a proxy that keeps deliveries back does the same",
        )


def _deliveries(count: int) -> str:
    return count_text(count, "delivery", plural="deliveries")


def _last_event_ms(journal: Path) -> int | None:
    """Return when the last event came by webhook: of the events that are kept, or by the last values."""
    newest = newest_events(journal, limit=_MOST_EVENTS)
    last_ms = next((event.received_ms for event in newest if not event.is_backfilled), None)
    return newest_webhook_value_ms(journal) if last_ms is None else last_ms


def check_journal(facts: Facts) -> Iterator[Finding]:
    """Check that the file can be read, and its status in the running daemon."""
    journal, daemon = facts.settings.journal, facts.daemon
    findings = [*_file_faults(facts), *_journal_faults(facts)]
    yield from findings
    if not findings and daemon.status is not None:
        used = rounded_size_text(daemon.at("journal.bytes_used", 0))
        yield ok(f"{used} of {size_text(journal.max_size)}, no dead letters")


def _file_faults(facts: Facts) -> Iterator[Finding]:
    journal = facts.settings.journal.path
    if (found := read_error(journal)) is not None:
        is_ours = os.access(journal, os.R_OK) and facts.daemon.status is None
        yield (problem if is_ours else warning)(*found)
    if corrupt := corrupt_files(journal):
        yield warning(
            f"a corrupt journal was moved aside: {corrupt[-1]}",
            "check the disk; see `A damaged journal` in docs/operations.md, then remove that file",
        )


def _journal_faults(facts: Facts) -> Iterator[Finding]:
    daemon, max_bytes = facts.daemon, facts.settings.journal.max_size
    used = daemon.at("journal.bytes_used", 0)
    if (state := daemon.at("journal.state", "ok")) != "ok":
        yield problem(f"it takes no events: {state}", _MORE_ROOM)
    elif used > max_bytes * _NEARLY_FULL:
        yield warning(
            f"{used * 100 // max_bytes} % of journal.max_size ({size_text(max_bytes)}) are used", _MORE_ROOM
        )
    if letters := daemon.at("journal.dead_letters", 0):
        yield warning(
            f"{count_text(letters, 'dead letter')}: refused by a receiver, or unreadable",
            "`gateway deadletters list` says why; after fixing the cause: `gateway deadletters retry`",
        )


def check_reconciliation(facts: Facts) -> Iterator[Finding]:
    """Check the state of the daemon's own requests to the API."""
    daemon, every_s = facts.daemon, facts.settings.infodeck.reconcile.every
    state, last_ms = daemon.at("reconcile.state", "off"), daemon.at("reconcile.last_success_ms", 0)
    when = f"last at {second_text(last_ms)}, {count_text(daemon.at('reconcile.assets', 0), 'asset')}"
    if state == "off":
        return  # reported by the checks of gateway and API key
    if state == "failing":
        yield problem(
            f"the gateway cannot ask Infodeck: {daemon.at('reconcile.last_error', '')}",
            _SEE_API,
        )
    elif trouble := daemon.at("reconcile.trouble", ""):
        yield warning(trouble, _SEE_API)
    elif not last_ms:
        yield ok("not yet, the gateway has just started")
    elif facts.now_ms - last_ms > _LATE_RECONCILIATIONS * every_s * 1000:
        yield warning(f"{when}, though every {duration_text(every_s)} is due", _LOG)
    else:
        yield ok(when)


def check_sinks(facts: Facts) -> Iterator[Finding]:
    """Check each sink of the running daemon: whether its receiver is connected, and whether it keeps up."""
    if facts.daemon.status is None:
        return
    sinks = facts.daemon.mapping_at("sinks")
    faults = [finding for name, sink in sinks.items() for finding in _sink_faults(name, sink)]
    faults += [
        warning(f"{name} is in the settings, but does not run", "systemctl restart gateway")
        for name in sorted(facts.settings.sinks.keys() - sinks.keys())
    ]
    yield from faults
    if sinks and not faults:
        yield ok(f"{', '.join(sinks)}: up, nothing waits")


def _sink_faults(name: str, sink: object) -> Iterator[Finding]:
    state, lag_s = value_at(sink, "state", ""), value_at(sink, "lag_s", 0.0)
    waiting = f"{count_text(value_at(sink, 'lag', 0), 'event')} waiting, the oldest for {lag_s:.0f} s"
    if state != "up":
        yield problem(
            f"{name} is {state}: {value_at(sink, 'last_error', 'no reason is known yet')}; {waiting}",
            "see the checks of brokers and controllers here; events are kept until it is back",
        )
    elif lag_s > _LAG_S:
        yield warning(
            f"{name} is behind; {waiting}", "its receiver may be too slow; see its own load and log"
        )
