"""A rotation that is ended, or cannot write, once Infodeck has made a secret: it is not lost for long."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from support.daemon import SECRET, sign, telemetry
from support.waiting import until
from support.webhook_commands import cloud, launch

from gateway.cli.webhooks_secret import put_draft, write_draft
from gateway.cli.webhooks_tell import tell
from gateway.config.secret_drafts import SecretDraft, secret_draft
from gateway.demo.simulated_answers import Answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from subprocess import Popen

    import pytest
    from support.daemon import Daemon
    from support.webhook_commands import Cloud

NEW = b"made-up-new-secret"


async def accepts(daemon: Daemon, secret: str) -> bool:
    """Say whether an event that is signed with `secret` gets its 200."""
    body = telemetry("evt_1", "ast-a1b2c3d4", {"temperature": 21.5})
    return (await asyncio.to_thread(daemon.post, body, sign(body, secret=secret)))[0] == 200


@asynccontextmanager
async def in_the_midst(daemon: Daemon) -> AsyncIterator[tuple[Cloud, Popen[bytes]]]:
    """Start a rotation; Infodeck has made the secret, and its answer is on its way, byte by byte."""
    async with cloud(daemon) as infodeck:
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
        await until(lambda: (daemon.folder / "secret.new").read_bytes().strip() != b"", within_s=20)
        assert (daemon.folder / "secret").read_text() == SECRET
        await asyncio.to_thread(daemon.start)
        assert await asyncio.to_thread(process.wait, 20) == 0
        assert (daemon.folder / "secret").read_text() == infodeck.secret + "\n"
        assert await accepts(daemon, infodeck.secret)
        assert await accepts(daemon, SECRET)


async def test_gateway_that_does_not_come_back(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret is in its file all the same, and it is said what a gateway does that starts or reloads."""
    monkeypatch.setattr("gateway.cli.webhooks_tell._BACK_WITHIN_S", 0.1)
    problem = await asyncio.to_thread(tell, daemon.config, NEW, keep=True, source="file")
    assert problem is not None
    assert "The gateway could not be told of the new secret: nobody listens on" in problem
    assert "`systemctl reload gateway`" in problem
    for source, keep in (("credential", True), ("file", False)):
        problem = await asyncio.to_thread(tell, daemon.config, NEW, keep=keep, source=source)
        assert problem is not None
        assert "restart it" in problem
        assert "reload" not in problem


async def test_settings_that_are_edited_meanwhile(daemon: Daemon) -> None:
    """Whatever is wrong with them by then: the secret gets into its file, and it is said what to do."""
    async with in_the_midst(daemon) as (infodeck, process):
        daemon.config.write_text("half of it")
        assert await asyncio.to_thread(process.wait, 20) == 1
        assert (daemon.folder / "secret").read_text() == infodeck.secret + "\n"


def draft_in(folder: Path) -> SecretDraft:
    """Return a draft whose descriptor is dead, as on a disk that is gone."""
    (folder / "secret").write_bytes(b"old")
    descriptor = os.open(folder / "secret.new", os.O_RDWR | os.O_CREAT, 0o600)
    os.close(descriptor)
    return SecretDraft(folder / "secret", descriptor, replaces=True)


def test_draft_that_cannot_be_written_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret goes to another disk, and it is said where; if that fails, how to go on."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    problem = write_draft(draft_in(tmp_path), NEW)
    file = next(elsewhere.iterdir())
    assert problem is not None
    assert f"The new secret is in {file}: move it to {tmp_path}/secret" in problem
    assert file.read_bytes() == NEW + b"\n"
    assert file.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    problem = write_draft(draft_in(tmp_path), NEW)
    assert problem is not None
    assert "in no file: make room, then have Infodeck make another one" in problem
    assert NEW.decode() not in problem


def test_file_that_cannot_be_renamed_any_more(tmp_path: Path) -> None:
    """The draft stays, and it is said what to do with it."""
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_bytes(b"old")
    with secret_draft(file, may_replace=True) as draft:
        assert write_draft(draft, NEW) is None
        file.unlink()
        file.mkdir()
        problem = put_draft(draft)
    assert problem == (
        f"{file} can't be replaced: Is a directory. The new secret is in {file}.new: mv {file}.new {file}"
    )
    assert (tmp_path / "secret.new").read_bytes() == NEW + b"\n"
