"""A secret's file is replaced atomically, and what can fail, fails before Infodeck makes a secret."""

from __future__ import annotations

import os
import resource
import stat
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.cli.secret_file import open_secret_file
from gateway.config.private_files import write_private
from gateway.config.secrets import SecretSource
from gateway.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Another user where the tests run as root, elsewhere another of our own groups.
USER, GROUP = (65534, 65534) if os.geteuid() == 0 else (os.geteuid(), os.getgroups()[-1])


def existing(folder: Path, content: bytes = b"old\n", *, mode: int = 0o600) -> Path:
    """Write a secret's file."""
    file = folder / "secret"
    file.write_bytes(content)
    file.chmod(mode)
    return file


def left_behind(folder: Path) -> list[str]:
    """Return the names of the other files in the folder."""
    return sorted(file.name for file in folder.iterdir() if file.name != "secret")


def replaced(path: Path, secret: bytes, *, may_replace: bool = True) -> None:
    """Replace the file with a new secret."""
    with open_secret_file(path, may_replace=may_replace) as file:
        file.write_new(secret)
        file.rename_new()


def test_file_keeps_owner_group_and_mode(tmp_path: Path) -> None:
    """The new file has the owner, group and mode of the old one."""
    file = existing(tmp_path, mode=0o440)
    os.chown(file, USER, GROUP)
    replaced(file, b"new")
    status = file.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (USER, GROUP, 0o440)
    assert file.read_bytes() == b"new\n"
    assert not left_behind(tmp_path)


def test_missing_file_belongs_to_the_folders_owner(tmp_path: Path) -> None:
    """A file that root creates in the gateway's folder belongs to the gateway and has mode 0600."""
    os.chown(tmp_path, USER, GROUP)
    replaced(tmp_path / "secret", b"new", may_replace=False)
    status = (tmp_path / "secret").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (USER, GROUP, 0o600)
    assert SecretSource("file", str(tmp_path / "secret")).resolve().reveal() == b"new"
    assert not left_behind(tmp_path)


def test_file_is_replaced_atomically(tmp_path: Path) -> None:
    """The file holds the old secret until `FILE.new` is renamed, and `FILE.new` has mode 0600."""
    file = existing(tmp_path)
    with open_secret_file(file, may_replace=True) as opened:
        opened.write_new(b"new")
        assert stat.S_IMODE(opened.new.stat().st_mode) == 0o600
        assert file.read_bytes() == b"old\n"
        opened.rename_new()
        assert file.read_bytes() == b"new\n"


def test_link_stays_a_link(tmp_path: Path) -> None:
    """A link stays, and the file that it points to is replaced."""
    (tmp_path / "real").mkdir()
    file = existing(tmp_path / "real")
    (tmp_path / "secret").symlink_to(file)
    replaced(tmp_path / "secret", b"new")
    assert (tmp_path / "secret").is_symlink()
    assert file.read_bytes() == b"new\n"


@pytest.mark.parametrize("content", [b"old\n", b"x"])
def test_secret_is_overwritten_only_if_allowed(tmp_path: Path, content: bytes) -> None:
    """A new webhook's secret goes only into a missing or empty file."""
    file = existing(tmp_path, content)
    with pytest.raises(CommandError, match=r"secret holds a secret already, which is not overwritten"):
        replaced(file, b"new", may_replace=False)
    assert file.read_bytes() == content
    assert not left_behind(tmp_path)
    file.write_bytes(b"\n")
    replaced(file, b"new", may_replace=False)
    assert file.read_bytes() == b"new\n"


def test_nothing_is_left_where_there_was_no_secret(tmp_path: Path) -> None:
    """Without a new secret, the draft is removed and the file unchanged."""
    file = existing(tmp_path)
    with open_secret_file(file, may_replace=True):
        assert left_behind(tmp_path) == ["secret.new"]
    assert file.read_bytes() == b"old\n"
    assert not left_behind(tmp_path)


def test_secret_that_a_killed_command_left_is_found(tmp_path: Path) -> None:
    """A secret left in `FILE.new` is returned as pending, and a newer one replaces it."""
    file = existing(tmp_path, mode=0o440)
    with open_secret_file(file, may_replace=True) as killed:
        assert killed.pending == b""
        killed.write_new(b"new")
    with open_secret_file(file, may_replace=True) as again:
        assert again.pending == b"new"
    assert left_behind(tmp_path) == ["secret.new"]
    replaced(file, b"newer")
    assert file.read_bytes() == b"newer\n"
    assert not left_behind(tmp_path)


def test_secret_that_a_killed_register_left_is_not_overwritten(tmp_path: Path) -> None:
    """It belongs to another webhook, so a second registration is refused."""
    file = tmp_path / "secret"
    with open_secret_file(file, may_replace=False) as killed:
        killed.write_new(b"made")
    with pytest.raises(CommandError, match=r"secret\.new holds a secret already: move it to"):
        replaced(file, b"another", may_replace=False)
    assert killed.new.read_bytes() == b"made\n"


def test_blank_file_of_a_killed_command_is_no_obstacle(tmp_path: Path) -> None:
    """A draft without a secret is reused."""
    file = existing(tmp_path)
    (tmp_path / "secret.new").write_bytes(b"\n" * 4096)
    replaced(file, b"new")
    assert file.read_bytes() == b"new\n"


def test_two_commands_at_once(tmp_path: Path) -> None:
    """The second command is refused at once, and the first one completes."""
    file = existing(tmp_path)
    with open_secret_file(file, may_replace=True) as first:
        with pytest.raises(CommandError, match="another command is writing"), ExitStack() as stack:
            stack.enter_context(open_secret_file(file, may_replace=True))
        first.write_new(b"new")
        first.rename_new()
    assert file.read_bytes() == b"new\n"


def test_what_cannot_be_replaced_is_refused_first(tmp_path: Path) -> None:
    """A folder, a missing folder and a link in the draft's place are refused by name."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(CommandError, match="not a regular file"):
        replaced(tmp_path / "folder", b"new")
    with pytest.raises(CommandError, match=r"can't be replaced: No such file .*none"):
        replaced(tmp_path / "none" / "secret", b"new")
    file = existing(tmp_path)
    (tmp_path / "secret.new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CommandError, match=r"secret\.new is no draft .*remove it"):
        replaced(file, b"new")
    assert not (tmp_path / "elsewhere").exists()


def a_pipe(draft: Path) -> None:
    """Put a pipe in the draft's place."""
    os.mkfifo(draft)


def a_folder(draft: Path) -> None:
    """Put a folder in the draft's place."""
    draft.mkdir()


def a_file_of_somebody_else(draft: Path) -> None:
    """Put another user's file in the draft's place; that user may have it open for reading."""
    draft.touch(mode=0o600)
    if os.geteuid() == 0:
        os.chown(draft, USER, GROUP)
    else:
        draft.unlink()
        a_pipe(draft)


@pytest.mark.parametrize("put_there", [a_pipe, a_folder, a_file_of_somebody_else])
def test_foreign_file_in_the_drafts_place_is_refused(
    tmp_path: Path, put_there: Callable[[Path], None]
) -> None:
    """Anything but a regular file of our own in the draft's place is refused and left unchanged."""
    file = existing(tmp_path)
    put_there(tmp_path / "secret.new")
    before = (tmp_path / "secret.new").lstat()
    with pytest.raises(CommandError, match=r"secret\.new is no draft .*remove it"):
        replaced(file, b"new")
    after = (tmp_path / "secret.new").lstat()
    assert (after.st_mode, after.st_uid, after.st_size) == (before.st_mode, before.st_uid, before.st_size)
    assert file.read_bytes() == b"old\n"


def test_file_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    """A file that others may read is refused, since its successor would have the same mode."""
    file = existing(tmp_path, mode=0o644)
    with pytest.raises(CommandError, match=r"others may use .*secret \(0644\).* chmod 600 "):
        replaced(file, b"new")
    assert file.read_bytes() == b"old\n"
    assert not left_behind(tmp_path)


def test_file_that_is_mounted_by_itself_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is its own mount point is refused, since nothing can be renamed to it."""
    file = existing(tmp_path)
    monkeypatch.setattr("os.path.ismount", file.__eq__)
    with pytest.raises(CommandError, match=r"mounted by itself"):
        replaced(file, b"new")
    assert not left_behind(tmp_path)


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process grow, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_is_noticed_before_there_is_a_secret(tmp_path: Path) -> None:
    """Opening the file reserves room, so a full disk fails before Infodeck is asked."""
    file = existing(tmp_path)
    with pytest.raises(CommandError, match="File too large"), full_disk():
        replaced(file, b"new")
    assert file.read_bytes() == b"old\n"
    assert not left_behind(tmp_path)


def test_private_file_has_its_mode_whatever_was_there(tmp_path: Path) -> None:
    """A file or draft that others may read is replaced by one with mode 0600."""
    file = existing(tmp_path, mode=0o644)
    draft = tmp_path / "secret.new"
    draft.write_bytes(b"longer than what comes now")
    draft.chmod(0o644)
    write_private(file, b"new")
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"new", 0o600)
    assert not left_behind(tmp_path)
