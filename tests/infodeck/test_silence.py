"""When silence of all webhooks is an alarm."""

from __future__ import annotations

from support.arrival_parts import HOUR_MS, MINUTE_MS, NOW_MS, Everything, telemetry_event

from gateway.infodeck.missing_webhooks import Silence, WebhookArrivals
from gateway.status import MappingStatus


class Clock:
    """A gateway that has just started, with a clock that the test moves."""

    def __init__(self, *, restored_ms: int | None = None) -> None:
        self.now_ms = NOW_MS
        self.asked = 0
        self.judged_ms = NOW_MS
        self.arrivals = WebhookArrivals(Everything)
        self.mapping = MappingStatus()
        self.silence = Silence(self.arrivals, mapping=self.mapping, silence_ms=HOUR_MS, started_ms=NOW_MS)
        if restored_ms is not None:
            self.silence.restore(restored_ms, now_ms=NOW_MS)

    def webhook(self, asset: str = "a") -> None:
        """Deliver an event now."""
        self.arrivals.accept(telemetry_event(asset, at_ms=self.now_ms))
        self.mapping.from_webhooks += 1

    def minutes_until_held(self, *, most: int = 600, with_api: bool = False) -> int | None:
        """Let time pass until the alarm holds; return how long that took."""
        for minute in range(most):
            if self.judge(with_api=with_api):
                return minute
            self.now_ms += MINUTE_MS
        return None

    def judge(self, *, with_api: bool = False) -> bool:
        """Judge now."""
        elapsed_ms, self.judged_ms = self.now_ms - self.judged_ms, self.now_ms
        return self.silence.judge(elapsed_ms=elapsed_ms, ask_api=self.ask if with_api else None)

    def ask(self) -> None:
        """Count that the API is to be asked."""
        self.asked += 1


def test_no_webhook_ever_comes() -> None:
    """After `silence`, the alarm holds until a webhook comes."""
    clock = Clock()
    assert clock.minutes_until_held() == 60
    clock.now_ms += 100 * HOUR_MS
    assert clock.judge()
    clock.webhook()
    assert not clock.judge()


def test_a_restart_does_not_begin_anew() -> None:
    """Silence before the start counts; five minutes after it are allowed."""
    assert Clock(restored_ms=NOW_MS - 30 * MINUTE_MS).minutes_until_held() == 30
    assert Clock(restored_ms=NOW_MS - 2 * HOUR_MS).minutes_until_held() == 5


def test_the_api_can_excuse_silence() -> None:
    """An API without newer data excuses silence again and again."""
    clock = Clock()
    for _ in range(12):
        assert clock.minutes_until_held(most=61, with_api=True) is None
        clock.silence.accept_answer(is_quiet=True)
    assert clock.asked == 12


def test_an_api_without_an_excuse_delays_nothing() -> None:
    """Newer data, or no answer within two minutes, are no excuse."""
    clock = Clock()
    clock.now_ms += HOUR_MS
    assert not clock.judge(with_api=True)
    clock.silence.accept_answer(is_quiet=False)
    clock.now_ms += 2 * MINUTE_MS
    assert clock.judge(with_api=True)
    assert clock.asked == 1


def test_an_excuse_ends_an_alarm() -> None:
    """An answer without newer data ends the alarm."""
    clock = Clock()
    assert clock.minutes_until_held() == 60
    clock.silence.accept_answer(is_quiet=True)
    assert not clock.judge(with_api=True)
