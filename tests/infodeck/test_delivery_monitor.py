"""The alarms about webhooks: when they are raised, what they say, and how they end."""

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
    """A monitor of three mapped assets, with a clock that the test moves."""

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
        """Let time pass, judging every minute; return the current alarms and their reasons."""
        until_ms = self.now_ms + ms
        while self.now_ms < until_ms:
            self.now_ms = min(self.now_ms + MINUTE_MS, until_ms)
            self.monitor.judge(self.now_ms)
        return self.reasons

    def ask(self, ages_ms: Mapping[str, int]) -> None:
        """Have the API list how long ago each asset's data are from."""
        self.status.reconcile.state = "ok"
        self.status.reconcile.last_success_ms = self.now_ms
        self.monitor.accept_page({asset: self.now_ms - age_ms for asset, age_ms in ages_ms.items()})
        self.monitor.finish_list()

    def webhook(self, asset: str) -> None:
        """Deliver an event now."""
        self.arrivals.accept(telemetry_event(asset, at_ms=self.now_ms))
        self.status.mapping.from_webhooks += asset in self.mapped

    @property
    def reasons(self) -> dict[str, str]:
        """The reasons of the current alarms, by name."""
        return {alarm.name: alarm.reason for alarm in self.alarms.current()}


def test_webhook_missed_from_beginning_to_end() -> None:
    """The alarm says how many, which, since when and what to do; each change is logged once."""
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
    """If webhooks of other assets come, the alarm suggests event filters."""
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
    """Without the API, silence alone raises the alarm."""
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
def test_telemetry_without_use_is_silence(asset: str) -> None:
    """Events of other assets, or with unknown keys, do not end silence; the API excuses it for three days."""
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


def test_unreadable_telemetry_is_silence() -> None:
    """Unreadable events raise the alarm after `silence`, whatever the API has."""
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


def test_a_single_unreadable_event_is_no_alarm() -> None:
    """A single unreadable event raises nothing, also before a quiet night."""
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
    """After three days, an API without newer data excuses silence no longer."""
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


def test_late_deliveries_are_silence() -> None:
    """Deliveries that are 20 hours late are no current telemetry."""
    watched = Watched()
    for _ in range(60):
        watched.arrivals.accept(telemetry_event("ast-1", at_ms=watched.now_ms, late_ms=20 * HOUR_MS))
        watched.later(MINUTE_MS)
    assert watched.reasons["webhook-silent"].startswith("no current telemetry has come by webhook")


@pytest.mark.parametrize("by_ms", [-1000 * HOUR_MS, 1000 * HOUR_MS])
def test_a_step_of_the_clock_neither_raises_nor_delays_an_alarm(by_ms: int) -> None:
    """A step of the clock does not count as silence."""
    watched = Watched()
    watched.later(HOUR_MS // 2)
    watched.now_ms += by_ms
    assert watched.later(HOUR_MS // 2 - 2 * MINUTE_MS) == {}
    assert set(watched.later(4 * MINUTE_MS)) == {"webhook-silent"}
    watched.now_ms -= by_ms
    assert set(watched.later(MINUTE_MS)) == {"webhook-silent"}
    watched.webhook("ast-1")
    assert watched.later(MINUTE_MS) == {}


def test_a_step_of_the_clock_before_the_first_judgement() -> None:
    """A step between start and first judgement does not delay the alarm."""
    watched = Watched()
    watched.now_ms -= 1000 * HOUR_MS
    assert watched.later(HOUR_MS - MINUTE_MS) == {}
    assert set(watched.later(3 * MINUTE_MS)) == {"webhook-silent"}


def test_a_machine_that_sleeps_every_night_raises_the_alarm() -> None:
    """With ten hours awake a day, three days of silence take eight days."""
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
def test_missed_data_after_a_step_of_the_clock(by_ms: int) -> None:
    """After a step of the clock, new data in the API raise the alarm as usual."""
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


def test_without_point_tables_there_is_no_alarm() -> None:
    """Without mapped assets, nothing is expected."""
    watched = Watched()
    watched.mapped.clear()
    assert watched.later(10 * HOUR_MS) == {}


def test_a_night_without_reports_raises_nothing() -> None:
    """The API has nothing newer, so silence is excused."""
    watched = Watched()
    watched.webhook("ast-1")
    for quarter in range(1, 40):
        watched.ask(dict.fromkeys(watched.mapped, quarter * 15 * MINUTE_MS))
        assert watched.later(15 * MINUTE_MS) == {}
    assert watched.asked == 0


def test_silence_requests_a_seldom_reconciliation() -> None:
    """Before the alarm is raised, the API is requested, and may excuse the silence."""
    watched = Watched()
    watched.status.reconcile.state = "ok"
    watched.status.reconcile.last_success_ms = NOW_MS
    assert watched.later(HOUR_MS) == {}
    assert watched.asked == 1
    watched.ask(dict.fromkeys(watched.mapped, 2 * HOUR_MS))
    assert watched.later(3 * MINUTE_MS) == {}


def test_a_full_journal_names_the_sink_that_is_behind() -> None:
    """The alarm names the sink that is behind."""
    watched = Watched()
    watched.status.journal.state = "the journal is full"
    watched.status.sinks = {
        "bms": SinkStatus(type="mqtt", state="away", lag=1200),
        "ahu": SinkStatus(type="mqtt", state="up", lag=1),
    }
    reason = watched.later(1000)["journal-unavailable"]
    assert "bms is away and 1200 events behind, which are kept for it" in reason


def test_a_journal_that_accepts_nothing() -> None:
    """Only the journal has an alarm: Infodeck repeats what it cannot accept."""
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
    """The alarm is raised after an hour, in the API's own words, and ends with the first answer."""
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


def test_alarms_refer_to_refused_signatures() -> None:
    """While signatures fail, the other alarms refer to that alarm."""
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
    """The first accepted delivery ends the alarm."""
    watched = Watched()
    for _ in range(3):
        watched.status.intake.count_refusal("mismatch", age_s=None)
    assert "their signatures do not fit" in watched.later(1000)["signature-failing"]
    watched.status.intake.answers[200] += 1
    assert watched.later(1000) == {}


FAST = MonitorTimes(silence_ms=1000, look_again_ms=20, tick_ms=5)


async def test_infodecks_explanation_is_shown() -> None:
    """While an alarm lasts, Infodeck's explanation, or why there is none, is part of its reason.

    The log has the first one.
    """
    watched = Watched(times=FAST)
    answers: list[str | GatewayError] = ["of its last 5 deliveries: 5x 401"]
    requests = 0

    async def explain() -> str:
        nonlocal requests
        requests += 1
        answer = answers[-1]
        if isinstance(answer, GatewayError):
            raise answer
        return answer

    def reason() -> str:
        return watched.reasons.get("webhook-silent", "")

    with capture_logs() as logs:
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(watched.monitor.run(explain))
            await asyncio.sleep(0)
            assert requests == 0
            watched.now_ms += 1000
            await until(lambda: "of its last 5 deliveries: 5x 401; `gateway webhooks" in reason())
            answers.append(TransientError("the API answered 503"))
            await until(lambda: "delivery log cannot be read: the API answered 503" in reason())
            watched.webhook("ast-1")
            await until(lambda: not watched.reasons)
            running.cancel()
    assert [line["event"] for line in logs] == ["alarm.raised", "alarm.explained", "alarm.cleared"]
    assert logs[1]["infodeck"] == "of its last 5 deliveries: 5x 401"


async def test_an_internal_error_is_an_alarm() -> None:
    """A judgement that fails is an alarm; the other judgements continue."""
    watched = Watched(times=FAST)
    journal, watched.status.journal = watched.status.journal, None  # type: ignore[assignment]  # no code does so
    with capture_logs() as logs:
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
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
    """A day without any complete list is an alarm."""
    watched = Watched()
    watched.ask(dict.fromkeys(watched.mapped, 0))
    assert "reconcile-failing" not in watched.later(23 * HOUR_MS)
    assert "since 2026-11-24T08:00:00Z: no answer" in watched.later(2 * HOUR_MS)["reconcile-failing"]
