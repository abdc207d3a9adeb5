"""Checks of the running gateway, by its own status."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.config.value_types import duration_text
from gateway.doctor.daemon_status import get, number, text
from gateway.doctor.diagnosis import Finding, Findings, Level, bundled, ok, problem, warning
from gateway.errors import GatewayError
from gateway.infodeck.request_errors import Failure
from gateway.journal.lookup import newest_events, newest_webhook_value_ms
from gateway.text import count_text, second_text, span_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.doctor.setup import Setup

_LAG_S = 60.0
_LATE_RECONCILIATIONS = 4
_INTAKE_WITHIN_S = 4.0
_METHOD_NOT_ALLOWED = 405
_MOST_EVENTS = 10_000  # looked at for the last one that a webhook brought
_LOG = "see `journalctl -u gateway`"
_ALARM_REMEDIES = {
    "webhook-silent": "see the checks of webhook, deliveries and public address here",
    "webhook-missed": "see the checks of webhook and deliveries here; its event filters may be too narrow",
    "journal-unavailable": "see the checks of journal and disk here",
    "journal-damaged": "check the disk, then `gateway alarms ack journal-damaged`",
    "reconcile-failing": "see the checks of API, API key and organization here",
    "signature-failing": "compare the signing secret with the webhook's, `gateway webhooks rotate` renews it",
    "sink-away": "see the check of this sink here",
    "certificate-ends": "see the check of certificates here",
    "tables-refused": "correct them, `gateway check` shows all problems",
    "journal-filling": "see the checks of journal, disk and that sink here",
    "former-secret-used": "`gateway webhooks rotate --forget-old` has Infodeck and the gateway agree",
}


async def check_daemon(setup: Setup) -> list[Finding]:
    """Check that the daemon runs, accepts events, and uses these files."""
    daemon = await setup.daemon()
    if daemon.status is None:
        if daemon.is_other:
            return [problem(daemon.reason, "free that port, or change admin.listen")]
        if daemon.is_silent:
            return [
                problem(
                    f"it hangs, or another program has its port: {daemon.reason}",
                    f"see who has it: ss -ltnp 'sport = :{setup.settings.admin.listen.port}'; if it is the"
                    f" gateway, {_LOG}, then systemctl restart gateway",
                )
            ]
        return [
            warning(
                f"the gateway is not running: {daemon.reason}",
                "systemctl start gateway; `systemctl status gateway` and `journalctl -u gateway` say why not",
            )
        ]
    findings = Findings()
    name = daemon.status.get("name")
    if name != setup.settings.name:
        findings.warning(
            f"the gateway that runs here is {name}, these settings are of {setup.settings.name}",
            "give the settings that it runs with (-c), or restart it to apply these",
        )
    if daemon.status.get("ready") is not True:
        findings.problem("it runs, but takes no events: it is starting or stopping", _LOG)
    if refused := daemon.section("tables").get("problems"):
        findings.problem(
            f"it uses older point tables, because the present ones were refused: {refused[0]}",
            "correct them, `gateway check` shows all problems",
        )
    since = second_text(int(number(daemon.status, "started_ms")))
    takes = " and takes events" if text(daemon.section("journal"), "state") == "ok" else ""
    return findings or [ok(f"{name} runs since {since}{takes}")]


async def check_alarms(setup: Setup) -> list[Finding]:
    """Report the daemon's own alarms."""
    daemon = await setup.daemon()
    alarms = (daemon.status or {}).get("alarms")
    if not isinstance(alarms, list):
        return []
    return [_alarm(alarm) for alarm in alarms if isinstance(alarm, dict)] or [ok("none")]


def _alarm(alarm: Mapping[str, Any]) -> Finding:
    name = str(alarm.get("name"))
    since = second_text(int(alarm.get("since_ms") or 0))
    remedy = _ALARM_REMEDIES.get(name.partition(":")[0], "see what it says")
    return problem(f"{name} since {since}: {alarm.get('reason')}", remedy)


async def check_intake(setup: Setup) -> list[Finding]:
    """Send a request to the intake, and report what the intake has refused."""
    daemon = await setup.daemon()
    if daemon.status is None:
        return []
    settings = setup.settings.intake
    scheme = "http" if settings.tls is None else "https"
    answer = await get(
        f"{scheme}://{settings.listen.reachable}{settings.path}", within_s=_INTAKE_WITHIN_S, tls=False
    )
    findings = Findings()
    if isinstance(answer, Failure) or answer.status != _METHOD_NOT_ALLOWED:
        how = answer.reason if isinstance(answer, Failure) else f"answers {answer.status} to a GET, not 405"
        findings.problem(
            f"{settings.listen}{settings.path} {how}",
            "restart the gateway if intake was changed; " + _LOG,
        )
    journal, refused = daemon.section("journal"), daemon.section("intake").get("refused")
    accepted, duplicates = int(number(journal, "accepted")), int(number(journal, "duplicates"))
    if isinstance(refused, dict):
        age_s = daemon.section("intake").get("signature_age_s")
        findings += _refusals(refused, accepted=accepted, age_s=age_s, setup=setup)
    last = await asyncio.to_thread(_last_event, setup)
    if last is not None and last.level is not Level.OK:
        findings.append(last)
    if findings:
        return findings
    again = f"; {duplicates} came twice, which is normal: each counts once" if duplicates else ""
    latest = "" if last is None else f"; {last.found}"
    return [ok(f"{count_text(accepted, 'event')} since the start{again}{latest}")]


def _last_event(setup: Setup) -> Finding | None:
    """Report when the last event came by webhook; None if the journal cannot be read."""
    journal, known = setup.settings.journal.path, ""
    try:
        newest = newest_events(journal, limit=_MOST_EVENTS)
        last_ms = next((event.received_ms for event in newest if not event.is_backfilled), None)
        if last_ms is None and (last_ms := newest_webhook_value_ms(journal)) is not None:
            known = ", by the stored values"  # events themselves are kept for journal.retention
    except GatewayError:
        return None
    if last_ms is None:
        return warning(
            "no event has arrived yet",
            "see the checks of webhook and public address here; `gateway webhooks test` has Infodeck send one"
            " (which is not kept), `gateway send` sends one from here",
        )
    age_s = (setup.clock_ms() - last_ms) / 1000
    if age_s > setup.settings.infodeck.silence:
        return warning(
            f"the last event arrived {span_text(age_s)} ago{known}",
            "see the checks of webhook and deliveries here",
        )
    return ok(f"the last one {span_text(age_s)} ago")


def _refusals(
    refused: Mapping[str, Any], *, accepted: int, age_s: float | None, setup: Setup
) -> list[Finding]:
    """Explain the refused signatures. Requests without any are not reported: scanners send them everywhere.

    `age_s` is the age of the last correct signature outside the tolerance; negative: from the future.
    """
    level = warning if accepted else problem
    findings = Findings()
    if count := refused.get("mismatch"):
        findings.append(
            level(
                f"{_deliveries(count)} not signed with our secret, {count_text(accepted, 'event')} accepted",
                "it must be the complete secret of this webhook; after it was renewed in Infodeck, put the"
                " new one first: `gateway webhooks rotate`",
            )
        )
    if not accepted and (count := refused.get("foreign")):
        findings.warning(
            f"{_deliveries(count)} neither signed with our secret nor of our organization",
            "nothing, if another service posts here; otherwise see whether a proxy changes bodies",
        )
    if count := refused.get("outside tolerance"):
        tolerance = duration_text(setup.settings.intake.tolerance)
        findings.append(
            level(
                f"{_deliveries(count)} correctly signed, but more than {tolerance} ago or ahead{_by(age_s)}",
                "see the check of the clock here; a proxy that keeps deliveries back does the same",
            )
        )
    return findings


def _by(age_s: float | None) -> str:
    if age_s is None:
        return ""
    return f", the last one {abs(age_s):.0f} s {'ago' if age_s > 0 else 'ahead'}"


def _deliveries(count: int) -> str:
    return f"{count_text(count, 'delivery', plural='deliveries')} {'was' if count == 1 else 'were'}"


async def check_reconciliation(setup: Setup) -> Finding | list[Finding]:
    """Check the state of the daemon's own requests to the API."""
    daemon = await setup.daemon()
    reconcile = daemon.section("reconcile")
    state = text(reconcile, "state")
    if not state or state == "off":
        return []  # reported by the check of the API key
    if state == "failing":
        return problem(
            f"the gateway cannot ask Infodeck: {text(reconcile, 'last_error')}",
            "see the checks of API and API key here; what it last knew of assets stays",
        )
    if trouble := text(reconcile, "trouble"):
        return warning(trouble, "see the checks of API and API key here; what it last knew of assets stays")
    last_ms = int(number(reconcile, "last_success_ms"))
    every_s = setup.settings.infodeck.reconcile.every
    if not last_ms:
        return ok("not yet, the gateway has just started")
    age_s = setup.clock_ms() / 1000 - last_ms / 1000
    when = f"last at {second_text(last_ms)}, {count_text(int(number(reconcile, 'assets')), 'asset')}"
    if age_s > _LATE_RECONCILIATIONS * every_s:
        return warning(f"{when}, though every {duration_text(every_s)} is due", _LOG)
    return ok(when)


async def check_sinks(setup: Setup) -> list[Finding]:
    """Check each sink of the running daemon: whether its receiver is connected, and whether it keeps up."""
    daemon = await setup.daemon()
    sinks = daemon.section("sinks")
    missing = sorted(setup.settings.sinks.keys() - sinks.keys()) if daemon.status is not None else []
    findings = Findings()
    if missing:
        do = (
            "is in the settings, but does not run"
            if len(missing) == 1
            else "are in the settings, but do not run"
        )
        findings.warning(f"{', '.join(missing)} {do}", "systemctl restart gateway")
    seen = [_sink(name, daemon.sink(name)) for name in sinks]
    findings += bundled(finding for finding in seen if finding is not None)
    return findings or ([ok(f"{', '.join(sinks)}: up, nothing waits")] if sinks else [])


def _sink(name: str, sink: Mapping[str, Any]) -> Finding | None:
    state, lag, lag_s = sink.get("state"), sink.get("lag") or 0, sink.get("lag_s") or 0
    waiting = f"; {count_text(lag, 'event')} waiting, the oldest for {lag_s:.0f} s" if lag else ""
    if state != "up":
        return problem(
            f"{name} is {state}: {sink.get('last_error') or 'no reason is known yet'}{waiting}",
            "see the checks of brokers and controllers here; events are kept until it is back",
        ).alike(name, str(state))
    if lag_s > _LAG_S:
        return warning(
            f"{name} is behind{waiting}", "its receiver may be too slow; see its own load and log"
        ).alike(name, "behind")
    return None
