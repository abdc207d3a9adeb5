"""`gateway webhooks remove` and `enable` make the API call of the settings and check the list afterwards."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import pytest
from support.config_files import complaints, write
from support.webhook_commands import ROTATE, set_up_webhook

from gateway.demo.simulated_answers import Answer
from gateway.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

REMOVE = "DELETE /webhooks/{id}"
ENABLE = "POST /webhooks/{id}/enable"


def know(daemon: Daemon, **calls: str) -> None:
    """Write API calls into the settings."""
    more = "".join(f", {name}: '{call}'" for name, call in calls.items())
    settings = daemon.config.read_text()
    daemon.config.write_text(settings.replace(f'rotate: "{ROTATE}"', f'rotate: "{ROTATE}"{more}'))


async def test_one_of_two_is_removed(daemon: Daemon) -> None:
    """Only the webhook with the given id is removed; without an id the command is refused."""
    async with set_up_webhook(daemon) as infodeck:
        know(daemon, remove=REMOVE)
        infodeck.api.webhooks.append({"id": "wh-2", "url": daemon.url})
        assert "--id" in (await infodeck.run("remove")).stderr
        done = await infodeck.run("remove", "--id", "wh-2")
        assert (done.returncode, done.stdout) == (
            0,
            f"Infodeck has the webhook wh-2 ({daemon.url}) no more.\n",
        )
        assert [one["id"] for one in infodeck.api.webhooks] == [infodeck.webhook["id"]]
        done = await infodeck.run("remove", "--id", "wh-2")
        assert (done.returncode, "none of 1 webhooks is the one of --id wh-2" in done.stderr) == (1, True)
        done = await infodeck.run("remove", "--id", infodeck.webhook["id"])
    assert done.stdout.splitlines()[1].startswith("None leads here any more: gateway webhooks register -c")
    assert infodeck.api.webhooks == []


async def test_a_webhook_that_was_switched_off_is_enabled(daemon: Daemon) -> None:
    """The webhook that leads here is enabled, and its new status printed."""
    async with set_up_webhook(daemon) as infodeck:
        know(daemon, enable=ENABLE)
        infodeck.webhook["status"] = "Failing"
        done = await infodeck.run("enable")
        assert (done.returncode, done.stdout) == (
            0,
            f"Infodeck says that {infodeck.webhook['id']} ({daemon.url}) is Active.\n",
        )


async def test_an_answer_without_effect_is_a_failure(daemon: Daemon) -> None:
    """A 200 alone is no success: the list of webhooks must show the change."""
    async with set_up_webhook(daemon) as infodeck:
        know(daemon, enable='PATCH /webhooks/{id} {"status": "Active"}', remove="POST /webhooks/{id}/test")
        infodeck.webhook["status"] = "Failing"
        webhook = infodeck.webhook["id"]
        done = await infodeck.run("enable")
        assert done.returncode == 1
        assert "the API answered 405" in done.stderr
        assert f"It was asked: PATCH /webhooks/{webhook} (infodeck.webhook.enable)" in done.stderr
        infodeck.api.path_faults[f"/webhooks/{webhook}"] = deque([Answer(body=b"{}")])
        done = await infodeck.run("enable")
        assert (done.returncode, "but says that it is Failing" in done.stderr) == (1, True)
        infodeck.api.path_faults[f"/webhooks/{webhook}"] = deque([Answer(status=503)])
        done = await infodeck.run("enable")
        assert "is not known: the API answered 503. Look with `gateway webhooks list`" in done.stderr
        done = await infodeck.run("remove", "--id", webhook)  # last: the test event that it sends is judged
        assert (done.returncode, "but still lists" in done.stderr) == (1, True)


@pytest.mark.parametrize("action", ["remove", "enable"])
async def test_without_the_setting_nothing_is_asked(daemon: Daemon, action: str) -> None:
    """Without the setting no request is made, and the message points to the web page."""
    async with set_up_webhook(daemon) as infodeck:
        done = await infodeck.run(action, "--id", infodeck.webhook["id"])
        assert done.returncode == 1
        assert f"infodeck.webhook.{action} is not set" in done.stderr
        assert "web page" in done.stderr
        assert not [one for one in infodeck.api.asked if not one.startswith("GET")]


@pytest.mark.parametrize(
    "call",
    [
        "/webhooks/{id}",
        "GET /webhooks/{id}",
        "DELETE /webhooks",
        "DELETE webhooks/{id}",
        "DELETE /webhooks/{id}?x=1",
        "DELETE /webhooks/{id}/{x}",
        "PATCH /webhooks/{id} {status: Active}",
        "PATCH /webhooks/{id} [1]",
    ],
)
def test_calls_are_checked(tmp_path: Path, call: str) -> None:
    """A call needs a method that changes something, a path with `{id}`, and may have a JSON object."""
    text = (
        f"infodeck: {{organization: o-1, webhook: {{url: 'https://g.example/x', remove: '{call}'}}}}\n"
        "intake: {signing_secrets: [{env: S}]}\n"
    )
    (complaint,) = complaints(load_settings(write(tmp_path, text, "gateway.yaml")))
    assert "such as DELETE /webhooks/{id} or PATCH" in complaint
