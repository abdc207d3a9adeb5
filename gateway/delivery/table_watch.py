"""Notices when point tables change on disk: edited, replaced, linked elsewhere, or the whole folder.

The system's own notification wakes the watch; what counts is what stands there then. Once a second it
looks in any case: behind links, on network drives and in mounts of containers nobody is notified.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from watchfiles import awatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_GATHER_MS = 100  # notifications so close together wake the watch once
_GATHER_AT_MOST_MS = 1000  # also where somebody touches files all the time
_LOOK_MS = 1000
_SETTLED_S = 0.5  # without a change for so long, whoever writes is done
_MOST_LOOKS = 40  # where somebody writes all the time, tables are read every so often
_PAUSE_S = 1.0  # before a folder that could not be watched is tried again
_SLACK_NS = 1_000_000_000  # the times of files lag behind the clock, by less than this
_OTHER_NAMES = frozenset({"registers.lock", "..data"})  # the latter Kubernetes swaps in a mounted folder

_State = tuple[int, int, int, int] | None  # of a file: device, inode, size, time of change; None: not there
_Look = dict[str, _State]


async def watch_tables(folder: Path, changed: Callable[[], None], *, since_ns: int) -> None:
    """Call `changed` after each change of a table in `folder` since `since_ns` (Unix), until cancelled.

    A file that is being written counts as changed once nothing has changed for half a second.
    """
    seen = await asyncio.to_thread(_look, folder)
    if await asyncio.to_thread(_has_changed, folder, seen, since_ns - _SLACK_NS):
        changed()
    while True:
        seen = await _watch(folder, changed, seen)
        await asyncio.sleep(_PAUSE_S)


async def _watch(folder: Path, changed: Callable[[], None], seen: _Look) -> _Look:
    """Watch until the folder is gone or another one; return what was seen of it last."""
    watched = _state(folder, follow=True)
    try:
        async for _ in awatch(
            folder,
            watch_filter=None,  # what wakes the watch in vain costs a look
            recursive=False,
            step=_GATHER_MS,
            debounce=_GATHER_AT_MOST_MS,
            rust_timeout=_LOOK_MS,
            yield_on_timeout=True,
        ):
            seen = await _compare(folder, changed, seen)
            if not _is_same_folder(watched, _state(folder, follow=True)):
                return seen
    except (OSError, RuntimeError):  # no folder stands there, or the system has no watches left: look instead
        return await _compare(folder, changed, seen)
    return seen


async def _compare(folder: Path, changed: Callable[[], None], seen: _Look) -> _Look:
    """Return what stands there, once that stays so; call `changed` where it is something else than before."""
    now = await asyncio.to_thread(_look, folder)
    if now == seen:
        return seen
    for _ in range(_MOST_LOOKS):
        before = now
        await asyncio.sleep(_SETTLED_S)
        now = await asyncio.to_thread(_look, folder)
        if now == before:
            break
    changed()
    return now


def is_of_a_table(name: str) -> bool:
    """Say whether a file matters: not what editors leave beside the files that are read."""
    return name in _OTHER_NAMES or (name.endswith((".yaml", ".yml")) and not name.startswith("."))


def _look(folder: Path) -> _Look:
    """Return the state of the folder, of all that matters in it, and of what links there lead to."""
    there = _state(folder, follow=True)
    seen: _Look = {"": there and (*there[:2], 0, 0)}  # it changes with files that do not matter
    try:
        names = [name for name in os.listdir(folder) if is_of_a_table(name)]  # noqa: PTH208 - names will do
    except OSError:
        return {"": None}
    for name in names:
        path = folder / name
        seen[name] = _state(path, follow=False)
        if path.is_symlink():
            seen[f"{name}/"] = _state(path, follow=True)
    return seen


def _has_changed(folder: Path, seen: _Look, since_ns: int) -> bool:
    """Say whether anything there changed after `since_ns`; the folder itself, too: files may have gone."""
    states = (_state(folder, follow=True), *seen.values())
    return any(state is None or state[-1] > since_ns for state in states)


def _is_same_folder(one: _State, other: _State) -> bool:
    return one is not None and other is not None and one[:2] == other[:2]


def _state(path: Path, *, follow: bool) -> _State:
    try:
        found = path.stat(follow_symlinks=follow)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns
