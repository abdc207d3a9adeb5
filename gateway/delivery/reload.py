"""Reload of the point tables while the gateway runs: read and built aside, swapped between two batches.

All that takes long runs in threads; the swap itself holds the event loop for some milliseconds.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from gateway.mapping.plan import TableChanges, compare_tables
from gateway.memory import free_in_slices, freeze_objects
from gateway.state.handover import Handover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from gateway.config.decode import Problem
    from gateway.delivery.pipeline import Pipeline
    from gateway.delivery.sink_loop import PreparedSink, SinkLoop
    from gateway.mapping.compiler import CompiledTables
    from gateway.mapping.plan import PointMap
    from gateway.records import AssetSnapshot
    from gateway.status import TablesStatus


log = structlog.get_logger()

_MOST_SHOWN = 50
_MOST_LOGGED = 3
_SWITCH_INTERVAL_S = 0.0002  # Python's default is 5 ms, which would stall the event loop
_LOOK_EVERY_S = 0.5
_SLACK_NS = 1_000_000_000  # file times lag behind the clock by less than this
_OTHER_NAMES = frozenset(
    {"registers.lock", "bacnet.lock", "..data"}  # Kubernetes swaps `..data` in a mounted folder
)

_FolderState = dict[str, tuple[int, ...]]  # by file name: device, inode, size, time of change


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFiles:
    """The source of the point tables: `read` reads all of them anew, with the known assets.

    `warnings` are those of the tables that the gateway starts with, `read_ns` is the Unix time before they
    were read, `settings_written` the content of `settings_file` then.
    """

    folder: Path
    read: Callable[[AssetSnapshot | None], CompiledTables]
    warnings: Sequence[Problem]
    read_ns: int
    settings_file: Path
    settings_written: bytes

    def warn_of_changed_settings(self) -> None:
        """Log it if the settings file differs from the one at the start: only a restart applies it."""
        try:
            is_changed = self.settings_file.read_bytes() != self.settings_written
        except OSError:
            is_changed = True
        if is_changed:
            log.warning(
                "settings.changed",
                file=str(self.settings_file),
                advice="restart the gateway to apply it; point tables are read again all the same",
            )

    async def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` after each change of a table, until cancelled."""
        await watch_tables(self.folder, changed, since_ns=self.read_ns)


@dataclass(eq=False, kw_only=True)
class Reloader:
    """Reloads on request, one at a time. A request during a reload causes another one after it.

    `read` reads all tables anew; it is called in a thread. `on_done` is called after each reload.
    """

    read: Callable[[], CompiledTables]
    pipeline: Pipeline
    loops: Sequence[SinkLoop]
    status: TablesStatus
    clock_ms: Callable[[], int]
    on_done: Callable[[], None] = lambda: None
    _requested: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _waiting: list[Callable[[], None]] = field(default_factory=list, init=False)

    def request(self, done: Callable[[], None] | None = None) -> None:
        """Request a reload; `done` is called once a reload has ended that began after this request.

        With requests in between, it is called after the last reload: whoever waits may take all for done.
        """
        if done is not None:
            self._waiting.append(done)
        self._requested.set()

    async def run(self) -> None:
        """Serve requests until cancelled."""
        while True:
            await self._requested.wait()
            self._requested.clear()
            requested = len(self._waiting)
            with _short_thread_turns():
                await self._reload()
            self.on_done()
            if len(self._waiting) == requested:
                waiting, self._waiting = self._waiting, []
                for done in waiting:
                    done()

    async def _reload(self) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            tables = await asyncio.to_thread(self.read)
            if tables.point_map is None:
                self._refuse(tables.problems)
                return
            changes = await asyncio.to_thread(compare_tables, self.pipeline.state.points, tables.point_map)
            if not changes:
                self._report_unchanged(tables.warnings)
                return
            handover, prepared = await self._build(tables.point_map)
        except Exception as error:  # noqa: BLE001 - a fault of ours: the tables in force stay
            self._refuse([f"internal error: {type(error).__name__}: {error}"])
            return
        replaced = self._swap(handover, prepared, changes.affected)
        del handover, prepared
        await asyncio.sleep(0)
        self.pipeline.tick()  # the new state is as of the last tick of the old one
        self._report_reloaded(changes, tables.warnings, took_s=loop.time() - began_s)
        await asyncio.to_thread(free_in_slices, replaced)
        freeze_objects()

    async def _build(self, points: PointMap) -> tuple[Handover, dict[SinkLoop, PreparedSink]]:
        """Build everything for another table aside.

        It is built as of the last tick: the next one sends what has aged since then to all sinks.
        """
        before = self.pipeline.state
        handover = Handover(before)
        built = await asyncio.to_thread(handover.build, points, now_ms=before.aged_ms)
        prepared = {loop: await loop.prepare(points, built) for loop in self.loops}
        await asyncio.to_thread(handover.catch_up(now_ms=before.aged_ms))  # seconds of events have come
        while restarted := [loop for loop in self.loops if not loop.is_prepared(prepared[loop])]:
            prepared[restarted[0]] = await restarted[0].prepare(points, built)
        return handover, prepared

    def _swap(
        self, handover: Handover, prepared: dict[SinkLoop, PreparedSink], affected: Sequence[str]
    ) -> list[object]:
        """Put everything in place at once; return what to free.

        A fault of ours here ends the gateway: half is in place, and only a start makes it whole.
        """
        before = self.pipeline.state
        self.pipeline.save()  # also the values of points that are removed: they may come back
        self.pipeline.swap(handover.finish(now_ms=before.aged_ms))
        for loop, sink in prepared.items():
            loop.swap(sink, news=handover.news, changed=affected)
        return [before, *(sink.adopt for sink in prepared.values())]

    def _refuse(self, problems: Sequence[Problem | str]) -> None:
        """Keep the tables in force, and report what is wrong with the others."""
        self.status.refused += 1
        self.status.problems = _lines(problems)
        log.error(
            "points.refused",
            problems=len(problems),
            first=self.status.problems[:_MOST_LOGGED],
            in_force="the tables of before",
        )

    def _report_unchanged(self, warnings: Sequence[Problem]) -> None:
        """Report that the tables are the same as those in force."""
        level = logging.INFO if self.status.problems else logging.DEBUG
        self.status.problems = []
        self.status.warnings = _lines(warnings)
        log.log(level, "points.unchanged", points=self.status.points)

    def _report_reloaded(self, changes: TableChanges, warnings: Sequence[Problem], *, took_s: float) -> None:
        self.status.reloads += 1
        report_tables(self.status, self.pipeline.state.points, warnings, loaded_ms=self.clock_ms())
        log.info(
            "points.reloaded",
            added=changes.added,
            removed=changes.removed,
            changed=changes.changed,
            unchanged=changes.unchanged,
            warnings=len(warnings),
            seconds=round(took_s, 3),
        )


def report_tables(
    status: TablesStatus, points: PointMap, warnings: Sequence[Problem], *, loaded_ms: int
) -> None:
    """Show in `status` which tables are in force since `loaded_ms`."""
    status.loaded_ms = loaded_ms
    status.points, status.assets = len(points.points), len(points.by_asset)
    status.problems, status.warnings = [], _lines(warnings)


def _lines(problems: Sequence[Problem | str]) -> list[str]:
    return [str(problem) for problem in problems[:_MOST_SHOWN]]


@contextmanager
def _short_thread_turns() -> Iterator[None]:
    """Give the event loop more turns while threads compute, and pause garbage collection."""
    switch_interval_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        sys.setswitchinterval(switch_interval_s)


async def watch_tables(folder: Path, changed: Callable[[], None], *, since_ns: int) -> None:
    """Call `changed` after each change of a table in `folder` since `since_ns` (Unix), until cancelled.

    A file that is being written counts as changed once nothing has changed for half a second. It compares
    what stands there: notifications by the system would miss what is behind links, on network drives and in
    the mounts of containers.
    """
    seen = now = await asyncio.to_thread(_folder_state, folder)
    if await asyncio.to_thread(_changed_ns, folder, seen) > since_ns - _SLACK_NS:
        changed()
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        before, now = now, await asyncio.to_thread(_folder_state, folder)
        if now == before != seen:
            seen = now
            changed()


def _folder_state(folder: Path) -> _FolderState:
    """Return the state of the folder, of all files that matter in it, and of the targets of links there."""
    try:
        at = folder.stat()
        tables = [path for path in folder.iterdir() if _is_table_file(path.name)]
    except OSError:
        return {}
    return {"": (at.st_dev, at.st_ino), **{path.name: _file_state(path) for path in tables}}


def _changed_ns(folder: Path, state: _FolderState) -> int:
    """Return when something was changed last; also the folder itself, as files may be gone."""
    return max(each[-1] for each in (_file_state(folder), *state.values()))


def _is_table_file(name: str) -> bool:
    """Return whether a file matters; what editors leave beside the tables does not."""
    return name in _OTHER_NAMES or (name.endswith((".yaml", ".yml")) and not name.startswith("."))


def _file_state(path: Path) -> tuple[int, ...]:
    """Return the state of a link, then that of its target; what is not there counts as changed just now."""
    state: tuple[int, ...] = ()
    for follows_links in (False, True):
        try:
            found = path.stat(follow_symlinks=follows_links)
        except OSError:
            return (*state, 1 << 63)
        state = (*state, found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns)
    return state
