"""The alarms about webhooks as a whole: when they are raised, what they say, and how they end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from support.arrival_parts import HOUR_MS, MINUTE_MS, NOW_MS, MadeUpReports, telemetry_event
from support.waiting import until

from gateway.alarms import Alarms
from gateway.errors import GatewayError, TransientError
from gateway.infodeck.delivery_monitor import DeliveryMonitor, MonitorTimes
from gateway.status import SinkStatus, Status

if TYPE_CHECKING:
    from collections.abc import Mapping


class Watched:
    """A monitor of three mapped assets, whose clock is moved by the test."""

    def __init__(self, *, times: MonitorTimes | None = None) -> None:
        self.now_ms = NOW_MS
        self.mapped = {"ast-1", "ast-2", "ast-3"}
        self.asked = 0
        self.status = Status(name="edge-1", started_ms=NOW_MS)
        self.alarms = Alarms(clock_ms=lambda: self.now_ms)
        self.monitor = DeliveryMonitor(
            alarms=self.alarms,
            status=self.status,
            reports=MadeUpReports(self.mapped),
            times=times or MonitorTimes(),
            clock_ms=lambda: self.now_ms,
            ask_api=self._ask,
        )
        self.arrivals = self.monitor.arrivals

    def _ask(self) -> None:
        self.asked += 1

    def later(self, ms: int) -> dict[str, str]:
        """Look every minute for a while; return the alarms that hold then, and their reasons."""
        until_ms = self.now_ms + ms
        while self.now_ms < until_ms:
            self.now_ms = min(self.now_ms + MINUTE_MS, until_ms)
            self.monitor.judge(self.now_ms)
        return self.reasons

    def ask(self, ages_ms: Mapping[str, int]) -> None:
        """Have the API tell how long ago each asset's data are from."""
        self.status.reconcile.state = "ok"
        self.status.reconcile.last_success_ms = self.now_ms
        self.monitor.accept_page({asset: self.now_ms - age_ms for asset, age_ms in ages_ms.items()})
        self.monitor.finish_list()

    def webhook(self, asset: str) -> None:
        """Let an event arrive now."""
        self.arrivals.accept(telemetry_event(asset, at_ms=self.now_ms))
        self.status.mapping.from_webhooks += asset in self.mapped

    @property
    def reasons(self) -> dict[str, str]:
        """The alarms that hold, and why."""
        return {alarm.name: alarm.reason for alarm in self.alarms.current()}


def test_webhook_missed_from_beginning_to_end() -> None:
    """It says how many and which, since when and what to do; it is logged once up and once down."""
    watched = Watched()
    with capture_logs() as logs:
        watched.later(HOUR_MS // 2)
        watched.mapped.add("ast-4")
        watched.ask(dict.fromkeys(watched.mapped, 0))
        assert watched.later(15 * MINUTE_MS) == {}
        watched.ask(dict.fromkeys(sorted(watched.mapped), 0))
        reason = watched.later(1000)["webhook-missed"]
        assert reason == (
            "Infodeck's API has newer data of 4 assets than any webhook brought (ast-1, ast-2, ast-3, …),"
            " since 2026-11-24T08:30:00Z: is the webhook there, active, and its URL this gateway's?"
            " `gateway webhooks deliveries` and `gateway doctor` say more"
        )
        assert watched.later(MINUTE_MS) == {"webhook-missed": reason}
        watched.webhook("ast-4")
        assert "(ast-1, ast-2, ast-3)" in watched.later(1000)["webhook-missed"]
        for asset in ("ast-1", "ast-2", "ast-3"):
            watched.webhook(asset)
        assert watched.later(1000) == {}
    assert [(line["event"], line["alarm"]) for line in logs] == [
        ("alarm.raised", "webhook-missed"),
        ("alarm.cleared", "webhook-missed"),
    ]


def test_webhooks_of_some_assets_only() -> None:
    """Where those of others come, the reason points at the subscription's filters."""
    watched = Watched()
    watched.later(HOUR_MS // 2)
    for _ in range(2):
        watched.webhook("ast-1")
        watched.ask({"ast-1": 0, "ast-2": 0})
        watched.later(1000)
        watched.webhook("ast-1")
        found = watched.later(MINUTE_MS)
        watched.later(15 * MINUTE_MS)
    assert "1 asset than any webhook brought (ast-2)" in found["webhook-missed"]
    assert "do its event filters leave these out?" in found["webhook-missed"]


def test_webhook_silent_without_the_api() -> None:
    """With neither key nor answer, silence alone counts; other events that came are spoken of."""
    watched = Watched()
    assert watched.later(HOUR_MS - 1000) == {}
    reason = watched.later(1000)["webhook-silent"]
    assert reason == (
        "no current telemetry has come by webhook as far as is known; the gateway runs since"
        " 2026-11-24T08:00:00Z: is the webhook there, active, and its URL this gateway's? If the devices"
        " themselves are silent for so long, set infodeck.silence higher. `gateway webhooks deliveries` and"
        " `gateway doctor` say more"
    )
    watched.webhook("ast-1")
    assert watched.later(1000) == {}
    assert "has come by webhook since 2026-11-24T09:00:00Z" in watched.later(HOUR_MS)["webhook-silent"]


@pytest.mark.parametrize("asset", ["an unmapped one", "ast-2"])
def test_what_comes_is_of_no_use(asset: str) -> None:
    """Only other assets' events come, or keys that no point reads: the API excuses that for three days."""
    watched = Watched()
    watched.webhook("ast-1")
    for quarter in range(72 * 4):
        watched.ask(dict.fromkeys(watched.mapped, quarter * 15 * MINUTE_MS))
        assert watched.later(14 * MINUTE_MS) == {}
        watched.arrivals.accept(telemetry_event(asset, at_ms=watched.now_ms))
        watched.later(MINUTE_MS)
    assert watched.later(MINUTE_MS)["webhook-silent"].startswith(
        "telemetry comes by webhook, but none with a reading for a point since 2026-11-24T08:00:00Z: do ids,"
        " keys and shape of events fit the point tables, or do the webhook's event filters leave assets out?"
    )
    watched.webhook("ast-2")
    assert watched.later(1000) == {}


def test_what_comes_cannot_be_read() -> None:
    """Events of a shape that is not known are no quiet building: `silence` is long enough."""
    watched = Watched()
    watched.status.reconcile.state = "ok"
    for minutes in range(0, 70, 10):
        assert (minutes > 60) == ("webhook-silent" in watched.reasons)
        watched.arrivals.accept(telemetry_event("ast-1", at_ms=watched.now_ms))
        watched.status.mapping.unreadable += 1
        watched.ask(dict.fromkeys(watched.mapped, minutes * MINUTE_MS))
        watched.later(10 * MINUTE_MS)
    assert watched.reasons["webhook-silent"].startswith(
        "telemetry comes by webhook, but none with a reading for a point as far as is known; the gateway"
        " runs since 2026-11-24T08:00:00Z: do ids, keys and shape of events fit the point tables"
    )
    watched.webhook("ast-1")
    assert watched.later(1000) == {}


def test_a_single_one_that_cannot_be_read_is_none() -> None:
    """Neither among good ones nor before a quiet night: for that, there are dead letters."""
    watched = Watched()
    for _ in range(8):
        watched.webhook("ast-1")
        watched.later(MINUTE_MS)
        watched.status.mapping.unreadable += 1
        watched.ask({"ast-1": MINUTE_MS, "ast-2": 100 * HOUR_MS})
        assert watched.later(14 * MINUTE_MS) == {}
    for minutes in range(15, 600, 15):
        watched.ask({"ast-1": minutes * MINUTE_MS, "ast-2": 100 * HOUR_MS})
        assert watched.later(15 * MINUTE_MS) == {}


def test_nothing_reaches_infodeck_either() -> None:
    """The API has nothing newer for three days: that is no quiet building any more."""
    watched = Watched()
    watched.webhook("ast-1")
    for quarter in range(1, 72 * 4):
        watched.ask(dict.fromkeys(watched.mapped, quarter * 15 * MINUTE_MS))
        assert watched.later(15 * MINUTE_MS) == {}
    watched.ask(dict.fromkeys(watched.mapped, 72 * HOUR_MS))
    assert (
        "since 2026-11-24T08:00:00Z, and Infodeck's API has nothing newer either: are the devices, their"
        " network and its connection to Infodeck alive?" in watched.later(16 * MINUTE_MS)["webhook-silent"]
    )


def test_what_comes_is_of_yesterday() -> None:
    """Repeated deliveries, each of them 20 hours old, are no current telemetry."""
    watched = Watched()
    for _ in range(60):
        watched.arrivals.accept(telemetry_event("ast-1", at_ms=watched.now_ms, late_ms=20 * HOUR_MS))
        watched.later(MINUTE_MS)
    assert watched.reasons["webhook-silent"].startswith("no current telemetry has come by webhook")


@pytest.mark.parametrize("by_ms", [-1000 * HOUR_MS, 1000 * HOUR_MS])
def test_a_clock_that_is_set_neither_raises_nor_keeps_back_an_alarm(by_ms: int) -> None:
    """A box without a battery starts in another year. What counts is the time that was watched."""
    watched = Watched()
    watched.later(HOUR_MS // 2)
    watched.now_ms += by_ms
    assert watched.later(HOUR_MS // 2 - 2 * MINUTE_MS) == {}
    assert set(watched.later(4 * MINUTE_MS)) == {"webhook-silent"}
    watched.now_ms -= by_ms
    assert set(watched.later(MINUTE_MS)) == {"webhook-silent"}
    watched.webhook("ast-1")
    assert watched.later(MINUTE_MS) == {}


def test_a_clock_that_is_set_back_before_the_first_look() -> None:
    """Between start and first look, as while a journal is checked."""
    watched = Watched()
    watched.now_ms -= 1000 * HOUR_MS
    assert watched.later(HOUR_MS - MINUTE_MS) == {}
    assert set(watched.later(3 * MINUTE_MS)) == {"webhook-silent"}


def test_a_machine_that_sleeps_every_night_notices_all_the_same() -> None:
    """The API has nothing newer, and each day has ten hours that are watched: the eighth is one too many."""
    watched = Watched()
    watched.webhook("ast-1")
    watched.later(MINUTE_MS)
    days = 0
    while not watched.reasons:
        for _ in range(40):
            watched.ask(dict.fromkeys(watched.mapped, watched.now_ms - NOW_MS))
            watched.later(15 * MINUTE_MS)
        watched.now_ms += 14 * HOUR_MS
        days += 1
    assert days == 8
    assert set(watched.reasons) == {"webhook-silent"}


@pytest.mark.parametrize("by_ms", [-1000 * HOUR_MS, 1000 * HOUR_MS])
def test_what_the_api_has_is_judged_after_the_clock_was_set(by_ms: int) -> None:
    """A judgement that was due by the old clock is not waited for."""
    watched = Watched()
    watched.later(HOUR_MS // 2)
    watched.ask(dict.fromkeys(watched.mapped, HOUR_MS))
    watched.now_ms += by_ms
    watched.later(20 * MINUTE_MS)
    watched.ask(dict.fromkeys(watched.mapped, 0))
    watched.later(2 * MINUTE_MS)
    watched.later(15 * MINUTE_MS)
    watched.ask(dict.fromkeys(watched.mapped, 0))
    assert set(watched.later(2 * MINUTE_MS)) == {"webhook-missed"}


def test_no_point_tables_no_alarm() -> None:
    """Where no asset is mapped, nothing is waited for."""
    watched = Watched()
    watched.mapped.clear()
    assert watched.later(10 * HOUR_MS) == {}


def test_a_night_without_reports_raises_nothing() -> None:
    """The API is asked as usual, and has nothing newer either."""
    watched = Watched()
    watched.webhook("ast-1")
    for quarter in range(1, 40):
        watched.ask(dict.fromkeys(watched.mapped, quarter * 15 * MINUTE_MS))
        assert watched.later(15 * MINUTE_MS) == {}
    assert watched.asked == 0


def test_silence_has_the_api_asked_where_that_is_seldom() -> None:
    """Before the alarm is raised, the API may explain it."""
    watched = Watched()
    watched.status.reconcile.state = "ok"
    watched.status.reconcile.last_success_ms = NOW_MS
    assert watched.later(HOUR_MS) == {}
    assert watched.asked == 1
    watched.ask(dict.fromkeys(watched.mapped, 2 * HOUR_MS))
    assert watched.later(3 * MINUTE_MS) == {}


def test_a_full_journal_is_told_with_the_sink_that_fills_it() -> None:
    """In the doctor's words, whose remedy is that sink, too."""
    watched = Watched()
    watched.status.journal.state = "the journal is full"
    watched.status.sinks = {
        "bms": SinkStatus(type="mqtt", state="away", lag=1200),
        "ahu": SinkStatus(type="mqtt", state="up", lag=1),
    }
    reason = watched.later(1000)["journal-unavailable"]
    assert "bms is away and 1200 events behind, which are kept for it" in reason


def test_a_journal_that_takes_nothing() -> None:
    """It is told as such, and what does not come meanwhile is not missed: Infodeck repeats it."""
    watched = Watched()
    watched.later(HOUR_MS // 2)
    watched.status.journal.state = "the journal is full"
    assert watched.later(1000)["journal-unavailable"].startswith(
        "the journal is full: no event can be accepted"
    )
    watched.ask(dict.fromkeys(watched.mapped, 0))
    assert set(watched.later(3 * HOUR_MS)) == {"journal-unavailable"}
    watched.status.journal.state = "ok"
    assert watched.later(1000) == {}


def test_an_api_that_fails_for_long() -> None:
    """After an hour, in the API's own words; its first answer ends it."""
    watched = Watched()
    watched.status.reconcile.state = "failing"
    watched.status.reconcile.last_success_ms = NOW_MS - 100 * HOUR_MS
    watched.status.reconcile.last_error = "the API answered 401: check infodeck.api_key"
    assert "reconcile-failing" not in watched.later(HOUR_MS - 1000)
    assert watched.later(1000)["reconcile-failing"] == (
        "no usable answer from Infodeck's API since 2026-11-24T08:00:00Z: the API answered 401: check"
        " infodeck.api_key"
    )
    watched.ask({})
    assert "reconcile-failing" not in watched.later(1000)


def test_what_follows_from_refused_signatures_says_so() -> None:
    """Nobody is sent to look for a webhook whose deliveries come, and are refused."""
    watched = Watched()
    watched.later(HOUR_MS // 2)
    for _ in range(3):
        watched.status.intake.count_refusal("mismatch", age_s=None)
    for _ in range(2):
        watched.later(15 * MINUTE_MS)
        watched.ask(dict.fromkeys(watched.mapped, 0))
    reasons = watched.later(HOUR_MS)
    assert reasons.keys() == {"signature-failing", "webhook-missed", "webhook-silent"}
    for name in ("webhook-missed", "webhook-silent"):
        assert ": deliveries come, but are refused for their signatures: see the alarm" in reasons[name]
        assert "is the webhook there" not in reasons[name]


def test_signatures_that_do_not_fit() -> None:
    """The first accepted delivery ends it."""
    watched = Watched()
    for _ in range(3):
        watched.status.intake.count_refusal("mismatch", age_s=None)
    assert "their signatures do not fit" in watched.later(1000)["signature-failing"]
    watched.status.intake.answers[200] += 1
    assert watched.later(1000) == {}


FAST = MonitorTimes(silence_ms=1000, look_again_ms=20, tick_ms=5)


async def test_infodeck_is_asked_why() -> None:
    """While an alarm holds, now and then; its answer, or why there is none, becomes part of the reason.

    The log has the first one.
    """
    watched = Watched(times=FAST)
    answers: list[str | GatewayError] = ["of its last 5 deliveries: 5x 401"]
    looks = 0

    async def look_up() -> str:
        nonlocal looks
        looks += 1
        answer = answers[-1]
        if isinstance(answer, GatewayError):
            raise answer
        return answer

    def reason() -> str:
        return watched.reasons.get("webhook-silent", "")

    with capture_logs() as logs:
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(watched.monitor.run(look_up))
            await asyncio.sleep(0)
            assert looks == 0
            watched.now_ms += 1000
            await until(lambda: "of its last 5 deliveries: 5x 401; `gateway webhooks" in reason())
            answers.append(TransientError("the API answered 503"))
            await until(lambda: "delivery log cannot be read: the API answered 503" in reason())
            watched.webhook("ast-1")
            await until(lambda: not watched.reasons)
            running.cancel()
    assert [line["event"] for line in logs] == ["alarm.raised", "alarm.explained", "alarm.cleared"]
    assert logs[1]["infodeck"] == "of its last 5 deliveries: 5x 401"


async def test_an_error_of_our_own_is_an_alarm_and_takes_nothing_down() -> None:
    """What cannot be judged is told as such, once; everything else is judged, and so is that afterwards."""
    watched = Watched(times=FAST)
    journal, watched.status.journal = watched.status.journal, None  # type: ignore[assignment]  # no code does so
    with capture_logs() as logs:
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(watched.monitor.run())
            await until(lambda: "journal-unavailable" in watched.reasons)
            assert (
                "cannot be judged, by an error of the gateway itself"
                in watched.reasons["journal-unavailable"]
            )
            watched.now_ms += 1000
            await until(lambda: "webhook-silent" in watched.reasons)
            watched.status.journal = journal
            await until(lambda: "journal-unavailable" not in watched.reasons)
            running.cancel()
    assert [(line["event"], line["alarm"]) for line in logs] == [
        ("alarm.raised", "journal-unavailable"),
        ("alarm.raised", "webhook-silent"),
        ("alarm.cleared", "journal-unavailable"),
    ]


def test_an_api_that_never_ends_its_answer() -> None:
    """Nothing says that it fails, but a day without any list is too long."""
    watched = Watched()
    watched.ask(dict.fromkeys(watched.mapped, 0))
    assert "reconcile-failing" not in watched.later(23 * HOUR_MS)
    assert "since 2026-11-24T08:00:00Z: no answer" in watched.later(2 * HOUR_MS)["reconcile-failing"]
