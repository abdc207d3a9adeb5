"""`make wheelhouse` and systemd/install.sh, on a machine without network, below a root of its own."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.daemon import REPOSITORY as ROOT
from support.installing import Target, run, seal, with_wheels

from gateway import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# systemd cannot run below another root. This stand-in stores its calls, and reports that the gateway is
# active, and that a program does not start whose unit says so.
SYSTEMCTL = """\
#!/bin/sh
echo "$*" >>"{root}/calls"
case $1 in
  is-active) echo active ;;
  --version) echo 'systemd 252 (252.38-1~deb12u1)' ;;
  restart) ! grep -q 'does not start' "{root}/usr/local/lib/systemd/system/gateway.service" ;;
esac
"""


@pytest.fixture(scope="module")
def target(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Target:
    """Install into an empty root."""
    target = Target(tmp_path_factory.mktemp("box") / "root")
    done = target.install(wheelhouse / "install.sh")
    assert done.returncode == 0, done.stdout
    assert "There is no systemd here" in done.stdout
    assert "Put an example into" in done.stdout
    return target


@pytest.fixture
def calls(target: Target) -> Iterator[Path]:
    """Put a stand-in for systemd into the root; return the file with its calls."""
    yield fake_systemd(target)
    (target.root / "run/systemd/system").rmdir()
    (target.commands / "systemctl").unlink()
    (target.root / "calls").unlink(missing_ok=True)


def fake_systemd(target: Target) -> Path:
    """Put a stand-in for systemd into a root; return the file with its calls."""
    systemctl = target.commands / "systemctl"
    systemctl.write_text(SYSTEMCTL.format(root=target.root))
    systemctl.chmod(0o755)
    (target.root / "run/systemd/system").mkdir(parents=True, exist_ok=True)
    return target.root / "calls"


def test_the_scripts_are_clean() -> None:
    """Shellcheck finds nothing, with all rules on."""
    scripts = sorted([*(ROOT / "systemd").glob("*.sh"), *(ROOT / ".ci").iterdir()])
    checked = run(Path(sys.executable).with_name("shellcheck"), *scripts)
    assert (checked.returncode, checked.stdout) == (0, "")
    assert not [script for script in scripts if "shellcheck disable" in script.read_text()]


def test_a_fresh_install_is_ready_to_be_set_up(target: Target) -> None:
    """The program runs, the example passes its check, secrets are root's, the unit starts this program."""
    assert target.gateway("--version").stdout == f"gateway {__version__}\n"
    checked = target.gateway("check", "-c", target.settings)
    assert (checked.returncode, checked.stdout.startswith("ok: ")) == (0, True), checked.stdout
    tested = target.gateway("test", "-c", target.settings)
    assert tested.returncode == 0, tested.stdout
    assert (target.settings.with_name("secrets").stat().st_mode & 0o777) == 0o700
    unit = target.root / "usr/local/lib/systemd/system/gateway.service"
    assert "\nExecStart=/opt/gateway/current/.venv/bin/gateway run " in unit.read_text()
    assert target.release() == __version__


def test_what_is_installed_may_be_read_by_the_service(target: Target) -> None:
    """The service's dynamic user can start the program, whatever root's umask is."""
    for path in [target.programs, *target.programs.rglob("*")]:
        needed = 0o005 if path.is_dir() else 0o004
        assert path.is_symlink() or path.stat().st_mode & needed == needed, path


def test_links_of_the_installed_pages_work(target: Target) -> None:
    """All files that the documentation links to are installed, for machines without network."""
    pages = sorted((target.programs / "current/docs").glob("*.md"))
    linked = {
        page.parent / file for page in pages for file in re.findall(r"\]\(([^)#:\s]+)[)#]", page.read_text())
    }
    assert len(linked) > len(pages)
    assert [str(file) for file in sorted(linked) if not file.exists()] == []


def test_installing_again_changes_nothing(target: Target, wheelhouse: Path) -> None:
    """No file and no link changes, and the installer prints that."""
    before = target.state()
    again = target.install(ROOT / "systemd/install.sh", "--wheelhouse", wheelhouse)
    assert again.returncode == 0, again.stdout
    assert "was in force already" in again.stdout
    assert target.state() == before


def test_an_upgrade_keeps_edited_files_and_can_be_rolled_back(target: Target, newer: Path) -> None:
    """Settings and secrets stay, removed examples stay away, and --rollback restores the version."""
    settings = target.settings.read_text()
    target.settings.write_text(settings.replace("name: edge-1", "name: edited"))
    secret = target.settings.with_name("secrets") / "api-key"
    secret.write_text("made up")
    secret.chmod(0o600)
    (target.settings.with_name("mappings") / "hq-plant.yaml").unlink()
    unit = target.root / "usr/local/lib/systemd/system/gateway.service"
    kept = {name: value for name, value in target.state().items() if "/etc/" in name}

    upgraded = target.install(newer / "install.sh")
    assert upgraded.returncode == 0, upgraded.stdout
    assert target.release().startswith(f"{__version__}-")
    assert target.release("previous") == __version__
    assert unit.read_text().startswith("# newer")
    assert {name: value for name, value in target.state().items() if "/etc/" in name} == kept

    back = target.install(target.programs / "current/install.sh", "--rollback")
    assert back.returncode == 0, back.stdout
    assert target.release() == __version__
    assert not unit.read_text().startswith("# newer")
    assert {name: value for name, value in target.state().items() if "/etc/" in name} == kept


def test_a_failing_check_keeps_the_old_version(target: Target, newer: Path) -> None:
    """The problem is printed with its place, and the previous version stays in force."""
    unit = newer / "gateway.service"
    unit.write_text(unit.read_text().replace("# newer", "# refused"))
    seal(newer)
    before, release = target.settings.read_text(), target.release()
    target.settings.write_text(before + "colour: blue\n")
    refused = target.install(newer / "install.sh")
    target.settings.write_text(before)
    assert refused.returncode == 1
    assert "gateway.yaml:" in refused.stdout
    assert "colour" in refused.stdout
    assert f"Version {release} stays in force" in refused.stdout
    assert target.release() == release


def test_a_version_that_does_not_start_is_rolled_back(target: Target, newer: Path, calls: Path) -> None:
    """If systemd reports a failed restart, the previous version is started again."""
    unit = newer / "gateway.service"
    unit.write_text(unit.read_text().replace("# newer", "# does not start"))
    seal(newer)
    release = target.release()
    failed = target.install(newer / "install.sh")
    assert failed.returncode == 1
    assert f"so {release} is in force again" in failed.stdout
    assert target.release() == release
    changes = [
        line for line in calls.read_text().splitlines() if line in ("daemon-reload", "restart gateway")
    ]
    assert changes == ["daemon-reload", "restart gateway"] * 2


def test_the_next_steps_name_an_installed_page(target: Target, wheelhouse: Path, calls: Path) -> None:
    """Before the gateway's first start, the page for the first day is named."""
    systemctl = target.commands / "systemctl"
    systemctl.write_text(SYSTEMCTL.format(root=target.root).replace("echo active", "echo inactive"))
    done = target.install(wheelhouse / "install.sh")
    assert done.returncode == 0, done.stdout
    (page,) = re.findall(r"\((/.*\.md), The first day\)", done.stdout)
    assert "## The first day\n" in Path(page).read_text()
    assert "daemon-reload" in calls.read_text()


@pytest.mark.usefixtures("calls")
def test_an_older_systemd_gets_a_type_that_it_knows(target: Target, wheelhouse: Path) -> None:
    """A drop-in replaces the service type that Debian 12's systemd would not accept."""
    done = target.install(wheelhouse / "install.sh")
    assert done.returncode == 0, done.stdout
    drop_in = target.root / "usr/local/lib/systemd/system/gateway.service.d/older-systemd.conf"
    assert drop_in.read_text() == "[Service]\nType=notify\nExecReload=/bin/kill -HUP $MAINPID\n"
    (target.commands / "systemctl").write_text("#!/bin/sh\necho 'systemd 257 (257.13-1)'\n")
    assert target.install(wheelhouse / "install.sh").returncode == 0
    assert not drop_in.exists()


def cut_short(stick: Path) -> None:
    """Truncate the unit before its sandbox lines."""
    unit = stick / "gateway.service"
    unit.write_bytes(unit.read_bytes()[:900])


def flip_a_bit(stick: Path) -> None:
    """Flip a bit of the program."""
    (wheel,) = (stick / "wheels").glob("building_gateway-*.whl")
    content = bytearray(wheel.read_bytes())
    content[len(content) // 2] ^= 1
    wheel.write_bytes(content)


def leave_out(stick: Path) -> None:
    """Truncate the copy before the list of files to install."""
    (stick / "requirements.txt").unlink()


def leave_out_the_list(stick: Path) -> None:
    """Truncate the copy before the list of checksums."""
    (stick / "SHA256SUMS").unlink()


def swap_a_wheel(stick: Path) -> None:
    """Replace a wheel by another program, with matching checksums."""
    flip_a_bit(stick)
    seal(stick)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (cut_short, "the wheelhouse is damaged, or was copied in part"),
        (flip_a_bit, "the wheelhouse is damaged, or was copied in part"),
        (leave_out, "the wheelhouse is damaged, or was copied in part"),
        (leave_out_the_list, "is no wheelhouse, or not all of one"),
        (swap_a_wheel, "the wheels could not be installed"),
    ],
)
def test_a_damaged_stick_changes_nothing(
    target: Target, newer: Path, harm: Callable[[Path], None], told: str
) -> None:
    """The installer names the damaged or missing file, and the old version stays."""
    harm(newer)
    before = target.state()
    refused = target.install(newer / "install.sh")
    assert refused.returncode == 1
    assert told in refused.stdout
    assert target.state() == before


@pytest.mark.parametrize("action", ["install", "--rollback"])
def test_an_upgrade_that_was_killed_before_the_restart_is_finished(
    target: Target, newer: Path, calls: Path, action: str
) -> None:
    """The version in force runs afterwards: the new one, or after --rollback the old one."""
    # The power fails as systemd is called to restart the gateway.
    systemctl = target.commands / "systemctl"
    systemctl.write_text(
        SYSTEMCTL.format(root=target.root).replace("case $1 in", "case $1 in\n  restart) kill -9 $PPID ;;")
    )
    killed = target.install(newer / "install.sh")
    assert killed.returncode == -9
    fake_systemd(target)
    calls.unlink()

    new = target.release()
    script, arguments = (
        (newer / "install.sh", ())
        if action == "install"
        else (
            target.programs / "current/install.sh",
            (action,),
        )
    )
    done = target.install(script, *arguments)
    assert done.returncode == 0, done.stdout
    assert "restart gateway" in calls.read_text()
    assert new != __version__
    assert target.release() == (new if action == "install" else __version__)
    assert "in force already" not in done.stdout
    assert {path.name for path in target.programs.iterdir()} >= {__version__, "current"}
    if action == "install":
        assert target.release("previous") == __version__
        back = target.install(target.programs / "current/install.sh", "--rollback")
        assert back.returncode == 0, back.stdout


def test_a_removal_that_was_interrupted_is_finished(target: Target, newer: Path) -> None:
    """A half-removed version is recognised and removed."""
    assert target.install(newer / "install.sh").returncode == 0
    half, empty = target.programs / "0.0.1", target.programs / "0.0.2"
    half.mkdir()
    (half / ".contents").write_text("incomplete\n")
    empty.mkdir()
    back = target.install(target.programs / "current/install.sh", "--rollback")
    assert back.returncode == 0, back.stdout
    assert not half.exists()
    assert target.release() == __version__


def test_a_full_disk_is_reported(tmp_path: Path, newer: Path) -> None:
    """The installer's last line names the failure and what to do."""
    target = Target(tmp_path / "root")
    (target.root / "opt").mkdir(parents=True)
    (target.root / "opt/gateway").write_text("a file, where a folder has to be made\n")
    refused = target.install(newer / "install.sh")
    assert refused.returncode == 1
    assert "type the same again" in refused.stdout.splitlines()[-1]


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, newer: Path) -> None:
    """Root's programs are not installed into a folder of others."""
    target = Target(tmp_path / "root")
    target.programs.mkdir(parents=True)
    target.programs.chmod(0o777)
    refused = target.install(newer / "install.sh")
    assert refused.returncode == 1
    assert "others than root can write to" in refused.stdout
    assert not list(target.programs.iterdir())


def test_half_an_example_is_no_settings(tmp_path: Path, newer: Path) -> None:
    """A partly copied example does not count as edited settings."""
    target = Target(tmp_path / "root")
    left = target.settings.parent / "example.new"
    left.mkdir(parents=True)
    (left / "gateway.yaml").write_text("name: ed")
    command = target.root / "usr/local/bin/gateway"
    command.parent.mkdir(parents=True)
    command.write_text("somebody else's\n")
    done = target.install(newer / "install.sh")
    assert done.returncode == 0, done.stdout
    assert "Put an example into" in done.stdout
    assert not left.exists()
    assert target.settings.read_text().count("\n") > 10
    assert f"Attention: {command} is something else" in done.stdout
    assert command.read_text() == "somebody else's\n"


def test_a_wheelhouse_for_another_python_is_refused(target: Target, newer: Path) -> None:
    """The message names that Python, and nothing changes."""
    (newer / "python").write_text("3.12 linux-other\n")
    seal(newer)
    refused = target.install(newer / "install.sh")
    assert refused.returncode == 1
    assert "the wheelhouse is for Python 3.12 linux-other" in refused.stdout


def test_the_repository_installs_without_a_wheelhouse(tmp_path: Path) -> None:
    """The installer makes one, installs from it, and removes it."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    script, root = ROOT / "systemd/install.sh", tmp_path / "root"
    environment = with_wheels() | {"TMPDIR": str(temporary)}
    done = run("bash", script, "--prefix", root, "--python", sys.executable, **environment)
    assert done.returncode == 0, done.stdout
    assert Target(root).gateway("--version").stdout == f"gateway {__version__}\n"
    assert not list(temporary.iterdir())


def test_without_network_the_repository_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installer advises a wheelhouse, and leaves nothing behind."""
    target = Target(tmp_path / "root")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    refused = target.install(ROOT / "systemd/install.sh")
    assert refused.returncode == 1
    assert "make a wheelhouse elsewhere" in refused.stdout
    assert not list((tmp_path / "temporary").iterdir())
    assert not target.root.exists()


def test_a_folder_with_other_files_becomes_no_wheelhouse(tmp_path: Path) -> None:
    """Files in a folder named by mistake are not removed."""
    (tmp_path / "letter").write_text("dear all")
    refused = run(ROOT / "systemd/make-wheelhouse.sh", sys.executable, tmp_path)
    assert refused.returncode == 1
    assert (tmp_path / "letter").read_text() == "dear all"


# The last test of the file: it removes what the others have installed.
def test_uninstalling_keeps_configuration_and_journal(target: Target, wheelhouse: Path) -> None:
    """Program, unit and command are removed; --purge removes the rest; both print where it is."""
    journal = target.root / "var/lib/gateway/journal.db"
    journal.parent.mkdir(parents=True)
    journal.write_text("made up")
    kept = {name for name in target.state() if "/etc/gateway" in name or "/var/lib/gateway" in name}

    removed = target.install(target.programs / "current/install.sh", "--uninstall")
    assert removed.returncode == 0, removed.stdout
    assert all(str(folder) in removed.stdout for folder in (target.settings.parent, journal.parent))
    files = {name for name, (_, what) in target.state().items() if what != "folder"}
    assert files == {name for name in kept if not Path(name).is_dir()}

    purged = target.install(wheelhouse / "install.sh", "--uninstall", "--purge")
    assert purged.returncode == 0, purged.stdout
    assert f"Removing configuration, secrets and journal: {target.settings.parent}" in purged.stdout
    assert {what for _, what in target.state().values()} == {"folder"}
