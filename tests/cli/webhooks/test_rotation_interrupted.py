"""A rotation that is killed, or cannot write, after Infodeck has made a secret."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from support.daemon import SECRET, sign, telemetry
from support.waiting import until
from support.webhook_commands import launch, set_up_webhook

from gateway.cli.secret_file import open_secret_file
from gateway.demo.simulated_answers import Answer
from gateway.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from subprocess import Popen

    from support.daemon import Daemon
    from support.webhook_commands import WebhookSetup

NEW = b"made-up-new-secret"


async def accepts(daemon: Daemon, secret: str) -> bool:
    """Return whether an event signed with `secret` gets a 200."""
    body = telemetry("evt_1", "ast-a1b2c3d4", {"temperature": 21.5})
    return (await asyncio.to_thread(daemon.post, body, sign(body, secret=secret)))[0] == 200


@asynccontextmanager
async def rotation_under_way(daemon: Daemon) -> AsyncIterator[tuple[WebhookSetup, Popen[bytes]]]:
    """Start a rotation: Infodeck has made the secret and sends its answer slowly, byte by byte."""
    async with set_up_webhook(daemon) as infodeck:
        await asyncio.to_thread(daemon.start)
        infodeck.api.path_faults["/rotate"] = deque([Answer(is_usual=True, drip_s=0.02)])
        process = launch(daemon.config, "rotate")
        try:
            await until(lambda: infodeck.secret != SECRET)
            assert process.poll() is None
            yield infodeck, process
        finally:
            process.kill()
            process.wait()


async def test_signals_do_not_end_a_rotation(daemon: Daemon) -> None:
    """The signals are ignored and the rotation completes."""
    async with rotation_under_way(daemon) as (infodeck, process):
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            process.send_signal(number)
        assert await asyncio.to_thread(process.wait, 60) == 0
        assert (daemon.folder / "secret").read_text() == infodeck.secret + "\n"
        assert await accepts(daemon, infodeck.secret)
        assert await accepts(daemon, SECRET)


async def test_killed_before_the_answer_is_there(daemon: Daemon) -> None:
    """Deliveries are refused until the next rotation, which works."""
    async with rotation_under_way(daemon) as (infodeck, process):
        process.kill()
        process.wait()
        assert (daemon.folder / "secret").read_text() == SECRET
        assert not await accepts(daemon, infodeck.secret)
        assert (await infodeck.run("rotate")).returncode == 0
        assert await accepts(daemon, infodeck.secret)
        assert await accepts(daemon, SECRET)


async def test_gateway_killed_meanwhile(daemon: Daemon) -> None:
    """The new secret stays in `FILE.new` and the old one in its file; running the command again finishes."""
    async with rotation_under_way(daemon) as (infodeck, process):
        daemon.kill()
        assert await asyncio.to_thread(process.wait, 60) == 1
        made = infodeck.secret
        assert (daemon.folder / "secret.new").read_text() == made + "\n"
        assert (daemon.folder / "secret").read_text() == SECRET
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
    """With broken settings the command fails; once they are mended, running it again finishes."""
    async with rotation_under_way(daemon) as (infodeck, process):
        settings = daemon.config.read_text()
        daemon.config.write_text("half of it")
        assert await asyncio.to_thread(process.wait, 60) == 1
        daemon.config.write_text(settings)
        assert (await infodeck.run("rotate")).returncode == 0
        assert (daemon.folder / "secret").read_text() == infodeck.secret + "\n"
        assert await accepts(daemon, SECRET)


def test_file_that_cannot_be_written_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the file and what to do, and no secret."""
    (tmp_path / "secret").touch(mode=0o600)
    (tmp_path / "secret").write_bytes(b"old")

    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with open_secret_file(tmp_path / "secret", may_replace=True) as file:
        monkeypatch.setattr("os.fsync", broken)
        with pytest.raises(CommandError) as refused:
            file.write_new(NEW)
    assert str(refused.value) == (
        f"{tmp_path}/secret.new can't be written: Input/output error. The new secret is in no file: rotate"
        " again"
    )


def test_file_that_cannot_be_renamed_any_more(tmp_path: Path) -> None:
    """`FILE.new` stays, and the message has the command that renames it."""
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_bytes(b"old")
    with open_secret_file(file, may_replace=True) as opened:
        opened.write_new(NEW)
        file.unlink()
        file.mkdir()
        with pytest.raises(CommandError) as refused:
            opened.rename_new()
    assert str(refused.value) == (
        f"{file} can't be replaced: Is a directory. The new secret is in {file}.new: mv {file}.new {file}"
    )
    assert (tmp_path / "secret.new").read_bytes() == NEW + b"\n"
