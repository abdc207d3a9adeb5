"""When it is worth an alarm that no webhook comes at all."""

from __future__ import annotations

from support.arrival_parts import HOUR_MS, MINUTE_MS, NOW_MS, Everything, telemetry_event

from gateway.infodeck.missed_deliveries import WebhookArrivals
from gateway.infodeck.silence import SilenceWatch
from gateway.status import MappingStatus


class Clock:
    """A gateway that has just started, and how long nothing has come."""

    def __init__(
        self, *, restored_ms: int | None = None, keep_alive_ms: int | None = None, devices: int = 3
    ) -> None:
        self.now_ms = NOW_MS
        self.asked = 0
        self.judged_ms = NOW_MS
        self.arrivals = WebhookArrivals(Everything)
        self.mapping = MappingStatus()
        self.silence = SilenceWatch(
            self.arrivals,
            mapping=self.mapping,
            silence_ms=HOUR_MS,
            keep_alives_ms=lambda: [] if keep_alive_ms is None else [keep_alive_ms] * devices,
            started_ms=NOW_MS,
        )
        if restored_ms is not None:
            self.silence.restore(restored_ms, now_ms=NOW_MS)

    def webhook(self, asset: str = "a") -> None:
        """Let an event arrive now."""
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
        return self.silence.judge(self.now_ms, elapsed_ms=elapsed_ms, ask_api=self.ask if with_api else None)

    def ask(self) -> None:
        """Count that the API is to be asked."""
        self.asked += 1


def test_nothing_ever_comes() -> None:
    """After the start, the longest silence is waited for, and no sign of life ends it but a webhook."""
    clock = Clock()
    assert clock.minutes_until_held() == 60
    clock.now_ms += 100 * HOUR_MS
    assert clock.judge()
    clock.webhook()
    assert not clock.judge()


def test_a_restart_does_not_begin_anew() -> None:
    """What was silent before the start counts; only the time to connect again is waited for."""
    assert Clock(restored_ms=NOW_MS - 30 * MINUTE_MS).minutes_until_held() == 30
    assert Clock(restored_ms=NOW_MS - 2 * HOUR_MS).minutes_until_held() == 5


def test_one_asset_that_dies_raises_none_before_its_time() -> None:
    """However fast it was, and however often it was seen: it may have lost its battery."""
    clock = Clock()
    for _ in range(26 * 60):
        clock.webhook()
        clock.now_ms += MINUTE_MS
    assert clock.minutes_until_held() == 59


def test_the_first_night_raises_none_before_its_time() -> None:
    """Assets that were known by day only, every minute, say nothing of the night."""
    clock = Clock()
    for _ in range(10 * 60):
        for number in range(5):
            clock.webhook(f"ast-{number}")
        clock.now_ms += MINUTE_MS
    assert clock.minutes_until_held() == 59


def test_devices_that_promise_to_report_often_are_missed_sooner() -> None:
    """Where three devices promise to report every five minutes, they are missed after fifteen; not two."""
    assert Clock(keep_alive_ms=5 * MINUTE_MS).minutes_until_held() == 15
    assert Clock(keep_alive_ms=5 * MINUTE_MS, devices=2).minutes_until_held() == 60


def test_a_pause_that_is_usual_is_none_whatever_devices_promise() -> None:
    """Minutes that are taken for seconds raise nothing, once the building has shown its own pace."""
    clock = Clock(keep_alive_ms=MINUTE_MS // 4)
    for _ in range(10):
        clock.webhook()
        clock.judge()
        clock.now_ms += 20 * MINUTE_MS
    clock.webhook()
    assert clock.minutes_until_held() == 20


def test_the_api_is_asked_first_and_can_excuse_it() -> None:
    """Where it has nothing newer either, the building sleeps: all night long, without any alarm."""
    clock = Clock()
    for _ in range(12):
        assert clock.minutes_until_held(most=61, with_api=True) is None
        clock.silence.accept_answer(is_quiet=True)
    assert clock.asked == 12


def test_an_api_that_does_not_excuse_it_is_not_waited_for() -> None:
    """Newer data are no excuse, and no answer is none either, after two minutes."""
    clock = Clock()
    clock.now_ms += HOUR_MS
    assert not clock.judge(with_api=True)
    clock.silence.accept_answer(is_quiet=False)
    clock.now_ms += 2 * MINUTE_MS
    assert clock.judge(with_api=True)
    assert clock.asked == 1


def test_an_excuse_ends_an_alarm() -> None:
    """The API was away and comes back: what it says counts at once."""
    clock = Clock()
    assert clock.minutes_until_held() == 60
    clock.silence.accept_answer(is_quiet=True)
    assert not clock.judge(with_api=True)
