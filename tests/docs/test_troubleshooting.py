"""Each row of the troubleshooting table in docs/infodeck.md is caused, and its text is printed."""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.asset_lists import answer
from support.connected_box import ASSET, connected_box
from support.daemon import telemetry
from support.guides import Guide, not_printed
from support.odd_server import answering
from support.ports import free_port
from support.raw_server import http, raw_server
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from support.connected_box import Connected

    Provocation = Callable[[Connected], Awaitable[str]]

GUIDE = Guide("docs/infodeck.md")
PRINTED = re.findall(
    r"^\| `([^`]+)` \|", GUIDE.text.split("## Troubleshooting")[1].split("\n## ")[0], re.MULTILINE
)
happens = partial(until, within_s=60.0)
PROVOCATIONS: dict[str, Provocation] = {}


def brings_about(printed: str) -> Callable[[Provocation], Provocation]:
    """Register the function that causes a row of the table and returns the output."""

    def register(provocation: Provocation) -> Provocation:
        assert printed not in PROVOCATIONS
        PROVOCATIONS[printed] = provocation
        return provocation

    return register


@pytest.mark.parametrize("printed", PRINTED)
async def test_it_is_printed_as_the_table_has_it(tmp_path: Path, printed: str) -> None:
    """The gateway, its commands and Infodeck print the row's text."""
    async with connected_box(tmp_path) as connected:
        output = await PROVOCATIONS[printed](connected)
    assert not_printed(f"…{printed}…", output) is None, output


def test_no_provocation_is_left_over() -> None:
    """Every registered text is a row of the table."""
    assert PROVOCATIONS.keys() == set(PRINTED)


@brings_about("API key … does not begin with …")
async def signing_secret_for_key(connected: Connected) -> str:
    """Write another secret into the key's file."""
    connected.box.write_secret("api-key", "whsec_0123456789abcdef0123456789abcdef")
    return await connected.run("doctor")


@brings_about("API key … has 31 characters behind …, 32 are expected")
async def key_cut_short(connected: Connected) -> str:
    """Leave out the key's last character."""
    connected.box.write_secret("api-key", "idt_live_" + 31 * "f")
    return await connected.run("doctor")


@brings_about("the API answered 401 (Invalid API key)…")
async def key_revoked(connected: Connected) -> str:
    """Use a key of the right form that Infodeck does not know."""
    connected.box.write_secret("api-key", "idt_live_" + 32 * "f")
    return await connected.run("doctor")


@brings_about("the API answered 403 (API access requires Professional plan)…")
async def plan_without_api(connected: Connected) -> str:
    """Give the organization a smaller plan."""
    connected.api.plan = "starter"
    return await connected.run("doctor")


@brings_about("the API answered 403 (Access denied)…")
async def key_of_others(connected: Connected) -> str:
    """Refuse in words that are not documented."""
    connected.api.faults = deque([answer({"message": "Access denied"}, status=403)])
    return await connected.run("doctor")


@brings_about("the API answered 404 (Organization not found)…")
async def unknown_organization(connected: Connected) -> str:
    """Misspell the organization."""
    connected.box.change(organization="o-tset")
    return await connected.run("doctor")


@brings_about("the API answered 422 (Invalid organization)…")
async def senseless_organization(connected: Connected) -> str:
    """Refuse with status 422."""
    connected.api.faults = deque([answer({"message": "Invalid organization"}, status=422)])
    return await connected.run("doctor")


@brings_about("the API answered 429 (Too many requests)…")
async def limit_used_up(connected: Connected) -> str:
    """Answer as if others had used up the key's requests."""
    connected.api.limit = 0
    return await connected.run("doctor")


@brings_about("the answer is not JSON…")
async def login_page(connected: Connected) -> str:
    """Answer with the login page of a proxy."""
    async with answering(body="<html>Please sign in</html>") as port:
        connected.box.change(api=f"http://127.0.0.1:{port}/api/v2")
        return await connected.run("doctor")


@brings_about("the API answered 302, a redirect to …")
async def moved_api(connected: Connected) -> str:
    """Redirect the API's address."""
    moved = http("302 Found", b"", "Location: https://elsewhere.example/api")
    async with raw_server([], default=moved) as server:
        connected.box.change(api=f"http://127.0.0.1:{server.port}/api/v2")
        return await connected.run("doctor")


@brings_about("… can't be reached: Connection refused")
async def nobody_there(connected: Connected) -> str:
    """Use a port on which nothing listens."""
    connected.box.change(api=f"http://127.0.0.1:{free_port()}/api/v2")
    printed = await connected.run("doctor")
    return next(line for line in printed.splitlines() if line.startswith("problem  API"))


@brings_about("… is asked through the proxy …, which can't be reached: Connection refused")
async def no_proxy_there(connected: Connected) -> str:
    """Use a proxy's port on which nothing listens."""
    connected.box.change(proxy=f"http://127.0.0.1:{free_port()}")
    printed = await connected.run("doctor")
    return next(line for line in printed.splitlines() if line.startswith("problem  API"))


@brings_about("bearer token … expired … ago")
async def old_token(connected: Connected) -> str:
    """Let the token expire."""
    connected.box.write_token(valid_for_s=-7200)
    return await connected.run("doctor")


@brings_about("bearer token … is an API key, which Infodeck refuses for webhooks")
async def key_for_token(connected: Connected) -> str:
    """Put an API key where the token should be."""
    connected.box.write_secret("token", "idt_live_" + 32 * "f")
    return await connected.run("doctor")


@brings_about("Infodeck has no webhook …")
async def no_webhook(connected: Connected) -> str:
    """Remove it in Infodeck."""
    connected.api.webhooks.clear()
    return await connected.run("doctor")


@brings_about("… does not send asset.telemetry.updated…")
async def no_telemetry(connected: Connected) -> str:
    """Subscribe the webhook to assets, not to their readings."""
    connected.webhook["events"] = ["asset.created"]
    return await connected.run("doctor")


@brings_about("Infodeck says that … is Failing")
async def failing_webhook(connected: Connected) -> str:
    """Let Infodeck deliver while the gateway does not run."""
    connected.infodeck.send_test()
    await happens(lambda: connected.webhook["status"] == "Failing")
    return await connected.run("doctor")


@brings_about("… x refused: nobody answers at the webhook's address…")
async def no_way_in(connected: Connected) -> str:
    """Let Infodeck deliver while the gateway does not run, and list the deliveries."""
    connected.infodeck.send_test()
    await happens(lambda: connected.infodeck.deliveries.failed > 0)
    return await connected.run("webhooks", "deliveries", "--failed")


@brings_about("… x 404: the path of the webhook's URL is not intake.path…")
async def another_path(connected: Connected) -> str:
    """Misspell the path of the webhook's URL."""
    connected.webhook["url"] += "s"
    await connected.start()
    connected.infodeck.send_test()
    await happens(lambda: connected.infodeck.deliveries.failed > 0)
    return await connected.run("webhooks", "deliveries", "--failed")


@brings_about("… redirects to …")
async def moved_gateway(connected: Connected) -> str:
    """Redirect the webhook's address."""
    moved = http("301 Moved Permanently", b"", "Location: https://www.example.com/webhooks/infodeck")
    async with raw_server([], default=moved) as server:
        url = f"http://127.0.0.1:{server.port}/webhooks/infodeck"
        connected.box.change(webhook={"url": url, "id": connected.webhook["id"]})
        return await connected.run("doctor")


@brings_about("The gateway has not seen it within …")
async def held_back(connected: Connected) -> str:
    """Delay the delivery."""
    connected.infodeck.webhook.paused = True
    await connected.start()
    return await connected.run("webhooks", "test", "--wait", "5s")


@brings_about('"other_organization":1')
async def events_of_others(connected: Connected) -> str:
    """Send a signed event of another organization."""
    await connected.start()
    event = json.loads(telemetry("evt_1", ASSET, {"temperature": 20})) | {"organizationId": "o-others"}
    assert (await asyncio.to_thread(connected.box.post, json.dumps(event).encode()))[0] == 200
    return await asyncio.to_thread(connected.box.status_text)


@brings_about("values in Infodeck's list of assets that have no time…")
async def no_time_in_the_list(connected: Connected) -> str:
    """List an asset whose shadow has no time."""
    assert "timestamp" not in connected.api.items[0]["shadows"]["DeviceUplink"]
    await connected.start()
    await happens(lambda: connected.box.status()["refill"]["last_error"] is not None)
    return await asyncio.to_thread(connected.box.status_text)


@brings_about("The gateway refused … with 401 meanwhile (mismatch)…")
async def another_secret(connected: Connected) -> str:
    """Renew the secret in Infodeck only."""
    connected.webhook["signingSecret"] = "renewed"
    await connected.start()
    return await connected.run("webhooks", "test", "--wait", "5s")


@brings_about("But something was signed with the previous secret meanwhile…")
async def mistaken_paste(connected: Connected) -> str:
    """Give the gateway a new secret that Infodeck does not have."""
    await connected.start()
    await connected.run("webhooks", "rotate", "--from-stdin", given="mistaken")
    return await connected.run("webhooks", "test", "--wait", "60s")


@brings_about("intake … not signed with our secret…")
async def another_secret_found_later(connected: Connected) -> str:
    """Renew the secret in Infodeck only, and run the doctor."""
    await another_secret(connected)
    return await connected.run("doctor")


@brings_about("intake … correctly signed, but more than 5m ago or ahead…")
async def wrong_clock(connected: Connected) -> str:
    """Set Infodeck's clock ten minutes back."""
    connected.infodeck.webhook.skew_s = -600
    await connected.start()
    connected.infodeck.send_test()
    await happens(lambda: connected.infodeck.deliveries.failed > 0)
    return await connected.run("doctor")


@brings_about("intake … came twice, which is normal: each counts once")
async def delivered_again(connected: Connected) -> str:
    """Let Infodeck deliver every event twice."""
    connected.infodeck.webhook.duplicate_share = 1.0
    await connected.start()
    connected.infodeck.report(ASSET, {"temperature": 20})
    await happens(lambda: connected.infodeck.deliveries.duplicates > 0)
    return await connected.run("doctor")


@brings_about("… more have its URL, so each event comes as often…")
async def two_webhooks(connected: Connected) -> str:
    """Create a second webhook for this address."""
    connected.box.change(webhook={"url": connected.box.url})
    connected.api.webhooks.append(connected.webhook | {"id": "wh-second"})
    return await connected.run("webhooks", "list")
