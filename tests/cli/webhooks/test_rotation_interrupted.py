"""A rotation that is ended, or cannot write, once Infodeck has made a secret: it is not lost for long."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from support.daemon import SECRET, sign, telemetry
from support.waiting import until
from support.webhook_commands import launch, set_up_webhook

from gateway.cli.secret_file import open_secret_file
from gateway.cli.webhooks_rotate import send_secret
from gateway.demo.simulated_answers import Answer
from gateway.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from subprocess import Popen

    import pytest
    from support.daemon import Daemon
    from support.webhook_commands import WebhookSetup

NEW = b"made-up-new-secret"


async def accepts(daemon: Daemon, secret: str) -> bool:
    """Say whether an event that is signed with `secret` gets its 200."""
    body = telemetry("evt_1", "ast-a1b2c3d4", {"temperature": 21.5})
    return (await asyncio.to_thread(daemon.post, body, sign(body, secret=secret)))[0] == 200


@asynccontextmanager
async def in_the_midst(daemon: Daemon) -> AsyncIterator[tuple[WebhookSetup, Popen[bytes]]]:
    """Start a rotation; Infodeck has made the secret, and its answer is on its way, byte by byte."""
    async with set_up_webhook(daemon) as infodeck:
        await asyncio.to_thread(daemon.start)
        infodeck.api.path_faults["/rotate"] = deque([Answer(is_usual=True, drip_s=0.02)])
        process = launch(daemon.config, "rotate")
        try:
            await until(lambda: infodeck.secret != SECRET, within_s=20)
            assert process.poll() is None
            yield infodeck, process
        finally:
            process.kill()
            process.wait()


async def test_neither_ctrl_c_nor_a_closed_terminal_ends_it(daemon: Daemon) -> None:
    """Whoever is in a hurry gets a rotation that is done."""
    async with in_the_midst(daemon) as (infodeck, process):
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            process.send_signal(number)
        assert await asyncio.to_thread(process.wait, 20) == 0
        assert (daemon.folder / "secret").read_text() == infodeck.secret + "\n"
        assert await accepts(daemon, infodeck.secret)
        assert await accepts(daemon, SECRET)


async def test_killed_before_the_answer_is_there(daemon: Daemon) -> None:
    """Nobody here knows the secret: deliveries are refused until the next rotation, which nothing hinders."""
    async with in_the_midst(daemon) as (infodeck, process):
        process.kill()
        process.wait()
        assert (daemon.folder / "secret").read_text() == SECRET
        assert not await accepts(daemon, infodeck.secret)
        assert (await infodeck.run("rotate")).returncode == 0
        assert await accepts(daemon, infodeck.secret)
        assert await accepts(daemon, SECRET)


async def test_gateway_that_is_restarted_meanwhile(daemon: Daemon) -> None:
    """It is waited for, with the old secret still in its file: so it starts with that, and then has both."""
    async with in_the_midst(daemon) as (infodeck, process):
        daemon.kill()
        await until((daemon.folder / "secret.new").exists, within_s=20)
        assert (daemon.folder / "secret").read_text() == SECRET
        await asyncio.to_thread(daemon.start)
        assert await asyncio.to_thread(process.wait, 20) == 0
        assert (daemon.folder / "secret").read_text() == infodeck.secret + "\n"
        assert await accepts(daemon, infodeck.secret)
        assert await accepts(daemon, SECRET)


async def test_gateway_that_does_not_come_back(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret is in its file all the same; the message says what a gateway does that starts or reloads."""
    monkeypatch.setattr("gateway.cli.webhooks_rotate._BACK_WITHIN_S", 0.1)

    async def problem_with(source: str, *, keep_previous: bool) -> str:
        text = daemon.config.read_text()
        daemon.config.write_text(text.replace("{file: secret}", source))
        settings = load_settings(daemon.config).require()
        daemon.config.write_text(text)
        problem = await asyncio.to_thread(
            send_secret, daemon.config, NEW, settings, keep_previous=keep_previous
        )
        assert problem is not None
        assert "The new secret could not be sent to the gateway: nobody listens on" in problem
        return problem

    assert "`systemctl reload gateway`" in await problem_with("{file: secret}", keep_previous=True)
    for source, keep in (("{credential: signing}", True), ("{file: secret}", False)):
        problem = await problem_with(source, keep_previous=keep)
        assert "restart it" in problem
        assert "reload" not in problem


async def test_killed_while_it_waits_for_the_gateway(daemon: Daemon) -> None:
    """The secret is in `FILE.new`: the same command again finishes, without another secret."""
    async with in_the_midst(daemon) as (infodeck, process):
        daemon.kill()
        await until((daemon.folder / "secret.new").exists, within_s=20)
        process.kill()
        process.wait()
        made = infodeck.secret
        await asyncio.to_thread(daemon.start)
        assert await accepts(daemon, SECRET)
        done = await infodeck.run("rotate")
        assert done.returncode == 0, done.stderr
        assert "finished a rotation that did not end; no other secret was made" in done.stdout
        assert infodeck.secret == made
        assert (daemon.folder / "secret").read_text() == made + "\n"
        assert await accepts(daemon, made)
        assert await accepts(daemon, SECRET)
        assert not (daemon.folder / "secret.new").exists()


async def test_settings_that_are_edited_meanwhile(daemon: Daemon) -> None:
    """Whatever is wrong with them by then: the secret gets into its file, and it is said what to do."""
    async with in_the_midst(daemon) as (infodeck, process):
        daemon.config.write_text("half of it")
        assert await asyncio.to_thread(process.wait, 20) == 1
        assert (daemon.folder / "secret").read_text() == infodeck.secret + "\n"


def test_file_that_cannot_be_written_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that has failed meanwhile: what to do, and no secret in the message."""
    (tmp_path / "secret").touch(mode=0o600)
    (tmp_path / "secret").write_bytes(b"old")

    def refused(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with open_secret_file(tmp_path / "secret", may_replace=True) as file:
        monkeypatch.setattr("os.fsync", refused)
        problem = file.write_new(NEW)
    assert problem == (
        f"{tmp_path}/secret.new can't be written: Input/output error. The new secret is in no file: make"
        " room, then rotate again"
    )
    assert [one.name for one in tmp_path.iterdir()] == ["secret"]


def test_file_that_cannot_be_renamed_any_more(tmp_path: Path) -> None:
    """`FILE.new` stays, and the message says what to do with it."""
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_bytes(b"old")
    with open_secret_file(file, may_replace=True) as opened:
        assert opened.write_new(NEW) is None
        file.unlink()
        file.mkdir()
        problem = opened.rename_new()
    assert problem == (
        f"{file} can't be replaced: Is a directory. The new secret is in {file}.new: mv {file}.new {file}"
    )
    assert (tmp_path / "secret.new").read_bytes() == NEW + b"\n"
