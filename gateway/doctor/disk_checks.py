"""Checks of the journal's disk: is there room, may the gateway write, and will it be there tomorrow."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config.scalars import rounded_size_text, size_text
from gateway.doctor.findings import Finding, ok, problem, warning
from gateway.journal.store import disk_reserve

if TYPE_CHECKING:
    from gateway.doctor.setup import Setup
    from gateway.journal.store import DiskUsage

_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_ESCAPE = re.compile(r"\\([0-7]{3})")  # blanks in /proc/self/mountinfo


async def check_disk(setup: Setup) -> list[Finding]:
    """Look at the folder of the journal."""
    journal = setup.settings.journal
    return await asyncio.to_thread(_folder_findings, journal.path, journal.max_size)


def _folder_findings(journal: Path, max_bytes: int) -> list[Finding]:
    folder = journal.parent
    try:
        disk = shutil.disk_usage(folder)
    except OSError as error:
        return [
            problem(
                f"{folder}: {error.strerror}",
                f"make it, for the gateway's user alone: install -d -m 0700 {folder}; under systemd"
                " StateDirectory= does that",
            )
        ]
    findings = []
    if not os.access(folder, os.W_OK | os.X_OK):
        findings.append(
            warning(
                f"{folder} cannot be written by this user",
                "run this command as the gateway's user or as root",
            )
        )
    file_system = _file_system(folder)
    if file_system in _IN_MEMORY:
        findings.append(
            problem(
                f"{folder} is in memory ({file_system}): a restart loses what was acknowledged",
                "put the journal on a disk: journal.url",
            )
        )
    used_bytes = sum(_size(journal.with_name(journal.name + end)) for end in ("", "-wal"))
    findings += _room(folder, disk, used_bytes=used_bytes, max_bytes=max_bytes)
    return findings or [
        ok(
            f"{folder}: {rounded_size_text(disk.free)} free,"
            f" journal {rounded_size_text(used_bytes)} of {size_text(max_bytes)}"
        )
    ]


def _room(folder: Path, disk: DiskUsage, *, used_bytes: int, max_bytes: int) -> list[Finding]:
    free_bytes, reserve_bytes = disk.free, disk_reserve(disk.total)
    free = rounded_size_text(free_bytes)
    if free_bytes < reserve_bytes:
        return [
            problem(
                f"{folder} has {free} free, and {rounded_size_text(reserve_bytes)} are reserved for cursors"
                " and values: new events have only the room of delivered ones, and then get 503",
                "make room, or lower journal.max_size; Infodeck tries again for 24 h",
            )
        ]
    if free_bytes + used_bytes < max_bytes:
        return [
            warning(
                f"{folder} has {free} free, but the journal may grow to {size_text(max_bytes)}"
                " (journal.max_size)",
                "make room, or lower journal.max_size, so that the journal is full before the disk is",
            )
        ]
    return []


def _file_system(folder: Path) -> str | None:
    """Return the type of the file system that a folder is in, None where the system does not tell."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
        wanted = folder.resolve()
    except OSError:
        return None
    best: tuple[int, str] | None = None
    for line in lines:
        mount, _, rest = line.partition(" - ")
        place = Path(_ESCAPE.sub(lambda found: chr(int(found[1], 8)), mount.split(" ")[4]))
        if wanted.is_relative_to(place) and (best is None or len(place.parts) >= best[0]):
            best = len(place.parts), rest.split(" ")[0]
    return None if best is None else best[1]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
