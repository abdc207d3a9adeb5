"""`gateway webhooks list`, `deliveries` and `test` with a simulated Infodeck and a running gateway."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.config_files import write
from support.processes import run_gateway
from support.raw_server import http, raw_server
from support.webhook_commands import PUBLIC_URL, set_up_webhook, use_webhooks

from gateway.demo.simulated_answers import Answer

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon


async def test_list_marks_the_webhook_that_leads_here(daemon: Daemon) -> None:
    """Incomplete items are listed, too; the webhook of the settings is marked with a star."""
    async with set_up_webhook(daemon) as infodeck:
        infodeck.api.webhooks.append({"id": "wh-2", "uri": "elsewhere"})
        done = await infodeck.run("list")
        listed = json.loads((await infodeck.run("list", "--format", "json")).stdout)["webhooks"]
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["id", "status", "events", "url", "description"]
    here = [
        infodeck.webhook["id"],
        "Active",
        "asset.telemetry.updated,asset.status.changed",
        daemon.url,
        "hq",
    ]
    assert lines[1].split() == ["*", *here]
    assert lines[2].split() == ["wh-2", "?", "?", "?"]
    assert lines[3:] == ["* leads here"]
    assert [(one["id"], one["leads_here"]) for one in listed] == [(here[0], True), ("wh-2", False)]


async def test_list_says_what_is_wrong_with_it(daemon: Daemon) -> None:
    """The list is followed by advice if no webhook leads here or it sends no telemetry."""
    async with set_up_webhook(daemon) as infodeck:
        infodeck.webhook["events"] = ["workorder.created"]
        done = await infodeck.run("list")
        assert "does not send asset.telemetry.updated, so no reading arrives" in done.stdout
        infodeck.api.webhooks.clear()
        done = await infodeck.run("list")
    assert done.stdout.startswith("None of them leads here")
    assert "gateway webhooks register -c" in done.stdout


async def test_list_names_a_second_one_with_its_url(daemon: Daemon) -> None:
    """A second webhook with the same URL is reported even if the settings have an id."""
    async with set_up_webhook(daemon) as infodeck:
        infodeck.api.webhooks.append({"id": "wh-2", "url": daemon.url})
        done = await infodeck.run("list")
    assert done.stdout.splitlines()[-1].startswith("* leads here; 1 more have its URL")


async def test_found_by_its_url_where_no_id_is_set(daemon: Daemon) -> None:
    """Without an id, the URL finds the webhook; two webhooks with one URL need `--id`."""
    async with set_up_webhook(daemon) as infodeck:
        settings = daemon.config.read_text()
        daemon.config.write_text(settings.replace(f"id: {infodeck.webhook['id']}, ", ""))
        infodeck.webhook["url"] = PUBLIC_URL.replace("gateway", "GATEWAY")
        assert "0 attempts" in (await infodeck.run("deliveries")).stdout
        infodeck.api.webhooks.append({"id": "wh-2", "url": PUBLIC_URL})
        done = await infodeck.run("deliveries")
        assert (done.returncode, done.stdout) == (1, "")
        assert f"2 webhooks lead here ({infodeck.webhook['id']}, wh-2): say --id ID" in done.stderr
        assert (await infodeck.run("deliveries", "--id", "wh-2")).returncode == 0
        done = await infodeck.run("deliveries", "--id", "wh-3")
        assert "none of 2 webhooks is the one of --id wh-3" in done.stderr


def attempt(number: int, **fields: Any) -> dict[str, Any]:
    """Return an entry of a delivery log."""
    return {
        "eventId": f"evt_{number}",
        "eventType": "asset.created",
        "createdAt": 1_771_911_526 + number,
    } | fields


async def test_deliveries_with_advice(daemon: Daemon) -> None:
    """Deliveries are printed newest first, with their number and advice for each kind of failure."""
    async with set_up_webhook(daemon) as infodeck:
        log = [
            attempt(1, statusCode=200, responseTimeMs=7),
            attempt(2, statusCode=401, responseTimeMs=5, failureReason="HTTP 401"),
            attempt(3, failureReason="no answer within 30 s"),
            attempt(4, statusCode=401, responseTimeMs=5, failureReason="HTTP 401"),
        ]
        infodeck.api.deliveries[infodeck.webhook["id"]] = log
        done = await infodeck.run("deliveries", "--failed", "--limit", "2")
        every = json.loads((await infodeck.run("deliveries", "--format", "json")).stdout)["deliveries"]
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[1].split() == [
        "2026-02-24T05:38:50Z",
        "evt_4",
        "asset.created",
        "failed",
        "401",
        "5",
        "ms",
        "HTTP",
        "401",
    ]
    assert lines[2].split()[:5] == ["2026-02-24T05:38:49Z", "evt_3", "asset.created", "failed", "-"]
    assert lines[3].endswith("4 attempts, 3 of them failed; 2 are shown.")
    assert "1 x 401: the signature does not fit" in lines[4]
    assert "1 x time-out: no answer in 30 s" in lines[5]
    assert [one["event_id"] for one in every] == ["evt_4", "evt_3", "evt_2", "evt_1"]
    assert (every[0]["failure"], every[3]["failure"], every[3]["took"]) == ("401", None, "7 ms")


async def test_only_the_newest_deliveries_are_read(daemon: Daemon) -> None:
    """Only the newest thousand attempts are read, or the whole log if it begins with the oldest."""
    async with set_up_webhook(daemon) as infodeck:
        log = [attempt(n, statusCode=200) for n in range(1500)]
        for order, requests in ((log[::-1], 10), (log, 15)):
            infodeck.api.deliveries[infodeck.webhook["id"]] = order
            infodeck.api.asked.clear()
            done = await infodeck.run("deliveries", "--limit", "1")
            asked = [one for one in infodeck.api.asked if "/deliveries" in one]
            assert "the newest 1000 attempts, 0 of them failed" in done.stdout
            assert "evt_1499 " in done.stdout
            assert len(asked) == requests


async def test_test_event_arrives(daemon: Daemon) -> None:
    """The command prints that the running gateway has received the test event."""
    async with set_up_webhook(daemon) as infodeck:
        await asyncio.to_thread(daemon.start)
        done = await infodeck.run("test")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "It arrived after" in done.stdout
        status = await asyncio.to_thread(daemon.status)
    assert status["intake"]["test_events"] == 1


async def test_test_event_that_is_refused_is_explained(daemon: Daemon) -> None:
    """With another secret, the gateway's count and Infodeck's log both show a 401, with one advice."""
    async with set_up_webhook(daemon) as infodeck:
        await asyncio.to_thread(daemon.start)
        infodeck.webhook["signingSecret"] = "another-one"
        done = await infodeck.run("test", "--wait", "5s")
    assert done.returncode == 1
    assert "has not seen it within 5 s" in done.stdout
    assert "with 401 meanwhile (mismatch): the signature does not fit" in done.stdout
    assert "Infodeck's log says: 401 HTTP 401." in done.stdout
    assert done.stdout.count("the signature does not fit") == 1


async def test_test_event_that_goes_elsewhere(daemon: Daemon) -> None:
    """Infodeck's log shows whether nobody or somebody else answers at the URL."""
    async with set_up_webhook(daemon) as infodeck:
        await asyncio.to_thread(daemon.start)
        infodeck.webhook["url"] = daemon.url.replace(str(daemon.intake_port), "9")
        done = await infodeck.run("test", "--wait", "5s")
        assert "nobody answers at the webhook's address" in done.stdout
        infodeck.infodeck.webhook.paused = True
        log = infodeck.api.deliveries[infodeck.webhook["id"]]
        log[:] = [attempt(0, eventType="webhook.test", statusCode=200, createdAt=int(time.time()))]
        done = await infodeck.run("test", "--wait", "100ms")
        assert "another gateway, or a proxy, answers at this URL" in done.stdout
        log.clear()
        done = await infodeck.run("test", "--wait", "100ms")
    assert "no attempt since" in done.stdout
    assert done.returncode == 1


async def test_test_event_without_a_gateway_is_not_sent(daemon: Daemon) -> None:
    """Without a running gateway no test event is requested."""
    async with set_up_webhook(daemon) as infodeck:
        done = await infodeck.run("test")
        assert done.returncode == 1
        assert "no running gateway says what it has received" in done.stderr
        assert not [one for one in infodeck.api.asked if one.startswith("POST")]


@pytest.mark.parametrize(
    "said", [b"<html>", b"[]", b"{}", b'{"intake":7}', b'{"intake":{"test_events":"x","refused":{}}}']
)
async def test_test_event_is_not_sent_where_something_else_answers(daemon: Daemon, said: bytes) -> None:
    """No test event is requested if something else answers on the admin port."""
    async with raw_server([], default=http("200 OK", said)) as server, set_up_webhook(daemon) as infodeck:
        settings = daemon.config.read_text()
        daemon.config.write_text(
            settings.replace(f"127.0.0.1:{daemon.admin_port}", f"127.0.0.1:{server.port}")
        )
        done = await infodeck.run("test")
        assert (done.returncode, done.stdout) == (1, "")
        assert "is no gateway" in done.stderr
        assert not [one for one in infodeck.api.asked if one.startswith("POST")]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "check infodeck.bearer_token: a JWT of a user who may manage webhooks, and not an expired one"),
        (
            403,
            "may not manage webhooks of o-test: that takes a role that may, and the organization Infodeck's",
        ),
        (404, "check infodeck.organization"),
    ],
)
async def test_refused_token_is_explained(daemon: Daemon, status: int, message: str) -> None:
    """Infodeck's refusals are explained, and the token is not printed."""
    async with set_up_webhook(daemon) as infodeck:
        infodeck.api.faults.append(Answer(status=status, body=b'{"message":"no, eyJ.made.up"}'))
        done = await infodeck.run("list")
    assert done.returncode == 1
    assert message in done.stderr


def test_without_a_token(tmp_path: Path) -> None:
    """A missing or readable Bearer token is refused with the reason."""
    settings = "infodeck: {organization: o-test}\nintake: {signing_secrets: [{env: S}]}\n"
    config = write(tmp_path, settings, "gateway.yaml")
    done = run_gateway("webhooks", "list", "-c", config)
    assert done.returncode == 1
    assert "infodeck.bearer_token is not set" in done.stderr
    assert "not with an API key" in done.stderr
    use_webhooks(config, "http://127.0.0.1:9/api/v2")
    (tmp_path / "token").chmod(0o644)
    done = run_gateway("webhooks", "list", "-c", config)
    assert "infodeck.bearer_token: others may read the secret file" in done.stderr
