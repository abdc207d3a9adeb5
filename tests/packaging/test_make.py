"""`make`: every target is described, and a machine that lacks something gets a clear message."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TOP_LEVEL = (
    "gateway config mappings tests systemd docs bench requirements Dockerfile compose.yaml Makefile "
    "README.md CHANGELOG.md CONTRIBUTING.md LICENSE pyproject.toml .ci/run"
)


@pytest.fixture
def bare_path() -> Iterator[Path]:
    """Return a folder to use as the whole PATH, with a shell and little else: no apt-get, no sudo."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # unlike tmp_path, another user may look into it
        for command in ("bash", "dirname", "env", "rm"):
            (folder / command).symlink_to(shutil.which(command) or command)
        yield folder


def program(path: Path, text: str) -> None:
    """Write an executable file."""
    path.write_text(text)
    path.chmod(0o755)


def test_help_describes_every_target() -> None:
    """Plain `make` lists each target for users with a description."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: ([\w-]+)$", makefile, re.MULTILINE)) - {"packages"}
    shown = subprocess.run(["make", "-C", ROOT], check=True, capture_output=True, text=True).stdout
    assert set(re.findall(r"^make ([\w-]+) +\S", shown, re.MULTILINE)) == targets
    assert targets >= {"bench", "check", "clean", "demo", "help", "lint", "lock", "test"}


def test_the_top_level_layout_holds() -> None:
    """Every file and folder is where users and CI expect it."""
    assert [name for name in TOP_LEVEL.split() if not (ROOT / name).exists()] == []
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_missing_packages_are_named_without_apt(bare_path: Path) -> None:
    """The message lists them, and nothing is installed."""
    result = subprocess.run(
        ["bash", ROOT / ".ci" / "install-packages", "mosquitto", "mbpoll"],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": str(bare_path)},
    )
    assert result.returncode == 1
    assert "missing: mosquitto mbpoll" in result.stderr


def test_a_user_without_root_gets_the_command(bare_path: Path) -> None:
    """Without root and sudo the exact command is printed, and apt-get is not run."""
    ran = bare_path / "ran"
    program(bare_path / "apt-get", f"#!/bin/sh\n: > '{ran}'\n")
    script = (ROOT / ".ci" / "install-packages").read_text()
    result = subprocess.run(
        [shutil.which("bash") or "bash", "-s", "--", "mosquitto", "mbpoll"],
        input=script,  # piped, because nobody may not be allowed to read this folder
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
        env={"PATH": str(bare_path)},
        user=65534 if os.geteuid() == 0 else None,
    )
    assert result.returncode == 1
    assert "sudo apt-get install mosquitto mbpoll" in result.stderr
    assert not ran.exists()


def test_a_python_that_does_not_start_is_skipped(tmp_path: Path, bare_path: Path) -> None:
    """The next one on PATH makes .venv, also in a folder with spaces."""
    clone = tmp_path / "a clone"
    (clone / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "create-venv", clone / ".ci")
    for shim in ("python3.13", "python3.12"):
        program(bare_path / shim, "#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    (bare_path / "python3").symlink_to(Path(sys.executable).resolve())
    result = subprocess.run(
        ["bash", clone / ".ci" / "create-venv"],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": str(bare_path)},
    )
    assert (result.returncode, result.stderr) == (0, "")
    version = subprocess.run(
        [clone / ".venv" / "bin" / "python", "-m", "pip", "--version"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert str(clone / ".venv") in version


def test_without_any_python_the_package_to_install_is_named(tmp_path: Path, bare_path: Path) -> None:
    """The message names python3-venv, and no partial .venv is left."""
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    result = subprocess.run(
        ["bash", tmp_path / ".ci" / "create-venv"],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": str(bare_path)},
    )
    assert result.returncode == 1
    assert "python3-venv" in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_fleet_demo_loses_nothing_and_leaves_nothing() -> None:
    """`make demo-fleet` shows every part, ends by itself, counts no lost event, and removes its folder."""
    with tempfile.TemporaryDirectory() as folder:  # a short path, which Unix sockets need
        shown = subprocess.run(
            ["make", "-C", ROOT, "demo-fleet", "ARGS=--for 5s"],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"TMPDIR": folder},
        ).stdout
        assert list(Path(folder).iterdir()) == []
    parts = {"nats-1", "nats-2", "nats-3", "intake-1", "intake-2", "hq-tower", "annex"}
    assert set(re.findall(r"^ (\S+) +\d+ +1  ", shown, re.MULTILINE)) == parts
    none_lost = r"^(\S+): [1-9]\d* events answered with 200, 0 lost, 0 of other sites or twice$"
    assert re.findall(none_lost, shown, re.MULTILINE) == ["hq-tower", "annex"]
