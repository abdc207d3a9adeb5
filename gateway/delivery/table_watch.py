"""Notices changed point tables on disk: files edited, replaced or linked elsewhere, or another folder.

It compares what stands there twice a second. Notifications by the system would miss what is behind links, on
network drives and in the mounts of containers.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_EVERY_S = 0.5  # without a change for this long, whoever writes is done
_MOST_WAITS = 40  # if somebody writes all the time, the tables are read every so often
_SLACK_NS = 1_000_000_000  # file times lag behind the clock by less than this
_OTHER_NAMES = frozenset({"registers.lock", "..data"})  # Kubernetes swaps `..data` in a mounted folder

_FileState = tuple[int, int, int, int] | None  # device, inode, size, time of change; None: not there
_FolderState = dict[str, _FileState]


async def watch_tables(folder: Path, changed: Callable[[], None], *, since_ns: int) -> None:
    """Call `changed` after each change of a table in `folder` since `since_ns` (Unix), until cancelled.

    A file that is being written counts as changed once nothing has changed for half a second.
    """
    seen = await asyncio.to_thread(_folder_state, folder)
    if await asyncio.to_thread(_has_changed, folder, seen, since_ns - _SLACK_NS):
        changed()
    while True:
        await asyncio.sleep(_EVERY_S)
        now = await asyncio.to_thread(_folder_state, folder)
        if now == seen:
            continue
        for _ in range(_MOST_WAITS):
            before = now
            await asyncio.sleep(_EVERY_S)
            now = await asyncio.to_thread(_folder_state, folder)
            if now == before:
                break
        seen = now
        changed()


def is_table_file(name: str) -> bool:
    """Return whether a file matters; what editors leave beside the tables does not."""
    return name in _OTHER_NAMES or (name.endswith((".yaml", ".yml")) and not name.startswith("."))


def _folder_state(folder: Path) -> _FolderState:
    """Return the state of the folder, of all files that matter in it, and of the targets of links there."""
    there = _file_state(folder, follow=True)
    seen: _FolderState = {"": there and (*there[:2], 0, 0)}  # its time changes with files that don't matter
    try:
        names = [name for name in os.listdir(folder) if is_table_file(name)]  # noqa: PTH208 - names will do
    except OSError:
        return {"": None}
    for name in names:
        path = folder / name
        seen[name] = _file_state(path, follow=False)
        if path.is_symlink():
            seen[f"{name}/"] = _file_state(path, follow=True)
    return seen


def _has_changed(folder: Path, seen: _FolderState, since_ns: int) -> bool:
    """Return whether anything changed after `since_ns`; also the folder itself, as files may be gone."""
    states = (_file_state(folder, follow=True), *seen.values())
    return any(state is None or state[-1] > since_ns for state in states)


def _file_state(path: Path, *, follow: bool) -> _FileState:
    try:
        found = path.stat(follow_symlinks=follow)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns
