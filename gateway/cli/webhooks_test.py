"""`gateway webhooks test`: a test event on its whole way, from Infodeck through a proxy into the gateway."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import orjson

from gateway.cli.webhooks_list import find_webhook, manage, newest_attempts
from gateway.config.value_types import parse_duration
from gateway.errors import CommandError, GatewayError
from gateway.infodeck.webhooks import advice_for, kind_of
from gateway.settings import load_settings

if TYPE_CHECKING:
    import argparse

    from gateway.infodeck.api_client import InfodeckApi
    from gateway.settings import Settings

_ANSWER_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.2
_CLOCKS_DIFFER_MS = 60_000  # Infodeck's clock against ours, at most, for a log's entry to be taken for ours
_PREVIOUS_USED = (
    "the way is right. But something was signed with the previous secret meanwhile, which is accepted for"
    " 48 h: try again. If that stays so, Infodeck has another secret than the gateway: renew it (`gateway"
    " webhooks rotate`)"
)
_REFUSED = {
    "mismatch": advice_for("401"),
    "missing": "something without a signature was posted: a proxy that drops headers, or somebody else",
    "malformed": "a signature could not be read: a proxy that changes headers, or somebody else",
    "foreign": "the signature does not fit, nor does the body name the organization: somebody else, or"
    " a proxy that changes or compresses bodies",
    "outside tolerance": "this machine's clock is wrong: `timedatectl` shows whether it is synchronised",
}


@dataclass(frozen=True, slots=True)
class _Counts:
    """What the running gateway has counted: test events, and refused deliveries by reason.

    `previous_used_ms` is when a delivery was last signed with a secret that was replaced, None: never.
    """

    test_events: int
    refused: Counter[str]
    previous_used_ms: float | None


def test_webhook(arguments: argparse.Namespace) -> int:
    """Request a test event and print its outcome; return 0 once the running gateway has received it."""
    settings = load_settings(arguments.config).require()
    try:
        wait_s = parse_duration(arguments.wait)
    except ValueError as error:
        raise CommandError(f"--wait {arguments.wait}: {error}") from error
    return manage(settings, lambda api: _test(api, settings, arguments.id, wait_s=wait_s))


async def _test(api: InfodeckApi, settings: Settings, given_id: str | None, *, wait_s: float) -> int:
    before = now = await _counts(settings.admin.url)
    webhook, webhook_id = await find_webhook(api, settings, given_id)
    began_ms = time.time() * 1000
    await api.test_webhook(webhook_id)
    print(f"Infodeck was asked to send a webhook.test to {webhook.url or webhook_id}.")
    began_s = time.monotonic()
    while time.monotonic() < began_s + wait_s:
        now = await _counts(settings.admin.url)
        if now.test_events > before.test_events:
            is_current = now.previous_used_ms == before.previous_used_ms
            right = "the way and the signing secret are right." if is_current else _PREVIOUS_USED
            print(f"It arrived after {time.monotonic() - began_s:.1f} s: {right}")
            return 0 if is_current else 1
        await asyncio.sleep(_LOOK_EVERY_S)
    print(f"The gateway has not seen it within {wait_s:g} s.")
    for reason, count in (now.refused - before.refused).items():
        print(f"The gateway refused {count} with 401 meanwhile ({reason}): {_REFUSED.get(reason)}")
    print(await _logged(api, webhook_id, since_ms=began_ms))
    return 1


async def _counts(admin: str) -> _Counts:
    """Return the counts of the running gateway; raise CommandError if none answers."""
    url = f"{admin}/api/status"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S)) as session,
            session.get(url, ssl=False) as response,
        ):
            intake = orjson.loads(await response.read())["intake"]
            previous_used_ms = intake["previous_secrets"]["last_used_ms"]
            return _Counts(int(intake["test_events"]), Counter(intake["refused"]), previous_used_ms)
    except (KeyError, TypeError, ValueError) as error:
        raise CommandError(f"{url}: what answers there is no gateway; correct admin.listen") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        why = str(error) or type(error).__name__
        raise CommandError(
            f"{url}: no running gateway says what it has received ({why}); start it, or correct admin.listen"
        ) from error


async def _logged(api: InfodeckApi, webhook_id: str, *, since_ms: float) -> str:
    """Return what Infodeck's log has about the newest attempt since then, test events first."""
    try:
        attempts = await newest_attempts(api, webhook_id)
    except GatewayError as error:
        return f"Infodeck's delivery log could not be read: {error}"
    earliest_ms = since_ms - _CLOCKS_DIFFER_MS
    ours = [one for one in attempts if one.at_ms is not None and one.at_ms >= earliest_ms]
    ours.sort(key=lambda one: one.event_type != "webhook.test")
    if not ours:
        return (
            "Infodeck's delivery log has no attempt since: look again in a while (`gateway webhooks"
            " deliveries`); is the webhook switched off, or `Failing` (`gateway webhooks list`)?"
        )
    if ours[0].succeeded:
        return (
            "But Infodeck's log says that it was delivered: another gateway, or a proxy, answers at this URL"
        )
    kind = kind_of(ours[0])
    advice = "" if kind == "401" else advice_for(kind)  # the gateway's own counts explain a 401
    return f"Infodeck's log says: {kind} {ours[0].reason or ''}. {advice or ''}"
