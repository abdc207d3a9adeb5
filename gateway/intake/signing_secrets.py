"""The signing secrets of the running gateway: checked with, replaced while deliveries come in, remembered.

A rotation loses no delivery, wherever it ends. `gateway webhooks rotate` makes a draft of the secret's
file, asks Infodeck, writes the secret into the draft, tells the gateway, and renames the draft. Ends it

- before Infodeck was asked: nothing has changed;
- once Infodeck may have a new secret and nobody here knows it: deliveries are answered with 401, and
  Infodeck repeats them for 24 hours; rotating again gives another secret, which is then known here;
- with the secret in the draft: it is on disk, and `--from-stdin` takes it from there;
- once the gateway was told: it knows both secrets, and has them on disk before it says so, so that
  neither a restart nor a power cut forgets one, whether the file was renamed or not;
- after the renaming: a start reads the new secret from its file, and the former one from our own.

A secret's file that was changed by hand is taken over on SIGHUP in the same way.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import structlog

from gateway.alarms import FORMER_USED
from gateway.errors import GatewayError
from gateway.intake.former_secrets import forget_former, read_former, write_former
from gateway.intake.secret_ages import first_seen_ms
from gateway.intake.secrets_in_force import UNUSED_FOR_MS, SecretsInForce
from gateway.intake.signature import Verifier
from gateway.status import SecretStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.alarms import Alarms
    from gateway.config.secrets import Secret
    from gateway.status import IntakeStatus

log = structlog.get_logger()

_OVERDUE_AFTER_MS = 2 * UNUSED_FOR_MS  # Infodeck repeats a delivery for a day
_LOOK_EVERY_S = 60.0
_TOLD = "told by `gateway webhooks rotate`, not in the settings' sources yet"
_KEEP_USE_EVERY_MS = 10 * 60 * 1000  # after a crash, a former secret is dropped this much too early at most


class SigningSecrets:
    """Checks signatures against every secret in force. Belongs to the event loop."""

    def __init__(
        self,
        *,
        configured: Sequence[Secret],
        read: Callable[[], Sequence[Secret]],
        file: Path,
        tolerance_s: float,
        status: IntakeStatus,
        clock_ms: Callable[[], int],
        ticks_ms: Callable[[], int],
        alarms: Alarms,
    ) -> None:
        """`read` reads the settings' sources anew, in a thread; `file` is where former secrets are kept.

        `ticks_ms` counts what passes, whatever the clock is set to.
        """
        self._read = read
        self._file = file
        self._ages = file.with_suffix(".known")
        self._tolerance_s = tolerance_s
        self._shown = status
        self._status = status.previous_secrets
        self._described: dict[bytes, SecretStatus] = {}
        self._clock_ms = clock_ms
        self._ticks_ms = ticks_ms
        self._alarms = alarms
        self._clock_less_ticks_ms = clock_ms() - ticks_ms()
        self._requested = asyncio.Event()
        self._waiting: list[Callable[[], None]] = []
        self._writing = threading.Lock()  # not asyncio's: a thread goes on when its task is cancelled
        self._use_kept_ms = 0
        self._problem: str | None = None  # why the file could not be written last
        source = self._describe(configured)
        self._take(SecretsInForce(source, source))

    def start(self) -> None:
        """Accept what was accepted before the start; a file that can't be used is told, and left."""
        now_ms = self._clock_ms()
        self._note_ages(self._described)
        try:
            kept = read_former(self._file, now_ms=now_ms)
        except GatewayError as error:
            log.warning(
                "signing_secrets.forgotten", reason=str(error), advice="only those of the settings count"
            )
            return
        self._take(self._secrets.with_kept(kept))
        former = self._secrets.former
        if any(each.was_told for each in former):
            log.warning(
                "signing_secrets.not_in_settings",
                reason="the secret that the gateway was told of last is in no source of the settings, and is"
                " forgotten once it was not used for 24 h",
                advice="see which secret intake.signing_secrets names, and that `gateway webhooks rotate` has"
                " written to that file",
            )
        if former:
            log.info("signing_secrets.previous", accepted=len(former))

    def verify(self, raw: bytes, header: str | None, *, now_s: float) -> int:
        """Do as `Verifier.verify` does, and remember when a former secret was needed."""
        index = self._verifier.verify(raw, header, now_s=now_s)
        former = index - self._current
        if former >= 0:
            used_ms = round(now_s * 1000)
            self._secrets.former[former].last_used_ms = self._status.last_used_ms = used_ms
        else:
            self._shown.secrets[index].last_used_ms = round(now_s * 1000)
        return index

    @property
    def in_force(self) -> SecretsInForce:
        """What is accepted now."""
        return self._secrets

    @property
    def is_asked(self) -> bool:
        """Whether the sources are to be read again, and were not yet."""
        return bool(self._waiting)

    async def announce(self, secret: bytes, *, keep: bool) -> str | None:
        """Accept `secret` at once, as the first; return why a restart would forget that, None if not.

        The one before stays accepted until it was not used for a day, or is refused at once: `keep`.
        """
        self._take(self._secrets.announced(secret, now_ms=self._clock_ms(), keep=keep))
        await asyncio.to_thread(self._note_ages, dict(self._described))
        problem = await self._keep()
        if problem is not None and not keep:
            return await self._forget(problem)
        return problem

    def request(self, done: Callable[[], None]) -> None:
        """Have the sources read again; `done` is called after a reading that began after this."""
        self._waiting.append(done)
        self._requested.set()

    async def run(self) -> None:
        """Serve requests, and forget what nobody needs any more, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._requested.wait()
            except TimeoutError:
                await self._forget_unused()
                self._alarms.set(FORMER_USED, _overdue(self._secrets.used_after_ms))
                continue
            self._requested.clear()
            asked = len(self._waiting)
            await self._reread()
            waiting, self._waiting = self._waiting[:asked], self._waiting[asked:]
            for done in waiting:
                done()

    async def close(self) -> None:
        """Keep when the former ones were used last."""
        if self._secrets.former:
            await self._keep()

    async def _reread(self) -> None:
        try:
            source = self._describe(await asyncio.to_thread(self._read))
        except GatewayError as error:
            log.warning(
                "signing_secrets.unreadable",
                reason=str(error),
                advice="those in force stay; SIGHUP tries again",
            )
            return
        found = self._secrets.reread(source, now_ms=self._clock_ms())
        if found is not self._secrets:
            self._take(found)
            log.info("signing_secrets.reread", current=len(source), previous=len(found.former))
            await self._keep()
        else:
            self._show_current()
        await asyncio.to_thread(self._note_ages, dict(self._described))

    async def _forget_unused(self) -> None:
        ahead_ms = self._follow_clock()
        before = self._secrets
        needed = before.without_unused(now_ms=self._clock_ms())
        if needed is not before:
            self._take(needed)
            dropped, left = len(before.former) - len(needed.former), len(needed.former)
            log.info("signing_secrets.dropped", unused_for="24h", dropped=dropped, previous=left)
            await self._keep()
        elif self._problem is not None or (before.former and self._are_times_old(ahead_ms)):
            await self._keep()

    def _are_times_old(self, ahead_ms: int) -> bool:
        """Say whether the times on disk have become so different that a crash would make a difference."""
        used_ms = self._status.last_used_ms or 0
        return max(ahead_ms, used_ms - self._use_kept_ms) > _KEEP_USE_EVERY_MS

    def _follow_clock(self) -> int:
        """Return by how much the clock was set ahead since the last look: that is no time that has passed."""
        now_ms = self._clock_ms()
        clock_less_ticks_ms = now_ms - self._ticks_ms()
        ahead_ms = max(0, clock_less_ticks_ms - self._clock_less_ticks_ms)
        self._clock_less_ticks_ms = clock_less_ticks_ms
        self._secrets.follow_clock(ahead_ms, now_ms=now_ms)
        return ahead_ms

    async def _keep(self) -> str | None:
        """Write what a restart must not forget; return what is in the way, which the log is told once."""
        self._follow_clock()
        used_ms, problem = self._status.last_used_ms or 0, None
        try:
            await asyncio.to_thread(self._write)
            self._use_kept_ms = used_ms
        except OSError as error:
            problem = f"{self._file} can't be written: {error.strerror or error}"
        before, self._problem = self._problem, problem
        if problem is not None and before is None:
            log.warning("signing_secrets.not_kept", reason=problem)
        elif problem is None and before is not None:
            log.info("signing_secrets.kept", was=before)
        return problem

    def _write(self) -> None:
        with self._writing:
            write_former(self._file, self._secrets)

    async def _forget(self, problem: str) -> str:
        """Have nothing kept, or else say how: a secret that has leaked must not come back with a restart."""
        try:
            await asyncio.to_thread(self._forget_kept)
        except OSError:
            return f"{problem}. Remove it, for a restart would accept secrets again that were replaced"
        return problem

    def _forget_kept(self) -> None:
        with self._writing:
            forget_former(self._file)

    def _describe(self, secrets: Sequence[Secret]) -> tuple[bytes, ...]:
        """Remember where secrets are and how old they are; return what they are, each once."""
        for secret in reversed(secrets):  # of two sources with the same one, the first is named
            known = self._described.get(secret.reveal())
            used_ms = known.last_used_ms if known is not None else None
            self._described[secret.reveal()] = SecretStatus(secret.source, secret.changed_ms, used_ms)
        return tuple(dict.fromkeys(secret.reveal() for secret in secrets))

    def _note_ages(self, described: Mapping[bytes, SecretStatus]) -> None:
        """Remember since when secrets are known; that is the age of one whose source does not tell it."""
        try:
            with self._writing:
                seen = first_seen_ms(self._ages, described, now_ms=self._clock_ms())
        except OSError as error:
            log.warning("signing_secrets.age_not_kept", reason=f"{self._ages}: {error.strerror or error}")
            return
        for secret, since_ms in seen.items():
            described[secret].changed_ms = described[secret].changed_ms or since_ms

    def _take(self, secrets: SecretsInForce) -> None:
        """Put these in force, from the next delivery on."""
        self._secrets = secrets
        self._verifier = Verifier(secrets.all, tolerance_s=self._tolerance_s)
        self._current = len(secrets.current)
        self._show_current()
        used = [each.last_used_ms for each in secrets.former if each.last_used_ms is not None]
        self._status.number, self._status.last_used_ms = len(secrets.former), max(used, default=None)

    def _show_current(self) -> None:
        """Show the secrets in force, but for former ones; `verify` notes there when each was needed."""
        current = self._secrets.current
        self._described = {secret: self._described.get(secret) or SecretStatus(_TOLD) for secret in current}
        self._shown.secrets = list(self._described.values())


def _overdue(used_after_ms: int | None) -> str | None:
    """Return what is wrong where a former secret goes on to be used for longer than Infodeck repeats."""
    if used_after_ms is None or used_after_ms < _OVERDUE_AFTER_MS:
        return None
    days = used_after_ms // UNUSED_FOR_MS
    return (
        f"deliveries are signed with a secret that was replaced {days} days ago: Infodeck has another one"
        " than intake.signing_secrets, or somebody else has an old one; `gateway webhooks rotate"
        " --forget-old` ends both"
    )
