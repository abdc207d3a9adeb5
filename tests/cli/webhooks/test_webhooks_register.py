"""`gateway webhooks register`: Infodeck's new secret ends in a file, or no webhook is made."""

from __future__ import annotations

import asyncio
import stat
from typing import TYPE_CHECKING

from support.daemon import SECRET, sign, telemetry
from support.webhook_commands import PUBLIC_URL, set_up_webhook

from gateway.demo.simulated_answers import Answer

if TYPE_CHECKING:
    from support.daemon import Daemon
    from support.webhook_commands import WebhookSetup

OTHER_URL = "https://other.example.com/webhooks/infodeck"


def made(infodeck: WebhookSetup) -> list[str]:
    """Return the requests that make a webhook."""
    return [one for one in infodeck.api.asked if one.startswith("POST")]


async def test_from_nothing_to_an_accepted_event(daemon: Daemon) -> None:
    """The secret goes into the missing file of the settings, and the gateway starts with it."""
    secret = daemon.folder / "secret"
    secret.unlink()
    async with set_up_webhook(daemon) as infodeck:
        infodeck.api.webhooks.clear()
        done = await infodeck.run("register", "--description", "tower")
        assert done.returncode == 0, done.stderr
        webhook = infodeck.api.webhooks[0]
        assert webhook["signingSecret"] not in done.stdout + done.stderr
        assert secret.read_text() == webhook["signingSecret"] + "\n"
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert (webhook["url"], webhook["description"]) == (PUBLIC_URL, "tower")
        assert webhook["events"] == [
            "asset.telemetry.updated",
            "asset.status.changed",
            "asset.created",
            "asset.deleted",
        ]
        assert "Next: start the gateway anew" in done.stdout
        assert "gateway webhooks test -c" in done.stdout
        await asyncio.to_thread(daemon.start)
        body = telemetry("evt_1", "ast-a1b2c3d4", {"temperature": 21.5})
        header = sign(body, secret=webhook["signingSecret"])
        assert (await asyncio.to_thread(daemon.post, body, header))[0] == 200


async def test_successor_of_a_webhook_whose_id_is_in_the_settings(daemon: Daemon) -> None:
    """With the printed settings, the new webhook is the one that leads here."""
    async with set_up_webhook(daemon) as infodeck:
        former = infodeck.webhook["id"]
        infodeck.api.webhooks.clear()
        done = await infodeck.run("register", "--secret-file", str(daemon.folder / "second"))
        new = infodeck.api.webhooks[0]["id"]
        assert (
            f"Next: set infodeck: {{webhook: {{url: {PUBLIC_URL}, id: {new}}}}} in {daemon.config}"
            in done.stdout
        )
        done = await infodeck.run("list")
        assert f"None of them leads here ({former}): correct infodeck.webhook.id, {new} has" in done.stdout
        assert "register" not in done.stdout
        settings = daemon.config.read_text()
        daemon.config.write_text(settings.replace(former, new))
        assert f"*  {new}" in (await infodeck.run("list")).stdout


async def test_secret_into_a_file_of_its_own(daemon: Daemon) -> None:
    """The secret goes into a second file, and the output has the setting that names it."""
    async with set_up_webhook(daemon) as infodeck:
        file = daemon.folder / "second"
        done = await infodeck.run(
            "register",
            "--url",
            OTHER_URL,
            "--secret-file",
            str(file),
            "--events",
            "asset.created, asset.updated",
        )
        assert done.returncode == 0, done.stderr
        webhook = infodeck.api.webhooks[-1]
        assert (webhook["url"], webhook["events"]) == (OTHER_URL, ["asset.created", "asset.updated"])
        assert file.read_text() == webhook["signingSecret"] + "\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert f"intake: {{signing_secrets: [{{file: {file}}}]}}" in done.stdout
        assert webhook["signingSecret"] not in done.stdout
        again = await infodeck.run("register", "--again", "--secret-file", str(file))
    assert "holds a secret already, which is not overwritten" in again.stderr
    assert len(made(infodeck)) == 1


async def test_events_that_the_gateway_has_no_use_for(daemon: Daemon) -> None:
    """Unknown types, types without use and missing telemetry are reported, and the webhook is made."""
    async with set_up_webhook(daemon) as infodeck:
        done = await infodeck.run(
            "register",
            "--url",
            OTHER_URL,
            "--secret-file",
            str(daemon.folder / "second"),
            "--events",
            "asset.telemetry.update,workorder.created,visitor.checked_in,asset.created",
        )
    assert done.returncode == 0
    assert done.stdout.splitlines()[-4:] == [
        "Infodeck's documents do not name asset.telemetry.update.",
        "The gateway acknowledges workorder.created and has no use for it.",
        "The gateway acknowledges visitor.checked_in and has no use for it.",
        "Without asset.telemetry.updated no reading arrives.",
    ]


async def test_events_that_a_sink_publishes(daemon: Daemon) -> None:
    """They are registered by default, and have a use."""
    settings = daemon.config.read_text()
    daemon.config.write_text(settings.replace("{type: mqtt,", "{type: mqtt, events: [visitor.*],"))
    async with set_up_webhook(daemon) as infodeck:
        file = str(daemon.folder / "second")
        done = await infodeck.run("register", "--url", OTHER_URL, "--secret-file", file)
        assert infodeck.api.webhooks[-1]["events"] == [
            *("asset.telemetry.updated", "asset.status.changed", "asset.created", "asset.deleted"),
            *("visitor.checked_in", "visitor.checked_out", "visitor.registered"),
        ]
    assert "has no use" not in done.stdout


async def test_nowhere_to_write_the_secret(daemon: Daemon) -> None:
    """A file in use, a variable and a missing folder are refused before Infodeck is asked."""
    async with set_up_webhook(daemon) as infodeck:
        used = await infodeck.run("register", "--url", OTHER_URL)
        assert "secret holds a secret already" in used.stderr
        assert (daemon.folder / "secret").read_text() == SECRET
        nowhere = await infodeck.run("register", "--url", OTHER_URL, "--secret-file", "/nonexistent/secret")
        assert "/nonexistent/secret can't be replaced: No such file or directory" in nowhere.stderr
        settings = daemon.config.read_text()
        daemon.config.write_text(settings.replace("{file: secret}", "{env: SIGNING_SECRET}"))
        variable = await infodeck.run("register", "--url", OTHER_URL)
        assert "name a file for the signing secret with --secret-file FILE" in variable.stderr
    assert not made(infodeck)
    assert not (daemon.folder / "secret.new").exists()


async def test_url_must_be_https_and_new(daemon: Daemon) -> None:
    """Plain HTTP is refused; a second webhook for one URL needs `--again`."""
    (daemon.folder / "secret").unlink()
    async with set_up_webhook(daemon) as infodeck:
        plain = await infodeck.run("register", "--url", "http://gateway.example.com/webhooks/infodeck")
        assert "the public https address is expected" in plain.stderr
        infodeck.webhook["url"] = PUBLIC_URL
        second = await infodeck.run("register")
        assert f"the webhook {infodeck.webhook['id']} has this URL already" in second.stderr
        assert not made(infodeck)
        again = await infodeck.run("register", "--again")
        assert again.returncode == 0, again.stderr
    assert len(infodeck.api.webhooks) == 2


async def test_infodeck_that_makes_none(daemon: Daemon) -> None:
    """If Infodeck refuses, fails or sends no secret, the message says what holds and no file is left."""
    (daemon.folder / "secret").unlink()
    async with set_up_webhook(daemon) as infodeck:
        for answer, message in (
            (
                Answer(status=422, body=b'{"message":"unknown event"}'),
                "made no webhook: the API answered 422 (unknown event): something in the request is wrong",
            ),
            (Answer(status=502), "whether Infodeck has made the webhook is not known"),
            (Answer(body=b"<html>"), "whether Infodeck has made the webhook is not known"),
            (
                Answer(status=201, body=b'{"id":"wh-9"}'),
                "the webhook wh-9 is made. Infodeck has answered, but not with a secret",
            ),
        ):
            infodeck.api.faults.append(answer)
            done = await infodeck.run("register", "--again")
            assert (done.returncode, done.stdout) == (1, "")
            assert message in done.stderr
            assert not list(daemon.folder.glob("secret*"))
