"""The real daemon in a process of its own, with its files in a folder."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import processes
from support.ports import free_port
from support.processes import GatewayProcess

if TYPE_CHECKING:
    from collections.abc import Sequence

REPOSITORY = processes.REPOSITORY
SECRET = "made-up-signing-secret"
ORGANIZATION = "o-test"
_START_WITHIN_S = 90.0

Process = GatewayProcess | subprocess.Popen[bytes]


def sign(body: bytes, timestamp: int | None = None, *, secret: str = SECRET) -> str:
    """Return the signature header as the guide describes it, independently of the gateway's code."""
    moment = int(time.time()) if timestamp is None else timestamp
    digest = hmac.new(secret.encode(), b"%d." % moment + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def telemetry(event_id: str, asset: str, readings: dict[str, Any], *, time_ms: int | None = None) -> bytes:
    """Return the body of a telemetry event."""
    thing: dict[str, Any] = {"assetId": asset, "telemetry": readings}
    if time_ms is not None:
        thing["timestamp"] = time_ms
    event = {
        "id": event_id,
        "type": "asset.telemetry.updated",
        "organizationId": ORGANIZATION,
        "created": int(time.time()),
        "data": {"object": thing},
        "livemode": True,
    }
    return json.dumps(event).encode()


@dataclass
class Daemon:
    """`gateway run` with an MQTT and a Modbus sink; it can be started, killed and started again."""

    folder: Path
    broker_port: int
    tables: Path = REPOSITORY / "mappings"
    intake_port: int = field(default_factory=free_port)
    modbus_port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)
    program: Sequence[str] | None = None  # for Python, instead of the gateway's own
    process: Process | None = None

    def __post_init__(self) -> None:
        """Write the settings and the secret."""
        secret = self.folder / "secret"
        secret.touch(mode=0o600)
        secret.write_text(SECRET)
        self.write_settings()

    def write_settings(self) -> None:
        """Write the settings file."""
        self.config.write_text(
            f"""\
name: test-box
infodeck: {{organization: {ORGANIZATION}}}
intake: {{listen: "127.0.0.1:{self.intake_port}", signing_secrets: [{{file: secret}}]}}
journal: {{url: "sqlite://{self.folder}/journal.db"}}
sinks:
  bms: {{type: mqtt, url: "mqtt://127.0.0.1:{self.broker_port}"}}
  regs: {{type: modbus_server, listen: "127.0.0.1:{self.modbus_port}"}}
mappings: {self.tables}
admin: {{listen: "127.0.0.1:{self.admin_port}"}}
"""
        )

    @property
    def config(self) -> Path:
        """The settings file."""
        return self.folder / "gateway.yaml"

    @property
    def log(self) -> str:
        """The log of all starts."""
        return (self.folder / "log").read_text()

    @property
    def url(self) -> str:
        """The webhook's address."""
        return f"http://127.0.0.1:{self.intake_port}/webhooks/infodeck"

    def start(self) -> None:
        """Start the daemon and wait until it is ready."""
        self.wait_until_ready(self.launch())

    def launch(self) -> Process:
        """Start the daemon."""
        command, log_file = ["run", "-c", str(self.config)], self.folder / "log"
        if self.program is None:
            streams = [Path(os.devnull), log_file, log_file]
            self.process = GatewayProcess(command, folder=REPOSITORY, streams=streams, environment={})
        else:
            with log_file.open("ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, *self.program, *command], cwd=REPOSITORY, stdout=log, stderr=log
                )
        return self.process

    def wait_until_ready(self, process: Process) -> None:
        """Wait until it is ready; fail if it ends before that."""
        deadline = time.monotonic() + _START_WITHIN_S
        while not self.is_ready():
            assert process.poll() is None, f"the daemon has ended:\n{self.log}"
            assert time.monotonic() < deadline, f"the daemon is not ready in time:\n{self.log}"
            time.sleep(0.05)

    def is_ready(self) -> bool:
        """Return whether `/readyz` answers 200."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def status(self) -> dict[str, Any]:
        """Return `/api/status`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/api/status", timeout=30) as answer:
            return dict(json.load(answer))

    def kill(self) -> None:
        """Kill the daemon."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Stop the daemon with SIGTERM; return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        self.process = None
        return code

    def post(self, body: bytes, header: str | None = None) -> tuple[int, str]:
        """Post one event, signed now unless `header` says otherwise; return status and answer."""
        signature = sign(body) if header is None else header
        request = urllib.request.Request(self.url, body, {"x-infodeck-signature": signature})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
