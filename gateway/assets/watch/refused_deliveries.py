"""Pure: whether deliveries come but are refused for their signatures, and what that means."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.status import IntakeStatus

_SEVERAL = 3
_WITHIN_MS = 10 * 60_000
_FORGOTTEN_AFTER_MS = 24 * 3_600_000  # Infodeck tries for so long
_JUDGED = ("mismatch", "outside tolerance")


class RefusedDeliveries:
    """Looks at the intake's counters again and again. A single accepted delivery ends it."""

    def __init__(self, intake: IntakeStatus) -> None:
        """Count from now on."""
        self._intake = intake
        self._accepted = 0
        self._refused = 0
        self._times_ms: list[int] = []  # of the last refusals that nothing accepted has followed
        self._is_held = False

    def judge(self, now_ms: int) -> str | None:
        """Return what is wrong with the deliveries' signatures, None where nothing is."""
        accepted = self._intake.answers[HTTPStatus.OK]
        refused = sum(self._intake.refused[reason] for reason in _JUDGED)
        if accepted > self._accepted:
            self._times_ms.clear()
            self._is_held = False
        elif refused > self._refused:
            more = min(refused - self._refused, _SEVERAL)
            self._times_ms = [*self._times_ms, *[now_ms] * more][-_SEVERAL:]
        self._accepted, self._refused = accepted, refused
        if not self._times_ms or now_ms - self._times_ms[-1] > _FORGOTTEN_AFTER_MS:
            self._is_held = False
        elif len(self._times_ms) == _SEVERAL and self._times_ms[-1] - self._times_ms[0] <= _WITHIN_MS:
            self._is_held = True
        return self._reason() if self._is_held else None

    def _reason(self) -> str:
        if self._intake.last_refusal == "outside tolerance":
            return _about_the_clock(self._intake.signature_age_s or 0.0)
        return (
            "deliveries come, but their signatures do not fit: none of intake.signing_secrets is this"
            " webhook's, or something on the way changes bodies; was the secret rotated, or the webhook made"
            " anew? (`gateway webhooks rotate` gets a new one)"
        )


def _about_the_clock(age_s: float) -> str:
    """Say what a right signature of that age means; negative: it comes from the future."""
    about_s = _rounded(abs(age_s))
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


def _rounded(seconds: float) -> int:
    """Return it by the minute where it is long: a reason should not change with every delivery."""
    step = 60 if seconds >= 600 else 10  # noqa: PLR2004 - ten minutes
    return round(seconds / step) * step
