"""Notices when point tables change on disk: edited, replaced, linked elsewhere, or the whole folder.

By looking a few times a second, for looking works everywhere: through links, on network drives and mounts
of containers, and however often somebody writes. The system's own notification does not.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOOK_S = 0.25
_SETTLED_LOOKS = 2  # in a row without a change: whoever writes is done
_MOST_LOOKS = 80  # where somebody writes all the time, tables are read every so often
_SLACK_NS = 1_000_000_000  # the times of files lag behind the clock, by less than this
_OTHER_NAMES = frozenset({"registers.lock", "..data"})  # the latter Kubernetes swaps in a mounted folder

_State = tuple[int, int, int, int] | None  # of a file: device, inode, size, time of change; None: not there


async def watch_tables(folder: Path, changed: Callable[[], None], *, since_ns: int) -> None:
    """Call `changed` after each change of a table in `folder` since `since_ns` (Unix), until cancelled.

    A file that is being written counts as changed once nothing has changed for half a second.
    """
    seen = await asyncio.to_thread(_look, folder)
    if await asyncio.to_thread(_has_changed, folder, seen, since_ns - _SLACK_NS):
        changed()
    is_changing, quiet, looks = False, 0, 0
    while True:
        await asyncio.sleep(_LOOK_S)
        before, seen = seen, await asyncio.to_thread(_look, folder)
        if seen != before:
            is_changing, quiet = True, 0
        elif is_changing:
            quiet += 1
        looks += is_changing
        if quiet == _SETTLED_LOOKS or looks == _MOST_LOOKS:
            changed()
            is_changing, quiet, looks = False, 0, 0


def is_of_a_table(name: str) -> bool:
    """Say whether a file matters: not what editors leave beside the files that are read."""
    return name in _OTHER_NAMES or (name.endswith((".yaml", ".yml")) and not name.startswith("."))


def _look(folder: Path) -> dict[str, _State]:
    """Return the state of the folder, of all that matters in it, and of what links there lead to."""
    there = _state(folder, follow=True)
    seen: dict[str, _State] = {"": there and (*there[:2], 0, 0)}  # it changes with files that do not matter
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


def _has_changed(folder: Path, seen: dict[str, _State], since_ns: int) -> bool:
    """Say whether anything there changed after `since_ns`; the folder itself, too: files may have gone."""
    states = (_state(folder, follow=True), *seen.values())
    return any(state is None or state[-1] > since_ns for state in states)


def _state(path: Path, *, follow: bool) -> _State:
    try:
        found = path.stat(follow_symlinks=follow)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns
