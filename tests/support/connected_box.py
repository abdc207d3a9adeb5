"""A gateway and a simulated Infodeck with the same secrets; tests break one thing at a time."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.demo.simulated_api import SimulatedApi, new_webhook
from support.asset_lists import API_KEY, items, types
from support.daemon import ORGANIZATION, SECRET, Daemon
from support.ports import free_port
from support.processes import run_gateway
from support.simulation import calm_infodeck
from support.tokens import json_web_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.demo.simulated_infodeck import SimulatedInfodeck

ASSET = "ast-0"
EVENTS = ["asset.telemetry.updated", "asset.status.changed", "asset.created", "asset.deleted"]
_HOUR_S = 3600.0
_TABLE = f"""\
schema: gateway.points/1
site: hq
points:
  - {{tag: R-0, point: ZN-T, asset: {ASSET}, from: temperature, unit: degC}}
"""


@dataclass
class ConnectedBox(Daemon):
    """The gateway's settings and secrets, which tests change; it is not started yet."""

    infodeck: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write every file."""
        self.tables = self.folder / "mappings"
        self.tables.mkdir()
        (self.tables / "hq.yaml").write_text(_TABLE)
        super().__post_init__()

    def write_settings(self) -> None:
        """Write the settings with the present `infodeck` section; JSON is YAML, too."""
        settings = {
            "name": "edge-1",
            "infodeck": {"organization": ORGANIZATION} | self.infodeck,
            "intake": {"listen": f"127.0.0.1:{self.intake_port}", "signing_secrets": [{"file": "secret"}]},
            "journal": {"url": f"sqlite://{self.folder}/journal.db"},
            "mappings": str(self.tables),
            "admin": {"listen": f"127.0.0.1:{self.admin_port}"},
        }
        self.config.write_text(json.dumps(settings))

    def change(self, **infodeck: object) -> None:
        """Change settings of `infodeck`, and write them."""
        self.infodeck |= infodeck
        self.write_settings()

    def write_secret(self, name: str, value: str) -> None:
        """Write a secret's file."""
        file = self.folder / name
        file.touch(mode=0o600)
        file.write_text(value)

    def write_token(self, *, valid_for_s: float) -> str:
        """Write a Bearer token that expires then, or has expired, and return it."""
        token = json_web_token(exp=time.time() + valid_for_s).decode()
        self.write_secret("token", token)
        return token

    def status_text(self) -> str:
        """Return the text of `/api/status`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/api/status", timeout=30) as answer:
            return str(answer.read().decode())


@dataclass(frozen=True)
class Connected:
    """The gateway and Infodeck, whose webhook leads to the gateway."""

    box: ConnectedBox
    api: SimulatedApi
    infodeck: SimulatedInfodeck

    @property
    def webhook(self) -> dict[str, Any]:
        """The webhook that leads to the gateway, with its secret."""
        return self.api.webhooks[0]

    async def start(self) -> None:
        """Start the gateway."""
        await asyncio.to_thread(self.box.start)

    async def run(self, *arguments: str, given: str = "") -> str:
        """Run a command of the gateway in a process of its own, and return what it prints.

        `given` is its standard input.
        """
        command, *others = arguments
        action = [others.pop(0)] if command == "webhooks" else []
        done = await asyncio.to_thread(
            run_gateway, command, *action, "-c", self.box.config, *others, given=given
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout + done.stderr


@asynccontextmanager
async def connected_box(folder: Path) -> AsyncIterator[Connected]:
    """Connect both; stop the gateway at the end."""
    box = ConnectedBox(folder, broker_port=free_port())
    webhook = new_webhook(url=box.url, events=EVENTS, description="hq", secret=SECRET)
    box.write_secret("api-key", API_KEY)
    api = SimulatedApi(
        organization=ORGANIZATION,
        api_key=API_KEY,
        bearer_token=box.write_token(valid_for_s=_HOUR_S),
        items=items(1),
        types=types("at-iaq"),
        webhooks=[webhook],
    )
    infodeck = calm_infodeck(api=api)
    try:
        async with api, infodeck:
            box.change(
                api=api.url,
                api_key={"file": "api-key"},
                bearer_token={"file": "token"},
                webhook={"url": box.url, "id": webhook["id"]},
            )
            yield Connected(box, api, infodeck)
    finally:
        box.kill()
