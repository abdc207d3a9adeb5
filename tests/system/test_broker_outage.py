"""A broker that is away for longer than memory lasts, and returns empty while events go on."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

import aiohttp
from support.daemon import sign, telemetry
from support.edited_tables import running, until
from support.link import Link
from support.mosquitto import subscribe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.daemon import Daemon
    from support.mosquitto import Mosquitto, Seen, Subscriber

ASSETS, KEYS = 20, 6
EVENTS = 2_400  # each with a reading for every key: more than the 10,000 that are held in memory
TABLE = """\
schema: gateway.points/1
site: hq
templates:
  room:
    points:
{points}
assets:
{assets}
""".format(
    points="".join(f"      K{key}: {{from: k{key}}}\n" for key in range(KEYS)),
    assets="".join(
        f"  - {{id: a{number}, tag: R{number}, use: room}}\n" for number in (*range(ASSETS), "new")
    ),
)


class Poster:
    """Posts events over one connection pool, and stores them in the order of each asset."""

    def __init__(self, daemon: Daemon, session: aiohttp.ClientSession) -> None:
        self._daemon = daemon
        self._session = session
        self._times_ms = count(time.time_ns() // 1_000_000 - 1_000_000)
        self.posted: list[tuple[str, str]] = []  # asset and event id

    async def post(self, asset: str, event_id: str) -> None:
        """Post one event with a reading for every key, newer than all before."""
        readings: dict[str, Any] = {f"k{key}": f"{event_id}" for key in range(KEYS)}
        body = telemetry(event_id, asset, readings, time_ms=next(self._times_ms))
        headers = {"x-infodeck-signature": sign(body)}
        async with self._session.post(self._daemon.url, data=body, headers=headers) as answer:
            assert answer.status == 200
        self.posted.append((asset, event_id))

    async def post_backlog(self) -> None:
        """Post many events, those of each asset one after the other."""

        async def post_all(asset: int) -> None:
            for number in range(EVENTS // ASSETS):
                await self.post(f"a{asset}", f"evt_{asset}_{number}")

        await asyncio.gather(*map(post_all, range(ASSETS)))


def readings(messages: list[Seen]) -> Iterator[tuple[str, str]]:
    """Yield topic and event of each value message."""
    for message in messages:
        if message.topic.startswith("gw/v1/hq/") and message.payload:
            yield message.topic, message.json["event"]


def expected(posted: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the topics and events that must be received, live or as history."""
    return {
        (f"gw/v1/hq/R{asset.removeprefix('a')}/K{key}", event_id)
        for asset, event_id in posted
        for key in range(KEYS)
    }


def health(daemon: Daemon) -> dict[str, Any]:
    """Return the status of the MQTT sink."""
    return dict(daemon.status()["sinks"]["bms"])


async def post_until_delivered(daemon: Daemon, poster: Poster) -> str:
    """Post an event with each step of the sink; return the first one after half of the backlog."""
    halfway, now = "", health(daemon)

    def has_moved() -> bool:
        before = now["cursor"]
        now.update(health(daemon))
        return bool(now["cursor"] > before or not now["lag"])

    for number in count():
        await until(has_moved)
        if not now["lag"]:
            return halfway
        await poster.post("anew", f"new_{number}")
        if not halfway and now["lag"] < EVENTS / 2:
            halfway = f"new_{number}"
    raise AssertionError


def check_everything_came(subscriber: Subscriber, poster: Poster, halfway: str) -> None:
    """Check all messages since the broker's return."""
    seen = list(readings(subscriber.seen))
    history = [each for each in seen if each[0].endswith("/$history")]
    assert expected(poster.posted) <= {(topic.removesuffix("/$history"), event) for topic, event in seen}
    assert max(Counter(history).values()) <= 2  # what went out first may come again in its turn
    first = next(
        at for at, (topic, event) in enumerate(seen) if event == halfway and "/$history" not in topic
    )
    rest = [event for _, event in seen[first:] if event.startswith("evt_")]
    assert len(rest) > EVENTS, "half of the backlog came after a new value"
    for topic in {topic for topic, _ in seen} - {topic for topic, _ in history}:
        times = [message.json["ts"] for message in subscriber.seen if message.topic == topic]
        assert all(earlier <= later for earlier, later in pairwise(times)), topic


async def test_a_long_outage_of_the_broker_loses_nothing(tmp_path: Path, broker: Mosquitto) -> None:
    """New values do not wait for the backlog, and no live topic goes back in time."""
    async with Link(broker.port) as link, aiohttp.ClientSession() as session:
        with running(tmp_path, broker, TABLE, broker_port=link.port) as daemon:
            poster = Poster(daemon, session)
            await poster.post("anew", "before")
            await until(lambda: health(daemon)["lag"] == 0 and health(daemon)["connected"])
            poster.posted.clear()
            await link.cut()
            broker.kill()
            await poster.post_backlog()
            await until(lambda: health(daemon)["state"] == "away")
            away = health(daemon)
            assert (away["connected"], away["lag"]) == (False, EVENTS)
            assert away["lag_s"] > 0
            assert away["last_error_ms"] >= away["last_success_ms"]
            broker.start()
            async with subscribe(broker.port) as subscriber:
                await link.mend()
                halfway = await post_until_delivered(daemon, poster)
                await until(lambda: health(daemon)["lag"] == 0)
                await subscriber.catch_up()
                back = health(daemon)
                assert (back["state"], back["connected"], back["lag_s"]) == ("up", True, 0)
                check_everything_came(subscriber, poster, halfway)
                newest = dict(poster.posted)
                for topic, event in expected(list(newest.items())):
                    assert subscriber.last(topic).json["event"] == event
