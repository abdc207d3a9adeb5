"""The successor of a secret's file, made before there is a secret to write: what fails, fails in time.

A secret that somebody else makes is given away once. So the draft, `<file>.new` beside the file, is
written, sized and synced with blanks first, has owner and mode of the file that it will replace, and stays
where it is when it holds a secret and can't be renamed.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config.private_files import PRIVATE, draft_of, sync_folder
from gateway.config.secret_places import replaceable, require_empty
from gateway.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLANK = b"\n"
_ROOM_BYTES = 4096


class SecretDraft:
    """A locked file of blanks beside `path`. `file` is where it is, before and after a failure."""

    def __init__(self, path: Path, descriptor: int, *, replaces: bool) -> None:
        """Take the open draft; `replaces`: there is a file at `path` already."""
        self.path = path
        self.file = draft_of(path)
        self.is_written = False
        self.is_put = False
        self._descriptor = descriptor
        self._replaces = replaces

    def write(self, secret: bytes) -> None:
        """Have the secret in the draft, durably; raise OSError."""
        _fill(self._descriptor, secret + _BLANK)
        self.is_written = True

    def put(self) -> None:
        """Rename the draft to the file itself, durably; raise OSError, also where one came meanwhile."""
        if self._replaces:
            self.file.replace(self.path)
        else:
            os.link(self.file, self.path)
            self.file.unlink()
        self.is_put = True
        sync_folder(self.path.parent)


@contextmanager
def secret_draft(path: Path, *, may_replace: bool, holding: bytes | None = None) -> Iterator[SecretDraft]:
    """Hold a draft; raise CommandError where the file could not be replaced, with what to do.

    Not `may_replace`: the file must be missing or empty. A draft that was left behind with another secret
    than `holding` in it stops us: it may be the only place where that is. Links are followed, so that the
    file is replaced and not the link to it.
    """
    target = Path(os.path.realpath(path))
    before = replaceable(target)
    if before is not None and not may_replace:
        require_empty(target, named=path)
    like = before or _status_of_folder(target)
    _forget_second_name(target, before)
    descriptor = _opened(target, like)
    try:
        _lock(target, descriptor)
        draft = SecretDraft(target, descriptor, replaces=before is not None)
        draft.is_written = _holds_already(draft.file, descriptor, holding)
        try:
            _prepare(draft, descriptor, like)
            yield draft
        finally:
            if not draft.is_written:
                draft.file.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _status_of_folder(target: Path) -> os.stat_result:
    try:
        return target.parent.stat()
    except OSError as error:
        raise _not_writable(target, error) from error


def _forget_second_name(target: Path, before: os.stat_result | None) -> None:
    """Remove a draft that is the file itself by now: the command was killed between its last two steps.

    Renaming one name of a file to another name of it would do nothing, and leave the draft for ever.
    """
    draft = draft_of(target)
    try:
        if before is not None and os.path.samestat(before, draft.lstat()):
            draft.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _not_writable(target, error) from error


def _opened(target: Path, like: os.stat_result) -> int:
    draft = draft_of(target)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(draft, flags, PRIVATE)
    except OSError as error:
        raise _not_writable(target, error) from error
    found = os.fstat(descriptor)
    if (
        not stat.S_ISREG(found.st_mode)
        or found.st_nlink > 1
        or found.st_uid not in {os.geteuid(), like.st_uid}
    ):
        os.close(descriptor)
        raise CommandError(f"{draft} is no draft of a secret, whoever has put it there: remove it")
    return descriptor


def _not_writable(target: Path, error: OSError) -> CommandError:
    return CommandError(
        f"{target} can't be replaced, for nothing can be written in {target.parent}: {error.strerror};"
        " try again with sudo, or name another file"
    )


def _lock(target: Path, descriptor: int) -> None:
    """Keep others away from the draft for as long as it is open; the system ends that with the process."""
    draft = draft_of(target)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), draft.stat()):
            return
    except (BlockingIOError, FileNotFoundError):
        pass
    raise CommandError(f"{draft} is in use: another command is writing this secret right now")


def _holds_already(draft: Path, descriptor: int, holding: bytes | None) -> bool:
    """Say whether a draft was left behind with this secret in it; refuse one with another secret."""
    left = os.pread(descriptor, _ROOM_BYTES, 0).strip()
    if left and left != holding:
        raise CommandError(
            f"{draft} holds the secret of a rotation that did not end: take it over with"
            f" `gateway webhooks rotate --from-stdin < {draft}`, or remove the file if you are sure that"
            " Infodeck does not sign with it"
        )
    return bool(left)


def _prepare(draft: SecretDraft, descriptor: int, like: os.stat_result) -> None:
    """Give the draft the owner, group and mode that the file has, or its folder's owner; take the room."""
    mine = os.fstat(descriptor)
    try:
        if (like.st_uid, like.st_gid) != (mine.st_uid, mine.st_gid):
            os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(like.st_mode) if stat.S_ISREG(like.st_mode) else PRIVATE)
        if not draft.is_written:
            _fill(descriptor, _BLANK * _ROOM_BYTES)
    except OSError as error:
        raise CommandError(
            f"{draft.file} can't be written for user {like.st_uid} and group {like.st_gid}, as {draft.path}:"
            f" {error.strerror}; try again with sudo, or make room"
        ) from error


def _fill(descriptor: int, content: bytes) -> None:
    written = 0
    while written < len(content):
        written += os.pwrite(descriptor, content[written:], written)
    os.ftruncate(descriptor, len(content))
    os.fsync(descriptor)
