"""Pure: which signing secrets are accepted, and how one follows another without a delivery being refused.

*Current* are those of the settings, and one that the gateway was told of before their source has it.
*Former* are those that a newer one has replaced: accepted until they were not used for a day, which is
how long Infodeck repeats a delivery.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

UNUSED_FOR_MS = 24 * 3600 * 1000
_MOST_FORMER = 8  # each of them costs an HMAC per delivery


@dataclass(slots=True)
class Former:
    """A secret that was replaced at `since_ms`. `last_used_ms` moves with each delivery that it signs.

    `was_told`: it is none that another has replaced, but no source of the settings had it at the last start.
    """

    secret: bytes = field(repr=False)
    since_ms: int
    last_used_ms: int | None = None
    was_told: bool = False

    @property
    def unused_since_ms(self) -> int:
        """Since when it was not needed."""
        return max(self.since_ms, self.last_used_ms or 0)

    def move(self, by_ms: int, *, now_ms: int) -> None:
        """Have its times as much later, but none ahead: such a one is of a clock that was wrong."""
        self.since_ms = min(self.since_ms + by_ms, now_ms)
        if self.last_used_ms is not None:
            self.last_used_ms = min(self.last_used_ms + by_ms, now_ms)


@dataclass(frozen=True, slots=True)
class SecretsInForce:
    """What is accepted now. `source` is what the settings' sources held when they were last read."""

    source: tuple[bytes, ...] = field(repr=False)
    current: tuple[bytes, ...] = field(repr=False)
    former: tuple[Former, ...] = ()

    @property
    def all(self) -> tuple[bytes, ...]:
        """Every secret, the current ones first."""
        return (*self.current, *(each.secret for each in self.former))

    @property
    def told(self) -> tuple[bytes, ...]:
        """Return the current ones that the settings' sources do not hold, or not yet."""
        return tuple(secret for secret in self.current if secret not in self.source)

    @property
    def used_after_ms(self) -> int | None:
        """How long after it was replaced a former one was used last; the longest, None where none was."""
        after_ms = (
            each.last_used_ms - each.since_ms for each in self.former if each.last_used_ms is not None
        )
        return max(after_ms, default=None)

    def announced(self, secret: bytes, *, now_ms: int, keep: bool) -> SecretsInForce:
        """Return what is in force once `secret` is the first one; the one before is accepted if `keep`.

        Not `keep`: nothing replaced is accepted any more, as after a secret has leaked.
        """
        if not keep:
            return replace(self, current=self._led_by(secret), former=())
        if secret == self.current[0]:
            return self
        return replace(
            self,
            current=self._led_by(secret),
            former=_joined(self.former, (self.current[0],), but=(secret,), now_ms=now_ms),
        )

    def reread(self, source: tuple[bytes, ...], *, now_ms: int) -> SecretsInForce:
        """Return what is in force once the sources hold `source`; what they no longer hold is former.

        Where they hold what they held before, nothing changes: a systemd credential stays as it is until
        a restart, and must not undo what the gateway was told meanwhile.
        """
        if source == self.source:
            return self
        return SecretsInForce(source, source, _joined(self.former, self.current, but=source, now_ms=now_ms))

    def with_kept(self, kept: tuple[Former, ...]) -> SecretsInForce:
        """Return what is in force after a start, with those that were accepted before it."""
        return replace(self, former=tuple(each for each in kept if each.secret not in self.current))

    def follow_clock(self, ahead_ms: int, *, now_ms: int) -> None:
        """Take along all times where the clock was set ahead: they are as long ago as they were."""
        for each in self.former:
            each.move(ahead_ms, now_ms=now_ms)

    def without_unused(self, *, now_ms: int) -> SecretsInForce:
        """Return what is in force without those that nobody has needed for a day."""
        self.follow_clock(0, now_ms=now_ms)
        needed = tuple(each for each in self.former if each.unused_since_ms + UNUSED_FOR_MS > now_ms)
        return self if len(needed) == len(self.former) else replace(self, former=needed)

    def _led_by(self, secret: bytes) -> tuple[bytes, ...]:
        return (secret, *(other for other in self.current[1:] if other != secret))


def _joined(
    former: tuple[Former, ...], replaced: tuple[bytes, ...], *, but: tuple[bytes, ...], now_ms: int
) -> tuple[Former, ...]:
    """Return the former ones and those that are replaced now, without `but`; those needed last at most."""
    known = {each.secret for each in former}
    added = [Former(secret, now_ms) for secret in replaced if secret not in known]
    kept = [each for each in (*former, *added) if each.secret not in but]
    return tuple(sorted(kept, key=lambda each: each.unused_since_ms)[-_MOST_FORMER:])
