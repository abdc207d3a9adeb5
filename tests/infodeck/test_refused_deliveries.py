"""When refused signatures are an alarm, and what it says."""

from __future__ import annotations

import pytest
from support.arrival_parts import HOUR_MS, MINUTE_MS, NOW_MS

from gateway.infodeck.missing_webhooks import RefusedDeliveries
from gateway.status import IntakeStatus


class Intake:
    """An intake's counters, judged once a minute."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.status = IntakeStatus()
        self.refused = RefusedDeliveries(self.status)

    def refuse(self, times: int = 1, *, reason: str = "mismatch", age_s: float | None = None) -> str | None:
        """Refuse some deliveries; judge a minute later."""
        for _ in range(times):
            self.status.answers[401] += 1
            self.status.count_refusal(reason, age_s=age_s)
        return self.judge()

    def accept(self) -> str | None:
        """Accept one delivery; judge a minute later."""
        self.status.answers[200] += 1
        return self.judge()

    def judge(self, *, after_ms: int = MINUTE_MS) -> str | None:
        """Judge a while later."""
        self.now_ms += after_ms
        return self.refused.judge(self.now_ms)


def test_a_wrong_secret_is_an_alarm_until_a_delivery_is_accepted() -> None:
    """Three mismatches within minutes raise it; the first accepted delivery ends it."""
    intake = Intake()
    assert intake.refuse(2) is None
    reason = intake.refuse()
    assert reason is not None
    assert "none of intake.signing_secrets is this webhook's" in reason
    assert intake.judge(after_ms=HOUR_MS) == reason
    assert intake.accept() is None
    assert intake.refuse() is None


def test_mismatches_among_accepted_deliveries_are_no_alarm() -> None:
    """Mismatches between accepted deliveries raise nothing."""
    intake = Intake()
    for _ in range(20):
        assert intake.refuse(2) is None
        assert intake.accept() is None


def test_rare_mismatches_are_no_alarm() -> None:
    """Mismatches an hour apart raise nothing."""
    intake = Intake()
    for _ in range(10):
        assert intake.refuse() is None
        intake.judge(after_ms=HOUR_MS)


@pytest.mark.parametrize("reason", ["missing", "malformed"])
def test_requests_without_a_signature_are_no_alarm(reason: str) -> None:
    """Requests without a proper signature raise nothing."""
    assert Intake().refuse(100, reason=reason) is None


def test_a_day_without_refusals_ends_it() -> None:
    """After a day without refusals it ends."""
    intake = Intake()
    assert intake.refuse(3) is not None
    assert intake.judge(after_ms=23 * HOUR_MS) is not None
    assert intake.judge(after_ms=2 * HOUR_MS) is None


@pytest.mark.parametrize(
    ("age_s", "said"),
    [
        (-412.0, "signed about 410 s ahead of this machine's clock, which is slow by that much"),
        (412.0, "come about 410 s after they were signed: this machine's clock is fast by that much"),
        (7300.0, "come about 7300 s after they were signed"),
    ],
)
def test_a_wrong_clock_is_quantified(age_s: float, said: str) -> None:
    """The reason states direction and size of the difference."""
    reason = Intake().refuse(3, reason="outside tolerance", age_s=age_s)
    assert reason is not None
    assert said in reason
    assert "timedatectl" in reason


def test_mismatches_soon_after_an_accepted_delivery_are_no_alarm() -> None:
    """Mismatches within five minutes of an accepted delivery raise nothing."""
    intake = Intake()
    for _ in range(20):
        assert intake.accept() is None
        for _ in range(4):
            assert intake.refuse(2) is None
    assert intake.refuse(2) is not None


def test_a_request_without_a_signature_keeps_the_reason() -> None:
    """A request without a signature leaves the reason as it is."""
    intake = Intake()
    reason = intake.refuse(3, reason="outside tolerance", age_s=412.0)
    assert reason is not None
    assert "clock is fast" in reason
    assert intake.refuse(1, reason="missing") == reason
    changed = intake.refuse(1)
    assert changed is not None
    assert "do not fit" in changed


def test_a_clock_that_was_set_back_delays_nothing() -> None:
    """An accepted delivery in the future does not delay the alarm."""
    intake = Intake()
    intake.accept()
    intake.now_ms -= 100 * HOUR_MS
    assert intake.refuse(3) is not None
