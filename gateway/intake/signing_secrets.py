"""The signing secrets of the running gateway: current and previous ones, replaced while deliveries come in.

A secret that another one replaces is accepted for 48 h more; Infodeck repeats a delivery for 24 h.

No delivery is lost wherever `gateway webhooks rotate` is killed. It tries out whether the secret's file can
be replaced, has Infodeck make the secret, writes it to `FILE.new`, sends it to the gateway and renames
`FILE.new` to the secret's file. Killed

- before Infodeck has made a secret: nothing has changed;
- before the secret is in `FILE.new`: nobody here has it. Deliveries are answered with 401, Infodeck repeats
  them for 24 h, and the next rotation makes another secret;
- before the gateway has it: it is on disk, and the same command continues with it;
- before `FILE.new` is renamed: the gateway accepts both secrets, and had both on disk before it answered, so
  that no restart or power cut loses one;
- later: a start reads the new secret from its file, and the previous one from the gateway's own.

A secret's file that was edited by hand is read again on SIGHUP, with the same effect.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from gateway.alarms import FORMER_USED
from gateway.errors import GatewayError
from gateway.intake.secret_memory import Kept, SecretMemory
from gateway.intake.signature import Verifier
from gateway.status import SecretStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from gateway.alarms import Alarms
    from gateway.config.secrets import Secret
    from gateway.status import IntakeStatus

log = structlog.get_logger()

ACCEPTED_FOR_MS = 48 * 3_600_000
REPEATED_FOR_MS = 25 * 3_600_000  # how long Infodeck repeats a delivery, and an hour more

_CHECK_EVERY_S = 60.0
_MOST_PREVIOUS = 8  # each of them costs an HMAC per delivery
_ANNOUNCED = "sent by `gateway webhooks rotate`, not in the settings' sources yet"


@dataclass(slots=True)
class PreviousSecret:
    """A secret that was replaced at `replaced_ms` (Unix) and is accepted until `ends_ms` (steady clock)."""

    secret: bytes = field(repr=False)
    replaced_ms: int
    ends_ms: int
    last_used_ms: int | None = None  # since the start


class SigningSecrets:
    """Verifies signatures with every secret in force. Belongs to the event loop."""

    def __init__(
        self,
        *,
        configured: Sequence[Secret],
        read: Callable[[], Sequence[Secret]],
        file: Path,
        tolerance_s: float,
        status: IntakeStatus,
        clock_ms: Callable[[], int],
        steady_ms: Callable[[], int],
        alarms: Alarms,
    ) -> None:
        """`read` reads the settings' sources again, blocking; `file` keeps the rest over restarts."""
        self._read = read
        self._memory = SecretMemory(file)
        self._tolerance_s = tolerance_s
        self._status = status
        self._clock_ms = clock_ms
        self._steady_ms = steady_ms
        self._alarms = alarms
        self._sources = _by_secret(configured)
        self._current = tuple(self._sources)
        self._previous: tuple[PreviousSecret, ...] = ()
        self._put_back: Kept = {}  # secrets that were replaced, but that the sources had at the start
        self._shown: dict[bytes, SecretStatus] = {}  # of the current ones; the same objects as in the status
        self._reread_requested = asyncio.Event()
        self._waiting: list[Callable[[], None]] = []
        self._problem: str | None = None  # why the file could not be written last

    def start(self) -> None:
        """Accept what was accepted before the start; a file that can't be used is logged and replaced."""
        try:
            kept = self._memory.read()
        except GatewayError as error:
            advice = "only the settings' secrets are accepted"
            log.warning("signing_secrets.forgotten", reason=str(error), advice=advice)
            kept = {}
        if any(ms is None and secret not in self._sources for secret, ms in kept.items()):
            log.warning(
                "signing_secrets.not_in_settings",
                reason="your settings contain an outdated secret; the newest one is accepted for 48 h more",
                advice="check which secret intake.signing_secrets names, and rotate again",
            )
        self._put_back = {secret: ms for secret, ms in kept.items() if secret in self._sources and ms}
        previous = [self._restored(secret, ms) for secret, ms in kept.items() if secret not in self._sources]
        self._accept(self._current, [one for one in previous if one.ends_ms > self._steady_ms()])
        if self._previous:
            log.info("signing_secrets.previous", accepted=len(self._previous))
        self._update_memory()
        self._log_problem(self._write_memory())

    def verify(self, raw: bytes, header: str | None, *, now_s: float) -> int:
        """Do as `Verifier.verify` does, and record when each secret was used last."""
        index = self._verifier.verify(raw, header, now_s=now_s)
        used_ms = round(now_s * 1000)
        if index < len(self._current):
            self._status.secrets[index].last_used_ms = used_ms
        else:
            self._previous[index - len(self._current)].last_used_ms = used_ms
            self._status.previous_secrets.last_used_ms = used_ms
        return index

    @property
    def current_count(self) -> int:
        """How many secrets are current."""
        return len(self._current)

    @property
    def previous(self) -> tuple[PreviousSecret, ...]:
        """Those that were replaced and are still accepted, the oldest first."""
        return self._previous

    async def announce(self, secret: bytes, *, keep_previous: bool) -> str | None:
        """Accept a new secret at once, as the first; return why a restart would forget it, None if it won't.

        Without `keep_previous`, the one before and earlier ones are refused at once.
        """
        current = (secret, *(other for other in self._current[1:] if other != secret))
        if not keep_previous:
            self._put_back.clear()
        self._accept(current, self._with_replaced(current) if keep_previous else ())
        problem = await self._save()
        if problem is None or keep_previous:
            return problem
        try:  # a secret that has leaked must not come back with a restart
            await asyncio.to_thread(self._memory.remove)
        except OSError:
            return f"{problem}. Remove it, for a restart would accept secrets again that were replaced"
        return problem

    def request_reread(self, done: Callable[[], None]) -> None:
        """Have the settings' sources read again; `done` is called after a reading that began after this."""
        self._waiting.append(done)
        self._reread_requested.set()

    @property
    def is_reread_pending(self) -> bool:
        """Whether the sources are to be read again, and were not yet."""
        return bool(self._waiting)

    async def run(self) -> None:
        """Read the sources again when requested, and drop previous secrets in time, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_CHECK_EVERY_S):
                    await self._reread_requested.wait()
            except TimeoutError:
                await self._drop_ended()
                self._alarms.set(FORMER_USED, self._late_use())
                continue
            self._reread_requested.clear()
            requests = len(self._waiting)
            await self._reread()
            waiting, self._waiting = self._waiting[:requests], self._waiting[requests:]
            for done in waiting:
                done()

    async def _reread(self) -> None:
        """Take over what the sources hold, unless they hold what they held before.

        A systemd credential stays as it is until a restart, and must not undo an announced secret.
        """
        try:
            sources = _by_secret(await asyncio.to_thread(self._read))
        except GatewayError as error:
            log.warning(
                "signing_secrets.unreadable",
                reason=str(error),
                advice="the secrets in force stay; SIGHUP tries again",
            )
            return
        changed = list(sources) != list(self._sources)
        self._sources = sources
        current = tuple(sources) if changed else self._current
        self._accept(current, self._with_replaced(current))
        if changed:
            log.info("signing_secrets.reread", current=len(current), previous=len(self._previous))
        await self._save()

    async def _drop_ended(self) -> None:
        left = [one for one in self._previous if self._steady_ms() < one.ends_ms]
        dropped = len(self._previous) - len(left)
        if dropped:
            self._accept(self._current, left)
            log.info("signing_secrets.dropped", after="48h", dropped=dropped, previous=len(left))
        if dropped or self._problem is not None:
            await self._save()

    def _late_use(self) -> str | None:
        """Return what is wrong if a previous secret was used when Infodeck had nothing to repeat any more."""
        late = (one.last_used_ms - one.replaced_ms for one in self._previous if one.last_used_ms is not None)
        if max(late, default=0) < REPEATED_FOR_MS:
            return None
        return (
            "deliveries are signed with a secret that was replaced more than a day ago, and are refused 48 h"
            " after it was: Infodeck has another one than intake.signing_secrets, or somebody else has an old"
            " one; `gateway webhooks rotate --forget-old` ends both"
        )

    def _with_replaced(self, current: Sequence[bytes]) -> list[PreviousSecret]:
        """Return the previous secrets, together with those that `current` replaces now."""
        now_ms, ends_ms = self._clock_ms(), self._steady_ms() + ACCEPTED_FOR_MS
        replaced = [secret for secret in self._current if secret not in current]
        return [*self._previous, *(PreviousSecret(secret, now_ms, ends_ms) for secret in replaced)]

    def _restored(self, secret: bytes, replaced_ms: int | None) -> PreviousSecret:
        """Return a kept secret as a previous one; one that is in no source counts as replaced by this start.

        The clock may be wrong at a start, so the rest of the 48 h is counted by the steady clock from now on.
        """
        now_ms = self._clock_ms()
        since_ms = now_ms if replaced_ms is None else replaced_ms
        left_ms = min(since_ms + ACCEPTED_FOR_MS - now_ms, ACCEPTED_FOR_MS)
        return PreviousSecret(secret, since_ms, self._steady_ms() + left_ms)

    def _accept(self, current: tuple[bytes, ...], previous: Iterable[PreviousSecret]) -> None:
        """Put these in force, from the next delivery on, and show them."""
        self._current = current
        self._previous = tuple(one for one in previous if one.secret not in current)[-_MOST_PREVIOUS:]
        secrets = (*current, *(one.secret for one in self._previous))
        self._verifier = Verifier(secrets, tolerance_s=self._tolerance_s)
        self._show()

    def _show(self) -> None:
        used = [one.last_used_ms for one in self._previous if one.last_used_ms is not None]
        shown = self._status.previous_secrets
        shown.number, shown.last_used_ms = len(self._previous), max(used, default=None)
        self._shown = {secret: self._status_of(secret) for secret in self._current}
        self._status.secrets = list(self._shown.values())

    def _status_of(self, secret: bytes) -> SecretStatus:
        source, before = self._sources.get(secret), self._shown.get(secret)
        first_seen_ms = self._memory.first_seen_ms(secret, now_ms=self._clock_ms())
        return SecretStatus(
            source=_ANNOUNCED if source is None else source.source,
            changed_ms=first_seen_ms if source is None else source.changed_ms or first_seen_ms,
            last_used_ms=None if before is None else before.last_used_ms,
        )

    def _update_memory(self) -> None:
        kept: Kept = self._put_back | {one.secret: one.replaced_ms for one in self._previous}
        kept |= {secret: None for secret in self._current if secret not in self._sources}
        self._memory.update(current=self._current, kept=kept)

    async def _save(self) -> str | None:
        """Write what a restart must not forget; return why that failed, None if it did not."""
        self._update_memory()
        return self._log_problem(await asyncio.to_thread(self._write_memory))

    def _write_memory(self) -> str | None:
        try:
            self._memory.write()
        except OSError as error:
            return f"{self._memory.file} can't be written: {error.strerror or error}"
        return None

    def _log_problem(self, problem: str | None) -> str | None:
        before, self._problem = self._problem, problem
        if problem is not None and before is None:
            log.warning("signing_secrets.not_kept", reason=problem)
        elif problem is None and before is not None:
            log.info("signing_secrets.kept", was=before)
        return problem


def _by_secret(secrets: Iterable[Secret]) -> dict[bytes, Secret]:
    """Return each secret once, with the first source that has it."""
    found: dict[bytes, Secret] = {}
    for secret in secrets:
        found.setdefault(secret.reveal(), secret)
    return found
