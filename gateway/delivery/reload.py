"""Point tables are swapped while the gateway runs: read and built aside, put in place between two batches.

All that takes long is done in threads; the event loop is held for the swap itself, some milliseconds.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from gateway.mapping.table_changes import TableChanges, compare_tables
from gateway.memory import free_in_slices, freeze_objects
from gateway.state.handover import Handover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from gateway.config.decode import Problem
    from gateway.delivery.pipeline import Pipeline
    from gateway.delivery.sink_loop import Prepared, SinkLoop
    from gateway.mapping.compiler import CompiledTables
    from gateway.mapping.plan import PointMap
    from gateway.records import AssetSnapshot
    from gateway.status import TablesStatus

log = structlog.get_logger()

_MOST_SHOWN = 50
_MOST_LOGGED = 3
_TURN_S = 0.0002  # how long a thread computes before others get their turn; Python's usual is 5 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFiles:
    """Where the point tables come from: `read` reads all of them anew, with what is known of assets.

    `warnings` are those of the tables that the gateway starts with, `read_ns` the Unix time before they
    were read. `settings_written` is what `settings_file` held then.
    """

    folder: Path
    read: Callable[[AssetSnapshot | None], CompiledTables]
    warnings: Sequence[Problem]
    read_ns: int
    settings_file: Path
    settings_written: bytes

    def settings_changed(self) -> bool:
        """Say whether the settings file is another one than at the start."""
        try:
            return self.settings_file.read_bytes() != self.settings_written
        except OSError:
            return True


@dataclass(frozen=True, slots=True)
class _Successor:
    """All that is built aside."""

    difference: TableChanges
    handover: Handover
    prepared: list[Prepared]


class Reloader:
    """Reloads on request, one reload at a time. A request during a reload has another one follow it."""

    def __init__(
        self,
        *,
        read: Callable[[], CompiledTables],
        head: Pipeline,
        loops: Sequence[SinkLoop],
        status: TablesStatus,
        clock_ms: Callable[[], int],
        on_done: Callable[[], None] = lambda: None,
    ) -> None:
        """`read` reads all tables anew; it is called in a thread. `on_done` is called after each reload."""
        self._read = read
        self._head = head
        self._loops = loops
        self._status = status
        self._clock_ms = clock_ms
        self._on_done = on_done
        self._requested = asyncio.Event()
        self._waiting: list[Callable[[], None]] = []

    def request(self, done: Callable[[], None] | None = None) -> None:
        """Have the tables reloaded; `done` is called after a reload that began after this request.

        Not before others that asked meanwhile have had theirs: whoever hears of it takes all for done.
        """
        if done is not None:
            self._waiting.append(done)
        self._requested.set()

    async def run(self) -> None:
        """Serve requests until cancelled."""
        while True:
            await self._requested.wait()
            self._requested.clear()
            asked = len(self._waiting)
            with _in_the_background():
                await self._reload()
            self._on_done()
            if len(self._waiting) == asked:
                waiting, self._waiting = self._waiting, []
                for done in waiting:
                    done()

    async def _reload(self) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            tables = await asyncio.to_thread(self._read)
            if tables.point_map is None:
                self._refuse(tables.problems)
                return
            successor = await self._build(tables.point_map)
        except Exception as error:  # noqa: BLE001 - a fault of ours: the tables in force stay
            self._refuse([f"internal error: {type(error).__name__}: {error}"])
            return
        if successor is None:
            self._keep(tables.warnings)
            return
        difference, replaced = successor.difference, self._swap(successor)
        del successor
        await asyncio.sleep(0)
        self._head.tick()  # the image is as of the last tick of the one before
        self._tell(difference, tables.warnings, took_s=loop.time() - began_s)
        await asyncio.to_thread(free_in_slices, replaced)
        freeze_objects()

    async def _build(self, points: PointMap) -> _Successor | None:
        """Build everything for another table aside; return None where it says what the present one says."""
        image = self._head.state
        difference = await asyncio.to_thread(compare_tables, image.points, points)
        if not difference:
            return None
        handover = Handover(image)
        # As of the last tick: what has aged since then is told by the next one, to all sinks.
        built = await asyncio.to_thread(handover.build, points, now_ms=image.aged_ms)
        prepared = [await loop.prepare(points, built) for loop in self._loops]
        while (number := self._unprepared(prepared)) is not None:
            prepared[number] = await self._loops[number].prepare(points, built)
        return _Successor(difference, handover, prepared)

    def _unprepared(self, prepared: list[Prepared]) -> int | None:
        """Return the position of a sink that was restarted since it was prepared."""
        return next(
            (at for at, loop in enumerate(self._loops) if not loop.is_prepared(prepared[at])),
            None,
        )

    def _swap(self, successor: _Successor) -> list[object]:
        """Put everything in place, in one go; return what leads to all that went out of use."""
        before = self._head.state
        self._head.keep()  # also of points that are in the next table no more: they may come back
        self._head.swap(successor.handover.finish(now_ms=before.aged_ms))
        for loop, prepared in zip(self._loops, successor.prepared, strict=True):
            loop.swap(prepared, news=successor.handover.news, changed=successor.difference.affected)
        return [before, successor]

    def _refuse(self, problems: Sequence[Problem | str]) -> None:
        """Keep the tables in force, and say what is wrong with the others."""
        self._status.refused += 1
        self._status.problems = _lines(problems)
        log.error(
            "points.refused",
            problems=len(problems),
            first=self._status.problems[:_MOST_LOGGED],
            in_force="the tables of before",
        )

    def _keep(self, warnings: Sequence[Problem]) -> None:
        """Take note that the tables say what those in force say."""
        level = logging.INFO if self._status.problems else logging.DEBUG
        self._status.problems = []
        self._status.warnings = _lines(warnings)
        log.log(level, "points.unchanged", points=self._status.points)

    def _tell(self, difference: TableChanges, warnings: Sequence[Problem], *, took_s: float) -> None:
        """Say what another table has brought."""
        self._status.reloads += 1
        note_tables(self._status, self._head.state.points, warnings, loaded_ms=self._clock_ms())
        log.info(
            "points.reloaded",
            added=difference.added,
            removed=difference.removed,
            changed=difference.changed,
            unchanged=difference.unchanged,
            warnings=len(warnings),
            seconds=round(took_s, 3),
        )


def note_tables(
    status: TablesStatus, points: PointMap, warnings: Sequence[Problem], *, loaded_ms: int
) -> None:
    """Show in `status` which tables are in force since `loaded_ms`."""
    status.loaded_ms = loaded_ms
    status.points, status.assets = len(points.points), len(points.by_asset)
    status.problems, status.warnings = [], _lines(warnings)


def _lines(problems: Sequence[Problem | str]) -> list[str]:
    return [str(problem) for problem in problems[:_MOST_SHOWN]]


@contextmanager
def _in_the_background() -> Iterator[None]:
    """Let threads compute without keeping the event loop waiting for long.

    They hand over the interpreter more often, and nobody searches the many new objects for garbage.
    """
    turn_s = sys.getswitchinterval()
    sys.setswitchinterval(_TURN_S)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        sys.setswitchinterval(turn_s)
