"""`gateway webhooks rotate`: file, gateway and Infodeck have the new secret; the old one stays valid."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
from collections import deque
from typing import TYPE_CHECKING

import pytest
from support.building import eventually
from support.daemon import REPOSITORY, SECRET, sign, telemetry
from support.webhook_commands import command, environment, launch, set_up_webhook

from gateway.demo.simulated_answers import Answer

if TYPE_CHECKING:
    from support.daemon import Daemon
    from support.webhook_commands import WebhookSetup


async def accepts(daemon: Daemon, secret: str) -> bool:
    """Return whether an event signed with `secret` gets a 200."""
    body = telemetry("evt_1", "ast-a1b2c3d4", {"temperature": 21.5})
    status, _ = await asyncio.to_thread(daemon.post, body, sign(body, secret=secret))
    assert status in {200, 401}
    return status == 200


def rotations(infodeck: WebhookSetup) -> int:
    """Return how often a new secret was requested."""
    return sum(one.endswith("/rotate") for one in infodeck.api.asked)


async def test_rotation_of_a_running_gateway(daemon: Daemon) -> None:
    """The new secret is in the file; it and the old one are accepted, also after a restart."""
    file = daemon.folder / "secret"
    async with set_up_webhook(daemon) as infodeck:
        await asyncio.to_thread(daemon.start)
        done = await infodeck.run("rotate")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "accepts it, and the old one for 48 h" in done.stdout
        assert infodeck.secret != SECRET
        assert file.read_text() == infodeck.secret + "\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        for restart in (False, True):
            if restart:
                daemon.kill()
                await asyncio.to_thread(daemon.start)
            assert await accepts(daemon, SECRET)
            assert await accepts(daemon, infodeck.secret)
            assert not await accepts(daemon, "another-one")
            previous = (await asyncio.to_thread(daemon.status))["intake"]["previous_secrets"]
            assert previous["number"] == 1
            assert previous["last_used_ms"] is not None
        assert (await infodeck.run("test")).returncode == 0
    shown = daemon.log + json.dumps(await asyncio.to_thread(daemon.status))
    assert SECRET not in shown
    assert infodeck.secret not in shown
    assert not list(daemon.folder.glob("*.new"))


async def test_secret_that_was_made_in_the_web_page(daemon: Daemon) -> None:
    """A secret from standard input is accepted in the same way, without a request to the API."""
    async with set_up_webhook(daemon) as infodeck:
        await asyncio.to_thread(daemon.start)
        settings = daemon.config.read_text()
        daemon.config.write_text(settings.replace(', rotate: "/webhooks/{id}/rotate"', ""))
        done = await infodeck.run("rotate")
        assert "infodeck.webhook.rotate is not set" in done.stderr
        assert "--from-stdin`, and paste it there" in done.stderr
        for nothing in ("", "\n", "two\nlines", "x" * 2000):
            done = await infodeck.run("rotate", "--from-stdin", given=nothing)
            assert done.returncode == 1
            assert "standard input holds no signing secret" in done.stderr
        done = await infodeck.run("rotate", "--from-stdin", given="made-in-the-web\n")
        assert done.returncode == 0, done.stderr
        assert not infodeck.api.asked
    assert (daemon.folder / "secret").read_text() == "made-in-the-web\n"
    assert await accepts(daemon, "made-in-the-web")
    assert await accepts(daemon, SECRET)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (
            "SIGNING_SECRET=whsec_made_in_the_web",
            "has a name and `=` before it: write only what follows the `=`",
        ),
        ("'whsec_made_in_the_web'", "quotes"),
        ("changeme", "is a placeholder"),
        ("idt_live_" + 32 * "k", "is an API key"),
    ],
)
async def test_text_that_is_no_signing_secret_is_refused(daemon: Daemon, given: str, found: str) -> None:
    """A text that is plainly no signing secret is refused, and nothing changes."""
    async with set_up_webhook(daemon) as infodeck:
        await asyncio.to_thread(daemon.start)
        done = await infodeck.run("rotate", "--from-stdin", given=given)
    assert (done.returncode, done.stdout) == (1, "")
    assert found in done.stderr
    assert (daemon.folder / "secret").read_text() == SECRET
    assert not list(daemon.folder.glob("*.new"))
    assert not await accepts(daemon, given)


async def test_a_secret_that_infodeck_does_not_sign_with(daemon: Daemon) -> None:
    """After a wrong paste, the test event arrives by the old secret, and the command fails."""
    async with set_up_webhook(daemon) as infodeck:
        await asyncio.to_thread(daemon.start)
        assert (await infodeck.run("rotate", "--from-stdin", given="mistaken")).returncode == 0
        done = await infodeck.run("test")
        assert "It arrived after" in done.stdout
        assert "are right" not in done.stdout
        assert "was signed with the previous secret" in done.stdout
        assert done.returncode == 1
        infodeck.webhook["signingSecret"] = "mistaken"
        done = await infodeck.run("test")
    assert "the way and the signing secret are right" in done.stdout
    assert done.returncode == 0


async def test_nothing_is_given(daemon: Daemon) -> None:
    """Ctrl-D at the prompt and a closed standard input are refused with a reason."""
    async with set_up_webhook(daemon) as infodeck:
        terminal, terminal_of_it = os.openpty()
        process = launch(infodeck.config, "rotate", "--from-stdin", "--forget-old", given=terminal_of_it)
        os.close(terminal_of_it)
        try:
            shown = b""
            while b"as Infodeck shows it" not in shown:
                shown += await asyncio.to_thread(os.read, terminal, 1000)
            os.write(terminal, b"\x04")
            assert await asyncio.to_thread(process.wait, 60) == 1
            assert b"standard input holds no signing secret" in os.read(terminal, 10_000)
        finally:
            process.kill()
            process.wait()
            os.close(terminal)
        closed = await asyncio.to_thread(
            subprocess.run,
            [
                "sh",
                "-c",
                '"$@" <&-',
                "sh",
                *command(infodeck.config, "rotate", "--from-stdin", "--forget-old"),
            ],
            cwd=REPOSITORY,
            env=environment(),
            capture_output=True,
            timeout=50,
        )
        assert closed.returncode == 1
        assert b"standard input holds no signing secret" in closed.stderr
    assert (daemon.folder / "secret").read_text() == SECRET


async def test_leaked_secret_is_refused_at_once(daemon: Daemon) -> None:
    """With --forget-old the old secret is refused, also after SIGHUP."""
    async with set_up_webhook(daemon) as infodeck:
        await asyncio.to_thread(daemon.start)
        done = await infodeck.run("rotate", "--forget-old")
        assert "and the old one no more" in done.stdout
        assert not await accepts(daemon, SECRET)
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(eventually, lambda: "signing_secrets.reread" in daemon.log, expected=True)
        assert await accepts(daemon, infodeck.secret)
        assert not await accepts(daemon, SECRET)


async def test_systemd_credential(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of the unit is replaced; the gateway accepts the new secret before systemd copies it."""
    credentials, master = daemon.folder / "credentials", daemon.folder / "master"
    credentials.mkdir()
    (credentials / "signing").write_text(SECRET)
    master.touch(mode=0o600)
    master.write_text(SECRET)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    settings = daemon.config.read_text()
    daemon.config.write_text(settings.replace("{file: secret}", "{credential: signing}"))
    async with set_up_webhook(daemon) as infodeck:
        await asyncio.to_thread(daemon.start)
        done = await infodeck.run("rotate")
        assert "--secret-file FILE the file that LoadCredential=signing:" in done.stderr
        done = await infodeck.run("rotate", "--secret-file", str(master) + "s")
        assert "--secret-file FILE the file that LoadCredential=signing:" in done.stderr
        assert rotations(infodeck) == 0
        done = await infodeck.run("rotate", "--secret-file", str(master))
        assert done.returncode == 0, done.stderr
        assert master.read_text() == infodeck.secret + "\n"
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        assert await accepts(daemon, infodeck.secret)
        assert await accepts(daemon, SECRET)
        daemon.kill()
        (credentials / "signing").write_text(master.read_text())  # as systemd does at a start
        await asyncio.to_thread(daemon.start)
        assert await accepts(daemon, infodeck.secret)
        assert await accepts(daemon, SECRET)


async def test_impossible_rotations_are_refused_first(daemon: Daemon) -> None:
    """A variable, another file, a blocked draft and a stopped gateway are refused at once."""
    async with set_up_webhook(daemon) as infodeck:
        absent = await infodeck.run("rotate")
        assert "Only a running gateway goes on accepting the old secret" in absent.stderr
        await asyncio.to_thread(daemon.start)
        other = await infodeck.run("rotate", "--secret-file", str(daemon.folder / "other"))
        assert f"the gateway reads {daemon.folder}/secret" in other.stderr
        (daemon.folder / "secret.new").mkdir()
        blocked = await infodeck.run("rotate")
        assert "secret.new is no draft of a secret" in blocked.stderr
        settings = daemon.config.read_text()
        daemon.config.write_text(settings.replace("{file: secret}", "{env: SIGNING_SECRET}"))
        variable = await infodeck.run("rotate")
        assert "no command can change a variable of the gateway's environment" in variable.stderr
        assert {one.returncode for one in (absent, other, blocked, variable)} == {1}
        assert rotations(infodeck) == 0
    assert (daemon.folder / "secret").read_text() == SECRET


async def test_webhook_of_another_gateway_is_left_alone(daemon: Daemon) -> None:
    """A webhook that leads elsewhere is not rotated."""
    async with set_up_webhook(daemon) as infodeck:
        await asyncio.to_thread(daemon.start)
        infodeck.api.webhooks.append({"id": "wh-2", "url": "https://other.example.com/hook"})
        done = await infodeck.run("rotate", "--id", "wh-2", "--forget-old")
        assert done.returncode == 1
        assert "the webhook wh-2 leads to https://other.example.com/hook, not here" in done.stderr
        assert rotations(infodeck) == 0
        assert await accepts(daemon, SECRET)


async def test_stopped_gateway_forgets_earlier_secrets(daemon: Daemon) -> None:
    """With --forget-old and no running gateway, the next start accepts no previous secret."""
    async with set_up_webhook(daemon) as infodeck:
        await asyncio.to_thread(daemon.start)
        assert (await infodeck.run("rotate")).returncode == 0
        second = infodeck.secret
        daemon.kill()
        done = await infodeck.run("rotate", "--forget-old")
        assert done.returncode == 0, done.stderr
        assert "When the gateway starts, it accepts it, and the old one no more." in done.stdout
        await asyncio.to_thread(daemon.start)
        assert await accepts(daemon, infodeck.secret)
        assert not await accepts(daemon, second)
        assert not await accepts(daemon, SECRET)


async def test_other_secrets_of_the_settings_are_reported(daemon: Daemon) -> None:
    """--forget-old reports how many other secrets of the settings stay accepted."""
    other = daemon.folder / "other"
    other.touch(mode=0o600)
    other.write_text("made-up-other")
    settings = daemon.config.read_text()
    daemon.config.write_text(settings.replace("[{file: secret}]", "[{file: secret}, {file: other}]"))
    async with set_up_webhook(daemon) as infodeck:
        await asyncio.to_thread(daemon.start)
        done = await infodeck.run("rotate", "--forget-old")
        assert done.returncode == 0, done.stderr
        assert "1 more that intake.signing_secrets names are accepted, too." in done.stdout
        assert await accepts(daemon, "made-up-other")
        assert not await accepts(daemon, SECRET)


async def test_infodeck_that_makes_none(daemon: Daemon) -> None:
    """If Infodeck refuses, fails or sends no usable secret, nothing changes here."""
    async with set_up_webhook(daemon) as infodeck:
        await asyncio.to_thread(daemon.start)
        for answer, message in (
            (Answer(status=404), "has made no new secret, the old one stays: the API answered 404"),
            (Answer(status=502), "whether Infodeck has made a new secret is not known: the API answered 502"),
            (Answer(body=b"<html>"), "not with a secret that can be used"),
            (Answer(body=b'{"secret":"hidden"}'), "it has no usable `signingSecret`"),
            (Answer(body=b'{"signingSecret":"%b"}' % (b"hidden" * 200)), "it has no usable `signingSecret`"),
        ):
            infodeck.api.path_faults["/rotate"] = deque([answer])
            done = await infodeck.run("rotate")
            assert (done.returncode, done.stdout) == (1, "")
            assert message in done.stderr
            assert "hidden" not in done.stderr
            assert not list(daemon.folder.glob("*.new"))
        assert (daemon.folder / "secret").read_text() == SECRET
        assert (await asyncio.to_thread(daemon.status))["intake"]["previous_secrets"]["number"] == 0


async def test_secret_that_an_earlier_rotation_left(daemon: Daemon) -> None:
    """A rotation finishes with a pending secret; one from standard input replaces it."""
    draft = daemon.folder / "secret.new"
    async with set_up_webhook(daemon) as infodeck:
        await asyncio.to_thread(daemon.start)
        for arguments, given, expected in (
            ((), "", "made-and-kept"),
            (("--from-stdin",), "made-and-kept", "made-and-kept"),
            (("--from-stdin",), "made-later", "made-later"),
        ):
            draft.touch(mode=0o600)
            draft.write_text("made-and-kept\n")
            done = await infodeck.run("rotate", *arguments, given=given)
            assert done.returncode == 0, done.stderr
            assert ("did not end" in done.stdout) is not bool(given)
            assert rotations(infodeck) == 0
            assert await accepts(daemon, expected)
            assert await accepts(daemon, SECRET)
            assert (daemon.folder / "secret").read_text() == f"{expected}\n"
            assert not draft.exists()
