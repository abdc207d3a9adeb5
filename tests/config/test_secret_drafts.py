"""A secret's file is replaced in one go, and what can go wrong does so before there is a secret to lose."""

from __future__ import annotations

import os
import resource
import stat
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.config.private_files import write_private
from gateway.config.secret_drafts import secret_draft
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
    """Return what is in the folder beside the secret itself."""
    return sorted(file.name for file in folder.iterdir() if file.name != "secret")


def replaced(path: Path, secret: bytes, *, may_replace: bool = True, holding: bytes | None = None) -> None:
    """Put a secret in the place of the file."""
    with secret_draft(path, may_replace=may_replace, holding=holding) as draft:
        draft.write(secret)
        draft.put()


def test_file_keeps_owner_group_and_mode(tmp_path: Path) -> None:
    """Whoever could read the old secret can read the new one, and nobody else."""
    file = existing(tmp_path, mode=0o440)
    os.chown(file, USER, GROUP)
    replaced(file, b"new")
    status = file.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (USER, GROUP, 0o440)
    assert file.read_bytes() == b"new\n"
    assert not left_behind(tmp_path)


def test_missing_file_belongs_to_the_folders_owner(tmp_path: Path) -> None:
    """What root writes into the gateway's folder, the gateway can read; it is for its owner alone."""
    os.chown(tmp_path, USER, GROUP)
    replaced(tmp_path / "secret", b"new", may_replace=False)
    status = (tmp_path / "secret").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (USER, GROUP, 0o600)
    assert SecretSource("file", str(tmp_path / "secret")).resolve().reveal() == b"new"
    assert not left_behind(tmp_path)


def test_nobody_sees_half_of_it(tmp_path: Path) -> None:
    """Until the draft is put, the old secret is read; the draft is never readable by others."""
    file = existing(tmp_path)
    with secret_draft(file, may_replace=True) as draft:
        assert stat.S_IMODE(draft.file.stat().st_mode) == 0o600
        draft.write(b"new")
        assert file.read_bytes() == b"old\n"
        draft.put()
        assert file.read_bytes() == b"new\n"


def test_link_stays_a_link(tmp_path: Path) -> None:
    """The file behind it is replaced, where it is."""
    (tmp_path / "real").mkdir()
    file = existing(tmp_path / "real")
    (tmp_path / "secret").symlink_to(file)
    replaced(tmp_path / "secret", b"new")
    assert (tmp_path / "secret").is_symlink()
    assert file.read_bytes() == b"new\n"


@pytest.mark.parametrize("content", [b"old\n", b"x"])
def test_secret_is_not_overwritten_unless_wanted(tmp_path: Path, content: bytes) -> None:
    """A file for a new webhook must be missing or empty."""
    file = existing(tmp_path, content)
    with pytest.raises(CommandError, match=r"secret holds a secret already, which is not overwritten"):
        replaced(file, b"new", may_replace=False)
    assert file.read_bytes() == content
    assert not left_behind(tmp_path)
    file.write_bytes(b"\n")
    replaced(file, b"new", may_replace=False)
    assert file.read_bytes() == b"new\n"


def test_file_that_came_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    """Where there was none, none may have come; the secret stays in the draft."""
    with secret_draft(tmp_path / "secret", may_replace=False) as draft:
        draft.write(b"new")
        existing(tmp_path, b"somebody else's")
        with pytest.raises(FileExistsError):
            draft.put()
    assert (tmp_path / "secret").read_bytes() == b"somebody else's"
    assert draft.file.read_bytes() == b"new\n"


def test_draft_without_a_secret_is_removed(tmp_path: Path) -> None:
    """Where Infodeck was not asked, or refused, everything is as before."""
    file = existing(tmp_path)
    with pytest.raises(RuntimeError), secret_draft(file, may_replace=True):
        raise RuntimeError
    assert file.read_bytes() == b"old\n"
    assert not left_behind(tmp_path)


def test_forgotten_draft_is_not_overwritten(tmp_path: Path) -> None:
    """After a crash it may be the only place where the secret is; whoever brings that secret goes on."""
    file = existing(tmp_path)
    with secret_draft(file, may_replace=True) as draft:
        draft.write(b"new")
    with pytest.raises(CommandError, match=r"--from-stdin < .*/secret\.new`") as refused:
        replaced(file, b"newer")
    assert "new\n" not in str(refused.value)
    with pytest.raises(RuntimeError), secret_draft(file, may_replace=True, holding=b"new"):
        raise RuntimeError
    assert draft.file.read_bytes() == b"new\n"
    replaced(file, b"new", holding=b"new")
    assert file.read_bytes() == b"new\n"
    assert not left_behind(tmp_path)


def test_draft_of_a_register_killed_at_its_very_end_is_no_obstacle(tmp_path: Path) -> None:
    """It is the file's second name by then, and both go on to be one: nothing is lost with it."""
    file = tmp_path / "secret"
    with secret_draft(file, may_replace=False) as draft:
        draft.write(b"made")
        os.link(draft.file, file)
    assert left_behind(tmp_path) == ["secret.new"]
    with secret_draft(file, may_replace=True) as draft:
        assert file.read_bytes() == b"made\n"
        draft.write(b"newer")
        draft.put()
    assert file.read_bytes() == b"newer\n"
    assert not left_behind(tmp_path)


def test_blank_draft_of_a_killed_command_is_no_obstacle(tmp_path: Path) -> None:
    """It was killed before there was a secret."""
    file = existing(tmp_path)
    (tmp_path / "secret.new").write_bytes(b"\n" * 4096)
    replaced(file, b"new")
    assert file.read_bytes() == b"new\n"


def test_two_commands_at_once(tmp_path: Path) -> None:
    """The second one is refused before it asks Infodeck for anything, and disturbs nothing."""
    file = existing(tmp_path)
    with secret_draft(file, may_replace=True) as first:
        with pytest.raises(CommandError, match="another command is writing"), ExitStack() as stack:
            stack.enter_context(secret_draft(file, may_replace=True))
        first.write(b"new")
        first.put()
    assert file.read_bytes() == b"new\n"


def test_what_cannot_be_replaced_is_refused_first(tmp_path: Path) -> None:
    """No folder, no file, a draft in the way that is a link: each is named."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(CommandError, match="not a regular file"):
        replaced(tmp_path / "folder", b"new")
    with pytest.raises(CommandError, match=r"nothing can be written in .*none: No such file"):
        replaced(tmp_path / "none" / "secret", b"new")
    file = existing(tmp_path)
    (tmp_path / "secret.new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CommandError, match="can't be replaced"):
        replaced(file, b"new")
    assert not (tmp_path / "elsewhere").exists()


def a_pipe(draft: Path) -> None:
    """Put a pipe in the draft's place."""
    os.mkfifo(draft)


def a_second_name(draft: Path) -> None:
    """Put another name of some file in the draft's place."""
    other = draft.with_name("other")
    other.touch(mode=0o600)
    os.link(other, draft)


def a_file_of_somebody_else(draft: Path) -> None:
    """Put a file in the draft's place that its owner may have open, to read along."""
    draft.touch(mode=0o600)
    if os.geteuid() == 0:
        os.chown(draft, USER, GROUP)
    else:
        draft.unlink()
        a_pipe(draft)


@pytest.mark.parametrize("put_there", [a_pipe, a_second_name, a_file_of_somebody_else])
def test_what_somebody_has_put_in_the_drafts_place_gets_no_secret(
    tmp_path: Path, put_there: Callable[[Path], None]
) -> None:
    """Only a file that a command like this has made is a draft; anything else is named, and left as it is."""
    file = existing(tmp_path)
    put_there(tmp_path / "secret.new")
    before = (tmp_path / "secret.new").lstat()
    with pytest.raises(CommandError, match=r"secret\.new is no draft .*remove it"):
        replaced(file, b"new")
    after = (tmp_path / "secret.new").lstat()
    assert (after.st_mode, after.st_uid, after.st_size) == (before.st_mode, before.st_uid, before.st_size)
    assert file.read_bytes() == b"old\n"


def test_file_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    """Its successor would be known to everybody as well."""
    file = existing(tmp_path, mode=0o644)
    with pytest.raises(CommandError, match=r"others may use .*secret \(0644\).* chmod 600 "):
        replaced(file, b"new")
    assert file.read_bytes() == b"old\n"
    assert not left_behind(tmp_path)


def test_file_that_is_mounted_by_itself_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a container's single file: nothing can be renamed to it, which the kernel's table tells."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    file = existing(folder)
    written = str(file).replace(" ", r"\040")
    table = tmp_path / "mountinfo"
    table.write_text(f"63 43 254:0 /src {written} rw,relatime - ext4 /dev/vda rw\n")
    monkeypatch.setattr("gateway.config.secret_places._MOUNTS", table)
    with pytest.raises(CommandError, match=r"mounted by itself.* mount its folder"):
        replaced(file, b"new")
    assert not left_behind(folder)
    table.write_text(f"63 43 254:0 /src {tmp_path} rw,relatime - ext4 /dev/vda rw\n")
    replaced(file, b"new")
    assert file.read_bytes() == b"new\n"


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process grow, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_is_noticed_before_there_is_a_secret(tmp_path: Path) -> None:
    """The room is taken at once."""
    file = existing(tmp_path)
    with pytest.raises(CommandError, match="File too large"), full_disk():
        replaced(file, b"new")
    assert file.read_bytes() == b"old\n"
    assert not left_behind(tmp_path)


def test_private_file_has_its_mode_whatever_was_there(tmp_path: Path) -> None:
    """A file, or a draft of a killed gateway, that others may read is replaced by one that they may not."""
    file = existing(tmp_path, mode=0o644)
    draft = tmp_path / "secret.new"
    draft.write_bytes(b"longer than what comes now")
    draft.chmod(0o644)
    write_private(file, b"new")
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"new", 0o600)
    assert not left_behind(tmp_path)
