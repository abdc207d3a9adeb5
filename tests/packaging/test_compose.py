"""compose.yaml: few rights, in agreement with image and settings, and a broker that starts."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.certificates import make_authority
from support.daemon import Daemon
from support.ports import free_port
from support.processes import run_gateway

from gateway import __version__

ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "config/compose/gateway.yaml"
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_containers_have_few_rights(name: str) -> None:
    """They have no root, no capability, and write to named volumes and memory only."""
    service = SERVICES[name]
    user, group = service["user"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - the container's own
    assert not service.keys() & {
        "privileged",
        "cap_add",
        "devices",
        "network_mode",
        "pid",
        "ipc",
        "userns_mode",
    }


@pytest.mark.parametrize("name", SERVICES)
def test_images_and_mounts_are_named_exactly(name: str) -> None:
    """Images have a version; mounts exist here and are read-only; volumes are declared."""
    service = SERVICES[name]
    assert re.fullmatch(r"[a-z-]+:\d+\.\d+\.\d+", service["image"])
    for volume in service["volumes"]:
        source, _, mode = (*volume.split(":"), "rw")[:3]
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            assert mode == "ro", volume
        else:
            assert source in COMPOSE["volumes"], source


def test_the_gateway_is_the_image_that_is_built_here() -> None:
    """Version, user and data folder are those of the Dockerfile."""
    service, dockerfile = SERVICES["gateway"], (ROOT / "Dockerfile").read_text()
    assert service["image"] == f"building-gateway:{__version__}"
    assert f"\nUSER {service['user']}\n" in dockerfile
    assert "gateway-state:/var/lib/gateway" in service["volumes"]
    assert "\nVOLUME /var/lib/gateway\n" in dockerfile


def test_the_health_check(tmp_path: Path) -> None:
    """It succeeds with an admin port over TLS, and fails without one."""
    folder = make_authority(tmp_path)
    (folder / "broker.key").chmod(0o600)
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text("made-up-admin-token-1")
    daemon = Daemon(folder, free_port())
    text = daemon.config.read_text()
    tls = "tls: {certificate: broker.pem, key: broker.key}, token: {file: token}"
    daemon.config.write_text(text.replace("admin: {", f"admin: {{{tls}, "))
    _, python, option, script = SERVICES["gateway"]["healthcheck"]["test"]
    assert (python, option) == ("python", "-c")
    command = [sys.executable, "-c", script.replace("9680", str(daemon.admin_port))]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    daemon.launch()
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(command, capture_output=True, check=False).returncode != 0:
            assert time.monotonic() < deadline, daemon.log
    finally:
        daemon.kill()


def test_ports_and_secrets_are_those_of_the_settings() -> None:
    """`gateway check` accepts the settings; their ports are published and their secrets mounted."""
    checked = run_gateway("check", "-c", SETTINGS)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    settings = yaml.safe_load(SETTINGS.read_text())
    listening = [
        part["listen"] for part in (settings["intake"], settings["admin"], settings["sinks"]["regs"])
    ]
    published = [port.rpartition(":")[2] for port in SERVICES["gateway"]["ports"]]
    assert published == [address.rpartition(":")[2] for address in listening]
    assert settings["sinks"]["bms"]["url"] == "mqtt://broker:1883"
    needed = [
        secret["env"] for secret in (*settings["intake"]["signing_secrets"], settings["admin"]["token"])
    ]
    assert list(SERVICES["gateway"]["environment"]) == needed
    assert settings["admin"]["listen"] == "0.0.0.0:9680"  # the health check asks on the container's loopback


def test_the_broker_is_published_for_this_machine_alone() -> None:
    """It has no password."""
    assert "\nallow_anonymous true\n" in (ROOT / "config/compose/mosquitto.conf").read_text()
    assert SERVICES["broker"]["ports"] == ["127.0.0.1:1883:1883"]


def test_the_broker_starts_with_its_settings(tmp_path: Path) -> None:
    """A mosquitto starts with the file, and the health check succeeds."""
    port = free_port()
    text = (ROOT / "config/compose/mosquitto.conf").read_text()
    config = tmp_path / "mosquitto.conf"
    here = text.replace("listener 1883", f"listener {port} 127.0.0.1")
    config.write_text(here.replace("/mosquitto/data/", f"{tmp_path}/") + "user root\n")
    broker = subprocess.Popen(["mosquitto", "-c", config], stderr=subprocess.PIPE)
    try:
        ask = [part.replace("$$", "$") for part in SERVICES["broker"]["healthcheck"]["test"][1:]]
        deadline = time.monotonic() + 60
        while subprocess.run([*ask, "-p", str(port)], check=False, capture_output=True).returncode:
            assert broker.poll() is None, broker.communicate()[1]
            assert time.monotonic() < deadline
    finally:
        broker.terminate()
        broker.communicate(timeout=60)
