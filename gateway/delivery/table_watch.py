"""Notices changed point tables on disk: files edited, replaced or linked elsewhere, or another folder.

It compares what stands there twice a second. Notifications by the system would miss what is behind links, on
network drives and in the mounts of containers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_EVERY_S = 0.5
_SLACK_NS = 1_000_000_000  # file times lag behind the clock by less than this
_OTHER_NAMES = frozenset({"registers.lock", "..data"})  # Kubernetes swaps `..data` in a mounted folder

_FolderState = dict[str, tuple[int, ...]]  # by file name: device, inode, size, time of change


async def watch_tables(folder: Path, changed: Callable[[], None], *, since_ns: int) -> None:
    """Call `changed` after each change of a table in `folder` since `since_ns` (Unix), until cancelled.

    A file that is being written counts as changed once nothing has changed for half a second.
    """
    seen = now = await asyncio.to_thread(_folder_state, folder)
    if await asyncio.to_thread(_changed_ns, folder, seen) > since_ns - _SLACK_NS:
        changed()
    while True:
        await asyncio.sleep(_EVERY_S)
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
