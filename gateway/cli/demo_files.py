"""The demo's gateway.yaml and secrets: what an integrator would write, in a folder of its own."""

from __future__ import annotations

import base64
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

import orjson

from gateway.errors import CommandError

ORGANIZATION = "o-demo"
API_KEY = "idt_live_demo0000000000000000000000000000"  # no secret either
ADMIN_TOKEN = "demo-admin-demo-admin"  # noqa: S105 - no secret either: the dashboard of the demo asks for it
SECRET = "demo-secret"  # noqa: S105 - no secret: the demo is on loopback only, and README.md signs with it

_USUAL_PORTS = {"mqtt": 1883, "modbus": 5020, "intake": 8080, "admin": 9680}
_TOKEN_FOR_S = 365 * 24 * 3600
_SETTINGS = """\
# The settings of a running `gateway demo`; they are gone when it ends.
name: demo
infodeck:
  organization: {organization}
  api: "{api}"
  api_key: {{file: api-key}}
  bearer_token: {{file: bearer-token}}
  webhook: {{url: "{webhook}", rotate: "/webhooks/{{id}}/rotate"}}
intake: {{listen: "127.0.0.1:{intake}", signing_secrets: [{{file: signing-secret}}]}}
journal: {{url: "sqlite://{folder}/journal.db"}}
sinks:
  bms: {{type: mqtt, url: "mqtt://127.0.0.1:{mqtt}", protocol: "3.1.1"}}
  regs: {{type: modbus_server, listen: "127.0.0.1:{modbus}"}}
mappings: {mappings}
admin: {{listen: "127.0.0.1:{admin}", token: {{file: admin-token}}}}
log: {{level: warning, format: console}}
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports: the usual ones where they are free, others where not."""

    mqtt: int
    modbus: int
    intake: int
    admin: int

    @property
    def webhook(self) -> str:
        """Where the simulated Infodeck posts to."""
        return f"http://127.0.0.1:{self.intake}/webhooks/infodeck"


def write_files(folder: Path, ports: Ports, *, api: str, token: str) -> Path:
    """Write settings and secrets, and return the settings' file."""
    for name, secret in (
        ("signing-secret", SECRET),
        ("api-key", API_KEY),
        ("bearer-token", token),
        ("admin-token", ADMIN_TOKEN),
    ):
        secret_file = folder / name
        secret_file.touch(mode=0o600)
        secret_file.write_text(secret)
    settings = folder / "gateway.yaml"
    settings.write_text(
        _SETTINGS.format(
            organization=ORGANIZATION,
            api=api,
            webhook=ports.webhook,
            folder=folder,
            mappings=Path(str(files("gateway.demo") / "mappings")),
            **asdict(ports),
        )
    )
    return settings


def demo_token(now_s: float) -> str:
    """Return a Bearer token in the form of a JWT, good for a year; nobody has signed it."""
    parts = ({"alg": "none", "typ": "JWT"}, {"sub": "demo", "exp": int(now_s) + _TOKEN_FOR_S})
    encoded = [base64.urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "demo"])


def free_ports() -> Ports:
    """Return the usual ports, or for each that is taken, one that is free now."""
    return Ports(**{name: _free_port(port) for name, port in _USUAL_PORTS.items()})


def _free_port(usual: int) -> int:
    for port in (usual, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise CommandError("no port is free on 127.0.0.1")
