"""The unit file and the Dockerfile, checked with their own tools."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALLED = "/opt/gateway/current/.venv/bin/gateway"
# Debian 12's systemd does not know these yet and says that it ignores them.
NEWER_KEYS = ("RestartSteps", "RestartMaxDelaySec")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return a copy of the unit that starts a program of every machine."""
    text = (ROOT / "systemd" / "gateway.service").read_text()
    assert f"ExecStart={INSTALLED} run -c /etc/gateway/gateway.yaml" in text
    copy = tmp_path / "gateway.service"
    copy.write_text(text.replace(INSTALLED, "/bin/true"))
    return copy


def test_systemd_accepts_the_unit(unit: Path) -> None:
    """`systemd-analyze verify` finds no unknown key, bad value or missing program."""
    result = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", unit],
        check=False,
        capture_output=True,
        text=True,
    )
    complaints = [
        line
        for line in result.stderr.splitlines()
        if "gateway.service" in line and not any(f"'{key}'" in line for key in NEWER_KEYS)
    ]
    assert complaints == []


def test_a_start_has_time_to_check_a_large_journal(unit: Path) -> None:
    """Systemd's time-out is enough for 10 GiB at 20 MB/s."""
    (minutes,) = re.findall(r"^TimeoutStartSec=(\d+)min$", unit.read_text(), re.MULTILINE)
    assert int(minutes) * 60 * 20e6 > 10 * 2**30


def test_a_crash_restarts_soon_and_leaves_no_core(unit: Path) -> None:
    """The delay between restarts stays short; a core dump would contain secrets."""
    keys = dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE))
    assert int(keys["RestartMaxDelaySec"]) <= 10
    assert keys["LimitCORE"] == "0"
    assert int(keys["LimitNOFILE"]) >= 4096


def test_systemd_rates_the_exposure_low(unit: Path) -> None:
    """`systemd-analyze security` rates it at 1.5 of 10 at most; the rest is the network."""
    result = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        check=True,
        capture_output=True,
        text=True,
    )
    figure = re.search(r"Overall exposure level for gateway.service: ([0-9.]+)", result.stdout)
    assert figure is not None
    print(figure[0])  # noqa: T201 - for `pytest -s`
    assert float(figure[1]) <= 1.5


def test_the_drop_ins_that_the_unit_names_are_good(unit: Path) -> None:
    """Secrets, low ports and serial lines: systemd accepts the lines, and the rating stays."""
    text = unit.read_text()
    drop_ins = re.findall(r"add a drop-in with\n((?:#   \S+=.*\n)+)", text)
    assert len(drop_ins) == 3
    secrets, low_ports, serial = (
        "[Service]\n" + re.sub("^#   ", "", lines, flags=re.MULTILINE) for lines in drop_ins
    )
    assert secrets in (ROOT / "docs/infodeck.md").read_text()
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in low_ports
    assert "DeviceAllow=" in serial
    folder = unit.with_name("gateway.service.d")
    folder.mkdir()
    for name, lines in (("secrets", secrets), ("ports", low_ports), ("serial", serial)):
        (folder / f"{name}.conf").write_text(lines)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", unit],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "gateway.service.d" not in verified.stderr
    (folder / "bad.conf").write_text("[Service]\nDeviceAlow=x\n")  # what is wrong there would be seen
    seen = subprocess.run(["systemd-analyze", "verify", unit], check=False, capture_output=True, text=True)
    assert "gateway.service.d/bad.conf" in seen.stderr


def test_the_dockerfile_is_clean() -> None:
    """Hadolint finds nothing, with all rules on."""
    text = (ROOT / "Dockerfile").read_text()
    hadolint = Path(sys.executable).with_name("hadolint")
    result = subprocess.run([hadolint, "Dockerfile"], check=False, capture_output=True, text=True, cwd=ROOT)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
    assert "hadolint ignore" not in text


def test_the_image_runs_under_a_numeric_user() -> None:
    """The last USER before the entry point is a number other than 0, which an orchestrator can check."""
    users = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert users
    assert "0" not in users[-1]


def test_the_builder_gets_all_that_the_image_copies() -> None:
    """Every source of a COPY is in the repository and not in .dockerignore."""
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    copies = re.findall(r"^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = [source for copy in copies for source in copy.split()[:-1]]
    assert "gateway" in sources
    assert "*" in ignore
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in allowed), source


def test_the_wheel_contains_the_package_alone(tmp_path: Path) -> None:
    """It has code, the demo's point table and the licence, and no tests or caches."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run(
        [*command, "--no-index", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("building_gateway-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {"gateway/model.py", "gateway/demo/mappings/demo.yaml"} <= held
    assert any(name.endswith("/licenses/LICENSE") for name in held)
    assert {name.split("/")[0] for name in held} == {"gateway", wheel.name.split("-py3")[0] + ".dist-info"}
    assert not any("__pycache__" in name for name in held)
