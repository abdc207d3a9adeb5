"""The Modbus client: writes the points that have a register on this sink into a building controller.

What a BMS engineer needs to know:

- Holding registers and coils are written, and none but those that a point table names. Neighbours are
  joined into one request (function 16 up to 123 registers, function 15 up to 1968 coils).
- A value of several registers is always written by a single request, so it is never seen torn.
- Only what changes is written. After every connection, and once per `refresh`, everything is: the
  controller may have lost it.
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
from gateway.sinks.modbus_client.desired import Desired
from gateway.sinks.modbus_client.link import NoAnswerError, open_link
from gateway.sinks.modbus_client.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gateway.alarms import Alarms
    from gateway.model import Update
    from gateway.ports import Adopt, LatestValues, PointSource
    from gateway.sinks.modbus_client.link import Link
    from gateway.sinks.modbus_client.unit import Unit
    from gateway.status import SinkStatus

__all__ = ["ModbusClientConfig", "ModbusClientSink", "Serial"]

_TRIAL_SHARE = 5  # units in trouble are tried for one part of so many of the time, while others get along
_LONGEST_WRITE_S = 5.0  # a write that takes longer goes on behind the scenes: newer values wait for it

_log = structlog.get_logger()


class ModbusClientSink(ConnectingSink):
    """The points of one gateway in one controller, or on one serial line of controllers.

    One task connects, writes and connects again; `write` only says what is wanted, and waits for it. What
    is wanted stays so until something newer is, across connections, units that do not answer and reloads.
    Leaving writes nothing any more.
    """

    def __init__(
        self,
        *,
        name: str,
        config: ModbusClientConfig,
        gateway: str,  # noqa: ARG002 - a controller is not told who writes
        points: PointSource,
        latest: LatestValues,
        status: SinkStatus,
        retained: dict[str, bool] | None = None,  # noqa: ARG002 - the whole state is written at each connection
        alarms: Alarms | None = None,  # noqa: ARG002 - nobody reads text here
        clock: Callable[[], int] = now_ms,
    ) -> None:
        """Lay out what the points want written. `clock` gives Unix milliseconds."""
        self._name = name
        self._config = config
        self._latest = latest
        self._line = config.line
        self._receiver = ReceiverState(
            sink=name, status=status, clock=clock, log_fields={"controller": self._line}
        )
        super().__init__(self._stay_connected, task_name=f"modbus client sink {name}")
        self._desired = self._lay_out(points)
        self._is_connected = False
        self._mute: str | None = None  # why the last connection ended without a single answer
        self._is_line_alive = False  # a serial one that was closed only because one of its units said nothing
        self._next_trial_s = 0.0  # when a unit in trouble may be tried, by the event loop's clock
        self._refresh_s: float | None = None  # when everything is written again, by the event loop's clock
        self._told: set[str] = set()  # places whose refusal was logged
        self._wake = asyncio.Event()  # something to do for the task
        self._turned = asyncio.Event()  # the task has done what there was to do, or cannot

    async def write(self, updates: Sequence[Update]) -> None:
        """Want what the updates that are their point's newest show; return once the controller has it.

        Raise `TransientError` while the connection is away, and while not one unit that has something to
        write answers. A unit that is silent or busy while another one answers keeps nobody waiting, nor does
        a controller that takes longer than 5 s: what is owed is written later, as it is wanted then. Where
        it is refused then, the next write tells of it.
        """
        desired = self._desired
        taken, reasons = desired.take(updates, is_newest=self._latest.is_newest)
        if not (taken or desired.has_open) and self._is_connected and self._silence(desired) is None:
            return
        self._wake.set()
        try:
            async with asyncio.timeout(_LONGEST_WRITE_S):
                await self._settled(desired, taken)
        except TimeoutError as error:
            if not self._is_connected:  # it comes and goes
                raise self._is_away() from error
        refusals = desired.refusals(taken, reasons)
        if refusals:
            raise RefusedError(refusals)

    def prepare(self, points: PointSource, latest: LatestValues) -> Adopt:
        """Lay out the registers of another point table; those that no point has any more stay as they are."""
        desired = self._lay_out(points)
        desired.refresh(latest)
        held: list[Desired] = []

        def adopt(news: Iterable[Update]) -> None:
            desired.take(news)
            desired.learn(self._desired)
            held.append(self._desired)  # until this function is let go of
            self._desired, self._latest = desired, latest
            self._wake.set()
            self._turned.set()

        return adopt

    def _lay_out(self, points: PointSource) -> Desired:
        return Desired(points.points, sink=self._name, limits=self._config.limits)

    async def _settled(self, desired: Desired, taken: Sequence[Update]) -> None:
        """Wait until `taken` is written to all units that get along.

        Raise `TransientError` where nothing gets through to any.
        """
        while desired is self._desired:
            if (silence := self._silence(desired)) is not None:
                raise self._is_away(silence)
            if self._is_connected and not desired.is_awaited(taken):
                return
            self._turned.clear()
            if self._is_connected:
                await self._turned.wait()
            else:
                await self._wait_for_connection()

    async def _wait_for_connection(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(RECEIVER_WAIT_S):
                while not self._is_connected and self._silence(self._desired) is None:
                    self._turned.clear()
                    await self._turned.wait()
                return
        raise self._is_away()

    def _is_away(self, reason: str | None = None) -> TransientError:
        return TransientError(reason or self._receiver.away_reason)

    async def _stay_connected(self) -> None:
        backoff = Backoff()
        while True:
            try:
                async with open_link(self._config, on_end=self._wake.set) as link:
                    await self._hold(link, backoff)
            except TransientError as error:
                self._is_line_alive = False
                self._note_away(str(error))
            await asyncio.sleep(backoff.next_s())

    async def _hold(self, link: Link, backoff: Backoff) -> None:
        """Use a connection until it is lost, or until a unit lets a request go unanswered.

        The next one comes soon only where anything was answered.
        """
        try:
            await self._session(link)
        except NoAnswerError as error:
            if not link.has_answered:
                self._mute = str(error)
            self._is_line_alive = link.has_answered and self._config.limits.is_serial
            self._note_trouble(str(error))
        finally:
            self._is_connected = False
            if link.has_answered:
                backoff.reset()

    async def _session(self, link: Link) -> None:
        """Write the whole state, and then whatever changes, until the connection is lost."""
        self._receiver.count_connection()
        writer = Writer(link, verify=self._config.verify)
        loop = asyncio.get_running_loop()
        self._begin(loop.time())
        self._refresh_s = self._next_refresh_s()
        is_first = True
        while True:
            desired = self._desired
            self._wake.clear()
            due = self._due(desired, loop.time())
            if link.is_lost and link.has_answered and not due:
                self._is_line_alive = False
                return  # closed while nothing was asked, as many controllers do: connected again, and no news
            link.check()
            for unit in due:
                if unit.due_s is not None:  # it was left alone for a while
                    desired.refresh(self._latest)
                desired.beat(self._latest)
                with self._trial(unit):
                    reason = await writer.write_owed(unit, goes_on=lambda: desired is self._desired)  # noqa: B023 - called before the next turn
                if link.has_answered:
                    self._mute = None
                if reason is not None:
                    self._note_trouble(reason)
                self._turned.set()
            if not due:
                if is_first:
                    self._tell_refused(desired)
                is_first = False
                self._note_turn(desired)
                if self._refresh_s is None or loop.time() < self._refresh_s:
                    await self._idle(desired)
                else:
                    desired.forget()
                    self._refresh_s = self._next_refresh_s()

    def _begin(self, now_s: float) -> None:
        """Owe everything: the controller may have lost it. Where no unit answered, all are asked again.

        On a serial line no other unit has to do with one that is silent.
        """
        desired = self._desired
        is_silent = self._silence(desired) is not None
        desired.refresh(self._latest)
        if self._is_line_alive:
            desired.forget_silent()
        else:
            desired.forget()
        for unit in desired.units.values():
            if is_silent and unit.due_s is not None:
                unit.due_s = now_s
        if not any(1 in unit.owed for unit in desired.units.values()):
            self._mute = None  # nothing will be asked that could be answered
        self._is_connected = True
        self._turned.set()

    def _next_refresh_s(self) -> float | None:
        """Return when everything is to be written again, by the event loop's clock; None: never."""
        refresh = self._config.refresh
        return None if refresh == "never" else asyncio.get_running_loop().time() + refresh

    @contextmanager
    def _trial(self, unit: Unit) -> Iterator[None]:
        """Leave the line to others for a while after a unit in trouble was tried: silence takes its time."""
        is_trial, began_s = unit.due_s is not None, asyncio.get_running_loop().time()
        try:
            yield
        finally:
            if is_trial:
                now_s = asyncio.get_running_loop().time()
                self._next_trial_s = now_s + (_TRIAL_SHARE - 1) * (now_s - began_s)

    def _due(self, desired: Desired, now_s: float) -> list[Unit]:
        """Return the units to write to: those that get along first, then the one that was left alone longest.

        Only one of the latter at a time, for if it is silent the connection is closed.
        """
        due = [unit for unit in desired.units.values() if unit.is_due(now_s)]
        well = [unit for unit in due if unit.due_s is None]
        if well or now_s < self._trials_from_s(desired):
            return well
        return sorted(due, key=lambda unit: unit.tried_s)[:1]

    def _trials_from_s(self, desired: Desired) -> float:
        """Return when units in trouble may be tried again; where no other one gets along, at any time."""
        is_shared = any(unit.due_s is None and unit.is_used for unit in desired.units.values())
        return self._next_trial_s if is_shared else 0.0

    async def _idle(self, desired: Desired) -> None:
        """Wait for something to do: wanted values, a lost connection, the end of a pause, `refresh`."""
        trials_s = self._trials_from_s(desired)
        units = (unit for unit in desired.units.values() if 1 in unit.owed)
        pauses = [max(unit.due_s, trials_s) for unit in units if unit.due_s is not None]
        ends_s = pauses if self._refresh_s is None else [*pauses, self._refresh_s]
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min(ends_s, default=None)):
                await self._wake.wait()

    def _silence(self, desired: Desired) -> str | None:
        """Return why nothing gets through to any unit, None: something does, or it is not known."""
        return self._mute or desired.silent

    def _note_turn(self, desired: Desired) -> None:
        """Tell what has become of the connection, and whoever waits for it."""
        silence = self._silence(desired)
        if silence is not None:
            self._note_away(silence)
        else:
            self._receiver.mark_up()
        self._turned.set()

    def _note_trouble(self, reason: str) -> None:
        """Tell of one unit's trouble; it is no news for the log while others get along."""
        self._receiver.record_error(reason)
        silence = self._silence(self._desired)
        if silence is not None:
            self._note_away(silence)
        self._turned.set()

    def _note_away(self, reason: str) -> None:
        self._receiver.mark_away(reason)
        self._turned.set()

    def _tell_refused(self, desired: Desired) -> None:
        """Log what the controller refuses of the whole state; no write is there to hear of it."""
        news = {place: reason for place, reason in desired.refused().items() if place not in self._told}
        self._told.update(news)
        if news:
            _log.warning("sink.refused", sink=self._name, places=len(news), reason=next(iter(news.values())))
