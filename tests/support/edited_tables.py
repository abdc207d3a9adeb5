"""A daemon with point tables of its own, and ways to change them while it runs."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from support.daemon import Daemon, telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.mosquitto import Mosquitto

HEAD = """\
schema: gateway.points/1
site: hq
defaults: {modbus: {to: regs, table: input}}
"""


def table(*points: str, system: str = "") -> str:
    """Return a table of these points, all of tag `R`, and of the entries below `system`."""
    lines = "".join(f"  - {{tag: R, {point}}}\n" for point in points)
    return f"{HEAD}points:\n{lines}{system}"


@contextmanager
def running(
    folder: Path, broker: Mosquitto, text: str, *, broker_port: int | None = None
) -> Iterator[Daemon]:
    """Run the gateway on one table, `a.yaml`; `broker_port` is that of another way to the broker."""
    tables = folder / "tables"
    tables.mkdir()
    (tables / "a.yaml").write_text(text)
    gateway = Daemon(folder, broker_port or broker.port, tables=tables)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.kill()


def put(daemon: Daemon, text: str) -> None:
    """Replace the present table, as an editor does."""
    aside = daemon.tables / ".a.yaml.new"
    aside.write_text(text)
    aside.rename(daemon.tables / "a.yaml")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a state without a notification."""
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)


async def reloaded(daemon: Daemon, times: int) -> None:
    """Wait until so many reloads have brought other tables into force."""
    await until(lambda: daemon.status()["tables"]["reloads"] == times)


async def swap(daemon: Daemon, text: str) -> None:
    """Put another table in force."""
    times = daemon.status()["tables"]["reloads"] + 1
    put(daemon, text)
    await reloaded(daemon, times)


async def post(
    daemon: Daemon, event_id: str, *, asset: str = "a", time_ms: int | None = None, **readings: Any
) -> None:
    """Post an event that is accepted."""
    body = telemetry(event_id, asset, readings, time_ms=time_ms)
    assert (await asyncio.to_thread(daemon.post, body))[0] == 200
