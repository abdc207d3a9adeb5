"""The demo's gateway.yaml and secrets: what an integrator would write, in a folder of its own."""

from __future__ import annotations

import base64
import socket
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.resources import files
from itertools import count
from typing import TYPE_CHECKING

import orjson

from gateway.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ORGANIZATION = "o-demo"
API_KEY = "idt_live_demo0000000000000000000000000000"  # no secret either
ADMIN_TOKEN = "demo-admin-demo-admin"  # noqa: S105 - no secret either: the dashboard of the demo asks for it
SECRET = "demo-secret"  # noqa: S105 - no secret: the demo is on loopback only, and README.md signs with it

_USUAL_PORTS = {"mqtt": 1883, "modbus": 5020, "intake": 8080, "admin": 9680}
_MQTT_SINK = (
    '  "{name}": {{type: mqtt, url: "mqtt://127.0.0.1:{port}", prefix: gw/{prefix}, protocol: "3.1.1"}}\n'
)
_MODBUS_SINK = '  "{name}": {{type: modbus_server, listen: "127.0.0.1:{port}"}}\n'
_BACNET_SINK = '  "{name}": {{type: bacnet, listen: "127.0.0.2:{port}", device: {device}}}\n'
_DEVICE = 3101
_BACNET_PORT = 47808
_MOST_DEMOS = 50
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
{sinks}mappings: {mappings}
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
    bacnet: int

    @property
    def webhook(self) -> str:
        """Where the simulated Infodeck posts to."""
        return f"http://127.0.0.1:{self.intake}/webhooks/infodeck"


def write_files(
    folder: Path, ports: Ports, *, api: str, token: str, mappings: Path | None, sinks: Mapping[str, str]
) -> Path:
    """Write settings and secrets, and return the settings' file.

    `mappings` are the user's tables, None for the demo's own. Of `sinks`, by name, those of the kind `mqtt`
    publish to the demo's broker, those of the kind `modbus` are Modbus servers, and of `bacnet` devices.
    """
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
            sinks="".join(_sink_lines(sinks, ports)),
            mappings=orjson.dumps(
                str(mappings.resolve() if mappings else files("gateway.demo") / "mappings")
            ).decode(),
            **asdict(ports),
        )
    )
    return settings


def _sink_lines(sinks: Mapping[str, str], ports: Ports) -> Iterator[str]:
    """Yield the line of each sink; the first of each kind has the usual prefix, port or device instance."""
    prefix, modbus, bacnet, devices = "v1", ports.modbus, ports.bacnet, count(_DEVICE)
    for name, kind in sinks.items():
        if kind == "mqtt":
            yield _MQTT_SINK.format(name=name, port=ports.mqtt, prefix=prefix or name)
            prefix = ""
        elif kind == "modbus":
            yield _MODBUS_SINK.format(name=name, port=modbus or _free_port(0))
            modbus = 0
        else:
            yield _BACNET_SINK.format(name=name, port=bacnet or _free_udp_port(0), device=next(devices))
            bacnet = 0


def demo_token(now_s: float) -> str:
    """Return a Bearer token in the form of a JWT, good for a year; nobody has signed it."""
    parts = ({"alg": "none", "typ": "JWT"}, {"sub": "demo", "exp": int(now_s) + _TOKEN_FOR_S})
    encoded = [base64.urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "demo"])


@contextmanager
def demo_ports() -> Iterator[Ports]:
    """Yield the usual ports; of demos that run at once, each next one has the next ports.

    A port that is taken is replaced by any that is free now.
    """
    with socket.socket(socket.AF_UNIX) as place:
        number = _bind_number(place)
        ports = {name: _free_port(usual + number) for name, usual in _USUAL_PORTS.items()}
        yield Ports(**ports, bacnet=_free_udp_port(_BACNET_PORT + number))


def _bind_number(place: socket.socket) -> int:
    """Return the first number that no other demo has; it is ours until the socket is closed."""
    for number in range(_MOST_DEMOS):
        with suppress(OSError):
            place.bind(f"\0gateway-demo-{number}")  # not a file: the kernel has such a name once
            return number
    return _MOST_DEMOS


def _free_port(usual: int) -> int:
    for port in (usual, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise CommandError("no port is free on 127.0.0.1")


def _free_udp_port(usual: int) -> int:
    """Return a port that no program of this machine has, whatever its address: broadcasts go to all."""
    for port in (usual, 0):
        with socket.socket(type=socket.SOCK_DGRAM) as probe, suppress(OSError):
            probe.bind(("", port))
            return int(probe.getsockname()[1])
    raise CommandError("no UDP port is free")
