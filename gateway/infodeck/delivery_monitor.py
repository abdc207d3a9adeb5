"""Monitors whether webhooks arrive, and raises alarms that say what to do where they do not.

It repairs nothing: the backfill fetches what webhooks missed. Its alarms end by themselves.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import structlog

from gateway.alarms import JOURNAL, MISSED, RECONCILE, SIGNATURE, SILENT
from gateway.infodeck.missing_webhooks import (
    DOES_SOURCE_BRING,
    IS_IT_THERE,
    REFUSED,
    MissedDeliveries,
    RefusedDeliveries,
    Silence,
    WebhookArrivals,
)
from gateway.logs import error_text
from gateway.model import BACKFILL_ID_PREFIX
from gateway.text import count_text, second_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from gateway.alarms import Alarms
    from gateway.model import Update
    from gateway.settings import InfodeckSettings
    from gateway.state.building_state import BuildingState
    from gateway.status import Status

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_JUMP_MS = 120_000  # an interval that is off by this means that the clock was set, or that the machine slept
_SLICE = 1_000  # points processed before the event loop gets its turn
_ADVICE = "`gateway webhooks deliveries` and `gateway doctor` say more"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorTimes:
    """The monitor's periods, in milliseconds.

    `delivery_ms` is what a delivery may take, `skew_ms` how far Infodeck's clock may be off ours,
    `unreachable_ms` how long the API may fail. The monitor judges every `tick_ms`. While an alarm holds, the
    delivery log is read every `look_again_ms`.
    """

    delivery_ms: int = 60_000
    skew_ms: int = 300_000
    silence_ms: int = _HOUR_MS
    unreachable_ms: int = _HOUR_MS
    look_again_ms: int = 300_000
    tick_ms: int = 5_000

    @classmethod
    def from_settings(cls, settings: InfodeckSettings, *, skew_ms: int) -> Self:
        """Return the periods that follow from the settings."""
        delivery_ms, silence_ms = round(settings.refill.tolerance * 1000), round(settings.silence * 1000)
        return cls(
            delivery_ms=delivery_ms,
            skew_ms=skew_ms,
            silence_ms=silence_ms,
            unreachable_ms=max(_HOUR_MS, round(4000 * settings.reconcile.every)),
            tick_ms=max(100, min(5_000, delivery_ms // 4, silence_ms // 4)),
        )


@dataclass
class AssetReports:
    """What points show of the assets in the tables, in the `state` in force. Unix milliseconds."""

    state: Callable[[], BuildingState]

    def mapped(self) -> Collection[str]:
        """Return the assets of the tables."""
        return self.state().points.by_asset.keys()

    def newest_by_webhook(self, asset: str) -> int:
        """Return the time of the newest reading that a webhook brought and a point shows, 0 if none."""
        state = self.state()
        plan = state.points.by_asset.get(asset)
        shown = [state.measured(point) for point in plan.measured] if plan is not None else []
        return max((one.time_ms for one in shown if one is not None and _is_by_webhook(one)), default=0)

    async def newest_at_start(self) -> int:
        """Return the time of the newest reading by webhook; if points show the API's alone, of these."""
        state, by_webhook_ms, any_ms = self.state(), 0, 0
        for number, point in enumerate(state.points.points):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
            if (update := state.measured(point)) is not None:
                any_ms = max(any_ms, update.time_ms)
                by_webhook_ms = max(by_webhook_ms, update.time_ms if _is_by_webhook(update) else 0)
        return by_webhook_ms or any_ms


def _is_by_webhook(update: Update) -> bool:
    return not (update.event_id or "").startswith(BACKFILL_ID_PREFIX)


class DeliveryMonitor:
    """Judges every few seconds by what arrives, what the API lists, and the gateway's own counters."""

    def __init__(
        self,
        *,
        alarms: Alarms,
        status: Status,
        reports: AssetReports,
        times: MonitorTimes,
        clock_ms: Callable[[], int],
        ask_api: Callable[[], None],
    ) -> None:
        """`ask_api` has the API asked soon."""
        self.arrivals = WebhookArrivals(reports.mapped)
        self._alarms = alarms
        self._status = status
        self._reports = reports
        self._times = times
        self._clock_ms = clock_ms
        self._ask_api = ask_api
        self._judged_ms = now_ms = clock_ms()
        self._missed = MissedDeliveries(
            self.arrivals,
            delivery_ms=times.delivery_ms,
            skew_ms=times.skew_ms,
            newest_by_webhook=reports.newest_by_webhook,
        )
        self._missed.begin(now_ms)
        self._silence = Silence(
            self.arrivals, mapping=status.mapping, silence_ms=times.silence_ms, started_ms=now_ms
        )
        self._refused = RefusedDeliveries(status.intake)
        self._api_success_ms: int | None = None
        self._api_silent_ms = 0
        self._explanation = ""  # what Infodeck says of the webhook, while an alarm about it holds

    def accept_page(self, newest_ms: Mapping[str, int]) -> None:
        """Compare a page of assets, with the times of their newest readings in the API's list."""
        for asset, time_ms in newest_ms.items():
            self._missed.compare(asset, time_ms, now_ms=self._clock_ms())

    def finish_list(self) -> None:
        """End the API's list."""
        is_quiet = self._missed.finish_list(mapped=len(self._reports.mapped()))
        if is_quiet is not None:
            self._silence.accept_answer(is_quiet=is_quiet)

    async def run(self, explain: Callable[[], Awaitable[str]] | None = None) -> None:
        """Monitor until cancelled.

        Silence from before the start counts, or frequent starts would hide that nothing comes. `explain`
        returns Infodeck's own records of the webhook; None if they cannot be read.
        """
        if last_ms := await self._reports.newest_at_start():
            self.restore(last_ms)
        async with asyncio.TaskGroup() as tasks:
            if explain is not None:
                tasks.create_task(self._explain_alarms(explain), name="explain webhook alarms")
            while True:
                self.judge(self._clock_ms())
                await asyncio.sleep(self._times.tick_ms / 1000)

    def restore(self, last_ms: int) -> None:
        """Go on with the silence since the last event before the start."""
        self._judged_ms = self._clock_ms()
        self._silence.restore(last_ms, now_ms=self._judged_ms)

    def judge(self, now_ms: int) -> None:
        """Judge everything once. What cannot be judged, by an error of ours, is an alarm as well."""
        elapsed_ms = self._elapsed_ms(now_ms)
        for name, reason_now in (
            (JOURNAL, self._journal_reason),
            (RECONCILE, self._api_reason),
            (SIGNATURE, lambda now_ms, _: self._refused.judge(now_ms)),
            (MISSED, self._missed_reason),
            (SILENT, self._silence_reason),
        ):
            try:
                reason = reason_now(now_ms, elapsed_ms)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are judged
                reason = f"cannot be judged, by an error of the gateway itself: {error_text(error)}"
            self._alarms.set(name, reason)
        if not self._needs_explanation:
            self._explanation = ""

    def _elapsed_ms(self, now_ms: int) -> int:
        """Return the time since the last judgement, without a jump of the clock, or sleep."""
        elapsed_ms, self._judged_ms = now_ms - self._judged_ms, now_ms
        off_ms = elapsed_ms - self._times.tick_ms
        if abs(off_ms) <= _JUMP_MS:
            return max(0, elapsed_ms)
        log.warning("watch.jumped", seconds=off_ms // 1000)
        self._missed.begin(now_ms)
        return self._times.tick_ms

    def _journal_reason(self, now_ms: int, _: int) -> str | None:
        """Return why no event can be accepted. What comes meanwhile is not missed: Infodeck repeats it."""
        state = self._status.journal.state
        if state == "ok":
            return None
        self._missed.begin(now_ms)
        self._silence.begin()
        name, sink = max(self._status.sinks.items(), key=lambda each: each[1].lag, default=("", None))
        kept = ""
        if sink is not None and sink.lag:
            events = count_text(sink.lag, "event")
            kept = f"{name} is {sink.state} and {events} behind, which are kept for it; "
        return (
            f"{state}: no event can be accepted, and Infodeck repeats them for 24 h only; {kept}see the disk,"
            " its free space, file permissions and journal.max_size"
        )

    def _api_reason(self, now_ms: int, elapsed_ms: int) -> str | None:
        reconcile, unreachable_ms = self._status.reconcile, self._times.unreachable_ms
        self._api_silent_ms += elapsed_ms
        if reconcile.last_success_ms is not None and reconcile.last_success_ms != self._api_success_ms:
            self._api_success_ms = reconcile.last_success_ms
            self._api_silent_ms = min(self._api_silent_ms, max(0, now_ms - reconcile.last_success_ms))
        limit_ms = unreachable_ms if reconcile.state == "failing" else max(_DAY_MS, unreachable_ms)
        if reconcile.state == "off" or self._api_silent_ms < limit_ms:
            return None
        since = second_text(now_ms - self._api_silent_ms)
        return f"no usable answer from Infodeck's API since {since}: {reconcile.last_error or 'no answer'}"

    def _missed_reason(self, now_ms: int, _: int) -> str | None:
        self._missed.drop_recovered(now_ms)
        reason = self._missed.reason(question=self._question)
        return None if reason is None else reason + self._why()

    def _silence_reason(self, now_ms: int, elapsed_ms: int) -> str | None:
        if not self._reports.mapped():  # nothing is expected
            self._silence.begin()
            return None
        ask_api = self._ask_api if self._status.reconcile.state == "ok" else None
        if not self._silence.judge(elapsed_ms=elapsed_ms, ask_api=ask_api):
            return None
        return self._silence.text(now_ms=now_ms, question=self._question) + self._why()

    @property
    def _question(self) -> str:
        """What to look at if nothing comes."""
        if self._status.source is not None:
            return DOES_SOURCE_BRING
        return REFUSED if self._refused.is_failing else IS_IT_THERE

    @property
    def _needs_explanation(self) -> bool:
        return any(alarm.name in (MISSED, SILENT) for alarm in self._alarms.current())

    def _why(self) -> str:
        if self._status.source is not None:
            return ""
        return f" {self._explanation}; {_ADVICE}" if self._explanation else f" {_ADVICE}"

    async def _explain_alarms(self, explain: Callable[[], Awaitable[str]]) -> None:
        """Read Infodeck's records while an alarm holds, now and then. The log gets the first ones."""
        while True:
            pause_ms = self._times.tick_ms
            if self._needs_explanation:
                try:
                    explanation = await explain()
                except Exception as error:  # noqa: BLE001 - whatever it is, events must go on
                    explanation = f"Infodeck's delivery log cannot be read: {error_text(error)}"
                if self._needs_explanation:
                    if not self._explanation:
                        log.warning("alarm.explained", infodeck=explanation)
                    self._explanation, pause_ms = explanation, self._times.look_again_ms
            await asyncio.sleep(pause_ms / 1000)
