"""Everything that asks Infodeck, put together: when it is asked beside the regular times."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from support.journal_parts import START_MS, sqlite_journal

from gateway.alarms import Alarms
from gateway.cloud import Cloud
from gateway.config.secrets import Secret
from gateway.delivery.head import Head
from gateway.mapping.live.image import PointImage
from gateway.mapping.plan import PointMap
from gateway.settings import Infodeck, Secrets
from gateway.status import Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class CountingCloud(Cloud):
    """Counts how often the API is to be asked soon."""

    asked = 0

    def reconcile_soon(self) -> None:
        """Count it."""
        self.asked += 1


@asynccontextmanager
async def made_cloud(folder: Path, status: Status) -> AsyncIterator[CountingCloud]:
    """Make the cloud side of a gateway without points, as the gateway does."""
    async with sqlite_journal(folder) as journal:
        image = PointImage(PointMap(points=(), by_asset={}))
        yield CountingCloud(
            settings=Infodeck(organization="o-test"),
            secrets=Secrets(signing_secrets=(Secret(b"s"),), api_key=Secret(b"k")),
            journal=journal,
            head=Head(journal=journal, image=image, status=status.mapping, clock_ms=lambda: START_MS),
            status=status,
            alarms=Alarms(clock_ms=lambda: START_MS),
            clock_skew_s=300,
            clock_ms=lambda: START_MS,
            on_assets_changed=lambda: None,
        )


async def test_after_the_journal_took_no_events_the_api_is_asked(tmp_path: Path) -> None:
    """Once it takes them again, and once only: what Infodeck has given up meanwhile comes from there."""
    status = Status(name="box", started_ms=START_MS)
    asked = []
    async with made_cloud(tmp_path, status) as cloud:
        for state in ("ok", "ok", "the journal is full", "the journal is full", "ok", "ok"):
            status.journal.state = state
            cloud.tick()
            asked.append(cloud.asked)
    assert asked == [0, 0, 0, 0, 1, 1]


async def test_after_other_tables_came_into_force_the_api_is_asked(tmp_path: Path) -> None:
    """A point that is new may have a value at Infodeck; a reload that changed nothing asks for nothing."""
    status = Status(name="box", started_ms=START_MS)
    asked = []
    async with made_cloud(tmp_path, status) as cloud:
        for reloads in (0, 1, 1, 2):
            status.tables.reloads = reloads
            cloud.follow_tables()
            asked.append(cloud.asked)
    assert asked == [0, 1, 1, 2]
