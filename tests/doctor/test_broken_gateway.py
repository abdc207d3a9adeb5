"""Findings about the daemon: not running, hanging, refusing, behind, with alarms."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.daemon import sign, telemetry
from support.journal_parts import sqlite_journal
from support.odd_server import answering
from support.waiting import until

from gateway.events import TELEMETRY
from gateway.model import Event
from gateway.records import LastValue, StateChanges

if TYPE_CHECKING:
    from support.installation import Installation


async def test_a_gateway_that_does_not_run(installation: Installation) -> None:
    """It is a warning: the settings may be examined before the first start."""
    diagnosis = await installation.diagnose("--offline")
    finding = diagnosis.finding("gateway")
    assert finding.level == "warning"
    assert finding.found.startswith("the gateway is not running")
    assert "systemctl start gateway" in (finding.remedy or "")


async def test_something_else_on_the_admin_port(installation: Installation) -> None:
    """It is a problem, unlike a gateway that is down."""
    async with answering(body="hello", port=installation.admin_port):
        finding = (await installation.diagnose("--offline")).finding("gateway")
    assert finding.level == "problem"
    assert "is no gateway (200)" in finding.found


async def test_a_gateway_that_hangs(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a problem, and its ports are not reported as used by others."""
    await asyncio.to_thread(installation.start)
    assert installation.process is not None
    installation.process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr("gateway.doctor.daemon_status._WITHIN_S", 1.0)
    diagnosis = await installation.diagnose("--offline")
    installation.process.send_signal(signal.SIGCONT)
    finding = diagnosis.finding("gateway")
    assert finding.level == "problem"
    assert finding.found.startswith("it hangs, or another program has its port")
    assert "systemctl restart gateway" in (finding.remedy or "")
    assert "ports" not in {one.check for one in diagnosis.findings}


async def test_deliveries_that_are_signed_with_another_secret(installation: Installation) -> None:
    """They are problems while nothing was accepted, and a warning says that no event has arrived."""
    await asyncio.to_thread(installation.start)
    body = telemetry("evt_1", "ast-0", {"temperature": 21})
    header = sign(body).replace("v1=", "v1=ffff")[: len(sign(body))]
    assert (await asyncio.to_thread(installation.post, body, header))[0] == 401
    late = sign(body, int(time.time()) - 900)
    assert (await asyncio.to_thread(installation.post, body, late))[0] == 401
    changed = body.replace(b"o-test", b"o-else")
    assert (await asyncio.to_thread(installation.post, changed, header))[0] == 401
    found = [one for one in (await installation.diagnose("--offline")).findings if one.check == "intake"]
    assert [one.level for one in found] == ["problem", "warning", "problem", "warning"]
    assert found[0].found.startswith("1 delivery not signed with our secret")
    assert found[1].found == "1 delivery neither signed with our secret nor of our organization"
    assert "a proxy changes bodies" in (found[1].remedy or "")
    assert found[2].found.startswith("1 delivery correctly signed, but more than 5m ago or ahead")
    assert "clock" in (found[2].remedy or "")
    assert found[3].found == "no event has arrived yet"
    assert "gateway webhooks test" in (found[3].remedy or "")


async def test_events_that_ceased_to_come(installation: Installation) -> None:
    """After `infodeck.silence` without an event there is a warning."""
    installation.change("infodeck.silence", "1ms")
    await asyncio.to_thread(installation.start)
    body = telemetry("evt_1", "ast-0", {"temperature": 21})
    assert (await asyncio.to_thread(installation.post, body))[0] == 200
    finding = (await installation.diagnose("--offline")).finding("intake")
    assert (finding.level, finding.found.startswith("the last event arrived ")) == ("warning", True)


async def test_backfilled_events_do_not_count_as_arrivals(installation: Installation) -> None:
    """Only events that webhooks delivered end the silence."""
    async with sqlite_journal(installation.folder, sinks=["bms", "regs"]) as journal:
        for event_id, received_ms in (("evt_1", 0), ("reconcile_1", round(time.time() * 1000))):
            document = {"id": event_id, "type": TELEMETRY, "data": {"object": {}}}
            body = json.dumps(document).encode()
            journal.append(Event(event_id, TELEMETRY, body, document, received_ms))
        await journal.flush()
    await asyncio.to_thread(installation.start)
    finding = (await installation.diagnose("--offline")).finding("intake")
    assert (finding.level, finding.found.startswith("the last event arrived ")) == ("warning", True)


async def test_the_last_arrival_is_known_after_the_retention(installation: Installation) -> None:
    """It is the time of the newest last value that a webhook delivered."""
    two_days_ago_ms = round(time.time() * 1000) - 50 * 3_600_000
    async with sqlite_journal(installation.folder, sinks=["bms", "regs"]) as journal:
        journal.save(
            StateChanges(
                last_values={
                    name: LastValue(name, "ast-0", source, 21, 21, at_ms, 1, event_id)
                    for name, source, at_ms, event_id in (
                        ("R-0/ZN-T", "temperature", two_days_ago_ms, "evt_1"),
                        ("R-0/X", "humidity", two_days_ago_ms + 3_600_000, "reconcile_1"),
                    )
                },
                values_through=1,
            )
        )
        await journal.flush()
    installation.api.items = []
    await asyncio.to_thread(installation.start)
    finding = (await installation.diagnose("--offline")).finding("intake")
    assert (finding.level, finding.found) == ("warning", "the last event arrived 2 days ago")


async def test_duplicates_are_normal(installation: Installation) -> None:
    """Duplicates are counted in an ok finding that calls them normal."""
    await asyncio.to_thread(installation.start)
    body = telemetry("evt_1", "ast-0", {"temperature": 21})
    for _ in range(2):
        assert (await asyncio.to_thread(installation.post, body))[0] == 200
    finding = (await installation.diagnose("--offline")).finding("intake")
    assert finding.level == "ok"
    assert finding.found.startswith(
        "1 event since the start; 1 came twice, which is normal: each counts once; the last one "
    )


async def test_absent_receivers_are_findings_of_two_checks(installation: Installation) -> None:
    """The check of sinks reports the daemon's view, the check of controllers its own."""
    assert installation.controller is not None
    installation.controller.kill()
    await asyncio.to_thread(installation.start)
    await until(lambda: installation.status()["sinks"]["ahu"]["state"] == "away")
    diagnosis = await installation.diagnose("--offline")
    assert diagnosis.finding("sinks").found.startswith("ahu is away: ")
    assert diagnosis.finding("controllers").level == "problem"


async def test_a_full_journal_names_the_sink_that_fills_it(installation: Installation) -> None:
    """The alarm names the sink; no finding claims that events are accepted."""
    assert installation.broker is not None
    installation.change("journal.max_size", "16MiB")
    await asyncio.to_thread(installation.start)
    await until(installation.is_settled)
    installation.broker.kill()
    codes = await asyncio.to_thread(_fill, installation)
    assert codes == {200, 503}
    await until(lambda: "bms is away" in json.dumps(installation.status()["alarms"]))
    diagnosis = await installation.diagnose("--offline")
    assert not [one for one in diagnosis.findings if "takes events" in one.found], diagnosis.printed
    finding = diagnosis.finding("journal")
    assert (finding.level, finding.found[:21]) == ("problem", "it takes no events: t")
    assert "see the checks of sinks and disk here" in (finding.remedy or "")
    alarm = diagnosis.finding("alarms").found
    assert re.search(r"bms is away and \d+ events behind, which are kept for it", alarm), alarm


def _fill(installation: Installation) -> set[int]:
    """Post large events until one is refused; return the answers."""
    codes: set[int] = set()
    for number in range(400):
        body = telemetry(f"evt_{number}", "ast-0", {"temperature": number, "padding": "x" * 200_000})
        codes.add(installation.post(body)[0])
        if 503 in codes:
            break
    return codes


async def test_settings_that_the_daemon_does_not_run_with(installation: Installation) -> None:
    """Another name and sinks that do not run are warnings, another path of the intake is a problem."""
    await asyncio.to_thread(installation.start)
    installation.change("name", "other-box")
    for name in ("more", "most"):
        installation.change(f"sinks.{name}", installation.settings["sinks"]["bms"] | {"prefix": name})
    diagnosis = await installation.diagnose("--offline")
    assert diagnosis.finding("gateway").found == (
        "the gateway that runs here is test-box, these settings are of other-box"
    )
    missing = [one.found for one in diagnosis.findings if one.check == "sinks"]
    assert missing == [f"{name} is in the settings, but does not run" for name in ("more", "most")]
    installation.change("intake.path", "/else")
    finding = (await installation.diagnose("--offline")).finding("ports")
    assert finding.level == "problem"
    assert finding.found == f"127.0.0.1:{installation.intake_port}/else answers 404 to a GET, not 405"


async def test_a_table_that_the_daemon_refused(installation: Installation) -> None:
    """The daemon keeps the former table, and its alarm is a problem."""
    await asyncio.to_thread(installation.start)
    table = installation.tables / "hq.yaml"
    table.write_text(table.read_text().replace("from:", "form:"))
    await until(lambda: installation.status()["alarms"] != [])
    finding = (await installation.diagnose("--offline")).finding("alarms")
    assert finding.level == "problem"
    assert finding.found.startswith("tables-refused since ")


def _status(**sections: Any) -> str:
    status = {
        "name": "test-box",
        "ready": True,
        "started_ms": 1_770_000_000_000,
        "intake": {"refused": {}},
        "journal": {"state": "ok", "accepted": 1, "duplicates": 0, "bytes_used": 0, "dead_letters": 0},
        "reconcile": {"state": "off"},
        "sinks": {},
        "alarms": [],
    }
    return json.dumps(status | sections)


@pytest.mark.parametrize(
    ("sections", "line", "remedy"),
    [
        (
            {
                "alarms": [
                    {"name": "webhook-silent", "reason": "no event for 2h", "since_ms": 1_770_000_000_000}
                ]
            },
            ("alarms", "problem", "webhook-silent since 2026-02-02T02:40:00Z: no event for 2h"),
            "follow the other lines here",
        ),
        (
            {"journal": {"state": "the journal is full", "accepted": 1}},
            ("journal", "problem", "it takes no events: the journal is full"),
            "see the checks of sinks and disk here",
        ),
        (
            {
                "journal": {"state": "the disk has not answered for 8 s"},
                "sinks": {"bms": {"state": "up", "lag": 3}},
            },
            ("journal", "problem", "it takes no events: the disk has not answered for 8 s"),
            "and the disk's cable or card (`dmesg`)",
        ),
        (
            {"journal": {"state": "ok", "bytes_used": 60 << 20}},
            ("journal", "warning", "93 % of journal.max_size (64MiB) are used"),
            "give the journal more room, journal.max_size",
        ),
        (
            {"journal": {"state": "ok", "dead_letters": 3}},
            ("journal", "warning", "3 dead letters"),
            "`gateway deadletters list`",
        ),
        (
            {"reconcile": {"state": "failing", "last_error": "the API answered 401"}},
            ("reconciliation", "problem", "the gateway cannot ask Infodeck: the API answered 401"),
            "see the checks of API and API key",
        ),
        (
            {"reconcile": {"state": "ok", "last_success_ms": 1_770_000_000_000, "assets": 4}},
            ("reconciliation", "warning", "last at 2026-02-02T02:40:00Z, 4 assets, though every 15m is due"),
            "journalctl",
        ),
        (
            {"sinks": {name: {"state": "up", "lag": 9, "lag_s": 90.0} for name in ("bms", "regs", "ahu")}},
            ("sinks", "warning", "bms is behind; 9 events waiting, the oldest for 90 s"),
            "too slow",
        ),
        (
            {"sinks": {name: {"state": "retrying"} for name in ("bms", "regs", "ahu", "more")}},
            ("sinks", "problem", "bms is retrying: no reason is known yet"),
            "see the checks of brokers and controllers here",
        ),
        (
            {"intake": {"refused": {"outside tolerance": 2}, "signature_age_s": -900.5}},
            (
                "intake",
                "warning",
                "2 deliveries correctly signed, but more than 5m ago or ahead; the last one was -900 s old",
            ),
            "see the check of the clock",
        ),
        (
            {"intake": {"previous_secrets": {"number": 1, "last_used_ms": None}}},
            ("signing secret", "ok", "1 previous one accepted for 48 h after it was replaced"),
            "",
        ),
        ({"ready": False}, ("gateway", "problem", "it runs, but takes no events"), "journalctl"),
    ],
)
async def test_findings_about_the_daemon_s_status(
    installation: Installation, sections: dict[str, Any], line: tuple[str, str, str], remedy: str
) -> None:
    """Each state in `/api/status` gives its finding."""
    check, level, found = line
    async with answering(body=_status(**sections), port=installation.admin_port):
        diagnosis = await installation.diagnose("--offline")
    finding = [
        one for one in diagnosis.findings if (one.check, one.level) == (check, level) and found in one.found
    ]
    assert len(finding) == 1, diagnosis.printed
    assert remedy in (finding[0].remedy or "")


async def test_a_status_of_another_version(installation: Installation) -> None:
    """Missing sections and values of other types cause no error."""
    body = json.dumps({"name": "test-box", "ready": True, "intake": 3, "alarms": "none", "sinks": [1]})
    async with answering(body=body, port=installation.admin_port):
        diagnosis = await installation.diagnose("--offline")
    assert diagnosis.finding("gateway").level == "ok"
    assert not [one for one in diagnosis.findings if "the check itself failed" in one.found]
