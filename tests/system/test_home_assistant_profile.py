"""Home Assistant and the real gateway: discovery of the shipped tables, and its removal."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from support.daemon import Daemon, telemetry
from support.home_assistant import Entity
from support.mosquitto import Mosquitto, subscribe
from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

ROOM = "ast-a1b2c3d4"
PREFIX = "homeassistant/"


async def seen_now(broker: Mosquitto) -> list[tuple[str, str]]:
    """Return topic and payload of all messages that a new subscriber gets."""
    async with subscribe(broker.port) as late:
        return [(message.topic, message.payload) for message in late.seen if message.payload]


async def entities(broker: Mosquitto) -> dict[str, Entity]:
    """Return the entities that Home Assistant makes of the retained messages, by id."""
    messages = await seen_now(broker)
    found = [Entity.discover(*message) for message in messages if message[0].startswith(PREFIX)]
    return {each.config["default_entity_id"]: each.receive_all(messages) for each in found}


def remembered(daemon: Daemon) -> int:
    """Count the discovery topics in the journal, which are saved once a second."""
    with closing(sqlite3.connect(daemon.folder / "journal.db")) as database:
        rows = database.execute("SELECT count(*) FROM retained WHERE topic LIKE ?", (f"{PREFIX}%",))
        return int(rows.fetchone()[0])


def write_profile(daemon: Daemon, *, is_on: bool) -> None:
    """Write the settings with or without the profile."""
    daemon.write_settings()
    if is_on:
        plain = f'"mqtt://127.0.0.1:{daemon.broker_port}"'
        text = daemon.config.read_text().replace(plain, f"{plain}, home_assistant: {{}}")
        daemon.config.write_text(text)


async def test_entities_exist_as_long_as_the_profile(tmp_path: Path) -> None:
    """Their states are the readings of a signed event; after a start without the profile none is left."""
    with Mosquitto(tmp_path) as broker:
        daemon = Daemon(tmp_path, broker.port)
        write_profile(daemon, is_on=True)
        daemon.start()
        try:
            await asyncio.to_thread(
                daemon.post, telemetry("evt_1", ROOM, {"temperature": 21.5, "occupancy": "occupied"})
            )
            async with asyncio.timeout(60):
                while True:
                    found = await entities(broker)
                    shown = {name: each.state for name, each in found.items() if each.is_available}
                    if {"sensor.l03_rm312_zn_t", "binary_sensor.l03_rm312_occ"} <= set(shown):
                        break
            assert float(shown["sensor.l03_rm312_zn_t"] or "nan") == 21.5
            assert shown["binary_sensor.l03_rm312_occ"] == "ON"
            assert len({each.config["unique_id"] for each in found.values()}) == len(found) > 4
            await until(lambda: remembered(daemon) >= len(found), look_every_s=0.05)
            daemon.kill()
            async with asyncio.timeout(60):
                while any(each.is_available for each in (await entities(broker)).values()):
                    pass  # until the broker has published the will
            write_profile(daemon, is_on=False)
            daemon.start()
            async with asyncio.timeout(60):
                while any(topic.startswith(PREFIX) for topic, _ in await seen_now(broker)):
                    pass
        finally:
            daemon.kill()
