"""docs/operations.md: every command runs as it is written and prints what the page shows."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from random import Random
from typing import TYPE_CHECKING

import pytest
from support.building import eventually
from support.daemon import REPOSITORY, Daemon, telemetry
from support.edited_tables import running, swap
from support.installing import NO_NETWORK, Target, run
from support.journal_parts import START_MS, sqlite_journal
from support.mosquitto import Mosquitto
from support.processes import run_script

from gateway import alarms
from gateway.journal.lookup import read_dead_letters
from gateway.model import Event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = (REPOSITORY / "docs/operations.md").read_text(encoding="utf-8")
CHAPTERS = {
    text.partition("\n")[0]: re.findall(r"^```(sh|text)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    for text in PAGE.split("\n## ")
}
TABLE = """\
schema: gateway.points/1
site: hq
points:
  - {tag: L03-RM312, point: N, asset: a, from: n, modbus: {to: regs, table: input, register: 4, type: uint16}}
"""
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
ROOM = "ast-a1b2c3d4"


def commands(chapter: str) -> list[str]:
    """Return a chapter's commands, in order."""
    return [text for kind, text in CHAPTERS[chapter] if kind == "sh"]


def without_times(text: str) -> str:
    """Return the text with one time instead of all times."""
    return re.sub(TIME, "TIME", text)


def test_every_command_is_run_here() -> None:
    """Each chapter with commands has a test below."""
    with_commands = [name for name, blocks in CHAPTERS.items() if blocks]
    assert with_commands == [
        "Install",
        "First start",
        "Upgrade and back",
        "Backup and restore",
        "Harden the box",
        "What could not be delivered",
    ]


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """Return an empty root."""
    return Target(tmp_path / "root")


def on_the_box(target: Target, stick: Path, script: str) -> str:
    """Run a command of the page below the root, with that wheelhouse; return what it prints."""
    script = script.replace("sudo ", "").replace("/media/stick/wheelhouse", str(stick))
    script = re.sub(r"(?<![\w/.])/(opt|etc|usr|var)/", rf"{target.root}/\1/", script)
    script = script.replace(".sh", f".sh --prefix {target.root} --python {sys.executable}")
    done = run("bash", "-euc", script, **NO_NETWORK)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_install_upgrade_and_back(target: Target, wheelhouse: Path, newer: Path) -> None:
    """The page's machine from the stick to its removal; all files are where the page has them."""
    make, from_stick, from_repository = commands("Install")
    subprocess.run([*make.split(), "--dry-run"], cwd=REPOSITORY, check=True, capture_output=True)
    assert "is in force." in on_the_box(target, wheelhouse, from_stick)
    assert (REPOSITORY / from_repository.removeprefix("sudo ").strip()).exists()
    for place in re.findall(r"^\| `(/[^`]+)`", PAGE[: PAGE.index("## First start")], flags=re.MULTILINE):
        assert place == "/var/lib/gateway" or (target.root / place[1:]).exists(), place

    upgrade, back, uninstall = commands("Upgrade and back")
    assert "is kept for --rollback" in on_the_box(target, newer, upgrade)
    assert target.release() != target.release("previous")
    assert "is in force" in on_the_box(target, newer, back)
    exposure = on_the_box(target, newer, commands("Harden the box")[0])
    assert re.search(r"Overall exposure level for gateway.service: [01]\.\d", exposure)
    assert "Kept configuration" in on_the_box(target, newer, uninstall)
    assert not target.programs.exists()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Return a gateway that is not started, whose broker is away."""
    daemon = Daemon(tmp_path, Mosquitto(tmp_path).port)
    yield daemon
    daemon.kill()


def here(daemon: Daemon, script: str) -> str:
    """Replace the page's folders by this gateway's."""
    stand_ins = {
        "/etc/gateway/gateway.yaml": daemon.config,
        "/etc/gateway": daemon.folder / "etc",
        "/etc/systemd/system/gateway.service.d": daemon.folder / "drop-ins",
        "/var/lib/gateway": daemon.folder,
        "/var/backups/gateway": daemon.folder / "backup",
    }
    for there, path in stand_ins.items():
        script = script.replace(there, str(path))
    return script


def test_first_start(daemon: Daemon, tmp_path: Path) -> None:
    """The settings are checked, and the running gateway prints its status."""
    check, status = commands("First start")
    assert run_script(here(daemon, check)).startswith("ok: ")
    with Mosquitto(tmp_path, port=daemon.broker_port):
        daemon.start()
        eventually(lambda: {sink["state"] for sink in daemon.status()["sinks"].values()}, {"up"})
        assert "nothing waits" in run_script(here(daemon, status))


def test_backup_and_restore(daemon: Daemon, tmp_path: Path) -> None:
    """The backup is made while events come in and none is delivered; it is restored onto an empty disk."""
    backup, unpack, restore = commands("Backup and restore")
    secret = tmp_path / "etc/secrets/api-key"
    secret.parent.mkdir(parents=True)
    secret.write_text("made up")
    drop_in = tmp_path / "drop-ins/override.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nLoadCredential=api-key:/etc/gateway/secrets/api-key\n")
    daemon.start()
    assert daemon.post(telemetry("evt_before", ROOM, {"temperature": 21.5}))[0] == 200
    run_script(here(daemon, backup))
    run_script(here(daemon, backup))  # another day
    daemon.kill()
    for path in (*tmp_path.glob("journal.db*"), secret, drop_in):
        path.unlink()

    daemon.start()  # a new box: once, to have its folder
    daemon.stop()
    run_script(here(daemon, unpack))
    run_script(here(daemon, restore))
    assert secret.read_text() == "made up"
    assert "LoadCredential=" in drop_in.read_text()
    with Mosquitto(tmp_path, port=daemon.broker_port) as broker:
        daemon.start()
        topic = "gw/v1/hq-tower/L03-RM312/ZN-T"
        listen = ["mosquitto_sub", "-p", str(broker.port), "-t", topic, "-C", "1", "-W", "60"]
        heard = subprocess.run(listen, check=False, capture_output=True, text=True).stdout
        assert '"value":21.5' in heard
        assert "evt_before" in heard
        assert daemon.post(telemetry("evt_before", ROOM, {"temperature": 21.5}))[0] == 200
        eventually(lambda: daemon.status()["journal"]["duplicates"], 1)


@pytest.mark.parametrize("body_bytes", [250, 600, 900, 1200, 3000])
async def test_an_event_takes_the_bytes_on_the_page(tmp_path: Path, body_bytes: int) -> None:
    """It takes its body and the page's overhead in the file, for large bodies twice their size."""
    found = re.search(
        r"It takes its body and some (\d+) bytes \(above (\d+) bytes up to twice its body\)", PAGE
    )
    assert found is not None
    added, large = int(found[1]), int(found[2])
    number, names = 3000, Random(1)
    async with sqlite_journal(tmp_path) as journal:
        for _ in range(number):
            event_id = f"evt_{names.randbytes(12).hex()}"
            journal.append(Event(event_id, "asset.telemetry.updated", b"x" * body_bytes, {}, START_MS))
        await journal.flush()
    each = (tmp_path / "journal.db").stat().st_size / number
    assert body_bytes < each
    assert each < body_bytes + added + 20 or (body_bytes > large and each < 2 * body_bytes)


def test_dead_letters(tmp_path: Path) -> None:
    """The page's commands run in order on two values that a register cannot hold."""
    with Mosquitto(tmp_path) as broker, running(tmp_path, broker, TABLE) as daemon:
        journal = daemon.folder / "journal.db"
        for number, value in enumerate((70000, 80000), 1):
            assert daemon.post(telemetry(f"evt_{number}", "a", {"n": value}))[0] == 200
            eventually(lambda: len(read_dead_letters(journal)), number)
        printed = ""
        for kind, text in CHAPTERS["What could not be delivered"]:
            if kind == "text":
                assert without_times(text) in without_times(printed)
                continue
            if "retry" in text:
                asyncio.run(swap(daemon, TABLE.replace("uint16", "uint32")))
            printed = run_script(
                text.replace("/etc/gateway/gateway.yaml", str(daemon.config)), folder=tmp_path
            )
        assert printed == "2: forgotten\n"


def test_every_alarm_is_listed_with_what_to_do() -> None:
    """Each alarm is listed once with a first step, and no other name is."""
    chapter = PAGE.partition("\n## Alarms\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in chapter.splitlines()
        if line.startswith("| `")
    ]
    listed = sorted(name.strip("`").partition(":")[0] for name, _, _ in rows)
    constants = {value for value in vars(alarms).values() if isinstance(value, str)}
    made = {value for value in constants if re.fullmatch(r"[a-z]+(-[a-z]+)+", value)}
    assert listed == sorted({*alarms.NAMES, alarms.SINK_AWAY, alarms.CERTIFICATE_ENDS}) == sorted(made)
    assert all(what and first for _, what, first in rows)


def test_commands_name_the_installed_settings() -> None:
    """The path is that of the installer."""
    assert set(re.findall(r" -c (\S+)", PAGE)) == {"/etc/gateway/gateway.yaml"}


def test_secrets_are_where_the_service_can_read_them() -> None:
    """No setting names a file that only root can read; the unit passes those on."""
    assert "{file: /etc/gateway/secrets/" not in PAGE
    handed = re.findall(r"\{credential: ([\w-]+)\}", PAGE)
    assert handed
    for name in handed:
        assert f"LoadCredential={name}:/etc/gateway/secrets/{name}" in PAGE
