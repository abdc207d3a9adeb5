"""The Modbus client: writes the points that have a register on this sink into a building controller.

What a BMS engineer needs to know:

- Holding registers and coils are written, and none but those that a point table names. Neighbours are
  joined into one request (function 16 up to 123 registers, function 15 up to 1968 coils).
- A value of several registers is always written by a single request, so it is never seen torn.
- Only changes are written. After every connection, and once per `refresh`, everything is: the controller
  may have lost it.
- A point is left alone until its first reading. Without a usable value it is given its sentinel (NaN,
  0x8000…, 0xFFFF…); a bit or coil is 0. A value outside of the point's `range` is never written.
- A word with bits belongs to the gateway as a whole: bits of it without a point are written as 0.
- Nothing special is written when the gateway stops: watch the heartbeat register.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from gateway.backoff import Backoff
from gateway.clock import now_ms
from gateway.errors import RefusedError, TransientError
from gateway.sinks.connecting import RECEIVER_WAIT_S, ConnectingSink, ReceiverState
from gateway.sinks.modbus_client.config import ModbusClientConfig, Serial
from gateway.sinks.modbus_client.desired import DesiredState
from gateway.sinks.modbus_client.link import NoAnswerError, open_link
from gateway.sinks.modbus_client.requests import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gateway.alarms import Alarms
    from gateway.model import Update
    from gateway.ports import Adopt, LatestValues, PointSource
    from gateway.sinks.modbus_client.link import Link
    from gateway.sinks.modbus_client.unit import Unit
    from gateway.status import SinkStatus

__all__ = ["ModbusClientConfig", "ModbusClientSink", "Serial"]

_TRIAL_SHARE = 5  # units in trouble are tried for a fifth of the time, while others get along
_LATE_ANSWER_S = 0.25  # pause after an unanswered request, in which a late answer is ignored
_LONGEST_WRITE_S = 5.0  # a write that takes longer goes on in the background: newer values wait for it

_log = structlog.get_logger()


class ModbusClientSink(ConnectingSink):
    """The points of one gateway in one controller, or on one serial line of controllers.

    One task connects, writes and reconnects; `write` only sets the desired state, and waits for the task.
    The desired state outlives connections, units that do not answer, and reloads. Nothing is written on
    leaving.
    """

    def __init__(
        self,
        *,
        name: str,
        config: ModbusClientConfig,
        gateway: str,  # noqa: ARG002 - registers have no room for it
        points: PointSource,
        latest: LatestValues,
        status: SinkStatus,
        retained: dict[str, bool] | None = None,  # noqa: ARG002 - everything is written at each connection
        alarms: Alarms | None = None,  # noqa: ARG002 - registers show no text
        clock: Callable[[], int] = now_ms,
    ) -> None:
        """Build the desired state of the points. `clock` returns Unix milliseconds."""
        self._name = name
        self._config = config
        self._latest = latest
        self._receiver = ReceiverState(
            sink=name, status=status, clock=clock, log_fields={"controller": config.line}
        )
        super().__init__(self._stay_connected, task_name=f"modbus client sink {name}")
        self._desired = self._build_state(points)
        self._is_connected = False
        self._unanswered: str | None = None  # why the last connection ended without a single answer
        self._next_trial_s = 0.0  # when a unit in trouble may be tried, by the event loop's clock
        self._refresh_s: float | None = None  # when everything is written again, by the event loop's clock
        self._logged: set[str] = set()  # places whose refusal was logged
        self._wake = asyncio.Event()  # there is something for the task to do
        self._progress = asyncio.Event()  # the task has done that, or cannot

    async def write(self, updates: Sequence[Update]) -> None:
        """Set the values of the updates that are their point's newest; return once they are written.

        Raises `TransientError` while there is no connection, and while no unit with dirty values answers. A
        unit that is silent or busy while another one answers does not delay the write, nor does a controller
        that takes longer than 5 s: its values stay dirty, and the newest are written later. If they are
        refused then, the next write raises `RefusedError` for them.
        """
        desired = self._desired
        applied, reasons = desired.apply_updates(updates, is_newest=self._latest.is_newest)
        if not (applied or desired.has_unconfirmed) and self._is_connected and self._silence(desired) is None:
            return
        self._wake.set()
        try:
            async with asyncio.timeout(_LONGEST_WRITE_S):
                await self._wait_until_written(desired, applied)
        except TimeoutError as error:
            if not self._is_connected:  # it comes and goes
                raise self._away_error() from error
        refusals = desired.refusals(applied, reasons)
        if refusals:
            raise RefusedError(refusals)

    def prepare(self, points: PointSource, latest: LatestValues) -> Adopt:
        """Build the desired state of another point table; registers without a point stay as they are."""
        desired = self._build_state(points)
        desired.apply_latest(latest)
        replaced: list[DesiredState] = []

        def adopt(news: Iterable[Update]) -> None:
            desired.apply_updates(news)
            desired.adopt_state(self._desired)
            replaced.append(self._desired)  # freed with this function, in slices
            self._desired, self._latest = desired, latest
            self._wake.set()
            self._progress.set()

        return adopt

    def _build_state(self, points: PointSource) -> DesiredState:
        return DesiredState(points.points, sink=self._name, limits=self._config.limits)

    async def _wait_until_written(self, desired: DesiredState, applied: Sequence[Update]) -> None:
        """Wait until `applied` is written to all units that get along.

        Raises `TransientError` if nothing gets through to any.
        """
        while desired is self._desired:
            if (silence := self._silence(desired)) is not None:
                raise self._away_error(silence)
            if self._is_connected and not desired.is_pending(applied):
                return
            self._progress.clear()
            if self._is_connected:
                await self._progress.wait()
            else:
                await self._wait_for_connection()

    async def _wait_for_connection(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(RECEIVER_WAIT_S):
                while not self._is_connected and self._silence(self._desired) is None:
                    self._progress.clear()
                    await self._progress.wait()
                return
        raise self._away_error()

    def _away_error(self, reason: str | None = None) -> TransientError:
        return TransientError(reason or self._receiver.away_reason)

    async def _stay_connected(self) -> None:
        backoff = Backoff()
        while True:
            try:
                async with open_link(self._config, on_end=self._wake.set) as link:
                    await self._use(link, backoff)
            except TransientError as error:
                self._mark_away(str(error))
            await asyncio.sleep(backoff.next_s())

    async def _use(self, link: Link, backoff: Backoff) -> None:
        """Use a connection until it is lost or must be closed; pauses begin anew if anything was answered."""
        try:
            await self._session(link)
        except NoAnswerError as error:
            if not link.has_answered:
                self._unanswered = str(error)
            self._report_trouble(str(error))
        finally:
            self._is_connected = False
            if link.has_answered:
                backoff.reset()

    async def _session(self, link: Link) -> None:
        """Write everything, and then whatever changes, until the connection is lost."""
        self._receiver.count_connection()
        writer = Writer(link, verify=self._config.verify)
        loop = asyncio.get_running_loop()
        self._begin(loop.time())
        self._refresh_s = self._next_refresh_s()
        is_first = True
        while True:
            desired = self._desired
            self._wake.clear()
            due = self._due_units(desired, loop.time())
            if link.is_lost and link.has_answered and not due:
                return  # many controllers close idle connections: reconnect, this is no outage
            link.check()
            for unit in due:
                if unit.retry_at_s is not None:  # it was left alone for a while
                    desired.apply_latest(self._latest)
                desired.apply_heartbeats(self._latest)
                with self._trial(unit):
                    reason = await self._write_unit(writer, link, unit, desired)
                if link.has_answered:
                    self._unanswered = None
                if reason is not None:
                    self._report_trouble(reason)
                self._progress.set()
            if not due:
                if is_first:
                    self._log_refused(desired)
                is_first = False
                self._report_state(desired)
                if self._refresh_s is None or loop.time() < self._refresh_s:
                    await self._idle(desired)
                else:
                    desired.mark_all_dirty()
                    self._refresh_s = self._next_refresh_s()

    def _begin(self, now_s: float) -> None:
        """Mark everything dirty: the controller may have lost it. If no unit answered, all are due again."""
        desired = self._desired
        is_silent = self._silence(desired) is not None
        desired.apply_latest(self._latest)
        desired.mark_all_dirty()
        for unit in desired.units.values():
            if is_silent and unit.retry_at_s is not None:
                unit.retry_at_s = now_s
        if not any(1 in unit.dirty for unit in desired.units.values()):
            self._unanswered = None  # there is no request that could be answered
        self._is_connected = True
        self._progress.set()

    async def _write_unit(self, writer: Writer, link: Link, unit: Unit, desired: DesiredState) -> str | None:
        """Write dirty values of a unit; return why it is left alone for a while, if so.

        A request without an answer ends the connection: its answer may come later, and must not be taken
        for that to another request. With RTU the connection stays while another unit answers, for the unit
        is in each answer; the silent one is given everything later, since a restart shows only by silence.
        """
        try:
            return await writer.write_dirty(unit, goes_on=lambda: desired is self._desired)
        except NoAnswerError as error:
            is_shared = self._config.limits.is_serial and link.has_answered
            if not is_shared or self._silence(desired) is not None:
                raise
            unit.mark_all_dirty()
            await asyncio.sleep(_LATE_ANSWER_S)
            return str(error)

    def _next_refresh_s(self) -> float | None:
        """Return when everything is to be written again, by the event loop's clock; None: never."""
        refresh = self._config.refresh
        return None if refresh == "never" else asyncio.get_running_loop().time() + refresh

    @contextmanager
    def _trial(self, unit: Unit) -> Iterator[None]:
        """Leave the line to others for a while after a unit in trouble was tried: a time-out is long."""
        is_trial, began_s = unit.retry_at_s is not None, asyncio.get_running_loop().time()
        try:
            yield
        finally:
            if is_trial:
                now_s = asyncio.get_running_loop().time()
                self._next_trial_s = now_s + (_TRIAL_SHARE - 1) * (now_s - began_s)

    def _due_units(self, desired: DesiredState, now_s: float) -> list[Unit]:
        """Return the units to write to: those that get along, or else one in trouble, the longest untried."""
        due = [unit for unit in desired.units.values() if unit.is_due(now_s)]
        well = [unit for unit in due if unit.retry_at_s is None]
        if well or now_s < self._trials_from_s(desired):
            return well
        return sorted(due, key=lambda unit: unit.attempted_s)[:1]

    def _trials_from_s(self, desired: DesiredState) -> float:
        """Return when units in trouble may be tried again: at any time if no other one gets along."""
        is_shared = any(unit.retry_at_s is None and unit.is_used for unit in desired.units.values())
        return self._next_trial_s if is_shared else 0.0

    async def _idle(self, desired: DesiredState) -> None:
        """Wait for something to do: new values, a lost connection, the end of a pause, `refresh`."""
        trials_s = self._trials_from_s(desired)
        units = (unit for unit in desired.units.values() if 1 in unit.dirty)
        pauses = [max(unit.retry_at_s, trials_s) for unit in units if unit.retry_at_s is not None]
        ends_s = pauses if self._refresh_s is None else [*pauses, self._refresh_s]
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min(ends_s, default=None)):
                await self._wake.wait()

    def _silence(self, desired: DesiredState) -> str | None:
        """Return why nothing gets through to any unit, None if something does, or if that is unknown."""
        return self._unanswered or desired.silent

    def _report_state(self, desired: DesiredState) -> None:
        """Set the sink's state after everything due was written."""
        silence = self._silence(desired)
        if silence is not None:
            self._mark_away(silence)
        else:
            self._receiver.mark_up()
        self._progress.set()

    def _report_trouble(self, reason: str) -> None:
        """Show the trouble of one unit; it is logged only if no other one gets along."""
        self._receiver.record_error(reason)
        silence = self._silence(self._desired)
        if silence is not None:
            self._mark_away(silence)
        self._progress.set()

    def _mark_away(self, reason: str) -> None:
        self._receiver.mark_away(reason)
        self._progress.set()

    def _log_refused(self, desired: DesiredState) -> None:
        """Log what the controller refuses of the whole state: no write is there to report it."""
        news = {
            place: reason for place, reason in desired.refused_places().items() if place not in self._logged
        }
        self._logged.update(news)
        if news:
            _log.warning("sink.refused", sink=self._name, places=len(news), reason=next(iter(news.values())))
