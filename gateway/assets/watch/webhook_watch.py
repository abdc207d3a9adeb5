"""Watches whether webhooks arrive, and raises an alarm in words that say what to do where they do not.

It never repairs anything: what webhooks miss, the refill brings. It ends its alarms by itself.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from gateway.alarms import JOURNAL, MISSED, RECONCILE, SIGNATURE, SILENT
from gateway.assets.watch.refused_deliveries import RefusedDeliveries
from gateway.assets.watch.silence import Silence
from gateway.assets.watch.undelivered import Undelivered
from gateway.errors import GatewayError
from gateway.logs import unforeseen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from gateway.alarms import Alarms
    from gateway.assets.watch.arrivals import Arrivals
    from gateway.assets.watch.pace import Pace
    from gateway.status import Status

_SAMPLE = 3
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
        self._silence = Silence(arrivals, pace=pace, keep_alive_ms=keep_alive_ms, started_ms=started_ms)
        self._refused = RefusedDeliveries(status.intake)
        self._started_ms = started_ms
        self._judge_at_ms: int | None = None
        self._said = ""  # what Infodeck says of the webhook, while it is asked for
        self._is_broken = False

    def restore(self, received_ms: int | None) -> None:
        """Take over when the last webhook had come before the start."""
        self._silence.restore(received_ms)

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
                self._look_once()
                await asyncio.sleep(self._pace.tick_ms / 1000)

    def _look_once(self) -> None:
        """Look; an error of ours is logged once, and takes nothing else down."""
        try:
            self.look(self._clock_ms())
        except Exception as error:  # noqa: BLE001 - whatever it is, events must go on
            if not self._is_broken:
                log.error("watch.failed", reason=unforeseen(error))  # noqa: TRY400 - no traceback
            self._is_broken = True

    def look(self, now_ms: int) -> None:
        """Judge everything once."""
        self._judge_journal(now_ms)
        self._alarms.set(RECONCILE, self._api_reason(now_ms))
        self._alarms.set(SIGNATURE, self._refused.judge(now_ms))
        self._undelivered.recover(now_ms)
        if self._judge_at_ms is not None and now_ms >= self._judge_at_ms:
            self._judge_at_ms = None
            self._undelivered.judge(self._mapped())
        self._alarms.set(MISSED, self._missed_reason())
        self._alarms.set(SILENT, self._silence_reason(now_ms))
        if not self._is_asking_why:
            self._said = ""

    def _judge_journal(self, now_ms: int) -> None:
        """Tell that nothing can be accepted; what comes meanwhile is not missed, for Infodeck repeats it."""
        state = self._status.journal.state
        if state == "ok":
            self._alarms.set(JOURNAL, None)
            return
        self._undelivered.begin(now_ms)
        self._silence.excuse(now_ms)
        self._alarms.set(
            JOURNAL,
            f"{state}: no event can be accepted, and Infodeck repeats them for 24 h only; see free space,"
            " file permissions and journal.max_size",
        )

    def _api_reason(self, now_ms: int) -> str | None:
        reconcile = self._status.reconcile
        since_ms = max(reconcile.last_success_ms or 0, self._started_ms)
        if reconcile.state != "failing" or now_ms - since_ms < self._pace.unreachable_ms:
            return None
        return f"Infodeck's API has told nothing since {_utc(since_ms)}: {reconcile.last_error}"

    def _missed_reason(self) -> str | None:
        missed = self._undelivered.missed
        if not missed:
            return None
        sample = ", ".join(islice(missed, _SAMPLE)) + (", …" if len(missed) > _SAMPLE else "")
        found = (
            f"Infodeck's API has newer data of {_counted(missed)} than any webhook brought ({sample}),"
            f" since {_utc(min(missed.values()))}"
        )
        if self._undelivered.is_total:
            return f"{found}: is the webhook there, active, and its URL this gateway's?{self._why()}"
        return f"{found}, while those of others come: do its event filters leave these out?{self._why()}"

    def _silence_reason(self, now_ms: int) -> str | None:
        if not self._mapped():
            return None
        can_ask = self._status.reconcile.state == "ok"
        if not self._silence.judge(now_ms, ask_api=self._ask_api if can_ask else None):
            return None
        last_ms = self._silence.last_ms
        told = (
            f"no telemetry has come by webhook since {_utc(last_ms)}"
            if last_ms
            else (
                f"no telemetry has ever come by webhook, and the gateway runs since {_utc(self._started_ms)}"
            )
        )
        others = sum(self._status.intake.ignored_types.values())
        beside = f", but {others} events of other types: see the webhook's list of events" if others else ""
        strange = self._status.intake.other_organization
        wrong = (
            f"; {strange} events were of another organization than infodeck.organization" if strange else ""
        )
        return (
            f"{told}{beside}{wrong}: is the webhook there, active, and its URL this gateway's? If the devices"
            f" themselves are silent for so long, set infodeck.silence higher.{self._why()}"
        )

    @property
    def _is_asking_why(self) -> bool:
        return bool(self._undelivered.missed) or self._silence.is_held

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


def _counted(assets: Collection[str]) -> str:
    return "1 asset" if len(assets) == 1 else f"{len(assets)} assets"


def _utc(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
