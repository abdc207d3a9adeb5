"""Whether a secret's file can be replaced by another one at all; said before there is a secret to lose."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import CommandError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

_MOUNTS = Path("/proc/self/mountinfo")
_MOUNTED_AT = 4  # the field of a line
_ESCAPED = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}


def replaceable(target: Path) -> os.stat_result | None:
    """Return the status of the file, None where there is none yet; raise CommandError with what to do."""
    try:
        status = target.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandError(f"{target}: {error.strerror}; try again with sudo") from error
    if not stat.S_ISREG(status.st_mode):
        raise CommandError(f"{target} is not a regular file: name the secret's file")
    if status.st_mode & stat.S_IRWXO:
        mode = stat.S_IMODE(status.st_mode)
        raise CommandError(
            f"others may use {target} ({mode:04o}), and would know the new secret as well: chmod 600 {target}"
        )
    if str(target) in _mounted():
        raise CommandError(
            f"{target} is mounted by itself, as containers do with single files, so no other file can take"
            " its place: mount its folder"
        )
    return status


def require_empty(target: Path, *, named: Path) -> None:
    """Raise CommandError where the file holds something already; `named` is what the user calls it."""
    try:
        content = target.read_bytes()
    except OSError as error:
        raise CommandError(f"{target}: {error.strerror}; try again with sudo") from error
    if content.strip():
        raise CommandError(
            f"{named} holds a secret already, which is not overwritten: name another file with --secret-file"
        )


def _mounted() -> set[str]:
    """Return what is mounted, as the kernel has it; empty where it does not tell."""
    try:
        lines = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return set()
    return set(_places(lines))


def _places(lines: list[str]) -> Iterator[str]:
    for line in lines:
        place = line.split(" ")[_MOUNTED_AT]
        for written, meant in _ESCAPED.items():
            place = place.replace(written, meant)
        yield place
