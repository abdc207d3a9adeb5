"""Signing secrets of a running gateway: replaced under way, remembered over restarts, forgotten in time."""

from __future__ import annotations

import asyncio
import stat
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.config.secrets import Secret, SecretSource
from gateway.errors import SignatureError
from gateway.signature import sign
from gateway.status import PreviousSecrets
from gateway.web.secrets_in_force import UNUSED_FOR_MS
from gateway.web.signing_secrets import SigningSecrets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

NOW_MS = 1_771_911_526_000
BODY = b'{"id":"evt_1"}'


class Gateway:
    """The part of a gateway that knows signing secrets, at a time of the test's choice."""

    def __init__(self, folder: Path, *, now_ms: int = NOW_MS) -> None:
        self.source = folder / "secret"
        self.file = folder / "signing-secrets.previous"
        self.now_ms = now_ms
        self.status = PreviousSecrets()
        self.signing = SigningSecrets(
            configured=self._read(),
            read=self._read,
            file=self.file,
            tolerance_s=300,
            status=self.status,
            clock_ms=lambda: self.now_ms,
        )
        self.signing.start()

    def _read(self) -> Sequence[Secret]:
        return [SecretSource("file", str(self.source)).resolve()]

    def accepts(self, secret: bytes) -> bool:
        """Say whether a delivery that is signed now is accepted."""
        try:
            self.signing.verify(BODY, sign(BODY, secret, self.now_ms // 1000), now_s=self.now_ms / 1000)
        except SignatureError:
            return False
        return True

    async def reread(self) -> None:
        """Have the sources read again, and wait until that is done."""
        done = asyncio.Event()
        self.signing.request(done=done.set)
        await asyncio.wait_for(done.wait(), 10)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let it serve requests."""
        task = asyncio.create_task(self.signing.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self.signing.close()


def put(folder: Path, secret: bytes, *, mode: int = 0o600) -> None:
    """Write the secret's file by hand."""
    file = folder / "secret"
    file.touch(mode=0o600)
    file.write_bytes(secret)
    file.chmod(mode)


async def test_told_secret_survives_a_restart_with_the_former_one(tmp_path: Path) -> None:
    """Killed right after the answer: a start accepts both, whether the file was changed by then or not."""
    put(tmp_path, b"old")
    before = Gateway(tmp_path)
    assert await before.signing.announce(b"new", keep=True) is None
    assert before.accepts(b"old")
    assert before.accepts(b"new")
    assert stat.S_IMODE(before.file.stat().st_mode) == 0o600
    unchanged = Gateway(tmp_path)
    assert unchanged.accepts(b"old")
    assert unchanged.accepts(b"new")
    put(tmp_path, b"new")
    changed = Gateway(tmp_path)
    assert changed.accepts(b"old")
    assert changed.accepts(b"new")
    assert not changed.accepts(b"other")


async def test_former_secret_is_dropped_after_a_day_without_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each use starts the day anew, a restart does not; the log tells once, and then nothing is on disk."""
    monkeypatch.setattr("gateway.web.signing_secrets._LOOK_EVERY_S", 0.01)
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    await gateway.signing.announce(b"new", keep=True)
    put(tmp_path, b"new")
    gateway.now_ms += UNUSED_FOR_MS - 1000
    async with gateway.running():
        await gateway.reread()
        assert gateway.accepts(b"old")
        used_ms = gateway.now_ms
        gateway.now_ms += 2000
        assert gateway.accepts(b"new")
    assert (gateway.status.number, gateway.status.last_used_ms) == (1, used_ms)
    later = Gateway(tmp_path, now_ms=used_ms + UNUSED_FOR_MS - 1)
    assert (later.status.number, later.status.last_used_ms) == (1, used_ms)
    later.now_ms += 1
    with capture_logs() as logs:
        async with later.running(), asyncio.timeout(10):
            while later.status.number:  # noqa: ASYNC110 - time does it
                await asyncio.sleep(0.01)
    assert [(entry["event"], entry["dropped"]) for entry in logs] == [("signing_secrets.dropped", 1)]
    assert not later.accepts(b"old")
    assert later.accepts(b"new")
    assert not later.file.exists()
    assert "old" not in repr(logs)


async def test_last_use_is_on_disk_within_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut costs the former secret a few minutes of its day, not all that came after the rotation."""
    monkeypatch.setattr("gateway.web.signing_secrets._LOOK_EVERY_S", 0.01)
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    await gateway.signing.announce(b"new", keep=True)
    put(tmp_path, b"new")
    gateway.now_ms += UNUSED_FOR_MS - 1000
    assert gateway.accepts(b"old")
    async with gateway.running(), asyncio.timeout(10):
        while Gateway(tmp_path).status.last_used_ms != gateway.now_ms:  # noqa: ASYNC110 - another file
            await asyncio.sleep(0.01)


async def test_file_changed_by_hand_is_taken_over(tmp_path: Path) -> None:
    """Read again on request: the new secret is accepted, and the old one is former, also after a restart."""
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    async with gateway.running():
        put(tmp_path, b"new\n")
        assert not gateway.accepts(b"new")
        await gateway.reread()
        assert gateway.accepts(b"new")
        assert gateway.accepts(b"old")
    assert Gateway(tmp_path).accepts(b"old")


@pytest.mark.parametrize(("secret", "mode"), [(b"", 0o600), (b"\n", 0o600), (b"new", 0o644)])
async def test_unusable_file_changes_nothing(tmp_path: Path, secret: bytes, mode: int) -> None:
    """Empty, or readable by others: what is in force stays, and the log says why."""
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    with capture_logs() as logs:
        async with gateway.running():
            put(tmp_path, secret, mode=mode)
            await gateway.reread()
    assert gateway.accepts(b"old")
    assert gateway.status.number == 0
    assert [entry["event"] for entry in logs] == ["signing_secrets.unreadable"]
    assert str(gateway.source) in logs[0]["reason"]


async def test_memory_that_cannot_be_used_is_told_and_does_not_stop_the_gateway(tmp_path: Path) -> None:
    """Not ours, readable by others, of another form: the settings' secrets count, and nothing is quoted."""
    put(tmp_path, b"old")
    for content, mode in ((b"hidden", 0o600), (b'{"form":7,"secrets":[]}', 0o600), (b"hidden", 0o640)):
        (tmp_path / "signing-secrets.previous").write_bytes(content)
        (tmp_path / "signing-secrets.previous").chmod(mode)
        with capture_logs() as logs:
            assert Gateway(tmp_path).accepts(b"old")
        assert [entry["event"] for entry in logs] == ["signing_secrets.forgotten"]
        assert "hidden" not in repr(logs)


async def test_memory_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    """The new secret is accepted all the same; whoever told it hears that a restart would forget."""
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    gateway.file.with_name(f"{gateway.file.name}.new").mkdir()
    with capture_logs() as logs:
        problem = await gateway.signing.announce(b"new", keep=True)
        assert problem is not None
        assert "can't be written: Is a directory" in problem
        await gateway.signing.announce(b"newer", keep=True)
    assert gateway.accepts(b"old")
    assert gateway.accepts(b"newer")
    assert [entry["event"] for entry in logs] == ["signing_secrets.not_kept"]
