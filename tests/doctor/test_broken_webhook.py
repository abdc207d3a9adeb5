"""Infodeck's side of the webhook: not there, not whole, failing; and the way to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support.doctored import WEBHOOK, delivery
from support.odd_server import answering
from support.ports import free_port

if TYPE_CHECKING:
    from support.doctored import Doctored


async def test_no_webhook_leads_here(patient: Doctored) -> None:
    """Those that there are, are named."""
    patient.api.webhooks[0]["url"] = "https://elsewhere.example.net/hook"
    seen = (await patient.diagnose()).of("webhook")
    assert seen.level == "problem"
    assert seen.found.endswith("there are: https://elsewhere.example.net/hook")
    assert "gateway webhooks register" in (seen.remedy or "")


async def test_of_many_other_webhooks_a_few_are_named(patient: Doctored) -> None:
    """An organization may have dozens, one for each of its buildings."""
    patient.api.webhooks = [
        {"id": f"wh-{number}", "url": f"https://b{number}.example"} for number in range(40)
    ]
    seen = (await patient.diagnose()).of("webhook")
    assert seen.found.endswith(
        "there are: " + ", ".join(f"https://b{n}.example" for n in range(5)) + " and 35 more"
    )


async def test_a_webhook_without_telemetry(patient: Doctored) -> None:
    """Then no reading arrives at all."""
    patient.api.webhooks[0]["events"] = ["asset.created"]
    seen = (await patient.diagnose()).of("webhook")
    assert seen.level == "problem"
    assert seen.found.startswith(f"{WEBHOOK} does not send asset.telemetry.updated")
    assert (seen.remedy or "").startswith("add them to the webhook in Infodeck")


async def test_a_webhook_with_telemetry_alone(patient: Doctored) -> None:
    """Readings arrive, the rest is noticed later."""
    patient.api.webhooks[0]["events"] = ["asset.telemetry.updated"]
    seen = (await patient.diagnose()).of("webhook")
    assert seen.level == "warning"
    assert "asset.status.changed, asset.created, asset.deleted" in seen.found


@pytest.mark.parametrize(("word", "level"), [("Failing", "problem"), ("Draft", "warning")])
async def test_the_status_of_the_webhook(patient: Doctored, word: str, level: str) -> None:
    """What is known to be bad is a problem, what is not known is repeated."""
    patient.api.webhooks[0]["status"] = word
    seen = (await patient.diagnose()).of("webhook")
    assert (seen.level, seen.found) == (level, f"Infodeck says that {WEBHOOK} is {word}")


@pytest.mark.parametrize("with_id", [False, True])
async def test_two_webhooks_with_one_url(*, patient: Doctored, with_id: bool) -> None:
    """Each event comes twice, mostly with two secrets; what is judged is the one that is well."""
    former = {**patient.api.webhooks[0], "id": "wh-0", "status": "Disabled"}
    patient.api.webhooks.insert(0, former)
    if with_id:
        patient.change("infodeck.webhook.id", WEBHOOK)
    diagnosis = await patient.diagnose()
    seen = diagnosis.of("webhook")
    assert (seen.level, seen.found) == (
        "warning",
        f"2 webhooks have the URL {patient.public_url}: {WEBHOOK} and wh-0",
    )
    assert "each event comes as often" in (seen.remedy or "")
    assert diagnosis.of("deliveries").level == "ok"


async def test_the_url_and_the_path_of_the_intake_differ(patient: Doctored) -> None:
    """A proxy may turn one into the other, so it is a warning."""
    patient.change("intake.path", "/other")
    seen = (await patient.diagnose()).of("webhook")
    assert seen.found == f"{WEBHOOK} posts to /webhooks/infodeck, but intake.path is /other"


async def test_deliveries_that_fail_with_401(patient: Doctored) -> None:
    """The codes are counted, and what they mean is said."""
    patient.api.deliveries[WEBHOOK] = [delivery(401), delivery(401, age_s=120), delivery(age_s=180)]
    seen = (await patient.diagnose()).of("deliveries")
    assert seen.level == "problem"
    assert seen.found == "of the last 3 deliveries 2 failed: 2 x 401; the last one did, too"
    assert (seen.remedy or "").startswith("401: the signature does not fit")


async def test_deliveries_that_have_failed(patient: Doctored) -> None:
    """Over by now: the last one arrived."""
    patient.api.deliveries[WEBHOOK] = [delivery(), delivery(None, "Request timed out", age_s=120)]
    seen = (await patient.diagnose()).of("deliveries")
    assert seen.level == "warning"
    assert seen.found == "of the last 2 deliveries 1 failed: 1 x time-out; the last one arrived"
    assert "firewall" in (seen.remedy or "")


async def test_a_log_that_is_listed_oldest_first(patient: Doctored) -> None:
    """Infodeck's documents name no order: what counts is when, on whichever page."""
    patient.api.deliveries[WEBHOOK] = [delivery(age_s=9000 - each) for each in range(150)]
    patient.api.deliveries[WEBHOOK] += [delivery(502, age_s=200 - each) for each in range(20)]
    seen = (await patient.diagnose()).of("deliveries")
    assert (seen.level, seen.found) == (
        "problem",
        "of the last 20 deliveries 20 failed: 20 x 502; the last one did, too",
    )


async def test_a_log_oldest_first_that_is_too_long(patient: Doctored) -> None:
    """It is not read for ever, and nothing is said of attempts that are long past."""
    patient.api.deliveries[WEBHOOK] = [delivery(502, age_s=9000 - each) for each in range(6000)]
    seen = (await patient.diagnose()).of("deliveries")
    assert seen.level == "warning"
    assert "oldest first" in seen.found
    assert "Infodeck's web page" in (seen.remedy or "")


async def test_no_delivery_at_all(patient: Doctored) -> None:
    """With the command that has one sent."""
    patient.api.deliveries[WEBHOOK] = []
    seen = (await patient.diagnose()).of("deliveries")
    assert seen.found == "Infodeck has not delivered anything yet"
    assert "gateway webhooks test" in (seen.remedy or "")


async def test_a_token_without_the_public_address(patient: Doctored) -> None:
    """Then it is not known which webhook is ours."""
    patient.change("infodeck.webhook", None)
    seen = (await patient.diagnose()).of("webhook")
    assert seen.level == "warning"
    assert "webhook: {url: https://…}" in (seen.remedy or "")


@pytest.mark.parametrize(
    ("status", "body", "found", "remedy"),
    [
        (502, "Bad Gateway", "something else than the gateway answers at", "does not reach the gateway"),
        (
            404,
            "<html>",
            "something else than the gateway answers at",
            "hand /webhooks/infodeck on to the gateway",
        ),
        (404, '{"error":"no such path"}', "but not under this path: 404", "intake.path"),
        (301, "", "redirects to", "must be the final address"),
    ],
)
async def test_who_answers_at_the_public_address(
    patient: Doctored, status: int, body: str, found: str, remedy: str
) -> None:
    """A proxy without the gateway behind it, with another path, or with a redirect."""
    headers = {"Location": "https://127.0.0.1/login"} if status == 301 else None
    async with answering(status=status, body=body, headers=headers, tls=patient.server_tls()) as port:
        patient.change("infodeck.webhook.url", f"https://127.0.0.1:{port}/webhooks/infodeck")
        seen = (await patient.diagnose()).of("public address")
    assert seen.level == "problem"
    assert found in seen.found
    assert remedy in (seen.remedy or "")


async def test_a_public_address_that_is_not_reached_from_here(patient: Doctored) -> None:
    """It may be reached from outside all the same, so it is a warning."""
    patient.change("infodeck.webhook.url", f"https://127.0.0.1:{free_port()}/webhooks/infodeck")
    seen = (await patient.diagnose()).of("public address")
    assert seen.level == "warning"
    assert seen.found == "127.0.0.1 can't be reached: Connection refused, from here"
    assert "try from outside: curl -i https://" in (seen.remedy or "")


async def test_a_certificate_that_infodeck_would_not_trust(
    patient: Doctored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it is of an authority that nobody knows."""
    monkeypatch.delenv("SSL_CERT_FILE")
    await asyncio.to_thread(patient.start)
    seen = (await patient.diagnose()).of("public address")
    assert seen.level == "problem"
    assert seen.found.startswith("127.0.0.1 shows a certificate of an authority that is not known here")
    assert seen.found.endswith(": Infodeck will not deliver to it")
    assert "a public authority" in (seen.remedy or "")


@pytest.mark.parametrize(("days", "level"), [(5, "problem"), (20, "warning")])
async def test_a_certificate_about_to_expire(patient: Doctored, days: int, level: str) -> None:
    """As it is shown, and as it is in the file."""
    patient.new_certificate(days=days + 0.1)
    await asyncio.to_thread(patient.start)
    diagnosis = await patient.diagnose()
    for check in ("public address", "certificates"):
        seen = diagnosis.of(check)
        assert seen.level == level
        assert f"expires in {days} days" in seen.found
        assert (seen.remedy or "").startswith("renew it")
