"""A simulated Infodeck that posts to the real daemon, for the tests of `gateway webhooks`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.demo.simulated_api import SimulatedApi, new_webhook
from support.asset_lists import API_KEY, ORGANIZATION
from support.daemon import REPOSITORY, SECRET
from support.processes import run_gateway
from support.simulation import TOKEN, calm_infodeck

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.demo.simulated_infodeck import SimulatedInfodeck
    from support.daemon import Daemon

PUBLIC_URL = "https://gateway.example.com/webhooks/infodeck"
ROTATE = "/webhooks/{id}/rotate"
EVENTS = ["asset.telemetry.updated", "asset.status.changed"]


@dataclass
class WebhookSetup:
    """A simulated Infodeck with one webhook, and the settings of a gateway that name it."""

    infodeck: SimulatedInfodeck
    api: SimulatedApi
    config: Path
    webhook: dict[str, Any] = field(default_factory=dict)

    @property
    def secret(self) -> str:
        """The webhook's current signing secret."""
        return str(self.webhook["signingSecret"])

    async def run(self, action: str, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run `gateway webhooks` in a process of its own; its output never has a secret."""
        done = await asyncio.to_thread(
            run_gateway, "webhooks", action, "-c", self.config, *arguments, given=given
        )
        for secret in (SECRET, self.secret, TOKEN, given.strip()):
            assert not secret or secret not in done.stdout + done.stderr
        return done


def use_webhooks(config: Path, url: str, *, webhook: str | None = None, token: bool = True) -> None:
    """Write the API's address and the webhook into the settings."""
    file = config.parent / "token"
    file.touch(mode=0o600)
    file.write_text(TOKEN)
    parts = [f"organization: {ORGANIZATION}", f'api: "{url}"']
    parts += ["bearer_token: {file: token}"] * token
    parts += [f"webhook: {webhook}"] * (webhook is not None)
    settings = config.read_text()
    before = f"infodeck: {{organization: {ORGANIZATION}}}"
    assert before in settings
    config.write_text(settings.replace(before, f"infodeck: {{{', '.join(parts)}}}"))


@asynccontextmanager
async def set_up_webhook(daemon: Daemon, **options: Any) -> AsyncIterator[WebhookSetup]:
    """Run an Infodeck whose webhook leads to the daemon, and name it in the daemon's settings.

    The daemon may run or not; its settings say the webhook's public address, and its id.
    """
    webhook = new_webhook(url=daemon.url, events=EVENTS, description="hq", secret=SECRET)
    async with SimulatedApi(
        organization=ORGANIZATION, api_key=API_KEY, items=[], bearer_token=TOKEN, webhooks=[webhook]
    ) as api:
        infodeck = calm_infodeck(api=api, **options)
        named = f'{{url: "{PUBLIC_URL}", id: {webhook["id"]}, rotate: "{ROTATE}"}}'
        use_webhooks(daemon.config, api.url, webhook=named)
        async with infodeck:
            yield WebhookSetup(infodeck, api, daemon.config, webhook)


def launch(config: Path, action: str, *arguments: str, given: int | None = None) -> subprocess.Popen[bytes]:
    """Start `gateway webhooks`, for a test that sends signals to it.

    `given`: a terminal of its own, on which it shows errors, too.
    """
    return subprocess.Popen(
        command(config, action, *arguments),
        cwd=REPOSITORY,
        env=environment(),
        stdin=given,
        stdout=subprocess.DEVNULL,
        stderr=given,
        start_new_session=given is not None,
    )


def command(config: Path, action: str, *arguments: str) -> list[str]:
    """Return the command line of `gateway webhooks`."""
    return [sys.executable, "-m", "gateway", "webhooks", action, "-c", str(config), *arguments]


def environment() -> dict[str, str]:
    """Return the environment of a command line."""
    return os.environ | {"PYTHONPATH": str(REPOSITORY)}
