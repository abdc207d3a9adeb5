"""Wheelhouses, and empty roots to install into without network."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from support.daemon import REPOSITORY

NO_NETWORK = {"PIP_NO_INDEX": "1", "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}


def with_wheels() -> dict[str, str]:
    """Return an environment in which pip uses the wheels that `make test` has downloaded, if any."""
    fetched = Path(sys.prefix) / "wheels"
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(fetched)} if fetched.is_dir() else {}


def make_wheelhouse(folder: Path) -> None:
    """Make a wheelhouse as `make wheelhouse` does."""
    made = run(REPOSITORY / "systemd/make-wheelhouse.sh", sys.executable, folder, **with_wheels())
    assert made.returncode == 0, made.stdout
    assert made.stdout.endswith(f"sudo bash {folder.name}/install.sh\n")


def seal(wheelhouse: Path) -> None:
    """Write the list of checksums again after a test's change."""
    files = sorted(path for path in wheelhouse.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{sha256(path.read_bytes()).hexdigest()}  ./{path.relative_to(wheelhouse)}\n" for path in files]
    (wheelhouse / "SHA256SUMS").write_text("".join(lines))


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program; both of its outputs are in `stdout`."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd="/",
    )


@dataclass
class Target:
    """A root to install into."""

    root: Path
    commands: Path = field(init=False)

    def __post_init__(self) -> None:
        """Make the folder for this root's PATH."""
        self.commands = self.root.with_name(f"{self.root.name}-commands")
        self.commands.mkdir()

    def install(self, script: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run an installer, without network."""
        return run(
            "bash",
            script,
            "--prefix",
            self.root,
            "--python",
            sys.executable,
            *arguments,
            PATH=f"{self.commands}:{os.environ['PATH']}",
            **NO_NETWORK,
        )

    def gateway(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the installed program by the name that is on everyone's PATH."""
        return run(self.root / "usr/local/bin/gateway", *arguments)

    @property
    def programs(self) -> Path:
        """The folder of the versions."""
        return self.root / "opt/gateway"

    @property
    def settings(self) -> Path:
        """The settings in force."""
        return self.root / "etc/gateway/gateway.yaml"

    def release(self, link: str = "current") -> str:
        """Return the version that a link points to."""
        return (self.programs / link).readlink().name

    def state(self) -> dict[str, tuple[int, str]]:
        """Return mode and contents of every file; of the program's, also the time of change."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            status = path.lstat()
            if path.is_symlink():
                what = str(path.readlink())
            elif path.is_dir():
                what = "folder"
            elif ".venv" in path.parts:
                what = str(status.st_mtime_ns)
            else:
                what = sha256(path.read_bytes()).hexdigest()
            found[str(path)] = (status.st_mode, what)
        return found
