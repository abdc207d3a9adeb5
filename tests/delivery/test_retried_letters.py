"""Retried dead letters are removed once they are written, not before."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
from support.delivery_parts import NOON, TABLE, Clock, Rig, delivering, rows
from support.point_tables import load_good_tables
from support.recording_sink import Receiver

from gateway.delivery.event_copies import EventCopies
from gateway.events import EventPatterns, keep_apart, parse_event
from gateway.model import EventCopy, Origin, Quality
from gateway.records import DeadLetter, StoredDeadLetter

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap


def letters(file: Path) -> list[StoredDeadLetter]:
    """Return all dead letters on disk, oldest first."""
    found = rows(
        file, "SELECT id, sink, seq, event_id, point, reason, at_ms, body FROM dead_letters ORDER BY id"
    )
    return [StoredDeadLetter(number, DeadLetter(*letter), body) for number, *letter, body in found]


def numbers(file: Path) -> list[int]:
    """Return the numbers of the dead letters on disk."""
    return [stored.number for stored in letters(file)]


def readings(receiver: Receiver) -> list[tuple[str, object]]:
    """Return what a sink got since the last call."""
    got: list[tuple[str, object]] = [(update.point.name, update.value) for update in receiver.updates]
    receiver.updates.clear()
    return got


async def refused(rig: Rig, receiver: Receiver, *values: int) -> list[StoredDeadLetter]:
    """Have readings of `h` refused, clear the other updates; return the dead letters."""
    receiver.refuses = {"R/H"}
    for value in values:
        await rig.send(f"refused-{value}", h=value, t=value)
        await rig.delivered()
    receiver.refuses.clear()
    receiver.updates.clear()
    return letters(rig.file)


async def test_a_dead_letter_goes_to_its_sink_alone(file: Path, points: PointMap) -> None:
    """Only its point is delivered again; then the dead letter is removed."""
    receiver, other = Receiver(), Receiver()
    async with delivering(file, points, {"bms": receiver, "regs": other}) as rig:
        found = await refused(rig, receiver, 50)
        other.updates.clear()
        assert rig.pipeline.retry(found) == {}
        assert not rig.loops["bms"].idle
        await rig.delivered()
        assert readings(receiver) == [("R/H", 50)]
        assert readings(other) == []
        assert numbers(file) == []


async def test_the_stored_event_id_counts(file: Path, points: PointMap) -> None:
    """The id in the event log counts, not the one in the body, which only the gateway may use."""
    receiver = Receiver(refuses={"R/DEEP"})
    async with delivering(file, points, {"bms": receiver}) as rig:
        thing = {"id": "c", "timestamp": NOON, "deep": {"value": 7}}
        document = {"id": "reconcile_1", "type": "asset.telemetry.updated", "data": {"object": thing}}
        event = parse_event(orjson.dumps(document), received_ms=NOON)
        keep_apart(event)
        await rig.journal.append(event)
        await rig.delivered()
        receiver.refuses.clear()
        assert rig.pipeline.retry(letters(file)) == {}
        await rig.delivered()
        assert [(update.value, update.event_id) for update in receiver.updates] == [
            (7, "webhook_reconcile_1")
        ]


async def test_two_dead_letters_of_one_point(file: Path, points: PointMap) -> None:
    """Both are delivered, oldest first, in whatever order they are requested; only one is the newest."""
    receiver, clock = Receiver(), Clock()
    async with delivering(file, points, {"bms": receiver}, clock=clock) as rig:
        await refused(rig, receiver, 50)
        clock.now_ms += 1_000
        found = await refused(rig, receiver, 51)
        assert rig.pipeline.retry(found[::-1]) == {}
        await rig.delivered()
        assert [rig.state.is_newest(update) for update in receiver.updates] == [False, True]
        assert readings(receiver) == [("R/H", 50), ("R/H", 51)]
        assert numbers(file) == []


async def test_a_repeated_refusal_is_a_new_dead_letter(file: Path, points: PointMap) -> None:
    """It has the body, although the event log has freed it meanwhile."""
    receiver = Receiver()
    async with delivering(file, points, {"bms": receiver}) as rig:
        (old,) = await refused(rig, receiver, 50)
        with closing(sqlite3.connect(file, isolation_level=None)) as database:
            database.execute("UPDATE events SET body = NULL")
        receiver.refuses = {"R/H"}
        assert rig.pipeline.retry([old]) == {}
        await rig.delivered()
        (new,) = letters(file)
        assert new.number != old.number
        assert (new.letter.point, new.letter.event_id, new.body) == ("R/H", old.letter.event_id, old.body)
        receiver.refuses = {"R/QUAL"}
        await rig.send(2, t=-1)
        await rig.delivered()
        _, quality = letters(file)
        assert rig.pipeline.retry([quality]) == {}
        await rig.delivered()
        assert [stored.letter.point for stored in letters(file)] == ["R/H", "R/QUAL"]
        assert quality.number not in numbers(file)


async def test_a_dead_letter_of_a_sink_that_is_away(file: Path, points: PointMap) -> None:
    """It is retried like other batches, and not queued twice."""
    receiver = Receiver()
    async with delivering(file, points, {"bms": receiver}) as rig:
        found = await refused(rig, receiver, 50)
        receiver.away = 1_000_000
        assert rig.pipeline.retry(found) == {}
        await rig.until(lambda: receiver.status.retries > 2)
        assert rig.pipeline.retry(found) == {found[0].number: "it is on its way already"}
        await rig.journal.flush()
        assert numbers(file) == [found[0].number]
        receiver.away = 0
        await rig.delivered()
        assert readings(receiver) == [("R/H", 50)]
        assert numbers(file) == []
        assert rig.pipeline.retry(found) == {}  # asked once more: delivered once more


async def test_a_kill_keeps_an_unwritten_dead_letter(file: Path, points: PointMap) -> None:
    """Without an acknowledgement the dead letter stays."""
    receiver = Receiver()
    async with delivering(file, points, {"bms": receiver}) as rig:
        found = await refused(rig, receiver, 50)
        receiver.open.clear()
        receiver.asked.clear()
        assert rig.pipeline.retry(found) == {}
        await receiver.asked.wait()
        rig.pipeline.tick()
        await rig.journal.flush()
    assert numbers(file) == [found[0].number]


async def test_a_retried_copy_says_who_verified_the_event(file: Path, points: PointMap) -> None:
    """A whole event that another gateway's intake verified still names it, and when that received it."""
    receiver = Receiver(refuses={"$events/asset.telemetry.updated"})
    copies = EventCopies({"bms": EventPatterns(["*"])})
    async with delivering(file, points, {"bms": receiver}, copies=copies) as rig:
        event = rig.event(1, {"assetId": "a", "telemetry": {"t": 1}})
        event.origin = Origin("intake-1", NOON - 60_000)
        await rig.journal.append(event)
        await rig.delivered()
        receiver.refuses.clear()
        receiver.updates.clear()
        assert rig.pipeline.retry(await rig.journal.dead_letters(numbers(file))) == {}
        await rig.delivered()
        (copy,) = receiver.updates
        assert isinstance(copy, EventCopy)
        assert (copy.origin, copy.time_ms) == (event.origin, NOON - 60_000)


async def test_an_event_that_can_be_mapped_now(file: Path, tmp_path: Path) -> None:
    """It goes to every sink and is removed when the last one has written it."""
    first, last = Receiver(), Receiver()
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    before = load_good_tables(tmp_path / "before", TABLE)
    after = load_good_tables(
        tmp_path / "after", TABLE.replace("$.data.object.deep.value", "$.data.object.new")
    )
    async with delivering(file, before, {"bms": first, "regs": last}) as rig:
        await rig.send_thing(1, {"assetId": "c", "new": 7})
        await rig.delivered()
        (stored,) = letters(file)
        words = "its event has no reading for any point of its asset"
        assert rig.pipeline.retry([stored]) == {stored.number: words}
        assert len(letters(file)) == 1
    async with delivering(file, after, {"bms": first, "regs": last}) as rig:
        last.away = 1_000_000
        assert rig.pipeline.retry([stored]) == {}
        await rig.until(lambda: first.values("R/DEEP") == [7])
        assert rig.state.latest(after.by_name["R/DEEP"]) is first.updates[-1]
        await rig.until(lambda: rig.loops["bms"].idle)
        await rig.journal.flush()
        assert numbers(file) == [stored.number]
        last.away = 0
        await rig.delivered()
        assert last.values("R/DEEP") == first.values("R/DEEP") == [7]
        assert numbers(file) == []


async def test_a_retried_reading_that_cannot_be_shown(file: Path, tmp_path: Path) -> None:
    """The status lists its point with the reason, as for a reading that has just come."""
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    before = load_good_tables(tmp_path / "before", TABLE)
    mapped = TABLE.replace("$.data.object.deep.value", "$.data.object.new, map: {x: 1}")
    after = load_good_tables(tmp_path / "after", mapped)
    async with delivering(file, before, {"bms": Receiver()}) as rig:
        await rig.send_thing(1, {"assetId": "c", "new": 7})
        await rig.delivered()
        found = letters(file)
    async with delivering(file, after, {"bms": Receiver()}) as rig:
        assert rig.pipeline.retry(found) == {}
        assert rig.mapping.mapped == 1
        assert rig.mapping.unshown == {"R/DEEP": "7 is not in its map"}


async def test_a_retried_reading_never_replaces_a_newer_one(file: Path, points: PointMap) -> None:
    """Also one without its own time, whose dead letter was written much later."""
    receiver, clock = Receiver(away=1_000_000, refuses={"R/H"}), Clock()
    async with delivering(file, points, {"bms": receiver}, clock=clock) as rig:
        await rig.send(1, h=50)
        await rig.send(2, h=51)
        clock.now_ms += 60_000
        receiver.away = 0
        await rig.delivered()
        await rig.send(3, h=60)
        found = letters(file)[:2]
        assert {stored.letter.at_ms for stored in found} == {NOON + 60_000}
        receiver.refuses.clear()
        await rig.delivered()
        receiver.updates.clear()
        assert rig.pipeline.retry(found) == {}
        await rig.delivered()
        assert [update.value for update in receiver.updates] == [50, 51]
        assert not any(rig.state.is_newest(update) for update in receiver.updates)
        newest = rig.state.latest(points.by_name["R/H"])
        assert newest is not None
        assert newest.value == 60


async def test_a_retried_pseudo_point_shows_its_present_value(file: Path, points: PointMap) -> None:
    """A refused `$quality` is not news later: the present one is sent."""
    receiver = Receiver(refuses={"R/QUAL"})
    async with delivering(file, points, {"bms": receiver}) as rig:
        await rig.send(1, t=-5)
        await rig.delivered()
        (stored,) = letters(file)
        assert (stored.letter.seq, stored.body) == (0, None)
        await rig.send(2, t=5)
        await rig.delivered()
        receiver.refuses.clear()
        receiver.updates.clear()
        assert rig.pipeline.retry([stored]) == {}
        await rig.delivered()
        assert readings(receiver) == [("R/QUAL", Quality.GOOD)]
        assert numbers(file) == []


def changed(stored: StoredDeadLetter, *, body: bytes | None = None, **fields: Any) -> StoredDeadLetter:
    """Return a dead letter with other fields."""
    return StoredDeadLetter(stored.number, replace(stored.letter, **fields), body)


async def test_reasons_against_a_retry(file: Path, points: PointMap) -> None:
    """Each reason is returned by number, and the dead letter stays."""
    receiver = Receiver()
    async with delivering(file, points, {"bms": receiver}) as rig:
        (stored,) = await refused(rig, receiver, 50)
        body = stored.body
        unknown = rig.event(9, {"assetId": "x", "telemetry": {"t": 1}}).body
        for letter, reason in (
            (changed(stored, body=body, sink="old"), "there is no sink named old any more"),
            (changed(stored), "its event is not kept any more"),
            (changed(stored, body=body, point="R/X"), "R/X is not in the point tables any more"),
            (changed(stored, body=unknown), "no point table names its asset x"),
            (changed(stored, body=body, point="R/DEEP"), "its event has no reading for R/DEEP"),
            (changed(stored, body=b"nothing"), "the body is not JSON"),
            (
                changed(stored, seq=0, point="R/DEEP"),
                "R/DEEP shows nothing, or is not in the point tables any more",
            ),
        ):
            assert rig.pipeline.retry([letter]) == {stored.number: reason}
        await rig.delivered()
        assert readings(receiver) == []
        assert numbers(file) == [stored.number]


async def test_queued_dead_letters_are_bounded(file: Path, points: PointMap) -> None:
    """Beyond a thousand they are refused; the others are sent some at a time."""
    receiver = Receiver()
    async with delivering(file, points, {"bms": receiver}) as rig:
        (stored,) = await refused(rig, receiver, 50)
        many = [StoredDeadLetter(number, stored.letter, stored.body) for number in range(1_001)]
        left = rig.pipeline.retry(many)
        assert left == {1_000: "1000 letters wait for its sink already; retry it when these are done"}
        attempts = len(receiver.attempts)
        await rig.delivered()
        assert [len(attempt) for attempt in receiver.attempts[attempts:]] == [50] * 20


async def test_an_event_that_finds_no_room_changes_nothing(file: Path, points: PointMap) -> None:
    """If one sink's queue is full, no sink gets it, and no point shows it."""
    away, receiver = Receiver(away=1_000_000), Receiver()
    async with delivering(file, points, {"regs": receiver, "bms": away}) as rig:
        await rig.send(1, t=1)
        await rig.until(lambda: receiver.values("R/T") == [1])
        about_t = DeadLetter("bms", 0, "", "R/T", "no such register", NOON)
        assert (
            rig.pipeline.retry([StoredDeadLetter(number, about_t, None) for number in range(1, 1001)]) == {}
        )
        event = rig.event("unmapped", {"assetId": "a", "telemetry": {"h": 7}})
        unmapped = DeadLetter("", 9, "evt_unmapped", "", "no readings found", NOON)
        left = rig.pipeline.retry([StoredDeadLetter(2000, unmapped, event.body)])
        assert left == {2000: "1000 letters wait for its sink already; retry it when these are done"}
        assert rig.state.latest(points.by_name["R/H"]) is None
