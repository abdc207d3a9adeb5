"""docs/fleet.md: the fleet of the page starts as it is written, and its permissions keep buildings apart."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.authority import Authority
from support.config_files import complaints
from support.daemon import SECRET
from support.guides import Commands, Guide, not_printed
from support.nats_servers import PROGRAM, UserKey
from support.ports import free_port
from support.waiting import until

from gateway.jetstream.connection import open_connection
from gateway.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDE = Guide("docs/fleet.md")
SERVERS = (1, 2, 3)
KEYS = {"U_SETUP": "setup", "U_INTAKE_1": "intake", "U_HQ_TOWER": "edge"}
RUN_ON = ("nats-server", "gateway run")
WITHIN_S = 60.0
FORBIDDEN_TO_READ = ("infodeck.>", "infodeck.o-xxxx.annex.>", "_INBOX.>", "_INBOX.annex.>", "$JS.ACK.>", ">")
FORBIDDEN_TO_SEND = (
    "infodeck.o-xxxx.hq-tower.ast-a1b2c3d4",  # an event of its own invention
    "$JS.API.CONSUMER.MSG.NEXT.INFODECK.annex",  # the next events of another building
    "$JS.API.CONSUMER.RESET.INFODECK.annex",
    "$JS.ACK.INFODECK.annex.1.1.1.1.0",  # as if another building had its events
    "$JS.API.CONSUMER.CREATE.INFODECK.hq-tower",  # its own consumer, with other subjects
    "$JS.API.CONSUMER.DURABLE.CREATE.INFODECK.hq-tower",
    "$JS.API.CONSUMER.CREATE.INFODECK.another.infodeck.>",
    "$JS.API.CONSUMER.DELETE.INFODECK.annex",
    "$JS.API.STREAM.MSG.GET.INFODECK",  # any event, past the consumers
    "$JS.API.DIRECT.GET.INFODECK",
    "$JS.API.STREAM.PURGE.INFODECK",
)


class Fleet(ExitStack):
    """The files of the page in a folder, on loopback ports; programs that run on are ended with it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.keys = {name: UserKey() for name in KEYS.values()}
        authority = Authority(folder)
        certificate, key = authority.issue("nats")
        self._stand_ins = {
            "/etc/nats/tls/cert.pem": str(certificate),
            "/etc/nats/tls/key.pem": str(key),
            **{name: self.keys[user].public for name, user in KEYS.items()},
            "{organization: o-xxxx}": f'{{organization: o-xxxx, api: "http://127.0.0.1:{free_port()}"}}',
            **{f"127.0.0.1:{port}": f"127.0.0.1:{free_port()}" for port in (8080, 9680, 9690, 5020)},
        }
        self._stand_ins["-p 5020"] = f"-p {self._stand_ins['127.0.0.1:5020'].rpartition(':')[2]}"
        for number in SERVERS:
            for port in (4222, 6222):
                self._stand_ins[f"nats-{number}.example.com:{port}"] = f"127.0.0.1:{free_port()}"
        for kind, name, text in GUIDE.blocks:
            if kind in ("conf", "yaml") and name:
                self._write(folder / name, self.here(text))
        self._write_secrets(authority)

    def _write_secrets(self, authority: Authority) -> None:
        secrets = {"signing-secret": SECRET, **{f"{name}.nkey": key.seed for name, key in self.keys.items()}}
        for name, secret in secrets.items():
            self._write(self.folder / "config/secrets" / name, secret).chmod(0o600)
        self._write(self.folder / "config/tls/ca.pem", authority.certificate.read_text())

    @staticmethod
    def _write(file: Path, text: str) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def here(self, text: str) -> str:
        """Replace the page's addresses, files and keys by those of the test."""
        for written, here in self._stand_ins.items():
            text = text.replace(written, here)
        for box in ("intake-1", "hq-tower"):
            if f"name: {box}" in text:
                text = text.replace("/var/lib/gateway", str(self.folder / box))
        return text

    def run(self, commands: Commands) -> None:
        """Run a block; what it shows must be printed in the end, and what runs on is left running."""
        if commands.script.startswith(RUN_ON):
            for line in commands.script.splitlines():
                self._launch(line)
            return
        deadline = time.monotonic() + WITHIN_S
        while True:
            done = subprocess.run(
                ["bash", "-c", self.here(commands.script)],
                cwd=self.folder,
                env=self._environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            missing = None if commands.shown is None else not_printed(commands.shown, done.stdout)
            if missing is None and (done.returncode == 0 or commands.shown is not None):
                return
            printed = f"{done.stdout}{done.stderr}\n{self.logs()}"
            assert time.monotonic() < deadline, f"{missing or 'success'} is missing:\n{printed}"
            time.sleep(0.1)

    def logs(self) -> str:
        """Return what the programs that run on have logged."""
        return "\n".join(f"{file.name}: {file.read_text()}" for file in self.folder.glob("*.log"))

    def _launch(self, line: str) -> None:
        for number in SERVERS if line.startswith("nats-server") else (0,):
            command = line.partition("#")[0].split()
            if number:
                command = [str(PROGRAM), "-c", str(self._server_settings(number))]
            with (self.folder / f"{command[-1].replace('/', '-')}.log").open("ab") as log:
                process = subprocess.Popen(
                    command, cwd=self.folder, env=self._environment(), stdout=log, stderr=log
                )
            self.callback(process.wait)
            self.callback(process.kill)

    def _server_settings(self, number: int) -> Path:
        text = (self.folder / "nats.conf").read_text()
        own = {
            "server_name: nats-1": f"server_name: nats-{number}",
            "0.0.0.0:4222": self._stand_ins[f"nats-{number}.example.com:4222"],
            "0.0.0.0:6222": self._stand_ins[f"nats-{number}.example.com:6222"],
            "127.0.0.1:8222": f"127.0.0.1:{free_port()}",
            "/var/lib/nats": str(self.folder / f"store-{number}"),
        }
        for written, here in own.items():
            assert written in text
            text = text.replace(written, here)
        return self._write(self.folder / f"nats-{number}.conf", text)

    @staticmethod
    def _environment() -> dict[str, str]:
        return os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Have the page's files in a folder."""
    with Fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@pytest.mark.parametrize("name", ["intake", "edge"])
def test_settings(fleet: Fleet, name: str) -> None:
    """Both examples of settings are valid."""
    assert complaints(load_settings(fleet.folder / "config" / f"{name}.yaml")) == []


@pytest.mark.parametrize("commands", GUIDE.commands, ids=lambda commands: commands.script.splitlines()[0])
def test_commands(fleet: Fleet, commands: Commands) -> None:
    """Each block of commands does what the page shows; they depend on each other, as on the page."""
    fleet.run(commands)


async def test_an_edge_has_its_own_events_only(fleet: Fleet) -> None:
    """With the page's permissions, the server refuses an edge whatever is not its own consumer's."""
    settings = load_settings(fleet.folder / "config/edge.yaml").require()
    assert settings.source is not None
    refused: list[str] = []
    async with open_connection(settings.source, setting="source", name=settings.name) as client:
        client.on_denied = refused.append
        for subject in FORBIDDEN_TO_READ:
            await client.subscribe(subject)
        for subject in FORBIDDEN_TO_SEND:
            await client.publish(subject, b"{}", reply="_INBOX.hq-tower.stolen")
        await client.flush()
        await until(lambda: len(refused) == len(FORBIDDEN_TO_READ) + len(FORBIDDEN_TO_SEND))
    for subject in (*FORBIDDEN_TO_READ, *FORBIDDEN_TO_SEND):
        assert any(f" to {subject.lower()}: its `permissions`" in text for text in refused)
