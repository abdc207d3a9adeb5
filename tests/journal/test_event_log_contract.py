"""What every event log promises (`gateway.ports.EventLog`), on real files; one line adds another log."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from support.journal_parts import EVENT_LOGS, START_MS, ids, make_event, read_all
from support.waiting import until

from gateway.events import TELEMETRY
from gateway.model import Event, Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from gateway.model import Record
    from gateway.ports import EventLog

    Open = Callable[..., AbstractAsyncContextManager[EventLog]]


@pytest.fixture(params=list(EVENT_LOGS.values()), ids=list(EVENT_LOGS))
def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Return a function that opens the event log under test, always on the same files."""
    return partial(request.param, tmp_path)


async def test_events_are_read_in_the_order_of_acceptance(open_log: Open) -> None:
    """Events appended in one turn of the loop, or one by one, are read whole and in that order."""
    async with open_log() as log:
        assert log.head == 0
        events = [make_event(number) for number in range(300)]
        await asyncio.gather(*{log.append(event) for event in events[:250]})
        for event in events[250:]:
            await log.append(event)
        records = await read_all(log)
        assert [record.event for record in records] == events
        numbers = [record.seq for record in records]
        assert numbers == sorted(set(numbers))
        assert log.head == numbers[-1]


async def test_events_outlive_a_restart(open_log: Open) -> None:
    """After a restart the same events are read, and numbers go on behind them."""
    async with open_log() as log:
        for number in range(3):
            await log.append(make_event(number))
        before = await read_all(log)
    async with open_log() as log:
        assert await read_all(log) == before
        assert log.head == before[-1].seq
        await log.append(make_event(3))
        assert (await read_all(log))[-1].seq > before[-1].seq


async def test_the_origin_of_an_event_outlives_a_restart(open_log: Open) -> None:
    """Which gateway received an event first, and when, is stored with our own time of receipt."""
    relayed = replace(make_event(1), origin=Origin("intake-1", START_MS - 7_000))
    async with open_log() as log:
        await asyncio.gather(log.append(make_event(0)), log.append(relayed))
        await log.append(replace(relayed, received_ms=START_MS + 5, origin=Origin("intake-2", START_MS)))
    async with open_log() as log:
        assert [record.event for record in await read_all(log)] == [make_event(0), relayed]


async def test_a_duplicate_is_accepted_and_stored_once(open_log: Open) -> None:
    """An id that comes again, also after a restart, counts as durable and reaches listeners once."""
    event, received = make_event(1), list[str]()
    async with open_log() as log:
        log.subscribe(lambda records: received.extend(ids(records)))
        await asyncio.gather(*{log.append(each) for each in (event, make_event(0), event)})
        await log.append(event)
        await asyncio.gather(*{log.append(each) for each in (make_event(2), event, make_event(3))})
        await asyncio.sleep(0)
        assert received == ["evt_1", "evt_0", "evt_2", "evt_3"]
    async with open_log() as log:
        await log.append(event)
        assert ids(await read_all(log)) == received


@pytest.mark.parametrize("event_id", ["evt_x", "reconcile_1"])
async def test_an_event_with_another_created_is_a_duplicate(open_log: Open, event_id: str) -> None:
    """The id alone counts: the gateway makes events of the same readings again, at another time."""
    received = list[str]()
    async with open_log() as log:
        log.subscribe(lambda records: received.extend(ids(records)))
        for created in (1, 2_000_000_000):
            await log.append(Event(event_id, TELEMETRY, b"", {"created": created}, START_MS))
        await log.append(make_event(0))
        await until(lambda: len(received) > 1)
    assert received == [event_id, "evt_0"]


async def test_reading_begins_after_a_number_and_ends_at_a_limit(open_log: Open) -> None:
    """The event `after` is left out, `limit` holds, and nothing follows the head."""
    async with open_log() as log:
        for number in range(10):
            await log.append(make_event(number))
        records = await read_all(log)
        assert await log.read(records[3].seq, 4) == records[4:8]
        assert await log.read(records[8].seq, 4) == records[9:]
        assert await log.read(log.head, 4) == []
        assert await read_all(log, limit=3) == records


async def test_large_events_are_read_in_parts(open_log: Open) -> None:
    """Each read returns at least one event, and repeated reads return them all."""
    async with open_log() as log:
        events = [make_event(number, padding=3 << 20) for number in range(4)]
        await asyncio.gather(*{log.append(event) for event in events})
        assert [record.event for record in await read_all(log)] == events
        assert 1 <= len(await log.read(0, 1000)) <= 2


async def test_each_sink_has_a_cursor_of_its_own(open_log: Open) -> None:
    """A cursor has the value last written for its sink, at once and after a restart."""
    sinks = ("bms", "regs")
    async with open_log(sinks=sinks) as log:
        for number in range(5):
            await log.append(make_event(number))
        log.move_cursor("bms", 2)
        log.move_cursor("regs", 5)
        log.move_cursor("bms", 3)
        assert (log.cursor("bms"), log.cursor("regs")) == (3, 5)
    async with open_log(sinks=sinks) as log:
        assert (log.cursor("bms"), log.cursor("regs")) == (3, 5)


async def test_a_new_sink_starts_at_the_head(open_log: Open) -> None:
    """It gets the events after its first configuration, also those that come before it is reachable."""
    async with open_log(sinks=()) as log:
        await log.append(make_event(0))
        began = log.head
    async with open_log(sinks=("bms",)) as log:
        assert log.cursor("bms") == began
        await log.append(make_event(1))
    async with open_log(sinks=("bms", "regs")) as log:
        assert log.cursor("bms") == began
        assert log.cursor("regs") == log.head > began


async def test_a_removed_sink_starts_anew(open_log: Open) -> None:
    """While it is not configured it holds no events back, so it returns as a new sink."""
    async with open_log(sinks=("bms",)) as log:
        await log.append(make_event(0))
    async with open_log(sinks=()) as log:
        await log.append(make_event(1))
    async with open_log(sinks=("bms",)) as log:
        assert log.cursor("bms") == log.head


async def test_listeners_get_durable_events_in_order(open_log: Open) -> None:
    """Each listener gets every new event once, when it can be read."""
    async with open_log() as log:
        received: list[Record] = []
        others: list[str] = []

        def listen(records: Sequence[Record]) -> None:
            assert records
            assert log.head >= records[-1].seq
            received.extend(records)

        log.subscribe(listen)
        log.subscribe(lambda records: others.extend(ids(records)))
        for turn in range(20):
            await asyncio.gather(*{log.append(make_event(10 * turn + n)) for n in range(10)})
        await until(lambda: len(received) == len(others) == 200)
        assert received == await read_all(log)
        assert others == ids(received) == [f"evt_{number}" for number in range(200)]


async def test_a_failing_listener_stops_no_other(open_log: Open) -> None:
    """The other listeners get every event; the fault is logged once."""

    def fail(_: Sequence[Record]) -> None:
        raise ZeroDivisionError("made up")

    with capture_logs() as lines:
        async with open_log() as log:
            received: list[str] = []
            log.subscribe(fail)
            log.subscribe(lambda records: received.extend(ids(records)))
            for number in range(3):
                await log.append(make_event(number))
            await until(lambda: len(received) == 3)
            assert received == ["evt_0", "evt_1", "evt_2"]
    assert [line["event"] for line in lines] == ["journal.listener_failed"]


async def test_the_backlog_is_that_of_the_slowest_sink(open_log: Open) -> None:
    """Only the slowest sink's cursor reduces it."""
    async with open_log(sinks=("bms", "regs")) as log:
        for number in range(3):
            await log.append(make_event(number))
        assert log.backlog == 3
        log.move_cursor("bms", 3)
        assert log.backlog == 3
        log.move_cursor("regs", 2)
        assert log.backlog == 1


async def test_leaving_stores_everything(open_log: Open) -> None:
    """Events and cursors are durable without a flush, also during a commit."""
    async with asyncio.timeout(60):
        async with open_log() as log:
            log.append(make_event(0))
            log.move_cursor("bms", 1)
            log.append(make_event(1))
        async with open_log() as log:
            assert ids(await read_all(log)) == ["evt_0", "evt_1"]
            assert log.cursor("bms") == 1
            log.append(make_event(2))
            await asyncio.sleep(0)
        async with open_log() as log:
            assert ids(await read_all(log)) == ["evt_0", "evt_1", "evt_2"]
