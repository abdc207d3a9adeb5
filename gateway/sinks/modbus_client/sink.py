"""The Modbus client: writes the points that have a register on this sink into a building controller.

docs/modbus.md describes what is written, what never is, and what happens after each answer.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from gateway.backoff import Backoff
from gateway.clock import now_ms
from gateway.errors import RefusedError, TransientError
from gateway.sinks.connecting import ConnectingSink, ReceiverState
from gateway.sinks.modbus_client.desired_registers import DesiredState
from gateway.sinks.modbus_client.link import NoAnswerError, open_link
from gateway.sinks.modbus_client.requests import BusyError, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.alarms import Alarms
    from gateway.model import Update
    from gateway.ports import Adopt, LatestValues, PointSource
    from gateway.sinks.modbus_client.config import ModbusClientConfig
    from gateway.sinks.modbus_client.desired_registers import Unit
    from gateway.sinks.modbus_client.link import Link
    from gateway.status import SinkStatus


_TURN_S = 0.1  # then other units have their turn
_TRIAL_PAUSE = 4  # times as long as a try of a unit in trouble took: others have the line meanwhile
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
        self._away: str | None = None  # why nothing gets through to any unit; None: something may
        self._next_trial_s = 0.0  # when a unit in trouble may be tried, by the event loop's clock
        self._refresh_s: float | None = None  # when everything is written again, by the event loop's clock
        self._logged: set[str] = set()  # refusals that were logged
        self._wake = asyncio.Event()  # there is something for the task to do
        self._progress = asyncio.Event()  # the task has done that, or cannot

    async def write(self, updates: Sequence[Update]) -> None:
        """Set the values of the updates that are their point's newest; return once they are written.

        Raises `TransientError` while nothing gets through to any unit. A unit that is silent or busy while
        another one answers does not delay the write, nor does a controller that takes longer than 5 s: its
        values stay dirty, and the newest are written later. If they are refused then, the next write raises
        `RefusedError` for them.
        """
        desired = self._desired
        applied = desired.apply_updates(updates, self._latest)
        if applied:
            self._wake.set()
        try:
            async with asyncio.timeout(_LONGEST_WRITE_S):
                await self._wait_until_written(desired, applied)
        except TimeoutError as error:
            if not self._is_connected:  # it comes and goes
                raise TransientError(self._receiver.away_reason) from error
        if refusals := desired.pop_refusals():
            raise RefusedError(refusals)

    def prepare(self, points: PointSource, latest: LatestValues) -> Adopt:
        """Build the desired state of another point table; registers without a point stay as they are."""
        desired = self._build_state(points)
        desired.restore_latest(latest)
        replaced: list[DesiredState] = []

        def adopt(news: Iterable[Update]) -> None:
            desired.restore(news)
            desired.adopt_state(self._desired)
            replaced.append(self._desired)  # freed with this function, in slices
            self._desired, self._latest = desired, latest
            self._wake.set()
            self._progress.set()

        return adopt

    def _build_state(self, points: PointSource) -> DesiredState:
        return DesiredState(points.points, sink=self._name, limits=self._config.limits)

    async def _wait_until_written(self, desired: DesiredState, applied: Sequence[Update]) -> None:
        """Wait until `applied` is written to all units that answer."""
        while desired is self._desired:
            if self._away is not None:
                raise TransientError(self._away)
            if self._is_connected and not desired.is_pending(applied):
                return
            self._progress.clear()
            await self._progress.wait()

    async def _stay_connected(self) -> None:
        backoff = Backoff()
        while True:
            try:
                async with open_link(self._config, on_end=self._wake.set) as link:
                    await self._use(link, backoff)
            except TransientError as error:
                self._away = str(error)
                self._receiver.mark_away(self._away)
                self._progress.set()
            await asyncio.sleep(backoff.next_s())

    async def _use(self, link: Link, backoff: Backoff) -> None:
        """Use a connection until it is lost or must be closed; that is an outage only if no unit answers."""
        try:
            await self._write_all(link)
        except NoAnswerError:
            if not link.has_answered or self._desired.silence is not None:
                raise
        finally:
            self._is_connected = False
            if link.has_answered:
                backoff.reset()

    async def _write_all(self, link: Link) -> None:
        """Write everything, and then whatever changes, until the connection is lost."""
        self._receiver.count_connection()
        writer, loop = Writer(link, verify=self._config.verify), asyncio.get_running_loop()
        self._begin()
        is_first_round = True
        while True:
            desired = self._desired
            self._wake.clear()
            due = self._due_units(desired)
            if link.is_lost and link.has_answered and not due:
                return  # many controllers close idle connections: reconnect, this is no outage
            link.check()
            for unit in due:
                await self._write_unit(writer, link, unit, desired)
                self._away = desired.silence
                if self._away is not None:
                    self._receiver.mark_away(self._away)
                self._progress.set()
            if due:
                continue
            if self._away is None:
                self._receiver.mark_up()
            if is_first_round:
                self._log_refused(desired)
            is_first_round = False
            if self._refresh_s is not None and loop.time() >= self._refresh_s:
                desired.mark_all_dirty()
                self._refresh_s = self._next_refresh_s()
            else:
                await self._idle(desired)

    def _begin(self) -> None:
        """Mark everything dirty: the controller may have lost it. If no unit answers, all are due.

        A new connection is no answer: units that were silent count as such until one of them answers.
        """
        desired = self._desired
        desired.restore_latest(self._latest)
        desired.mark_all_dirty()
        if all(unit.retry_at_s is not None for unit in desired.units.values() if unit.is_used):
            self._next_trial_s = 0.0
            for unit in desired.units.values():
                unit.retry_at_s = None if unit.retry_at_s is None else 0.0
        self._refresh_s = self._next_refresh_s()
        self._is_connected, self._away = True, desired.silence
        self._progress.set()

    def _next_refresh_s(self) -> float | None:
        refresh_s = self._config.refresh
        return None if refresh_s == "never" else asyncio.get_running_loop().time() + refresh_s

    def _due_units(self, desired: DesiredState) -> list[Unit]:
        """Return the units to write to: those that answer, or else one in trouble, the longest untried."""
        dirty = [unit for unit in desired.units.values() if 1 in unit.dirty]
        well = [unit for unit in dirty if unit.retry_at_s is None]
        now_s = asyncio.get_running_loop().time()
        if well or now_s < self._next_trial_s:
            return well
        due = [unit for unit in dirty if unit.retry_at_s is not None and unit.retry_at_s <= now_s]
        return sorted(due, key=lambda unit: unit.attempted_s)[:1]

    async def _write_unit(self, writer: Writer, link: Link, unit: Unit, desired: DesiredState) -> None:
        """Write dirty values of a unit for a turn; leave it alone for a while if it is in trouble.

        A request without an answer ends the connection: its answer may come later, and must not be taken
        for that to another request. With RTU the connection stays while another unit answers, for the unit
        is in each answer; the silent one is given everything later, since a restart shows only by silence.
        """
        loop = asyncio.get_running_loop()
        unit.attempted_s, is_trial = loop.time(), unit.retry_at_s is not None
        if is_trial:
            desired.restore_latest(self._latest)
        desired.restore_heartbeats(self._latest)
        try:
            while desired is self._desired and (block := unit.next_block()) is not None:
                await writer.write(unit, block)
                if loop.time() - unit.attempted_s >= _TURN_S:
                    break
        except BusyError as error:
            self._back_off(unit, str(error), is_silent=error.is_silent)
        except NoAnswerError as error:
            self._back_off(unit, str(error), is_silent=True)
            is_shared = self._config.limits.is_serial and link.has_answered
            if not is_shared or desired.silence is not None:
                raise
            unit.mark_all_dirty()
            await asyncio.sleep(_LATE_ANSWER_S)
        finally:
            if is_trial and any(one.retry_at_s is None and one.is_used for one in desired.units.values()):
                self._next_trial_s = loop.time() + _TRIAL_PAUSE * (loop.time() - unit.attempted_s)

    def _back_off(self, unit: Unit, reason: str, *, is_silent: bool) -> None:
        unit.back_off(reason, now_s=asyncio.get_running_loop().time(), is_silent=is_silent)
        self._receiver.record_error(reason)

    async def _idle(self, desired: DesiredState) -> None:
        """Wait for something to do: new values, a lost connection, the end of a pause, `refresh`."""
        units = (unit for unit in desired.units.values() if 1 in unit.dirty)
        ends_s = [max(unit.retry_at_s, self._next_trial_s) for unit in units if unit.retry_at_s is not None]
        if self._refresh_s is not None:
            ends_s.append(self._refresh_s)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min(ends_s, default=None)):
                await self._wake.wait()

    def _log_refused(self, desired: DesiredState) -> None:
        """Log what the controller refuses of the whole state: no write is there to report it."""
        reasons = {reason for unit in desired.units.values() for reason in unit.refused.values()}
        if news := reasons - self._logged:
            self._logged |= news
            _log.warning("sink.refused", sink=self._name, places=len(news), reason=min(news))
