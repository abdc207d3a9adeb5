"""Notices when point tables change on disk: edited in place, replaced by a rename, or the whole folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from watchfiles import awatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

log = structlog.get_logger()

_SETTLED_MS = 200  # without a change for so long, whoever writes is done
_AT_MOST_MS = 2000  # and if somebody writes all the time, look every so often
_LOOK_MS = 1000  # how often to see whether another folder stands in the place of the watched one
_PAUSE_S = 1.0
_SLACK_NS = 1_000_000_000  # the times of files lag behind the clock, by less than this
_OTHER_NAMES = frozenset({"registers.lock", "..data"})  # the latter Kubernetes swaps in a mounted folder


async def watch_tables(folder: Path, changed: Callable[[], None], *, since_ns: int) -> None:
    """Call `changed` after each change of a table in `folder` since `since_ns` (Unix), until cancelled."""
    is_there = True
    while True:
        try:
            async for _ in _changes(folder, since_ns=since_ns):
                changed()
        except FileNotFoundError:
            if is_there:  # tell once that it has gone
                changed()
            is_there = False
        except Exception as error:  # noqa: BLE001 - whatever it is, the gateway goes on without watching
            advice = "send SIGHUP after changes"
            log.warning("points.not_watched", folder=str(folder), reason=str(error), advice=advice)
            return
        else:
            is_there = True
        since_ns = 0  # whatever stands there now, nobody has looked at it
        await asyncio.sleep(_PAUSE_S)


async def _changes(folder: Path, *, since_ns: int) -> AsyncIterator[None]:
    """Yield once per change, until another folder stands in this one's place."""
    identity = _identity(folder)
    is_first = True
    async for changes in awatch(
        folder,
        watch_filter=None,  # or noise beside the tables would keep this loop from turning
        recursive=False,
        debounce=_AT_MOST_MS,
        step=_SETTLED_MS,
        rust_timeout=_LOOK_MS,
        yield_on_timeout=True,
    ):
        was_missed = is_first and _has_changed(folder, since_ns)
        is_first = False
        if was_missed or any(is_of_a_table(path) for _, path in changes):
            yield
        if _identity(folder) != identity:
            return


def is_of_a_table(path: str) -> bool:
    """Say whether a file matters: not what editors leave beside the files that are read."""
    name = Path(path).name
    return name in _OTHER_NAMES or (name.endswith((".yaml", ".yml")) and not name.startswith("."))


def _has_changed(folder: Path, since_ns: int) -> bool:
    """Say whether anything in the folder changed before it was watched."""
    return any(path.lstat().st_ctime_ns > since_ns - _SLACK_NS for path in (folder, *folder.iterdir()))


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
