"""Writing a new signing secret into its file: what can fail, fails before there is a secret to lose.

Infodeck gives a new secret away once. So it is written to `FILE.new` first, which stays where it is until
it has been renamed to the secret's file; whether that will work is tried out before Infodeck is asked.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config.private_files import PRIVATE, draft_of, sync_folder
from gateway.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOM_BYTES = 4096
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SecretFile:
    """A signing secret's file that a command is about to replace; see `open_secret_file`.

    `pending` is the secret that a killed command left in `FILE.new`, None if there is none.
    """

    def __init__(self, path: Path, *, may_replace: bool) -> None:
        self.path = path
        self.new = draft_of(path)
        self._may_replace = may_replace
        before = _status_of(path)
        like = before or path.parent.stat()
        self._owner = (like.st_uid, like.st_gid)
        self._mode = PRIVATE if before is None else stat.S_IMODE(before.st_mode)
        self.pending = self._pending()

    def _pending(self) -> bytes | None:
        try:
            status = self.new.lstat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in {os.geteuid(), self._owner[0]}:
            raise CommandError(f"{self.new} is no draft of a secret, whoever has put it there: remove it")
        return _content(self.new) or None

    def try_out(self) -> None:
        """Raise CommandError if no file with this owner and mode can be written beside it."""
        try:
            self._written(b"\n" * _ROOM_BYTES).unlink()
        except OSError as error:
            raise CommandError(
                f"{self.path} can't be replaced, for no file of user {self._owner[0]} and group"
                f" {self._owner[1]} can be written in {self.path.parent}: {error.strerror}; try again with"
                " sudo, make room, or name another file"
            ) from error

    def write_new(self, secret: bytes) -> str | None:
        """Write the secret to `FILE.new`, durably; return why that failed, None if it did not."""
        try:
            self._written(secret + b"\n").replace(self.new)
            sync_folder(self.path.parent)
        except OSError as error:
            return (
                f"{self.new} can't be written: {error.strerror or error}. The new secret is in no file: make"
                " room, then rotate again"
            )
        return None

    def rename_new(self) -> str | None:
        """Rename `FILE.new` to the secret's file, durably; return why that failed and where the secret is."""
        try:
            if not self._may_replace and _content(self.path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            self.new.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            return (
                f"{self.path} can't be replaced: {error.strerror or error}. The new secret is in {self.new}:"
                f" mv {self.new} {self.path}"
            )
        return None

    def _written(self, content: bytes) -> Path:
        """Return a new file in the same folder, with the content, owner and mode that the secret's has."""
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                status = os.fstat(descriptor)
                if self._owner != (status.st_uid, status.st_gid):
                    os.fchown(descriptor, *self._owner)
                os.fchmod(descriptor, self._mode)
                stream.write(content)
                stream.flush()
                os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                Path(name).unlink()
            raise
        return Path(name)


@contextmanager
def open_secret_file(path: Path, *, may_replace: bool) -> Iterator[SecretFile]:
    """Hold the file against other commands; raise CommandError, with what to do, if it can't be replaced.

    Without `may_replace`, it must be missing or empty. Links are followed.
    """
    target = Path(os.path.realpath(path))
    with _locked(target.parent):
        try:
            file = SecretFile(target, may_replace=may_replace)
            is_taken = not may_replace and _content(target)
        except OSError as error:
            raise CommandError(f"{target}: {error.strerror}; try again with sudo") from error
        if is_taken:
            raise CommandError(
                f"{path} holds a secret already, which is not overwritten: name another file with"
                " --secret-file"
            )
        if file.pending is not None and not may_replace:
            raise CommandError(f"{file.new} holds a secret already: move it to {target}, or remove it")
        file.try_out()
        yield file


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C, SIGTERM and a closed terminal while the only copy of a secret is in memory."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder, which ends with the process at the latest."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise CommandError(
            f"nothing can be written in {folder}: {error.strerror}; try again with sudo, or name another file"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"another command is writing a secret in {folder} right now") from None
        yield
    finally:
        os.close(descriptor)


def _status_of(target: Path) -> os.stat_result | None:
    """Return the status of the file, None if it is missing; raise CommandError if it must not be replaced."""
    try:
        status = target.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise CommandError(f"{target} is not a regular file: name the secret's file")
    if status.st_mode & stat.S_IRWXO:
        mode = stat.S_IMODE(status.st_mode)
        raise CommandError(
            f"others may use {target} ({mode:04o}), and would know the new secret as well: chmod 600 {target}"
        )
    if os.path.ismount(target):
        raise CommandError(
            f"{target} is mounted by itself, as containers do with single files, so no other file can take"
            " its place: mount its folder"
        )
    return status


def _content(path: Path) -> bytes:
    """Return what a file holds without blanks, b"" if it is missing."""
    try:
        return path.read_bytes().strip()
    except FileNotFoundError:
        return b""
