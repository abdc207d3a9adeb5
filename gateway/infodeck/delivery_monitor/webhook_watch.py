"""Watches whether webhooks arrive, and raises an alarm in words that say what to do where they do not.

It never repairs anything: what webhooks miss, the refill brings. It ends its alarms by itself.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from gateway.alarms import JOURNAL, MISSED, RECONCILE, SIGNATURE, SILENT
from gateway.errors import GatewayError
from gateway.infodeck.delivery_monitor.refused_deliveries import RefusedDeliveries
from gateway.infodeck.delivery_monitor.silence import Silence
from gateway.infodeck.delivery_monitor.undelivered import Undelivered
from gateway.infodeck.delivery_monitor.wording import missed_text, silence_text
from gateway.logs import unforeseen
from gateway.status import kept_for
from gateway.text import second_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from gateway.alarms import Alarms
    from gateway.infodeck.delivery_monitor.arrivals import Arrivals
    from gateway.infodeck.delivery_monitor.pace import Pace
    from gateway.status import Status

_ADVICE = "`gateway webhooks deliveries` and `gateway doctor` say more"

log = structlog.get_logger()


class WebhookWatch:
    """Looks every few seconds. Belongs to the event loop.

    `see` and `listed` tell it what the API has, `run` judges.
    """

    def __init__(
        self,
        arrivals: Arrivals,
        *,
        alarms: Alarms,
        status: Status,
        pace: Pace,
        clock_ms: Callable[[], int],
        mapped: Callable[[], Collection[str]],
        read_ms: Callable[[str], int],
        keep_alive_ms: Callable[[str], int | None],
        ask_api: Callable[[], None],
    ) -> None:
        """Begin now. `mapped` gives the assets in tables; `read_ms` and `keep_alive_ms`: see `Undelivered`.

        `ask_api` has the API asked soon.
        """
        started_ms = clock_ms()
        self._arrivals = arrivals
        self._alarms = alarms
        self._status = status
        self._pace = pace
        self._clock_ms = clock_ms
        self._mapped = mapped
        self._ask_api = ask_api
        self._undelivered = Undelivered(
            arrivals,
            tolerance_ms=pace.delivery_ms,
            skew_ms=pace.skew_ms,
            read_ms=read_ms,
            keep_alive_ms=keep_alive_ms,
        )
        self._undelivered.begin(started_ms)
        self._silence = Silence(
            arrivals, mapping=status.mapping, pace=pace, keep_alive_ms=keep_alive_ms, started_ms=started_ms
        )
        self._refused = RefusedDeliveries(status.intake)
        self._started_ms = started_ms
        self._counting_from_ms = started_ms  # what the API does not tell counts from then on at the earliest
        self._looked_ms: int | None = None
        self._judge_at_ms: int | None = None
        self._said = ""  # what Infodeck says of the webhook, while it is asked for

    def restore(self, received_ms: int | None, *, used_ms: int | None) -> None:
        """Take over when the last webhook had come before the start, and the last one that was of use."""
        self._silence.restore(received_ms, used_ms=used_ms)

    def see(self, asset: str, time_ms: int) -> None:
        """Take in the time of the newest data that the API has of a mapped asset."""
        self._undelivered.see(asset, time_ms)

    def listed(self, *, at_ms: int) -> None:
        """Note that the API has told of all assets, as of `at_ms`; webhooks on their way get some time."""
        said = self._undelivered.listed(at_ms=at_ms, mapped=len(self._mapped()))
        if said is not None:
            self._silence.hear(said)
        if self._judge_at_ms is None:
            self._judge_at_ms = self._clock_ms() + self._pace.delivery_ms

    async def run(self, look_up: Callable[[], Awaitable[str]] | None = None) -> None:
        """Watch until cancelled.

        `look_up` returns what Infodeck itself says of the webhook, or raises `GatewayError`; None: that
        cannot be asked.
        """
        async with asyncio.TaskGroup() as tasks:
            if look_up is not None:
                tasks.create_task(self._ask_why(look_up), name="ask why webhooks do not arrive")
            while True:
                self.look(self._clock_ms())
                await asyncio.sleep(self._pace.tick_ms / 1000)

    def look(self, now_ms: int) -> None:
        """Judge everything once; what cannot be judged, by an error of ours, is an alarm as well."""
        self._notice_a_jump(now_ms)
        for name, reason_now in (
            (JOURNAL, self._journal_reason),
            (RECONCILE, self._api_reason),
            (SIGNATURE, self._refused.judge),
            (MISSED, self._missed_reason),
            (SILENT, self._silence_reason),
        ):
            try:
                reason = reason_now(now_ms)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are judged
                reason = f"cannot be judged, by an error of the gateway itself: {unforeseen(error)}"
            self._alarms.set(name, reason)
        if not self._is_asking_why:
            self._said = ""

    def _notice_a_jump(self, now_ms: int) -> None:
        """Leave out the time by which the clock was set, or for which the machine slept: nobody watched."""
        looked_ms, self._looked_ms = self._looked_ms, now_ms
        expected_ms = max(now_ms, self._started_ms) if looked_ms is None else looked_ms + self._pace.tick_ms
        if abs(now_ms - expected_ms) <= self._pace.jump_ms:
            return
        log.warning("watch.jumped", seconds=(now_ms - expected_ms) // 1000)
        self._counting_from_ms = now_ms
        self._judge_at_ms = None
        self._undelivered.begin(now_ms)
        self._silence.skip(from_ms=expected_ms, to_ms=now_ms)

    def _journal_reason(self, now_ms: int) -> str | None:
        """Say that nothing can be accepted; what comes meanwhile is not missed, for Infodeck repeats it."""
        state = self._status.journal.state
        if state == "ok":
            return None
        self._undelivered.begin(now_ms)
        self._silence.begin(now_ms)
        sinks = self._status.sinks.items()
        kept = kept_for((name, sink.state, sink.lag) for name, sink in sinks)
        return (
            f"{state}: no event can be accepted, and Infodeck repeats them for 24 h only; "
            + (f"{kept}; " if kept else "")
            + "see the disk, its free space, file permissions and journal.max_size"
        )

    def _api_reason(self, now_ms: int) -> str | None:
        reconcile = self._status.reconcile
        since_ms = max(min(reconcile.last_success_ms or 0, now_ms), self._counting_from_ms)
        failing_ms, stuck_ms = self._pace.unreachable_ms, self._pace.stuck_ms
        limit_ms = failing_ms if reconcile.state == "failing" else stuck_ms
        if reconcile.state == "off" or now_ms - since_ms < limit_ms:
            return None
        why = reconcile.last_error or "no answer"
        return f"Infodeck's API has told nothing since {second_text(since_ms)}: {why}"

    def _missed_reason(self, now_ms: int) -> str | None:
        self._undelivered.recover(now_ms)
        if self._judge_at_ms is not None and now_ms >= self._judge_at_ms:
            self._judge_at_ms = None
            self._undelivered.judge(self._mapped())
        if not self._undelivered.missed:
            return None
        return missed_text(self._undelivered, self._arrivals, are_refused=self._refused.is_held) + self._why()

    def _silence_reason(self, now_ms: int) -> str | None:
        if not self._mapped():  # nothing is waited for
            self._silence.begin(now_ms)
            return None
        can_ask = self._status.reconcile.state == "ok"
        if not self._silence.judge(now_ms, ask_api=self._ask_api if can_ask else None):
            return None
        text = silence_text(
            self._silence,
            self._arrivals,
            self._status.intake,
            started_ms=self._started_ms,
            can_ask=can_ask,
            are_refused=self._refused.is_held,
        )
        return text + self._why()

    @property
    def _is_asking_why(self) -> bool:
        return any(alarm.name in (MISSED, SILENT) for alarm in self._alarms.current())

    def _why(self) -> str:
        return f" {self._said}; {_ADVICE}" if self._said else f" {_ADVICE}"

    async def _ask_why(self, look_up: Callable[[], Awaitable[str]]) -> None:
        """Ask Infodeck, while there is something to explain, and not too often."""
        while True:
            if not self._is_asking_why:
                await asyncio.sleep(self._pace.tick_ms / 1000)
                continue
            try:
                said = await look_up()
            except GatewayError as error:
                said = f"Infodeck's delivery log cannot be read: {error}"
            except Exception as error:  # noqa: BLE001 - whatever it is, events must go on
                said = f"Infodeck's delivery log cannot be read: {unforeseen(error)}"
            if not self._is_asking_why:
                continue
            if not self._said:  # once for an alarm, which was logged before anything was known of why
                log.warning("alarm.explained", infodeck=said)
            self._said = said
            await asyncio.sleep(self._pace.look_again_ms / 1000)
