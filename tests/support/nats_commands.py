"""Settings of an intake and of an edge box on the same NATS servers, and commands with them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.commands import gateway
from support.daemon import ORGANIZATION
from support.nats_servers import client_of
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from support.commands import Done

STREAM, CONSUMER = "INFODECK", "hq"
_TABLE = """\
schema: gateway.points/1
site: hq
points:
  - {tag: R-0, point: ZN-T, asset: ast-0, from: temperature, unit: degC}
"""


@dataclass
class NatsFiles:
    """`intake.yaml` and `edge.yaml` in a folder; `more` are further keys of both uses of NATS."""

    folder: Path
    servers: Sequence[str]
    more: dict[str, Any] = field(default_factory=dict)
    subjects: Sequence[str] = (f"infodeck.{ORGANIZATION}.hq.>",)
    sections: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write every file."""
        (self.folder / "mappings").mkdir(exist_ok=True)
        (self.folder / "mappings" / "hq.yaml").write_text(_TABLE)
        secret = self.folder / "secret"
        secret.touch(mode=0o600)
        secret.write_text("Iegh4aib7aeGheiphu2AeR8o")
        self.write()

    def write(self) -> None:
        """Write the settings; JSON is YAML, too."""
        stream = {"type": "nats", "servers": list(self.servers), "stream": STREAM, **self.more}
        common = {"infodeck": {"organization": ORGANIZATION}, "mappings": "mappings"}
        intake = {
            "name": "intake-1",
            "intake": {"listen": f"127.0.0.1:{free_port()}", "signing_secrets": [{"file": "secret"}]},
            "sinks": {"fan": stream},
        }
        edge = {"name": CONSUMER, "source": {**stream, "consumer": CONSUMER, "subjects": list(self.subjects)}}
        for name, own in (("intake", intake), ("edge", edge)):
            journal = {"url": f"sqlite://{self.folder}/{name}.db"}
            admin = {"listen": f"127.0.0.1:{free_port()}"}
            settings = {**common, "journal": journal, "admin": admin, **own, **self.sections}
            (self.folder / f"{name}.yaml").write_text(json.dumps(settings))

    def run(self, box: str, *command: str) -> Done:
        """Run a command with the settings of `intake` or `edge`."""
        return gateway(*command, "-c", self.folder / f"{box}.yaml")

    def setup(self, box: str, *options: str) -> Done:
        """Run `gateway nats setup`."""
        return self.run(box, "nats", "setup", *options)

    def findings(self, box: str, check: str) -> list[tuple[str, str, str]]:
        """Return level, finding and remedy of one of the doctor's checks."""
        shown = json.loads(self.run(box, "doctor", "--offline", "--format", "json").stdout)["findings"]
        return [(one["level"], one["found"], one["remedy"] or "") for one in shown if one["check"] == check]


async def ask(url: str, subject: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return JetStream's own answer to a request."""
    async with client_of(url) as client:
        payload = b"" if document is None else json.dumps(document).encode()
        answer = await client.request(f"$JS.API.{subject}", payload, timeout=60)
        return dict(json.loads(answer.data))
