"""A rotation under traffic loses no delivery, whether signed with the old secret or the new one."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import aiohttp
from support.daemon import SECRET, sign, telemetry
from support.waiting import until
from support.webhook_commands import set_up_webhook

if TYPE_CHECKING:
    from support.daemon import Daemon
    from support.webhook_commands import WebhookSetup

ASSET = "ast-a1b2c3d4"
PAUSE_S = 0.02
MORE = 20  # events between one step and the next


class OldSender:
    """Posts events signed with the old secret, and repeats what nobody answers. `answers` counts by code."""

    def __init__(self, url: str) -> None:
        self.ids: list[str] = []
        self.answers: Counter[int] = Counter()
        self._url = url

    async def run(self) -> None:
        """Post until cancelled."""
        async with aiohttp.ClientSession() as session:
            while True:
                event_id = f"evt_old_{len(self.ids)}"
                self.answers[await self._post(session, event_id)] += 1
                self.ids.append(event_id)
                await asyncio.sleep(PAUSE_S)

    async def _post(self, session: aiohttp.ClientSession, event_id: str) -> int:
        body = telemetry(event_id, ASSET, {"temperature": 21.5})
        while True:
            try:
                headers = {"x-infodeck-signature": sign(body, secret=SECRET)}
                async with session.post(self._url, data=body, headers=headers) as answer:
                    return answer.status
            except aiohttp.ClientError:
                await asyncio.sleep(PAUSE_S)


class EndlessLog(list[dict[str, Any]]):
    """A delivery log that keeps every entry."""

    def __delitem__(self, _: object) -> None:
        """Keep what the simulation would drop."""


async def report(infodeck: WebhookSetup) -> None:
    """Have an asset report until cancelled; Infodeck signs with its current secret."""
    number = 0
    while True:
        number += 1
        infodeck.infodeck.report(ASSET, {"temperature": number})
        await asyncio.sleep(PAUSE_S)


def log_of(infodeck: WebhookSetup) -> list[dict[str, Any]]:
    """Return every attempt so far."""
    return infodeck.api.deliveries[infodeck.webhook["id"]]


def refused(infodeck: WebhookSetup) -> int:
    """Return the number of attempts answered with 401."""
    return sum(one["statusCode"] == 401 for one in log_of(infodeck))


def journaled(daemon: Daemon) -> set[str]:
    """Return the ids of the events that are on disk."""
    with closing(sqlite3.connect(f"file:{daemon.folder}/journal.db?mode=ro", uri=True)) as database:
        return {json.loads(body)["id"] for (body,) in database.execute("SELECT body FROM events")}


async def more(infodeck: WebhookSetup) -> None:
    """Wait until more events are delivered."""
    enough = infodeck.infodeck.deliveries.delivered + MORE
    await until(lambda: infodeck.infodeck.deliveries.delivered >= enough)


async def test_no_event_is_lost(daemon: Daemon) -> None:
    """Two rotations, with the gateway killed between them, leave every event in the journal.

    Events signed with the old secret are never refused. Events signed with the new one are refused only
    before the gateway has it, and Infodeck repeats them.
    """
    async with set_up_webhook(daemon, first_retry_s=0.1) as infodeck:
        infodeck.api.deliveries[infodeck.webhook["id"]] = EndlessLog()
        infodeck.api.items.append({"id": ASSET, "name": "Room"})
        await asyncio.to_thread(daemon.start)
        sender = OldSender(daemon.url)
        async with asyncio.TaskGroup() as tasks:
            sending = [tasks.create_task(sender.run()), tasks.create_task(report(infodeck))]
            await more(infodeck)
            assert refused(infodeck) == 0
            for is_killed in (True, False):
                assert (await infodeck.run("rotate")).returncode == 0
                await asyncio.sleep(1)  # until the answers under way are in Infodeck's log
                early = refused(infodeck)
                await more(infodeck)
                if is_killed:
                    daemon.kill()
                    await asyncio.to_thread(daemon.start)
                    await more(infodeck)
                assert refused(infodeck) == early
            await until(lambda: len(sender.ids) > 2 * MORE)
            for task in sending:
                task.cancel()
        events = {one["eventId"] for one in log_of(infodeck)}
        await until(lambda: events <= journaled(daemon))
    assert sender.answers.keys() == {200}
    assert set(sender.ids) <= journaled(daemon)
    assert len(events) > 4 * MORE
