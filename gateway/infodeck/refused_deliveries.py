"""Pure: whether deliveries come but are refused for their signatures, and what that means."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.status import IntakeStatus

_SEVERAL = 3
_WITHIN_MS = 10 * 60_000
_FORGOTTEN_AFTER_MS = 24 * 3_600_000  # Infodeck repeats a delivery for so long
_AFTER_ACCEPTED_MS = 5 * 60_000  # until then, somebody else's nonsense may be among good deliveries
_CLOCK = "outside tolerance"
_JUDGED = ("mismatch", _CLOCK)


class RefusedDeliveries:
    """Judges the intake's counters again and again. A single accepted delivery ends the fault."""

    def __init__(self, intake: IntakeStatus) -> None:
        self._intake = intake
        self._accepted = 0
        self._accepted_ms: int | None = None
        self._refused = dict.fromkeys(_JUDGED, 0)
        self._last = _JUDGED[0]  # why the last one was refused
        self._times_ms: list[int] = []  # of the last refusals since the last accepted delivery
        self.is_held = False
        """What was judged last."""

    def judge(self, now_ms: int) -> str | None:
        """Return what is wrong with the deliveries' signatures, None if nothing is."""
        accepted = self._intake.answers[HTTPStatus.OK]
        refused = {reason: self._intake.refused[reason] for reason in _JUDGED}
        more = {reason: count - self._refused[reason] for reason, count in refused.items()}
        if accepted > self._accepted:
            self._times_ms.clear()
            self.is_held, self._accepted_ms = False, now_ms
        elif any(more.values()):
            self._last = max(more, key=lambda reason: more[reason])
            times_ms = [now_ms] * min(sum(more.values()), _SEVERAL)
            self._times_ms = [*self._times_ms, *times_ms][-_SEVERAL:]
        self._accepted, self._refused = accepted, refused
        if not self._times_ms or now_ms - self._times_ms[-1] > _FORGOTTEN_AFTER_MS:
            self.is_held = False
        elif self._are_several() and not self._was_accepted_just_now(now_ms):
            self.is_held = True
        return self._reason() if self.is_held else None

    def _are_several(self) -> bool:
        times_ms = self._times_ms
        return len(times_ms) == _SEVERAL and times_ms[-1] - times_ms[0] <= _WITHIN_MS

    def _was_accepted_just_now(self, now_ms: int) -> bool:
        accepted_ms = self._accepted_ms
        return accepted_ms is not None and 0 <= now_ms - accepted_ms < _AFTER_ACCEPTED_MS

    def _reason(self) -> str:
        if self._last == _CLOCK:
            return _clock_reason(self._intake.signature_age_s or 0.0)
        return (
            "deliveries come, but their signatures do not fit: none of intake.signing_secrets is this"
            " webhook's, or something on the way changes bodies; was the secret rotated, or the webhook made"
            " anew? (`gateway webhooks rotate` gets a new one)"
        )


def _clock_reason(age_s: float) -> str:
    """Return what a valid signature of that age means; a negative age is in the future."""
    step = 60 if abs(age_s) >= 600 else 10  # noqa: PLR2004 - ten minutes; the reason must not change all the time
    about_s = round(abs(age_s) / step) * step
    if age_s < 0:
        return (
            f"deliveries come, signed about {about_s} s ahead of this machine's clock, which is slow by that"
            " much: set it (`timedatectl` says whether it is synchronised)"
        )
    return (
        f"deliveries come about {about_s} s after they were signed: this machine's clock is fast by that much"
        " (`timedatectl` says whether it is synchronised), or they are held up on the way; where the clock is"
        " right, see intake.tolerance"
    )
