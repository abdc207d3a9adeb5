"""Signing secrets of a running gateway: replaced under way, remembered over restarts, forgotten in time."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.alarms import Alarms
from gateway.config.secrets import Secret, SecretSource
from gateway.errors import SignatureError
from gateway.intake.former_secrets import write_former
from gateway.intake.secrets_in_force import UNUSED_FOR_MS
from gateway.intake.signature import sign
from gateway.intake.signing_secrets import SigningSecrets
from gateway.status import IntakeStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from gateway.intake.secrets_in_force import SecretsInForce

NOW_MS = 1_771_911_526_000
BODY = b'{"id":"evt_1"}'


class Gateway:
    """The part of a gateway that knows signing secrets, at a time of the test's choice."""

    def __init__(self, folder: Path, *, now_ms: int = NOW_MS) -> None:
        self.source = folder / "secret"
        self.file = folder / "signing-secrets.previous"
        self.now_ms = now_ms
        self.clock_is_ahead_ms = 0
        self.intake = IntakeStatus()
        self.status = self.intake.previous_secrets
        self.alarms = Alarms(clock_ms=lambda: self.now_ms)
        self.signing = SigningSecrets(
            configured=self._read(),
            read=self._read,
            file=self.file,
            tolerance_s=300,
            status=self.intake,
            clock_ms=lambda: self.now_ms,
            ticks_ms=lambda: self.now_ms - self.clock_is_ahead_ms,
            alarms=self.alarms,
        )
        self.signing.start()

    def _read(self) -> Sequence[Secret]:
        return [SecretSource("file", str(self.source)).resolve()]

    def set_clock_ahead(self, by_ms: int) -> None:
        """Have the clock show another time, without time passing."""
        self.now_ms += by_ms
        self.clock_is_ahead_ms += by_ms

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
    monkeypatch.setattr("gateway.intake.signing_secrets._LOOK_EVERY_S", 0.01)
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


async def test_former_secret_that_goes_on_to_be_used_is_an_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After days it is no repetition: Infodeck has another secret than we, or somebody has an old one."""
    monkeypatch.setattr("gateway.intake.signing_secrets._LOOK_EVERY_S", 0.01)
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    await gateway.signing.announce(b"hidden", keep=True)
    async with gateway.running(), asyncio.timeout(10):
        for _ in range(5):
            gateway.now_ms += UNUSED_FOR_MS // 2
            assert gateway.accepts(b"old")
        while not gateway.alarms.current():  # noqa: ASYNC110 - time does it
            await asyncio.sleep(0.01)
        (alarm,) = gateway.alarms.current()
        assert alarm.name == "former-secret-used"
        assert "replaced 2 days ago" in alarm.reason
        assert "`gateway webhooks rotate --forget-old`" in alarm.reason
        assert "hidden" not in alarm.reason
        await gateway.signing.announce(b"newest", keep=False)
        while gateway.alarms.current():  # noqa: ASYNC110 - time does it
            await asyncio.sleep(0.01)


async def test_clock_that_is_set_ahead_takes_nothing_of_the_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without a battery starts in another year; the day is one that passes, also over a crash."""
    monkeypatch.setattr("gateway.intake.signing_secrets._LOOK_EVERY_S", 0.01)
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    await gateway.signing.announce(b"new", keep=True)
    put(tmp_path, b"new")
    rebooted = Gateway(tmp_path, now_ms=0)
    rebooted.set_clock_ahead(NOW_MS + 2 * UNUSED_FOR_MS)
    async with rebooted.running(), asyncio.timeout(10):
        while kept_since_ms(tmp_path) < rebooted.now_ms and rebooted.status.number:  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.01)
        assert rebooted.accepts(b"old")
        rebooted.now_ms += UNUSED_FOR_MS
        while rebooted.status.number:  # noqa: ASYNC110 - time does it
            await asyncio.sleep(0.01)


def kept_since_ms(folder: Path) -> int:
    """Return since when the oldest secret of those on disk is former."""
    kept = Gateway(folder).signing.in_force.former
    return min((former.since_ms for former in kept), default=0)


async def test_last_use_is_on_disk_within_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut costs the former secret a few minutes of its day, not all that came after the rotation."""
    monkeypatch.setattr("gateway.intake.signing_secrets._LOOK_EVERY_S", 0.01)
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


async def test_leaked_secret_does_not_come_back_with_a_restart(tmp_path: Path) -> None:
    """Where what is left cannot be written, such as on a full disk, at least the leaked one is forgotten."""
    put(tmp_path, b"leaked")
    gateway = Gateway(tmp_path)
    await gateway.signing.announce(b"new", keep=True)
    draft = gateway.file.with_name(f"{gateway.file.name}.new")
    draft.mkdir()
    problem = await gateway.signing.announce(b"newest", keep=False)
    assert problem is not None
    assert "can't be written: Is a directory" in problem
    assert not gateway.accepts(b"leaked")
    assert "Remove it" not in problem
    put(tmp_path, b"newest")
    assert not Gateway(tmp_path).accepts(b"leaked")


async def test_memory_is_written_once_that_is_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as there is room again, a restart forgets nothing; the log tells that, too."""
    monkeypatch.setattr("gateway.intake.signing_secrets._LOOK_EVERY_S", 0.01)
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    draft = gateway.file.with_name(f"{gateway.file.name}.new")
    draft.mkdir()
    with capture_logs() as logs:
        async with gateway.running(), asyncio.timeout(10):
            assert await gateway.signing.announce(b"new", keep=True) is not None
            draft.rmdir()
            while not Gateway(tmp_path).accepts(b"new"):  # noqa: ASYNC110 - another file
                await asyncio.sleep(0.01)
    events = [entry["event"] for entry in logs if entry["event"].startswith("signing_secrets.")]
    assert events.count("signing_secrets.not_kept") == events.count("signing_secrets.kept") == 1


async def test_memory_that_can_be_neither_written_nor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that has become read-only: it is said what a restart would do, and what to do first."""
    put(tmp_path, b"leaked")
    gateway = Gateway(tmp_path)

    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("gateway.intake.signing_secrets.write_former", refused)
    monkeypatch.setattr("gateway.intake.signing_secrets.forget_former", refused)
    problem = await gateway.signing.announce(b"new", keep=False)
    assert problem == (
        f"{gateway.file} can't be written: Read-only file system. Remove it, for a restart would accept"
        " secrets again that were replaced"
    )


async def test_secret_that_no_source_has_taken_over_is_told_at_the_start(tmp_path: Path) -> None:
    """As where an old file was put back: it is accepted, but only until it is unused for a day."""
    put(tmp_path, b"old")
    before = Gateway(tmp_path)
    await before.signing.announce(b"hidden", keep=True)
    with capture_logs() as logs:
        assert Gateway(tmp_path).accepts(b"hidden")
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == [
        "signing_secrets.not_in_settings"
    ]
    assert "hidden" not in repr(logs)
    put(tmp_path, b"hidden")
    with capture_logs() as logs:
        assert Gateway(tmp_path).accepts(b"old")
    assert not [entry for entry in logs if entry["log_level"] == "warning"]


async def test_cancelled_writing_and_the_next_one_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop in the midst of a writing writes once more, after it: they share their draft."""
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    began, go_on = threading.Event(), threading.Event()
    at_once: list[int] = []
    writing: list[None] = []

    def slowly(path: Path, secrets: SecretsInForce) -> None:
        writing.append(None)
        at_once.append(len(writing))
        began.set()
        go_on.wait(10)
        write_former(path, secrets)
        writing.pop()

    monkeypatch.setattr("gateway.intake.signing_secrets.write_former", slowly)
    first = asyncio.create_task(gateway.signing.announce(b"new", keep=True))
    await asyncio.to_thread(began.wait, 10)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    began.clear()
    second = asyncio.create_task(gateway.signing.close())
    for _ in range(20):
        await asyncio.to_thread(began.wait, 0.01)
    go_on.set()
    await second
    assert at_once == [1, 1]
    assert Gateway(tmp_path).accepts(b"new")


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


async def test_each_secret_says_where_it_is_how_old_it_is_and_when_it_was_needed(tmp_path: Path) -> None:
    """As an auditor asks; never what it is. A new one is named once its file has it."""
    put(tmp_path, b"first")
    gateway = Gateway(tmp_path)
    (shown,) = gateway.intake.secrets
    assert shown.source == f"{{file: {gateway.source}}}"
    assert shown.changed_ms == gateway.source.stat().st_mtime_ns // 1_000_000
    assert shown.last_used_ms is None
    assert gateway.accepts(b"first")
    assert gateway.intake.secrets[0].last_used_ms == gateway.now_ms
    assert await gateway.signing.announce(b"second", keep=True) is None
    told, first = gateway.intake.secrets[0], gateway.status
    assert (told.source.startswith("told by"), told.last_used_ms, first.number) == (True, None, 1)
    put(tmp_path, b"second")
    async with gateway.running():
        await gateway.reread()
    assert gateway.intake.secrets[0].source == f"{{file: {gateway.source}}}"
    assert "second" not in repr(gateway.intake)
