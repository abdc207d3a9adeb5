"""Files for our user alone, replaced in one go: after a power cut there is the old one or the new one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE = 0o600


def write_private(path: Path, content: bytes) -> None:
    """Put `content` in the place of the file, for our user alone, durably; raise OSError."""
    draft = draft_of(path)
    with open(draft, "wb", opener=_open_private) as stream:
        os.fchmod(stream.fileno(), PRIVATE)  # a draft that was left behind has its own mode
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def draft_of(path: Path) -> Path:
    """Return where the successor of a file is written."""
    return path.with_name(f"{path.name}.new")


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk, as `fsync` does for a file's content; raise OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, PRIVATE)
