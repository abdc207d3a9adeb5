"""What every journal promises (`gateway.ports.Journal`), on real disk files; one line adds another one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from support.journal_parts import (
    JOURNALS,
    LONG_AFTER_MS,
    START_MS,
    ids,
    make_event,
    read_all,
    until_pruned,
)

from gateway.errors import JournalError
from gateway.records import (
    DeadLetter,
    Gap,
    LastValue,
    OnlineState,
    Override,
    StateChanges,
    StoredDeadLetter,
    StoredState,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from support.journal_parts import Journal

    from gateway.model import Record, Scalar

    Open = Callable[..., AbstractAsyncContextManager[Journal]]


@pytest.fixture(params=list(JOURNALS.values()), ids=list(JOURNALS))
def open_journal(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Return what opens the journal under test, always on the same disk state."""
    return partial(request.param, tmp_path)


def kept_value(point: str, value: Scalar, *, seq: int = 1) -> LastValue:
    """Make a kept value that was good."""
    return LastValue(point, "ast-1", "temperature", value, value, START_MS, seq, f"evt_{seq}")


async def test_events_stand_in_the_order_of_acceptance(open_journal: Open) -> None:
    """Whatever is appended in one turn of the loop or one after the other is read in that order, whole."""
    async with open_journal() as journal:
        assert journal.head == 0
        events = [make_event(number) for number in range(300)]
        await asyncio.gather(*{journal.append(event) for event in events[:250]})
        for event in events[250:]:
            await journal.append(event)
        records = await read_all(journal)
        assert [record.event for record in records] == events
        numbers = [record.seq for record in records]
        assert numbers == sorted(set(numbers))
        assert journal.head == numbers[-1]


async def test_events_outlive_a_restart(open_journal: Open) -> None:
    """After a stop everything is read as before, and numbering goes on behind it."""
    async with open_journal() as journal:
        for number in range(3):
            await journal.append(make_event(number))
        before = await read_all(journal)
    async with open_journal() as journal:
        assert await read_all(journal) == before
        assert journal.head == before[-1].seq
        await journal.append(make_event(3))
        assert (await read_all(journal))[-1].seq > before[-1].seq


async def test_numbers_are_never_used_again(open_journal: Open) -> None:
    """Not even where every event was given up after its retention, and the gateway restarted twice."""
    async with open_journal(sinks=()) as journal:
        for number in range(3):
            await journal.append(make_event(number))
        head = journal.head
        journal.save(StateChanges(values_through=head))
    async with open_journal(sinks=(), clock_ms=lambda: LONG_AFTER_MS) as journal:  # held back by nobody
        await until_pruned(journal)
        assert journal.head == head
    async with open_journal(sinks=()) as journal:
        assert journal.head == head
        await journal.append(make_event(3))
        assert journal.head > head


async def test_a_duplicate_is_accepted_and_stored_once(open_journal: Open) -> None:
    """The same id in one batch, in a later one and after a restart counts as durable, and is told once."""
    event, told = make_event(1), list[str]()
    async with open_journal() as journal:
        journal.subscribe(lambda records: told.extend(ids(records)))
        await asyncio.gather(*{journal.append(each) for each in (event, make_event(0), event)})
        await journal.append(event)
        await asyncio.gather(*{journal.append(each) for each in (make_event(2), event, make_event(3))})
        await asyncio.sleep(0)
        assert told == ["evt_1", "evt_0", "evt_2", "evt_3"]
    async with open_journal() as journal:
        await journal.append(event)
        assert ids(await read_all(journal)) == told


async def test_reading_begins_after_a_number_and_ends_at_a_limit(open_journal: Open) -> None:
    """`after` is left out, `limit` is kept, and behind the head there is nothing."""
    async with open_journal() as journal:
        for number in range(10):
            await journal.append(make_event(number))
        records = await read_all(journal)
        assert await journal.read(records[3].seq, 4) == records[4:8]
        assert await journal.read(records[8].seq, 4) == records[9:]
        assert await journal.read(journal.head, 4) == []
        assert await read_all(journal, limit=3) == records


async def test_large_events_are_read_one_after_the_other(open_journal: Open) -> None:
    """A read gives at least one event however large it is, and reading on gives them all."""
    async with open_journal() as journal:
        events = [make_event(number, padding=3 << 20) for number in range(4)]
        await asyncio.gather(*{journal.append(event) for event in events})
        assert [record.event for record in await read_all(journal)] == events
        assert 1 <= len(await journal.read(0, 1000)) <= 2


async def test_each_sink_has_a_cursor_of_its_own(open_journal: Open) -> None:
    """A cursor is what was noted for this sink, at once and after a restart."""
    sinks = ("bms", "regs")
    async with open_journal(sinks=sinks) as journal:
        for number in range(5):
            await journal.append(make_event(number))
        journal.move_cursor("bms", 2)
        journal.move_cursor("regs", 5)
        journal.move_cursor("bms", 3)
        assert (journal.cursor("bms"), journal.cursor("regs")) == (3, 5)
    async with open_journal(sinks=sinks) as journal:
        assert (journal.cursor("bms"), journal.cursor("regs")) == (3, 5)


async def test_a_new_sink_begins_at_the_head_and_stays_there(open_journal: Open) -> None:
    """A sink gets what came after it was first configured, also what came while it was never reached."""
    async with open_journal(sinks=()) as journal:
        await journal.append(make_event(0))
        began = journal.head
    async with open_journal(sinks=("bms",)) as journal:
        assert journal.cursor("bms") == began
        await journal.append(make_event(1))
    async with open_journal(sinks=("bms", "regs")) as journal:
        assert journal.cursor("bms") == began
        assert journal.cursor("regs") == journal.head > began


async def test_a_sink_that_was_taken_out_begins_anew(open_journal: Open) -> None:
    """It holds nothing back while it is away, so when it comes back it is a new one."""
    async with open_journal(sinks=("bms",)) as journal:
        await journal.append(make_event(0))
    async with open_journal(sinks=()) as journal:
        await journal.append(make_event(1))
    async with open_journal(sinks=("bms",)) as journal:
        assert journal.cursor("bms") == journal.head


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        1,
        -7,
        21.5,
        1e300,
        -0.1,
        2**64,
        -(10**30),
        "",
        "occupied",
        "Zürich, 23 °C",
        "21",
    ],
)
async def test_kept_values_come_back_as_they_were(open_journal: Open, value: Scalar) -> None:
    """Every kind of value is the same after a restart, type and all, with the number that it includes."""
    kept = LastValue("L03/ZN-T", "ast-1", "t", value, "before", START_MS - 1, 4, None)
    async with open_journal() as journal:
        assert journal.at_start == StoredState([], 0, [], [], {}, None, [], [])
        journal.save(StateChanges(last_values={"L03/ZN-T": kept_value("L03/ZN-T", 1)}, values_through=3))
        journal.save(StateChanges(last_values={"L03/ZN-T": kept, "B": kept_value("B", 2)}, values_through=4))
        await journal.flush()
    async with open_journal() as journal:
        values, through = journal.at_start.last_values, journal.at_start.values_through
        assert sorted(values, key=lambda each: each.point) == [kept_value("B", 2), kept]
        assert type(next(each.raw for each in values if each.point == "L03/ZN-T")) is type(value)
        assert through == 4


async def test_later_notes_replace_earlier_ones_only_where_they_speak(open_journal: Open) -> None:
    """Values and cursors that later notes do not name stay as they were."""
    async with open_journal() as journal:
        for number in range(9):
            await journal.append(make_event(number))
        journal.save(StateChanges(last_values={"A": kept_value("A", 1)}, values_through=8))
        journal.move_cursor("bms", 7)
        await journal.flush()
        journal.save(StateChanges(last_values={"B": kept_value("B", 2)}, values_through=9))
    async with open_journal() as journal:
        values, through = journal.at_start.last_values, journal.at_start.values_through
        assert {each.point: each.raw for each in values} == {"A": 1, "B": 2}
        assert (through, journal.cursor("bms")) == (9, 7)


async def test_overrides_and_connections_come_back_until_they_are_forgotten(open_journal: Open) -> None:
    """The last one of each point or asset is there after a restart, also one whose time is over."""
    first, later = Override("A", 21.5, START_MS, START_MS + 1), Override("A", None, START_MS, START_MS + 2)
    other = Override("B", True, START_MS - 9, START_MS - 1)  # noqa: FBT003 - the forced value
    async with open_journal() as journal:
        assert (journal.at_start.overrides, journal.at_start.online) == ([], [])
        journal.save(StateChanges(overrides={"A": first, "B": other}))
        await journal.flush()
        journal.save(StateChanges(overrides={"A": later}))
        journal.save(StateChanges(online={"x": OnlineState("x", online=False, at_ms=START_MS)}))
        journal.save(StateChanges(online={"x": OnlineState("x", online=True, at_ms=START_MS + 1)}))
    async with open_journal() as journal:
        assert sorted(journal.at_start.overrides, key=lambda each: each.point) == [later, other]
        assert journal.at_start.online == [OnlineState("x", online=True, at_ms=START_MS + 1)]
        journal.save(StateChanges(overrides={"A": None}))
    async with open_journal() as journal:
        assert journal.at_start.overrides == [other]


async def test_listeners_are_told_in_order_of_what_is_durable(open_journal: Open) -> None:
    """Each listener gets every new event once, in order, when it can be read already."""
    async with open_journal() as journal:
        told: list[Record] = []
        others: list[str] = []

        def listen(records: Sequence[Record]) -> None:
            assert records
            assert journal.head >= records[-1].seq
            told.extend(records)

        journal.subscribe(listen)
        journal.subscribe(lambda records: others.extend(ids(records)))
        for turn in range(20):
            await asyncio.gather(*{journal.append(make_event(10 * turn + n)) for n in range(10)})
        await journal.flush()
        assert told == await read_all(journal)
        assert others == ids(told) == [f"evt_{number}" for number in range(200)]


async def test_a_listener_that_fails_keeps_nobody_from_hearing(open_journal: Open) -> None:
    """Whoever is told after it hears of every event; the fault is logged, and not once for each event."""

    def fail(_: Sequence[Record]) -> None:
        raise ZeroDivisionError("made up")

    with capture_logs() as lines:
        async with open_journal() as journal:
            told: list[str] = []
            journal.subscribe(fail)
            journal.subscribe(lambda records: told.extend(ids(records)))
            for number in range(3):
                await journal.append(make_event(number))
            await journal.flush()
            assert told == ["evt_0", "evt_1", "evt_2"]
    assert [line["event"] for line in lines] == ["journal.listener_failed"]


async def test_a_full_journal_turns_events_away_until_others_are_delivered(open_journal: Open) -> None:
    """It says when to come again, accepts nothing by halves, and goes on once a sink has caught up."""
    async with open_journal(max_bytes=1 << 20) as journal:
        accepted = 0
        with pytest.raises(JournalError) as full:  # noqa: PT012 - which append it is that fails is not known
            while accepted < 1000:
                await journal.append(make_event(accepted, padding=20_000))
                accepted += 1
        assert full.value.retry_after_s > 0
        with pytest.raises(JournalError):
            await journal.append(make_event(accepted))
        expected = [f"evt_{number}" for number in range(accepted)]
        assert ids(await read_all(journal)) == expected
        journal.save(StateChanges(values_through=journal.head))
        journal.move_cursor("bms", journal.head)
        await journal.append(make_event(accepted))
        assert ids(await read_all(journal))[-1] == f"evt_{accepted}"


async def test_flush_returns_however_little_there_is_to_do(open_journal: Open) -> None:
    """With nothing noted, with a commit under way, and several times at once."""
    async with open_journal() as journal, asyncio.timeout(5):
        await journal.flush()
        waiting = journal.append(make_event(0))
        await asyncio.sleep(0)  # now its commit is under way
        await asyncio.gather(journal.flush(), journal.flush())
        assert waiting.done()
        journal.move_cursor("bms", 1)
        await journal.flush()


async def test_what_a_sink_has_left_with_its_receiver_is_kept(open_journal: Open) -> None:
    """By sink and topic, with the last that was said of each; what was taken away is forgotten."""
    async with open_journal() as journal:
        assert journal.at_start.retained.get("bms", {}) == {}
        journal.save(
            StateChanges(retained={("bms", "t/A"): False, ("bms", "t/B"): True, ("other", "t/A"): True})
        )
        await journal.flush()
        journal.save(StateChanges(retained={("bms", "t/A"): True, ("bms", "t/B"): None}))
    async with open_journal() as journal:
        assert journal.at_start.retained.get("bms", {}) == {"t/A": True}


def dead_letter(point: str, *, seq: int = 0, sink: str = "bms") -> DeadLetter:
    """Make a letter about the event that `make_event` makes as the journal's number `seq`."""
    return DeadLetter(sink, seq, f"evt_{seq}" if seq else "", point, "no such register", START_MS + seq)


async def test_dead_letters_are_read_by_number_with_their_events_bodies(open_journal: Open) -> None:
    """In the order of writing, also after a restart; what no event caused has no body."""
    events = [make_event(number) for number in (1, 2)]
    noted = [dead_letter("B", seq=2), dead_letter("$heartbeat"), dead_letter("", seq=1, sink="")]
    bodies = [events[1].body, None, events[0].body]
    async with open_journal() as journal:
        assert await journal.dead_letters([1, 2, 3]) == []
        for event in events:
            await journal.append(event)
        journal.save(StateChanges(dead_letters=noted[:2]))
        journal.save(StateChanges(dead_letters=noted[2:]))
        await journal.flush()
        found = await journal.dead_letters(range(1, 100))
        assert [(each.letter, each.body) for each in found] == list(zip(noted, bodies, strict=True))
        numbers = [each.number for each in found]
        assert numbers == sorted(set(numbers))
        assert await journal.dead_letters(numbers[:0:-1]) == found[1:]  # asked for in any order
        assert await journal.dead_letters([]) == []
    async with open_journal() as journal:
        assert await journal.dead_letters(numbers) == found


async def test_large_dead_letters_are_read_one_after_the_other(open_journal: Open) -> None:
    """At least one comes however large it is, and asking for the others gives them all."""
    async with open_journal() as journal:
        for number in range(1, 5):
            await journal.append(make_event(number, padding=3 << 20))
        journal.save(StateChanges(dead_letters=[dead_letter("A", seq=number) for number in range(1, 5)]))
        await journal.flush()
        found: list[StoredDeadLetter] = []
        while more := await journal.dead_letters(range(found[-1].number + 1 if found else 1, 100)):
            assert len(more) <= 2
            found += more
        assert [each.body for each in found] == [make_event(n, padding=3 << 20).body for n in range(1, 5)]


async def test_settled_dead_letters_are_forgotten_and_their_numbers_with_them(open_journal: Open) -> None:
    """No later letter gets the number of one that is gone, not even of the newest and after a restart."""
    letters = [dead_letter(name) for name in "ABC"]
    async with open_journal() as journal:
        journal.save(StateChanges(dead_letters=letters))
        await journal.flush()
        first, second, third = [each.number for each in await journal.dead_letters(range(1, 100))]
        journal.save(StateChanges(removed_dead_letters=[third, second, 99]))
        await journal.flush()
        assert [each.number for each in await journal.dead_letters(range(1, 100))] == [first]
        journal.save(StateChanges(removed_dead_letters=[first], dead_letters=letters[:1]))
        await journal.flush()
        (fourth,) = [each.number for each in await journal.dead_letters(range(1, 100))]
        assert fourth > third
        journal.save(StateChanges(removed_dead_letters=[fourth]))
    async with open_journal() as journal:
        journal.save(StateChanges(dead_letters=letters[:1]))
        await journal.flush()
        (fifth,) = [each.number for each in await journal.dead_letters(range(1, 100))]
        assert fifth > fourth


async def test_a_letter_written_again_keeps_its_events_body(open_journal: Open) -> None:
    """Refused again long after its event was given up, it brings the body, to be handed out once more."""
    event, letter = make_event(1), dead_letter("A", seq=1)
    async with open_journal(sinks=()) as journal:
        await journal.append(event)
        journal.save(StateChanges(dead_letters=[letter], values_through=1))
    async with open_journal(sinks=(), clock_ms=lambda: LONG_AFTER_MS) as journal:
        await until_pruned(journal)
        (before,) = await journal.dead_letters(range(1, 100))
        journal.save(
            StateChanges(
                dead_letters=[replace(letter, body=before.body)], removed_dead_letters=[before.number]
            )
        )
        await journal.flush()
        (after,) = await journal.dead_letters(range(1, 100))
        assert (after.letter, after.body) == (letter, event.body)
        assert after.number > before.number


async def test_gaps_come_back_until_they_are_filled(open_journal: Open) -> None:
    """What is known of a gap adds up, on disk too; a closed one stays closed, a filled one is gone."""
    gap = Gap("ast-1", "co2", START_MS)
    closed = replace(gap, until_ms=START_MS + 9_000)
    async with open_journal() as journal:
        assert journal.at_start.gaps == []
        assert await journal.known_seconds(gap) == set()
        journal.save(StateChanges(gaps={gap.id: gap}))
        journal.save(StateChanges(gaps={gap.id: replace(gap, known_s=(7, 8))}))
        await journal.flush()
        assert await journal.known_seconds(gap) == {7, 8}
        other = replace(gap, key="t")
        journal.save(StateChanges(gaps={gap.id: replace(closed, known_s=(9,)), other.id: other}))
    async with open_journal() as journal:
        assert {gap.id: gap for gap in journal.at_start.gaps} == {gap.id: closed, other.id: other}
        journal.save(StateChanges(gaps={gap.id: replace(gap, known_s=(9, 10))}))
        await journal.flush()
        assert await journal.known_seconds(gap) == {7, 8, 9, 10}
        journal.save(StateChanges(gaps={gap.id: None}))
    async with open_journal() as journal:
        assert journal.at_start.gaps == [other]
        assert await journal.known_seconds(gap) == set()


async def test_backlog_is_what_the_last_sink_still_has_to_get(open_journal: Open) -> None:
    """It falls with the cursor of the slowest sink alone."""
    async with open_journal(sinks=("bms", "regs")) as journal:
        for number in range(3):
            await journal.append(make_event(number))
        assert journal.backlog == 3
        journal.move_cursor("bms", 3)
        assert journal.backlog == 3
        journal.move_cursor("regs", 2)
        assert journal.backlog == 1


async def test_leaving_keeps_what_was_appended_and_noted(open_journal: Open) -> None:
    """Nobody needs to flush or to wait before leaving, also with a commit under way."""
    async with asyncio.timeout(5):
        async with open_journal() as journal:
            journal.append(make_event(0))
            journal.move_cursor("bms", 1)
            journal.append(make_event(1))
        async with open_journal() as journal:
            assert ids(await read_all(journal)) == ["evt_0", "evt_1"]
            assert journal.cursor("bms") == 1
            journal.append(make_event(2))
            await asyncio.sleep(0)
        async with open_journal() as journal:
            assert ids(await read_all(journal)) == ["evt_0", "evt_1", "evt_2"]
