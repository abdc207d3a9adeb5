"""When deliveries that are refused for their signatures are worth an alarm, and what it says."""

from __future__ import annotations

import pytest
from support.arrival_parts import HOUR_MS, MINUTE_MS, NOW_MS

from gateway.infodeck.missing_webhooks import RefusedDeliveries
from gateway.status import IntakeStatus


class Intake:
    """The counters of an intake, looked at once a minute."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.status = IntakeStatus()
        self.refused = RefusedDeliveries(self.status)

    def refuse(self, times: int = 1, *, reason: str = "mismatch", age_s: float | None = None) -> str | None:
        """Refuse some deliveries; return what is found a minute later."""
        for _ in range(times):
            self.status.answers[401] += 1
            self.status.count_refusal(reason, age_s=age_s)
        return self.look()

    def accept(self) -> str | None:
        """Accept one."""
        self.status.answers[200] += 1
        return self.look()

    def look(self, *, after_ms: int = MINUTE_MS) -> str | None:
        """Look a while later."""
        self.now_ms += after_ms
        return self.refused.judge(self.now_ms)


def test_a_wrong_secret_is_told_until_a_delivery_is_accepted() -> None:
    """Three of them in a row within minutes; it holds while nothing comes, until the first good one."""
    intake = Intake()
    assert intake.refuse(2) is None
    reason = intake.refuse()
    assert reason is not None
    assert "none of intake.signing_secrets is this webhook's" in reason
    assert intake.look(after_ms=HOUR_MS) == reason
    assert intake.accept() is None
    assert intake.refuse() is None


def test_single_ones_among_good_ones_are_none() -> None:
    """Somebody else posts nonsense, or a retry is old: as long as good ones come, nothing is wrong."""
    intake = Intake()
    for _ in range(20):
        assert intake.refuse(2) is None
        assert intake.accept() is None


def test_rare_ones_are_none() -> None:
    """Three within a day are somebody else's."""
    intake = Intake()
    for _ in range(10):
        assert intake.refuse() is None
        intake.look(after_ms=HOUR_MS)


@pytest.mark.parametrize("reason", ["missing", "malformed"])
def test_what_is_no_delivery_is_none(reason: str) -> None:
    """Scanners find every open port; only what looks like Infodeck's can be wrongly signed."""
    assert Intake().refuse(100, reason=reason) is None


def test_a_day_without_any_ends_it() -> None:
    """By then Infodeck has given up, and whoever it was does not come any more."""
    intake = Intake()
    assert intake.refuse(3) is not None
    assert intake.look(after_ms=23 * HOUR_MS) is not None
    assert intake.look(after_ms=2 * HOUR_MS) is None


@pytest.mark.parametrize(
    ("age_s", "said"),
    [
        (-412.0, "signed about 410 s ahead of this machine's clock, which is slow by that much"),
        (412.0, "come about 410 s after they were signed: this machine's clock is fast by that much"),
        (7300.0, "come about 7300 s after they were signed"),
    ],
)
def test_a_wrong_clock_is_told_by_how_much(age_s: float, said: str) -> None:
    """A right signature outside the tolerance says which way, and about how far."""
    reason = Intake().refuse(3, reason="outside tolerance", age_s=age_s)
    assert reason is not None
    assert said in reason
    assert "timedatectl" in reason


def test_nonsense_after_a_good_one_is_none_for_some_minutes() -> None:
    """Anyone may post what looks like a delivery: while good ones come now and then, it raises nothing."""
    intake = Intake()
    for _ in range(20):
        assert intake.accept() is None
        for _ in range(4):
            assert intake.refuse(2) is None
    assert intake.refuse(2) is not None


def test_what_is_no_delivery_does_not_change_the_reason() -> None:
    """A scanner's request without a signature, after those that show how far the clock is off."""
    intake = Intake()
    reason = intake.refuse(3, reason="outside tolerance", age_s=412.0)
    assert reason is not None
    assert "clock is fast" in reason
    assert intake.refuse(1, reason="missing") == reason
    changed = intake.refuse(1)
    assert changed is not None
    assert "do not fit" in changed


def test_a_clock_that_was_set_back_keeps_nothing_back() -> None:
    """The last good delivery lies in the future then."""
    intake = Intake()
    intake.accept()
    intake.now_ms -= 100 * HOUR_MS
    assert intake.refuse(3) is not None
