"""Findings about the webhook, its deliveries, and the public address."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support.installation import WEBHOOK, delivery
from support.odd_server import answering
from support.ports import free_port

if TYPE_CHECKING:
    from support.installation import Installation


async def test_no_webhook_leads_here(installation: Installation) -> None:
    """The finding lists the webhooks that exist."""
    installation.api.webhooks[0]["url"] = "https://elsewhere.example.net/hook"
    finding = (await installation.diagnose()).finding("webhook")
    assert finding.level == "problem"
    assert finding.found.endswith("there are: https://elsewhere.example.net/hook")
    assert "gateway webhooks register" in (finding.remedy or "")


async def test_of_many_other_webhooks_a_few_are_named(installation: Installation) -> None:
    """At most five webhooks are listed."""
    installation.api.webhooks = [
        {"id": f"wh-{number}", "url": f"https://b{number}.example"} for number in range(40)
    ]
    finding = (await installation.diagnose()).finding("webhook")
    assert finding.found.endswith(
        "there are: " + ", ".join(f"https://b{n}.example" for n in range(5)) + " and 35 more"
    )


async def test_a_webhook_without_telemetry(installation: Installation) -> None:
    """It is a problem: no reading arrives."""
    installation.api.webhooks[0]["events"] = ["asset.created"]
    finding = (await installation.diagnose()).finding("webhook")
    assert finding.level == "problem"
    assert finding.found.startswith(f"{WEBHOOK} does not send asset.telemetry.updated")
    assert (finding.remedy or "").startswith("add them to the webhook in Infodeck")


async def test_a_webhook_with_telemetry_alone(installation: Installation) -> None:
    """Missing other events are a warning."""
    installation.api.webhooks[0]["events"] = ["asset.telemetry.updated"]
    finding = (await installation.diagnose()).finding("webhook")
    assert finding.level == "warning"
    assert "asset.status.changed, asset.created, asset.deleted" in finding.found


async def test_a_webhook_without_published_events(installation: Installation) -> None:
    """What a sink publishes must be sent; of `*`, nobody knows what that is."""
    installation.change("sinks.bms.events", ["workorder.*", "booking.created", "new.type", "*"])
    installation.api.webhooks[0]["events"].append("booking.created")
    finding = (await installation.diagnose()).finding("webhook")
    assert finding.level == "warning"
    workorders = "workorder.completed, workorder.created, workorder.status.changed, workorder.updated"
    assert finding.found == (
        f"{WEBHOOK} does not send new.type, {workorders}, which the `events` of a sink name"
    )


@pytest.mark.parametrize(("word", "level"), [("Failing", "problem"), ("Draft", "warning")])
async def test_the_status_of_the_webhook(installation: Installation, word: str, level: str) -> None:
    """A failing status is a problem, an unknown one a warning."""
    installation.api.webhooks[0]["status"] = word
    finding = (await installation.diagnose()).finding("webhook")
    assert (finding.level, finding.found) == (level, f"Infodeck says that {WEBHOOK} is {word}")


@pytest.mark.parametrize("with_id", [False, True])
async def test_two_webhooks_with_one_url(*, installation: Installation, with_id: bool) -> None:
    """It is a warning; the healthy one of them is examined."""
    former = {**installation.api.webhooks[0], "id": "wh-0", "status": "Disabled"}
    installation.api.webhooks.insert(0, former)
    if with_id:
        installation.change("infodeck.webhook.id", WEBHOOK)
    diagnosis = await installation.diagnose()
    finding = diagnosis.finding("webhook")
    assert (finding.level, finding.found) == (
        "warning",
        f"2 webhooks have the URL {installation.public_url}: {WEBHOOK} and wh-0",
    )
    assert "each event comes as often" in (finding.remedy or "")
    assert diagnosis.finding("deliveries").level == "ok"


async def test_the_url_and_the_path_of_the_intake_differ(installation: Installation) -> None:
    """It is a warning, because a proxy may rewrite the path."""
    installation.change("intake.path", "/other")
    finding = (await installation.diagnose()).finding("webhook")
    assert finding.found == f"{WEBHOOK} posts to /webhooks/infodeck, but intake.path is /other"


async def test_deliveries_that_fail_with_401(installation: Installation) -> None:
    """Failures are counted by code, with advice for the most frequent one."""
    installation.api.deliveries[WEBHOOK] = [delivery(401), delivery(401, age_s=120), delivery(age_s=180)]
    finding = (await installation.diagnose()).finding("deliveries")
    assert finding.level == "problem"
    assert finding.found == "of the last 3 deliveries 2 failed: 2 x 401; the last one did, too"
    assert (finding.remedy or "").startswith("401: the signature does not fit")


async def test_deliveries_that_have_failed(installation: Installation) -> None:
    """Past failures are a warning if the last delivery arrived."""
    installation.api.deliveries[WEBHOOK] = [delivery(), delivery(None, "Request timed out", age_s=120)]
    finding = (await installation.diagnose()).finding("deliveries")
    assert finding.level == "warning"
    assert finding.found == "of the last 2 deliveries 1 failed: 1 x time-out; the last one arrived"
    assert "firewall" in (finding.remedy or "")


async def test_a_log_that_is_listed_oldest_first(installation: Installation) -> None:
    """The newest attempts are found on the last page."""
    installation.api.deliveries[WEBHOOK] = [delivery(age_s=9000 - each) for each in range(150)]
    installation.api.deliveries[WEBHOOK] += [delivery(502, age_s=200 - each) for each in range(20)]
    finding = (await installation.diagnose()).finding("deliveries")
    assert (finding.level, finding.found) == (
        "problem",
        "of the last 20 deliveries 20 failed: 20 x 502; the last one did, too",
    )


async def test_a_log_oldest_first_that_is_too_long(installation: Installation) -> None:
    """It is a warning that the newest attempts are not reached."""
    installation.api.deliveries[WEBHOOK] = [delivery(502, age_s=9000 - each) for each in range(6000)]
    finding = (await installation.diagnose()).finding("deliveries")
    assert finding.level == "warning"
    assert "oldest first" in finding.found
    assert "Infodeck's web page" in (finding.remedy or "")


async def test_no_delivery_at_all(installation: Installation) -> None:
    """The remedy is the command for a test event."""
    installation.api.deliveries[WEBHOOK] = []
    finding = (await installation.diagnose()).finding("deliveries")
    assert finding.found == "Infodeck has not delivered anything yet"
    assert "gateway webhooks test" in (finding.remedy or "")


async def test_a_token_without_the_public_address(installation: Installation) -> None:
    """Without infodeck.webhook there is a warning with the setting to write."""
    installation.change("infodeck.webhook", None)
    finding = (await installation.diagnose()).finding("webhook")
    assert finding.level == "warning"
    assert "webhook: {url: https://…}" in (finding.remedy or "")


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
    installation: Installation, status: int, body: str, found: str, remedy: str
) -> None:
    """A proxy's error, another path and a redirect are problems with their own remedies."""
    headers = {"Location": "https://127.0.0.1/login"} if status == 301 else None
    async with answering(status=status, body=body, headers=headers, tls=installation.server_tls()) as port:
        installation.change("infodeck.webhook.url", f"https://127.0.0.1:{port}/webhooks/infodeck")
        finding = (await installation.diagnose()).finding("public address")
    assert finding.level == "problem"
    assert found in finding.found
    assert remedy in (finding.remedy or "")


async def test_a_public_address_that_is_not_reached_from_here(installation: Installation) -> None:
    """It is a warning: it may be reachable from outside."""
    installation.change("infodeck.webhook.url", f"https://127.0.0.1:{free_port()}/webhooks/infodeck")
    finding = (await installation.diagnose()).finding("public address")
    assert finding.level == "warning"
    assert finding.found == "127.0.0.1 can't be reached: Connection refused, from here"
    assert "try from outside: curl -i https://" in (finding.remedy or "")


async def test_a_certificate_that_infodeck_would_not_trust(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate of an unknown authority is a problem."""
    monkeypatch.delenv("SSL_CERT_FILE")
    await asyncio.to_thread(installation.start)
    finding = (await installation.diagnose()).finding("public address")
    assert finding.level == "problem"
    assert finding.found.startswith("127.0.0.1 shows a certificate of an authority that is not known here")
    assert finding.found.endswith(": Infodeck will not deliver to it")
    assert "a public authority" in (finding.remedy or "")


@pytest.mark.parametrize(("days", "level"), [(5, "problem"), (20, "warning")])
async def test_a_certificate_about_to_expire(installation: Installation, days: int, level: str) -> None:
    """It is found at the public address and in the file."""
    installation.new_certificate(days=days + 0.1)
    await asyncio.to_thread(installation.start)
    diagnosis = await installation.diagnose()
    for check in ("public address", "certificates"):
        finding = diagnosis.finding(check)
        assert finding.level == level
        assert f"expires in {days} days" in finding.found
        assert (finding.remedy or "").startswith("renew it")
