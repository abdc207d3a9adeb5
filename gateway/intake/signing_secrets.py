"""The signing secrets of the running gateway: current and previous ones, replaced while deliveries come in.

A secret that another one replaces is accepted for 48 h more; Infodeck repeats a delivery for 24 h.
`gateway webhooks rotate` has Infodeck make a secret, writes it to `FILE.new`, sends it to the gateway, which
writes both to its own file before it answers, and renames `FILE.new`. Killed before the secret is in
`FILE.new`, deliveries get 401 and come again; killed later, the same command continues with `FILE.new`.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import threading
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from secrets import token_bytes
from typing import TYPE_CHECKING

import orjson
import structlog

from gateway.alarms import FORMER_USED
from gateway.config.private_files import draft_of, sync_folder, write_private
from gateway.config.secrets import SecretSource
from gateway.errors import GatewayError
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
_FORM = 2  # of the file
_ANNOUNCED = "sent by `gateway webhooks rotate`, not in the settings' sources yet"
_LATE_USE = (
    "deliveries are signed with a secret that was replaced more than a day ago: Infodeck has another one"
    " than intake.signing_secrets, or somebody else has an old one; `gateway webhooks rotate --forget-old`"
    " ends both"
)


Kept = dict[bytes, int | None]
"""Kept secrets, with when each was replaced (Unix ms); None: it is newer than what the settings have."""


@dataclass(slots=True)
class PreviousSecret:
    """A secret that was replaced at `replaced_ms` (Unix) and is accepted until `ends_ms` (steady clock)."""

    secret: bytes = field(repr=False)
    replaced_ms: int
    ends_ms: int
    last_used_ms: int | None = None  # since the start


@dataclass(kw_only=True, eq=False)
class SigningSecrets:
    """Verifies signatures with every secret in force. Belongs to the event loop.

    `read` reads the settings' sources again, blocking; `file` keeps the rest over restarts.
    """

    configured: InitVar[Sequence[Secret]]
    read: Callable[[], Sequence[Secret]]
    file: InitVar[Path]
    tolerance_s: float
    status: IntakeStatus
    clock_ms: Callable[[], int]
    steady_ms: Callable[[], int]
    alarms: Alarms
    current: tuple[bytes, ...] = ()
    previous: list[PreviousSecret] = field(default_factory=list)  # still accepted, the oldest first

    def __post_init__(self, configured: Sequence[Secret], file: Path) -> None:
        self._memory = SecretMemory(file)
        self._sources = _by_secret(configured)
        self._replaced: dict[bytes, PreviousSecret] = {}  # some may be current again; the oldest first
        self._requested = asyncio.Event()
        self._waiting: list[Callable[[], None]] = []
        self._problem: str | None = None  # why the file could not be written last

    def start(self) -> None:
        """Accept what was accepted before the start; a file that can't be used is logged and replaced."""
        try:
            kept = self._memory.read()
        except GatewayError as error:
            log.warning("signing_secrets.forgotten", reason=str(error))
            kept = {}
        if any(ms is None and secret not in self._sources for secret, ms in kept.items()):
            log.warning(
                "signing_secrets.not_in_settings", advice="the settings have an old secret: rotate again"
            )
        for secret, replaced_ms in kept.items():
            if replaced_ms is not None or secret not in self._sources:
                self._mark_replaced(secret, replaced_ms)
        self._drop_ended()
        self._accept(tuple(self._sources))
        self._write(self.current, self._kept())

    def verify(self, raw: bytes, header: str | None, *, now_s: float) -> int:
        """Do as `Verifier.verify` does, and record when each secret was used last."""
        index = self._verifier.verify(raw, header, now_s=now_s)
        used_ms = round(now_s * 1000)
        if index < len(self.current):
            self.status.secrets[index].last_used_ms = used_ms
        else:
            self.previous[index - len(self.current)].last_used_ms = used_ms
            self.status.previous_secrets.last_used_ms = used_ms
        return index

    async def announce(self, secret: bytes, *, keep_previous: bool) -> str | None:
        """Accept a new secret at once, as the first; return why a restart would forget it, None if it won't.

        Without `keep_previous`, the one before and earlier ones are refused at once.
        """
        self._replace((secret, *(other for other in self.current[1:] if other != secret)))
        if not keep_previous:
            self._replaced.clear()
            self._accept(self.current)
        problem = await self._save()
        if problem is not None and not keep_previous:  # a restart must not accept them again
            with suppress(OSError):
                await asyncio.to_thread(remove_memory, self._memory.file)
        return problem

    def request_reread(self, done: Callable[[], None]) -> None:
        """Have the settings' sources read again; `done` is called after a reading that began after this."""
        self._waiting.append(done)
        self._requested.set()

    @property
    def is_reread_pending(self) -> bool:
        """Whether the sources are to be read again, and were not yet."""
        return bool(self._waiting)

    async def run(self) -> None:
        """Read the sources again when requested, and drop previous secrets in time, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_EVERY_S):
                    await self._requested.wait()
            self._requested.clear()
            if requests := len(self._waiting):
                await self._reread()
            if dropped := self._drop_ended():
                self._accept(self.current)
                log.info("signing_secrets.dropped", after="48h", dropped=dropped, previous=len(self.previous))
            if requests or dropped or self._problem is not None:
                await self._save()
            self.alarms.set(FORMER_USED, _LATE_USE if any(map(_is_used_late, self.previous)) else None)
            waiting, self._waiting = self._waiting[:requests], self._waiting[requests:]
            for done in waiting:
                done()

    async def _reread(self) -> None:
        """Take over what the sources hold, unless they hold what they held before.

        A systemd credential stays as it is until a restart, and must not undo an announced secret.
        """
        try:
            sources = _by_secret(await asyncio.to_thread(self.read))
        except GatewayError as error:
            log.warning("signing_secrets.unreadable", reason=str(error), advice="SIGHUP tries again")
            return
        changed = list(sources) != list(self._sources)
        self._sources = sources
        self._replace(tuple(sources) if changed else self.current)
        if changed:
            log.info("signing_secrets.reread", current=len(self.current), previous=len(self.previous))

    def _replace(self, current: tuple[bytes, ...]) -> None:
        for secret in self.current:
            if secret not in current:
                self._mark_replaced(secret, self.clock_ms())
        self._accept(current)

    def _mark_replaced(self, secret: bytes, replaced_ms: int | None) -> None:
        """Accept a secret until 48 h after it was replaced; None: it is replaced by this start.

        The clock may be wrong at a start, so the rest of the 48 h is counted by the steady clock from now on.
        """
        now_ms = self.clock_ms()
        since_ms = now_ms if replaced_ms is None else replaced_ms
        left_ms = min(since_ms + ACCEPTED_FOR_MS - now_ms, ACCEPTED_FOR_MS)
        self._replaced.pop(secret, None)  # the newest is the last one
        self._replaced[secret] = PreviousSecret(secret, since_ms, self.steady_ms() + left_ms)

    def _drop_ended(self) -> int:
        """Forget what was replaced 48 h ago; return how many previous secrets these were."""
        now_ms, before = self.steady_ms(), len(self.previous)
        self._replaced = {name: one for name, one in self._replaced.items() if now_ms < one.ends_ms}
        return before - sum(one.secret in self._replaced for one in self.previous)

    def _accept(self, current: tuple[bytes, ...]) -> None:
        """Put these and all previous ones in force, from the next delivery on, and show them."""
        shown = dict(zip(self.current, self.status.secrets, strict=False))
        self.current = current
        self.previous = [one for secret, one in self._replaced.items() if secret not in current]
        secrets = (*current, *(one.secret for one in self.previous))
        self._verifier = Verifier(secrets, tolerance_s=self.tolerance_s)
        self.status.secrets = [self._status_of(secret, shown.get(secret)) for secret in current]
        used = [one.last_used_ms for one in self.previous if one.last_used_ms is not None]
        self.status.previous_secrets.number = len(self.previous)
        self.status.previous_secrets.last_used_ms = max(used, default=None)

    def _status_of(self, secret: bytes, before: SecretStatus | None) -> SecretStatus:
        source = self._sources.get(secret)
        first_seen_ms = self._memory.first_seen_ms(secret, now_ms=self.clock_ms())
        return SecretStatus(
            source=_ANNOUNCED if source is None else source.source,
            changed_ms=first_seen_ms if source is None else source.changed_ms or first_seen_ms,
            last_used_ms=None if before is None else before.last_used_ms,
        )

    async def _save(self) -> str | None:
        """Write what a restart must not forget; return why that failed, None if it did not."""
        return await asyncio.to_thread(self._write, self.current, self._kept())

    def _kept(self) -> Kept:
        kept: Kept = {secret: one.replaced_ms for secret, one in self._replaced.items()}
        return kept | {secret: None for secret in self.current if secret not in self._sources}

    def _write(self, current: tuple[bytes, ...], kept: Kept) -> str | None:
        before, self._problem = self._problem, None
        try:
            self._memory.write(current=current, kept=kept)
        except OSError as error:
            self._problem = f"{self._memory.file} can't be written: {error.strerror or error}"
        if self._problem and not before:
            log.warning("signing_secrets.not_kept", reason=self._problem)
        elif before and not self._problem:
            log.info("signing_secrets.kept", was=before)
        return self._problem


def _is_used_late(previous: PreviousSecret) -> bool:
    """Return whether it was used when Infodeck had nothing to repeat any more."""
    used_ms = previous.last_used_ms
    return used_ms is not None and used_ms - previous.replaced_ms >= REPEATED_FOR_MS


def _by_secret(secrets: Iterable[Secret]) -> dict[bytes, Secret]:
    """Return each secret once, with the first source that has it."""
    found: dict[bytes, Secret] = {}
    for secret in secrets:
        found.setdefault(secret.reveal(), secret)
    return found


class SecretMemory:
    """What is kept over restarts: one file beside the journal, mode 0600. Reading and writing block.

    It holds the secrets that are accepted although no source of the settings has them, and since when each
    current secret is known, by a fingerprint with a key of this file alone, so that two gateways' files do
    not show that they have the same secret.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._key = token_bytes(32)
        self._first_seen: dict[str, int] = {}  # Unix ms by fingerprint
        self._writing = threading.Lock()  # not asyncio's: a thread goes on when its task is cancelled

    def read(self) -> Kept:
        """Return the kept secrets; raise GatewayError, which quotes nothing, if the file can't be used."""
        if not self.file.exists():
            return {}
        try:
            document = orjson.loads(SecretSource("file", str(self.file)).resolve().reveal())
            kept = {base64.b64decode(secret): ms for secret, ms in document["accepted"].items()}
            first_seen, key = dict(document["first_seen"]), bytes.fromhex(document["key"])
        except (ValueError, KeyError, TypeError, AttributeError):
            document = kept = {}
        if document.get("form") != _FORM or b"" in kept:
            raise GatewayError(f"{self.file} was not written by this version of the gateway")
        self._first_seen, self._key = first_seen, key
        return kept

    def first_seen_ms(self, secret: bytes, *, now_ms: int) -> int:
        """Return since when the gateway knows a secret: since now, if it is new."""
        return self._first_seen.setdefault(self._fingerprint(secret), now_ms)

    def write(self, *, current: Iterable[bytes], kept: Kept) -> None:
        """Write the file, durably; raise OSError. Ages are kept of `current` secrets only."""
        with self._writing:
            names = [self._fingerprint(secret) for secret in current]
            accepted = {base64.b64encode(secret).decode(): ms for secret, ms in kept.items()}
            first_seen = {name: self._first_seen[name] for name in names}
            document = {"form": _FORM, "key": self._key.hex(), "first_seen": first_seen, "accepted": accepted}
            write_private(self.file, orjson.dumps(document))

    def _fingerprint(self, secret: bytes) -> str:
        return hmac.digest(self._key, secret, "sha256").hex()


def remove_memory(file: Path) -> None:
    """Remove the file and what is left of an interrupted writing, durably; raise OSError."""
    for path in (file, draft_of(file)):
        if path.is_file():
            path.unlink()
            sync_folder(file.parent)
