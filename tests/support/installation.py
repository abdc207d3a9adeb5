"""An installation for `gateway doctor`: healthy at first, and each test breaks one thing of it."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.demo.simulated_api import SimulatedApi
from support.asset_lists import API_KEY, items
from support.commands import gateway
from support.daemon import ORGANIZATION, SECRET, Daemon, sign
from support.dated_certificates import issue_dated
from support.ports import free_port
from support.tokens import json_web_token

if TYPE_CHECKING:
    from pathlib import Path

    from support.authority import Authority
    from support.libmodbus_controller import LibmodbusController
    from support.mosquitto import Mosquitto

WEBHOOK = "wh-1"
DAY_S = 86_400
TOKEN = json_web_token(exp=time.time() + 60.5 * DAY_S)
EVENTS = ["asset.telemetry.updated", "asset.status.changed", "asset.created", "asset.deleted"]
_TABLE = """\
schema: gateway.points/1
site: hq
defaults: {stale_after: 90m, modbus: {to: regs, unit: 1, table: input}}
points:
  - {tag: R-0, point: ZN-T, asset: ast-0, from: temperature, unit: degC, modbus: {register: 0, type: float32}}
"""


@dataclass(frozen=True)
class DoctorFinding:
    """One finding of the doctor."""

    check: str
    level: str
    found: str
    remedy: str | None


@dataclass
class Diagnosis:
    """The doctor's findings and exit code."""

    code: int
    findings: list[DoctorFinding]
    printed: str

    def finding(self, check: str, level: str | None = None) -> DoctorFinding:
        """Return the only finding of a check, or its only one of a level."""
        found = [one for one in self.findings if one.check == check and level in (None, one.level)]
        assert len(found) == 1, self.printed
        return found[0]

    @property
    def levels(self) -> dict[str, list[str]]:
        """Return what is not ok, by its level."""
        levels: dict[str, list[str]] = {"warning": [], "problem": []}
        for one in self.findings:
            if one.level != "ok":
                levels[one.level].append(one.check)
        return levels


def delivery(code: int | None = 200, reason: str | None = None, *, age_s: float = 60) -> dict[str, Any]:
    """Return an attempt as the delivery log lists it."""
    return {"statusCode": code, "failureReason": reason, "createdAt": time.time() - age_s}


@dataclass
class Installation(Daemon):
    """A daemon with certificate, API key, token, one broker and one controller; tests change `settings`."""

    authority: Authority | None = None
    broker: Mosquitto | None = None
    controller: LibmodbusController | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write every file."""
        assert self.authority is not None
        assert self.controller is not None
        self.controller_port = self.controller.port
        self.certificate, self.key = issue_dated(self.folder, days=60)
        mappings = self.folder / "mappings"
        mappings.mkdir()
        (mappings / "hq.yaml").write_text(_TABLE)
        self.tables = mappings
        self.api = SimulatedApi(
            organization=ORGANIZATION,
            api_key=API_KEY,
            bearer_token=TOKEN.decode(),
            items=items(1),
            port=free_port(),
            webhooks=[{"id": WEBHOOK, "url": self.public_url, "events": EVENTS, "status": "Active"}],
        )
        self.api.deliveries[WEBHOOK] = [delivery(), delivery(age_s=120)]
        self.secret("secret", SECRET.encode())
        self.secret("api-key", API_KEY.encode())
        self.secret("token", TOKEN)
        self.settings = self._healthy()
        self.write_settings()

    def secret(self, name: str, value: bytes) -> Path:
        """Write a secret with the right permissions."""
        file = self.folder / name
        file.touch(mode=0o600)
        file.write_bytes(value)
        return file

    def add_bacnet(self) -> dict[str, Any]:
        """Add a BACnet sink, on which the point is an object; return its settings."""
        table = self.tables / "hq.yaml"
        table.write_text(table.read_text().replace("{tag: R-0,", "{tag: R-0, bacnet: {instance: 1},"))
        settings = {"type": "bacnet", "listen": f"127.0.0.2:{free_port()}", "device": 3101}
        self.change("sinks.bac", settings)
        return settings

    @property
    def public_url(self) -> str:
        """The URL of the webhook."""
        return f"https://127.0.0.1:{self.intake_port}/webhooks/infodeck"

    def write_settings(self) -> None:
        """Write `settings`; JSON is YAML, too."""
        self.config.write_text(json.dumps(self.settings))

    def server_tls(self) -> ssl.SSLContext:
        """Return a server's TLS context with the gateway's certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def new_certificate(self, *, days: float) -> None:
        """Serve a certificate that is valid for so many days."""
        self.certificate, self.key = issue_dated(self.folder, days=days)
        self.change("intake.tls", {"certificate": str(self.certificate), "key": str(self.key)})

    def post(self, body: bytes, header: str | None = None) -> tuple[int, str]:
        """Post one event over TLS."""
        signature = sign(body) if header is None else header
        request = urllib.request.Request(self.public_url, body, {"x-infodeck-signature": signature})
        try:
            with urllib.request.urlopen(request, timeout=60, context=self._trusting()) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def _trusting(self) -> ssl.SSLContext:
        assert self.authority is not None
        context = ssl.create_default_context(cafile=self.authority.certificate)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

    def is_settled(self) -> bool:
        """Return whether all sinks are connected, nothing waits, and the API was asked."""
        status = self.status()
        sinks = status["sinks"].values()
        return status["reconcile"]["state"] == "ok" and all(
            sink["connected"] and not sink["lag"] for sink in sinks
        )

    def change(self, path: str, value: Any) -> None:
        """Set one key, such as `intake.listen`, and write the settings; None removes it."""
        *above, last = path.split(".")
        section = self.settings
        for key in above:
            section = section[key]
        if value is None:
            del section[last]
        else:
            section[last] = value
        self.write_settings()

    def _healthy(self) -> dict[str, Any]:
        return {
            "name": "test-box",
            "infodeck": {
                "organization": ORGANIZATION,
                "api": self.api.url,
                "api_key": {"file": "api-key"},
                "bearer_token": {"file": "token"},
                "webhook": {"url": self.public_url},
            },
            "intake": {
                "listen": f"127.0.0.1:{self.intake_port}",
                "tls": {"certificate": str(self.certificate), "key": str(self.key)},
                "signing_secrets": [{"file": "secret"}],
            },
            "journal": {"url": f"sqlite://{self.folder}/journal.db", "max_size": "64MiB"},
            "sinks": {
                "bms": {"type": "mqtt", "url": f"mqtt://127.0.0.1:{self.broker_port}"},
                "regs": {"type": "modbus_server", "listen": f"127.0.0.1:{self.modbus_port}"},
                "ahu": {"type": "modbus_client", "host": "127.0.0.1", "port": self.controller_port},
            },
            "mappings": str(self.tables),
            "admin": {"listen": f"127.0.0.1:{self.admin_port}"},
        }

    async def diagnose(self, *arguments: str) -> Diagnosis:
        """Run the doctor while the test's own servers run; no secret is ever printed."""
        done = await asyncio.to_thread(
            gateway, "doctor", "-c", os.fspath(self.config), "--format", "json", *arguments
        )
        printed = done.stdout + done.stderr
        assert "Traceback" not in printed
        for secret in (SECRET, API_KEY, TOKEN.decode()):
            assert secret not in printed
        findings = [DoctorFinding(**finding) for finding in json.loads(done.stdout)["findings"]]
        assert all(finding.remedy for finding in findings if finding.level != "ok"), printed
        diagnosis = Diagnosis(done.returncode, findings, printed)
        assert diagnosis.code == (1 if diagnosis.levels["problem"] else 0), printed
        return diagnosis
