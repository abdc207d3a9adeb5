"""Writing a new signing secret into its file: what can fail, fails before there is a secret to lose.

Infodeck gives a new secret away once. It is written into `FILE.new`, which exists before Infodeck is asked,
with room, owner and mode, and stays there until it is renamed to the secret's file.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config.private_files import PRIVATE, draft_of, sync_folder
from gateway.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOM_BYTES = 4096
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class SecretFile:
    """A signing secret's file and its draft, `FILE.new`; made by `open_secret_file`.

    `pending` is the secret that a killed command left in the draft, b"" if there is none.
    """

    path: Path
    new: Path
    pending: bytes
    _draft: int

    def write_new(self, secret: bytes) -> None:
        """Write the secret into `FILE.new`, durably; raise CommandError if that fails."""
        try:
            os.pwrite(self._draft, secret + b"\n", 0)
            os.ftruncate(self._draft, len(secret) + 1)
            os.fsync(self._draft)
        except OSError as error:
            raise CommandError(
                f"{self.new} can't be written: {error.strerror}. The new secret is in no file: rotate again"
            ) from error

    def rename_new(self) -> None:
        """Rename `FILE.new` to the secret's file, durably; raise CommandError if that fails."""
        try:
            self.new.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise CommandError(
                f"{self.path} can't be replaced: {error.strerror}. The new secret is in {self.new}:"
                f" mv {self.new} {self.path}"
            ) from error


@contextmanager
def open_secret_file(path: Path, *, may_replace: bool) -> Iterator[SecretFile]:
    """Hold the file against other commands; raise CommandError, with what to do, if it can't be replaced.

    Without `may_replace`, there must be no secret in it, nor in `FILE.new`. Links are followed.
    """
    target = Path(os.path.realpath(path))
    new = draft_of(target)
    try:
        before = _status_of(target)
        if not may_replace and before is not None and target.read_bytes().strip():
            raise CommandError(
                f"{path} holds a secret already, which is not overwritten: name another file with"
                " --secret-file"
            )
        draft = _open_draft(
            new, before or target.parent.stat(), PRIVATE if before is None else before.st_mode
        )
    except OSError as error:
        raise CommandError(
            f"{target} can't be replaced: {error.strerror} ({error.filename or new}): try again with sudo,"
            " make room, or name another file"
        ) from error
    try:
        pending = os.pread(draft, _ROOM_BYTES, 0).strip()
        if pending and not may_replace:
            raise CommandError(f"{new} holds a secret already: move it to {target}, or remove it")
        yield SecretFile(target, new, pending, draft)
    finally:
        _close_draft(draft, new)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C, SIGTERM and a closed terminal while the only copy of a secret is in memory."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _open_draft(new: Path, like: os.stat_result, mode: int) -> int:
    """Return the draft, locked, with owner, mode and room for a secret; it may hold one already."""
    if os.path.lexists(new):
        status = new.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in {os.geteuid(), like.st_uid}:
            raise CommandError(f"{new} is no draft of a secret, whoever has put it there: remove it")
    draft = os.open(new, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, PRIVATE)
    try:
        fcntl.flock(draft, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(draft)
        raise CommandError(f"another command is writing {new} right now") from None
    try:
        os.fchown(draft, like.st_uid, like.st_gid)
        os.fchmod(draft, stat.S_IMODE(mode))
        if _is_blank(draft):
            os.pwrite(draft, b"\n" * _ROOM_BYTES, 0)
        os.fsync(draft)
        sync_folder(new.parent)
    except OSError:
        _close_draft(draft, new)
        raise
    return draft


def _close_draft(draft: int, new: Path) -> None:
    """Close the draft, and remove it if there is no secret in it."""
    if _is_blank(draft):
        new.unlink(missing_ok=True)
    os.close(draft)


def _is_blank(draft: int) -> bool:
    return not os.pread(draft, _ROOM_BYTES, 0).strip()


def _status_of(target: Path) -> os.stat_result | None:
    """Return the status of the file, None if it is missing; raise CommandError if it must not be replaced."""
    try:
        status = target.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode) or os.path.ismount(target):
        raise CommandError(
            f"{target} is not a regular file in its folder, or mounted by itself: name the secret's file, and"
            " have a container mount its folder"
        )
    if status.st_mode & stat.S_IRWXO:
        mode = stat.S_IMODE(status.st_mode)
        raise CommandError(f"others may use {target} ({mode:04o}): chmod 600 {target}")
    return status
