"""The daemon: down, another one, refusing, behind, alarmed."""

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
    from support.doctored import Doctored


async def test_a_gateway_that_does_not_run(patient: Doctored) -> None:
    """A warning: the examination of the files is worth something before it runs."""
    diagnosis = await patient.diagnose()
    seen = diagnosis.of("gateway")
    assert seen.level == "warning"
    assert seen.found.startswith("the gateway is not running")
    assert "systemctl start gateway" in (seen.remedy or "")


async def test_something_else_on_the_admin_port(patient: Doctored) -> None:
    """Told apart from a gateway that is down."""
    async with answering(body="hello", port=patient.admin_port):
        seen = (await patient.diagnose()).of("gateway")
    assert seen.level == "problem"
    assert "is no gateway (200)" in seen.found


async def test_a_gateway_that_hangs(patient: Doctored) -> None:
    """It is not taken for one that is down, and its ports not for those of somebody else."""
    await asyncio.to_thread(patient.start)
    assert patient.process is not None
    patient.process.send_signal(signal.SIGSTOP)
    diagnosis = await patient.diagnose()
    patient.process.send_signal(signal.SIGCONT)
    seen = diagnosis.of("gateway")
    assert seen.level == "problem"
    assert seen.found.startswith("it hangs, or another program has its port")
    assert "systemctl restart gateway" in (seen.remedy or "")
    assert "ports" not in {one.check for one in diagnosis.findings}


async def test_deliveries_that_are_signed_with_another_secret(patient: Doctored) -> None:
    """Counted by the daemon, explained here; nothing was accepted, so it is a problem."""
    await asyncio.to_thread(patient.start)
    body = telemetry("evt_1", "ast-0", {"temperature": 21})
    header = sign(body).replace("v1=", "v1=ffff")[: len(sign(body))]
    assert (await asyncio.to_thread(patient.post, body, header))[0] == 401
    late = sign(body, int(time.time()) - 900)
    assert (await asyncio.to_thread(patient.post, body, late))[0] == 401
    found = [one for one in (await patient.diagnose()).findings if one.check == "intake"]
    assert [one.level for one in found] == ["problem", "problem", "warning"]
    assert found[0].found.startswith("1 delivery not signed with our secret")
    assert found[1].found.startswith("1 delivery correctly signed, but more than 5m ago or ahead")
    assert "clock" in (found[1].remedy or "")


async def test_a_gateway_that_no_event_has_ever_reached(patient: Doctored) -> None:
    """The worst that can happen quietly."""
    await asyncio.to_thread(patient.start)
    seen = (await patient.diagnose()).of("intake")
    assert (seen.level, seen.found) == ("warning", "no event has arrived yet")
    assert "gateway webhooks test" in (seen.remedy or "")


async def test_events_that_ceased_to_come(patient: Doctored) -> None:
    """After `infodeck.silence`."""
    patient.change("infodeck.silence", "1ms")
    await asyncio.to_thread(patient.start)
    body = telemetry("evt_1", "ast-0", {"temperature": 21})
    assert (await asyncio.to_thread(patient.post, body))[0] == 200
    seen = (await patient.diagnose()).of("intake")
    assert (seen.level, seen.found.startswith("the last event arrived ")) == ("warning", True)


async def test_what_the_api_supplies_is_no_event_that_came(patient: Doctored) -> None:
    """While webhooks are dead, the gateway makes events itself of what the API has."""
    async with sqlite_journal(patient.folder, sinks=["bms", "regs"]) as journal:
        for event_id, received_ms in (("evt_1", 0), ("reconcile_1", round(time.time() * 1000))):
            document = {"id": event_id, "type": TELEMETRY, "data": {"object": {}}}
            body = json.dumps(document).encode()
            journal.append(Event(event_id, TELEMETRY, body, document, received_ms))
        await journal.flush()
    await asyncio.to_thread(patient.start)
    seen = (await patient.diagnose()).of("intake")
    assert (seen.level, seen.found.startswith("the last event arrived ")) == ("warning", True)


async def test_an_event_that_is_no_longer_kept_has_arrived_all_the_same(patient: Doctored) -> None:
    """After `journal.retention` the values remember it, but for those that the API supplied."""
    two_days_ago_ms = round(time.time() * 1000) - 50 * 3_600_000
    async with sqlite_journal(patient.folder, sinks=["bms", "regs"]) as journal:
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
    patient.api.items = []
    await asyncio.to_thread(patient.start)
    seen = (await patient.diagnose()).of("intake")
    assert (seen.level, seen.found) == ("warning", "the last event arrived 2 days ago")


async def test_duplicates_are_normal(patient: Doctored) -> None:
    """And said to be."""
    await asyncio.to_thread(patient.start)
    body = telemetry("evt_1", "ast-0", {"temperature": 21})
    for _ in range(2):
        assert (await asyncio.to_thread(patient.post, body))[0] == 200
    seen = (await patient.diagnose()).of("intake")
    assert seen.level == "ok"
    assert seen.found.startswith(
        "1 event since the start; 1 came twice, which is normal: each counts once; the last one "
    )


async def test_receivers_that_are_away_are_told_by_the_daemon_too(patient: Doctored) -> None:
    """With what waits for them."""
    assert patient.controller is not None
    patient.controller.kill()
    await asyncio.to_thread(patient.start)
    await until(lambda: patient.status()["sinks"]["ahu"]["state"] == "away")
    diagnosis = await patient.diagnose()
    assert diagnosis.of("sinks").found.startswith("ahu is away: ")
    assert diagnosis.of("controllers").level == "problem"


async def test_a_full_journal_names_the_sink_that_fills_it(patient: Doctored) -> None:
    """It takes no events, and no line says that it does; the remedy is at the sink, or more room."""
    assert patient.broker is not None
    patient.change("journal.max_size", "16MiB")
    await asyncio.to_thread(patient.start)
    await until(patient.is_settled)
    patient.broker.kill()
    codes = await asyncio.to_thread(_fill, patient)
    assert codes == {200, 503}
    await until(lambda: "bms is away" in json.dumps(patient.status()["alarms"]))
    diagnosis = await patient.diagnose()
    assert not [one for one in diagnosis.findings if "takes events" in one.found], diagnosis.printed
    seen = diagnosis.of("journal")
    assert (seen.level, seen.found[:21]) == ("problem", "it takes no events: t")
    assert "see the checks of sinks and disk here" in (seen.remedy or "")
    alarm = diagnosis.of("alarms").found
    assert re.search(r"bms is away and \d+ events behind, which are kept for it", alarm), alarm


def _fill(patient: Doctored) -> set[int]:
    """Post large events until one is refused; return the answers."""
    codes: set[int] = set()
    for number in range(400):
        body = telemetry(f"evt_{number}", "ast-0", {"temperature": number, "padding": "x" * 200_000})
        codes.add(patient.post(body)[0])
        if 503 in codes:
            break
    return codes


async def test_settings_that_the_daemon_does_not_run_with(patient: Doctored) -> None:
    """Another name, another sink: it was not restarted."""
    await asyncio.to_thread(patient.start)
    patient.change("name", "other-box")
    for name in ("more", "most"):
        patient.change(f"sinks.{name}", patient.settings["sinks"]["bms"] | {"prefix": name})
    diagnosis = await patient.diagnose()
    assert diagnosis.of("gateway").found == (
        "the gateway that runs here is test-box, these settings are of other-box"
    )
    missing = [one.found for one in diagnosis.findings if one.check == "sinks"]
    assert missing == [f"{name} is in the settings, but does not run" for name in ("more", "most")]


async def test_a_table_that_the_daemon_refused(patient: Doctored) -> None:
    """It goes on with the former one, and raises an alarm."""
    await asyncio.to_thread(patient.start)
    table = patient.tables / "hq.yaml"
    table.write_text(table.read_text().replace("from:", "form:"))
    await until(lambda: patient.status()["alarms"] != [])
    seen = (await patient.diagnose()).of("alarms")
    assert seen.level == "problem"
    assert seen.found.startswith("tables-refused since ")


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
async def test_what_the_daemon_says_of_itself(
    patient: Doctored, sections: dict[str, Any], line: tuple[str, str, str], remedy: str
) -> None:
    """By its status: states that are hard to bring about from outside."""
    check, level, found = line
    async with answering(body=_status(**sections), port=patient.admin_port):
        diagnosis = await patient.diagnose("--offline")
    seen = [
        one for one in diagnosis.findings if (one.check, one.level) == (check, level) and found in one.found
    ]
    assert len(seen) == 1, diagnosis.printed
    assert remedy in (seen[0].remedy or "")


async def test_a_status_of_another_version(patient: Doctored) -> None:
    """Sections that are missing, and values of other types, are passed over."""
    body = json.dumps({"name": "test-box", "ready": True, "intake": 3, "alarms": "none", "sinks": [1]})
    async with answering(body=body, port=patient.admin_port):
        diagnosis = await patient.diagnose("--offline")
    assert diagnosis.of("gateway").level == "ok"
    assert not [one for one in diagnosis.findings if "the check itself failed" in one.found]
