"""Signing secrets of a running gateway: replaced while it runs, kept over restarts, dropped in time."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import stat
import tempfile
import threading
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.alarms import Alarms
from gateway.config.private_files import write_private
from gateway.config.secrets import Secret, SecretSource
from gateway.errors import SignatureError
from gateway.intake.signature import sign
from gateway.intake.signing_secrets import ACCEPTED_FOR_MS, REPEATED_FOR_MS, SigningSecrets
from gateway.status import IntakeStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
NOW_MS = 1_771_911_526_000
BODY = b'{"id":"evt_1"}'


class Gateway:
    """A gateway's signing secrets at a time set by the test."""

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
            steady_ms=lambda: self.now_ms - self.clock_is_ahead_ms,
            alarms=self.alarms,
        )
        self.signing.start()

    def _read(self) -> Sequence[Secret]:
        return [SecretSource("file", str(self.source)).resolve()]

    def set_clock_ahead(self, by_ms: int) -> None:
        """Set the wall clock, while the steady clock stays."""
        self.now_ms += by_ms
        self.clock_is_ahead_ms += by_ms

    def accepts(self, secret: bytes) -> bool:
        """Return whether a delivery signed now is accepted."""
        try:
            self.signing.verify(BODY, sign(BODY, secret, self.now_ms // 1000), now_s=self.now_ms / 1000)
        except SignatureError:
            return False
        return True

    async def reread(self) -> None:
        """Request a reading of the sources, and wait for it."""
        done = asyncio.Event()
        self.signing.request_reread(done.set)
        await asyncio.wait_for(done.wait(), 60)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run its task within the context."""
        task = asyncio.create_task(self.signing.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def put(folder: Path, secret: bytes, *, mode: int = 0o600) -> None:
    """Write the secret's file by hand."""
    file = folder / "secret"
    file.touch(mode=0o600)
    file.write_bytes(secret)
    file.chmod(mode)


async def test_announced_secret_survives_a_restart_with_the_previous_one(tmp_path: Path) -> None:
    """After a kill, a start accepts both secrets, whether the file has the old or the new one."""
    put(tmp_path, b"old")
    before = Gateway(tmp_path)
    assert await before.signing.announce(b"new", keep_previous=True) is None
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


async def test_previous_secret_is_accepted_for_48_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uses and restarts do not prolong the 48 h; the end is logged once, and the secret leaves the disk."""
    monkeypatch.setattr("gateway.intake.signing_secrets._CHECK_EVERY_S", 0.01)
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    await gateway.signing.announce(b"new", keep_previous=True)
    put(tmp_path, b"new")
    gateway.now_ms += ACCEPTED_FOR_MS - 1000
    async with gateway.running():
        await gateway.reread()
        assert gateway.accepts(b"old")
        assert gateway.accepts(b"new")
    assert (gateway.status.number, gateway.status.last_used_ms) == (1, gateway.now_ms)
    later = Gateway(tmp_path, now_ms=NOW_MS + ACCEPTED_FOR_MS - 1)
    assert later.accepts(b"old")
    later.now_ms += 1
    with capture_logs() as logs:
        async with later.running(), asyncio.timeout(60):
            while later.status.number:  # noqa: ASYNC110 - time does it
                await asyncio.sleep(0.01)
            while base64.b64encode(b"old") in later.file.read_bytes():  # noqa: ASYNC110 - a thread writes
                await asyncio.sleep(0.01)
    assert [(entry["event"], entry["dropped"]) for entry in logs] == [("signing_secrets.dropped", 1)]
    assert not later.accepts(b"old")
    assert later.accepts(b"new")
    assert "old" not in repr(logs)
    assert not Gateway(tmp_path, now_ms=later.now_ms).accepts(b"old")


async def test_previous_secret_that_is_used_for_more_than_a_day_is_an_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A use more than a day after the replacement is no repetition, and raises an alarm."""
    monkeypatch.setattr("gateway.intake.signing_secrets._CHECK_EVERY_S", 0.01)
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    await gateway.signing.announce(b"hidden", keep_previous=True)
    async with gateway.running(), asyncio.timeout(60):
        gateway.now_ms += REPEATED_FOR_MS - 1
        assert gateway.accepts(b"old")
        await asyncio.sleep(0.1)
        assert not gateway.alarms.current()
        gateway.now_ms += 1
        assert gateway.accepts(b"old")
        while not gateway.alarms.current():  # noqa: ASYNC110 - time does it
            await asyncio.sleep(0.01)
        (alarm,) = gateway.alarms.current()
        assert alarm.name == "former-secret-used"
        assert "replaced more than a day ago" in alarm.reason
        assert "`gateway webhooks rotate --forget-old`" in alarm.reason
        assert "hidden" not in alarm.reason
        await gateway.signing.announce(b"newest", keep_previous=False)
        while gateway.alarms.current():  # noqa: ASYNC110 - time does it
            await asyncio.sleep(0.01)


async def test_clock_that_is_set_ahead_takes_nothing_of_the_48_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A jump of the wall clock does not shorten the 48 h."""
    monkeypatch.setattr("gateway.intake.signing_secrets._CHECK_EVERY_S", 0.01)
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    await gateway.signing.announce(b"new", keep_previous=True)
    put(tmp_path, b"new")
    rebooted = Gateway(tmp_path, now_ms=0)
    async with rebooted.running(), asyncio.timeout(60):
        rebooted.set_clock_ahead(NOW_MS + 2 * ACCEPTED_FOR_MS)
        await asyncio.sleep(0.1)
        assert rebooted.accepts(b"old")
        rebooted.now_ms += ACCEPTED_FOR_MS
        while rebooted.status.number:  # noqa: ASYNC110 - time does it
            await asyncio.sleep(0.01)


async def test_clock_that_was_ahead_keeps_no_secret_alive(tmp_path: Path) -> None:
    """A replacement in the future counts as now."""
    put(tmp_path, b"old")
    ahead = Gateway(tmp_path, now_ms=NOW_MS + 365 * ACCEPTED_FOR_MS)
    await ahead.signing.announce(b"new", keep_previous=True)
    put(tmp_path, b"new")
    (previous,) = Gateway(tmp_path).signing.previous
    assert previous.ends_ms == NOW_MS + ACCEPTED_FOR_MS


async def test_file_changed_by_hand_is_taken_over(tmp_path: Path) -> None:
    """After a reading on request both secrets are accepted, also after a restart."""
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    async with gateway.running():
        put(tmp_path, b"new\n")
        assert not gateway.accepts(b"new")
        await gateway.reread()
        assert gateway.accepts(b"new")
        assert gateway.accepts(b"old")
    assert Gateway(tmp_path).accepts(b"old")


async def test_secret_is_announced_again(tmp_path: Path) -> None:
    """Announcing the same secret again changes nothing."""
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    await gateway.signing.announce(b"new", keep_previous=True)
    before = gateway.signing.previous
    gateway.now_ms += 5
    await gateway.signing.announce(b"new", keep_previous=True)
    assert (len(gateway.signing.current), gateway.signing.previous) == (1, before)


async def test_file_that_catches_up_changes_no_time(tmp_path: Path) -> None:
    """The previous secret's 48 h begin with the announcement, not with the file."""
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    await gateway.signing.announce(b"new", keep_previous=True)
    gateway.now_ms += 1000
    put(tmp_path, b"new")
    async with gateway.running():
        await gateway.reread()
    assert [(one.secret, one.replaced_ms) for one in gateway.signing.previous] == [(b"old", NOW_MS)]


async def test_source_that_has_not_changed_undoes_nothing(tmp_path: Path) -> None:
    """An unchanged source does not undo an announced secret."""
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    await gateway.signing.announce(b"new", keep_previous=True)
    async with gateway.running():
        await gateway.reread()
    assert gateway.accepts(b"new")
    assert [one.secret for one in gateway.signing.previous] == [b"old"]


async def test_leaked_secret_is_refused_at_once(tmp_path: Path) -> None:
    """Without `keep_previous`, all previous secrets are refused, also with a second announcement."""
    put(tmp_path, b"older")
    gateway = Gateway(tmp_path)
    await gateway.signing.announce(b"old", keep_previous=True)
    await gateway.signing.announce(b"new", keep_previous=True)
    assert all(gateway.accepts(secret) for secret in (b"older", b"old", b"new"))
    await gateway.signing.announce(b"new", keep_previous=False)
    assert not gateway.accepts(b"old")
    await gateway.signing.announce(b"newest", keep_previous=False)
    assert [gateway.accepts(secret) for secret in (b"older", b"old", b"new", b"newest")] == 3 * [False] + [
        True
    ]


SECRETS = st.sampled_from([b"a", b"b", b"c", b"d"])
STEPS = st.one_of(
    st.tuples(st.just("announce"), SECRETS),
    st.tuples(st.just("reread"), SECRETS),
    st.tuples(st.just("restart"), SECRETS),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(STEPS, max_size=8))
def test_accepted_secrets_stay_accepted(steps: list[tuple[str, bytes]]) -> None:
    """Within a day, every accepted secret stays accepted over announcements, readings and restarts.

    Except one that was replaced in its file while no gateway ran.
    """

    async def follow(folder: Path) -> None:
        put(folder, b"a")
        gateway, source, known = Gateway(folder), b"a", {b"a"}
        for step, secret in steps:
            if step == "announce":
                await gateway.signing.announce(secret, keep_previous=True)
            else:
                put(folder, secret)
            if step == "reread":
                async with gateway.running():
                    await gateway.reread()
            if step == "restart":
                gateway = Gateway(folder, now_ms=gateway.now_ms)
                known.discard(source)
            source = source if step == "announce" else secret
            gateway.now_ms += 1000
            accepted = {one for one in (b"a", b"b", b"c", b"d") if gateway.accepts(one)}
            known.add(secret)
            assert known <= accepted, step
            assert len(gateway.signing.current) + len(gateway.signing.previous) == len(accepted)
            known = accepted

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(follow(Path(folder)))


async def test_leaked_secret_does_not_come_back_with_a_restart(tmp_path: Path) -> None:
    """Where nothing can be written, such as on a full disk, the file with the leaked secret is removed."""
    put(tmp_path, b"leaked")
    gateway = Gateway(tmp_path)
    await gateway.signing.announce(b"new", keep_previous=True)
    draft = gateway.file.with_name(f"{gateway.file.name}.new")
    draft.mkdir()
    problem = await gateway.signing.announce(b"newest", keep_previous=False)
    assert problem == f"{gateway.file} can't be written: Is a directory"
    assert not gateway.accepts(b"leaked")
    put(tmp_path, b"newest")
    draft.rmdir()
    assert not Gateway(tmp_path).accepts(b"leaked")


async def test_memory_is_written_once_that_is_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway writes again once there is room, and logs it."""
    monkeypatch.setattr("gateway.intake.signing_secrets._CHECK_EVERY_S", 0.01)
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    draft = gateway.file.with_name(f"{gateway.file.name}.new")
    draft.mkdir()
    with capture_logs() as logs:
        async with gateway.running(), asyncio.timeout(60):
            assert await gateway.signing.announce(b"new", keep_previous=True) is not None
            draft.rmdir()
            while not any(entry["event"] == "signing_secrets.kept" for entry in logs):  # noqa: ASYNC110 - a log
                await asyncio.sleep(0.01)
    assert Gateway(tmp_path).accepts(b"new")
    events = [entry["event"] for entry in logs if entry["event"].startswith("signing_secrets.")]
    assert events.count("signing_secrets.not_kept") == events.count("signing_secrets.kept") == 1


async def test_secret_that_no_source_has_is_logged_at_the_start(tmp_path: Path) -> None:
    """An announced secret that no source has is accepted for 48 h, with a warning."""
    put(tmp_path, b"old")
    before = Gateway(tmp_path)
    await before.signing.announce(b"hidden", keep_previous=True)
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


async def test_writes_do_not_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second write waits for a cancelled one that still runs."""
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    began, go_on = threading.Event(), threading.Event()
    at_once: list[int] = []
    writing: list[None] = []

    def slowly(path: Path, content: bytes) -> None:
        writing.append(None)
        at_once.append(len(writing))
        began.set()
        go_on.wait(10)
        write_private(path, content)
        writing.pop()

    monkeypatch.setattr("gateway.intake.signing_secrets.write_private", slowly)
    first = asyncio.create_task(gateway.signing.announce(b"new", keep_previous=True))
    await asyncio.to_thread(began.wait, 10)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    began.clear()
    second = asyncio.create_task(gateway.signing.announce(b"newer", keep_previous=True))
    for _ in range(20):
        await asyncio.to_thread(began.wait, 0.01)
    go_on.set()
    await second
    assert at_once == [1, 1]
    assert Gateway(tmp_path).accepts(b"new")
    assert Gateway(tmp_path).accepts(b"newer")


@pytest.mark.parametrize(("secret", "mode"), [(b"", 0o600), (b"\n", 0o600), (b"new", 0o644)])
async def test_unusable_file_changes_nothing(tmp_path: Path, secret: bytes, mode: int) -> None:
    """An empty or readable file is refused with a log line, and the accepted secrets stay."""
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


async def test_memory_that_cannot_be_used_is_logged_and_does_not_stop_the_gateway(tmp_path: Path) -> None:
    """A file of another form, or readable by others, is ignored with a log line that does not quote it."""
    put(tmp_path, b"old")
    for content, mode in ((b"hidden", 0o600), (b'{"form":7,"accepted":{}}', 0o600), (b"hidden", 0o640)):
        (tmp_path / "signing-secrets.previous").write_bytes(content)
        (tmp_path / "signing-secrets.previous").chmod(mode)
        with capture_logs() as logs:
            assert Gateway(tmp_path).accepts(b"old")
        assert [entry["event"] for entry in logs] == ["signing_secrets.forgotten"]
        assert "hidden" not in repr(logs)


async def test_memory_that_cannot_be_written_is_logged_once(tmp_path: Path) -> None:
    """The new secret is accepted, the answer has the problem, and the log has one line."""
    put(tmp_path, b"old")
    gateway = Gateway(tmp_path)
    gateway.file.with_name(f"{gateway.file.name}.new").mkdir()
    with capture_logs() as logs:
        problem = await gateway.signing.announce(b"new", keep_previous=True)
        assert problem is not None
        assert "can't be written: Is a directory" in problem
        await gateway.signing.announce(b"newer", keep_previous=True)
    assert gateway.accepts(b"old")
    assert gateway.accepts(b"newer")
    assert [entry["event"] for entry in logs] == ["signing_secrets.not_kept"]


async def test_status_of_each_secret(tmp_path: Path) -> None:
    """The status has source, age and last use of each secret, never the secret."""
    put(tmp_path, b"first")
    gateway = Gateway(tmp_path)
    (shown,) = gateway.intake.secrets
    assert shown.source == f"{{file: {gateway.source}}}"
    assert shown.changed_ms == gateway.source.stat().st_mtime_ns // 1_000_000
    assert shown.last_used_ms is None
    assert gateway.accepts(b"first")
    assert gateway.intake.secrets[0].last_used_ms == gateway.now_ms
    assert await gateway.signing.announce(b"second", keep_previous=True) is None
    announced, first = gateway.intake.secrets[0], gateway.status
    assert announced.source.startswith("sent by")
    assert (announced.last_used_ms, first.number) == (None, 1)
    put(tmp_path, b"second")
    async with gateway.running():
        await gateway.reread()
    assert gateway.intake.secrets[0].source == f"{{file: {gateway.source}}}"
    assert "second" not in repr(gateway.intake)


class Known:
    """A gateway with secrets from its environment, which have no age."""

    def __init__(self, file: Path, *, now_ms: int, secrets: Sequence[bytes]) -> None:
        intake = IntakeStatus()
        SigningSecrets(
            configured=[Secret(secret, source="{env: S}") for secret in secrets],
            read=lambda: (),
            file=file,
            tolerance_s=300,
            status=intake,
            clock_ms=lambda: now_ms,
            steady_ms=lambda: now_ms,
            alarms=Alarms(clock_ms=lambda: now_ms),
        ).start()
        self.since_ms = [status.changed_ms for status in intake.secrets]


def test_memory_reveals_no_secret(tmp_path: Path) -> None:
    """The file has neither the secret nor a hash that is the same elsewhere, and mode 0600."""
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        assert Known(file, now_ms=NOW_MS, secrets=[b"hidden"]).since_ms == [NOW_MS]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first, second = (file.read_text() for file in files)
    for shown in ("hidden", base64.b64encode(b"hidden").decode(), hashlib.sha256(b"hidden").hexdigest()):
        assert shown not in first + second
    assert first != second


def test_each_age_is_kept_by_itself(tmp_path: Path) -> None:
    """Ages are kept for each secret; one that was removed and comes back is new."""
    file, later_ms = tmp_path / "ages", NOW_MS + 86_400_000
    assert Known(file, now_ms=NOW_MS, secrets=[b"a"]).since_ms == [NOW_MS]
    assert Known(file, now_ms=later_ms, secrets=[b"b", b"a"]).since_ms == [later_ms, NOW_MS]
    assert Known(file, now_ms=later_ms, secrets=[b"b"]).since_ms == [later_ms]
    assert Known(file, now_ms=later_ms + 1, secrets=[b"a"]).since_ms == [later_ms + 1]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"form":2,"key":"zz","first_seen":{},"accepted":{}}', '{"form":1}', "\0"]
)
def test_ages_that_cannot_be_read_begin_anew(tmp_path: Path, content: str) -> None:
    """An unreadable file does not keep the gateway from starting."""
    file = tmp_path / "ages"
    file.write_text(content)
    file.chmod(0o600)
    assert Known(file, now_ms=NOW_MS, secrets=[b"a"]).since_ms == [NOW_MS]
    assert Known(file, now_ms=NOW_MS + 1, secrets=[b"a"]).since_ms == [NOW_MS]
