"""The history of a point: which readings of each pixel are kept, and where it was stale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.journal_parts import sqlite_journal
from support.point_tables import load_good_tables
from support.room_state import FRESH_MS, NOON, TABLE

from gateway.admin.point_history import HistoryWindow, PastReading, PointHistory, read_history
from gateway.events import parse_event

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.mapping.plan import PointMap

SPAN_MS = 100_000
AFTER = NOON + SPAN_MS


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> PointMap:
    """Return the points of one room, whose readings are fresh for ten seconds."""
    return load_good_tables(tmp_path_factory.mktemp("tables"), TABLE)


times = st.integers(-2 * FRESH_MS, SPAN_MS + FRESH_MS)
readings = st.lists(st.tuples(times, st.floats(-50, 50), st.sampled_from(["good", "good", "bad", "offline"])))


def ends(numbers: Iterable[float]) -> list[float]:
    """Return the lowest and the highest number, if there is any."""
    ordered = sorted(numbers)
    return ordered[:1] + ordered[-1:]


def good_values(readings: Iterable[PastReading]) -> list[float]:
    """Return the values of good readings."""
    return [float(one.value) for one in readings if one.quality == "good" and one.value is not None]


@given(found=readings, width=st.integers(1, 60))
def test_a_thinned_history_has_the_peaks_of_all_readings(
    points: PointMap, found: list[tuple[int, float, str]], width: int
) -> None:
    """Of each pixel the first, last, lowest and highest reading are kept, in whatever order they come."""
    history = PointHistory(points.by_name["R/VALUE"], HistoryWindow(NOON, AFTER, width))
    every = [
        PastReading(NOON + at, seq, value, word, f"e{seq}") for seq, (at, value, word) in enumerate(found)
    ]
    for reading in every:
        history.add(reading)
    rows = [row for row in history.rows(AFTER) if row.quality != "stale"]
    inside = [reading for reading in every if NOON <= reading.time_ms <= AFTER]
    assert rows == sorted(rows, key=lambda row: (row.time_ms, row.seq))
    assert set(rows) <= set(every)
    assert len(rows) <= 1 + 5 * (width + 1)
    pixel_ms = -(-SPAN_MS // width)
    for number in range(width + 1):
        mine = [one for one in inside if (one.time_ms - NOON) // pixel_ms == number]
        kept = [one for one in mine if one in rows]
        assert ends(one.time_ms for one in kept) == ends(one.time_ms for one in mine)
        assert ends(good_values(kept)) == ends(good_values(mine))
    before = [reading for reading in every if reading.time_ms < NOON]
    assert (history.start is None) is (before == [])
    if before:
        assert rows[0].time_ms == max(reading.time_ms for reading in before)


def history_of(points: PointMap, folder: Path, *, wanted: bool = True) -> dict[str, Any]:
    """Read the history of one point for 50 seconds."""
    now_ms, path, point = NOON + 50_000, folder / "journal.db", points.by_name["R/VALUE"]
    window = HistoryWindow(NOON, now_ms, 1000)
    found = read_history(path, points, point, window, now_ms=now_ms, wanted=lambda: wanted)
    return dict(orjson.loads(found))


def body(event: str, asset: str, at_ms: int, **readings: Any) -> bytes:
    """Return an event of the asset."""
    thing = {"id": asset, "telemetry": readings, "timestamp": at_ms}
    return orjson.dumps({"id": event, "type": "asset.telemetry.updated", "data": {"object": thing}})


def offline(event: str, at_ms: int) -> bytes:
    """Return an event that says that asset `a` is not connected."""
    thing = {"id": "a", "status": "Offline", "timestamp": at_ms}
    return orjson.dumps({"id": event, "type": "asset.status.changed", "data": {"object": thing}})


async def test_a_history_shows_stale_bad_and_offline_stretches(points: PointMap, tmp_path: Path) -> None:
    """Readings have their own times, however late they came, and are converted by the tables in force."""
    bodies = {
        NOON - 3_000: body("e0", "a", NOON - 3_000, value=20),
        NOON + 1_000: body("e1", "a", NOON + 1_000, value=21, hold=1),
        NOON + 2_000: body("e2", "other", NOON + 2_000, value=5),
        NOON + 40_000: body("e3", "a", NOON + 40_000, value="22"),
        NOON + 41_000: body("e4", "a", NOON + 41_000, value=99),
        NOON + 42_000: body("e5", "a", NOON + 5_000, value=23),
        NOON + 43_000: offline("e6", NOON + 43_000),
        NOON + 44_000: body("e7", "a", NOON + 44_000, hold=1),
    }
    async with sqlite_journal(tmp_path, clock_ms=lambda: NOON) as journal:
        for received_ms, text in bodies.items():
            await journal.append(parse_event(text, received_ms=received_ms))
    found = history_of(points, tmp_path)
    assert [(at - NOON, value, quality, event) for at, value, quality, event in found["rows"]] == [
        (-3_000, 20, "good", "e0"),
        (1_000, 21, "good", "e1"),
        (5_000, 23, "good", "e5"),
        (15_000, None, "stale", None),
        (40_000, 22, "good", "e3"),
        (41_000, 99, "bad", "e4"),
        (43_000, None, "offline", "e6"),
    ]
    assert (found["readings"], found["since_ms"]) == (4, None)


async def test_a_search_ends_once_nobody_waits_for_it(
    points: PointMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer says how far it has come."""
    monkeypatch.setattr("gateway.journal.lookup._SEARCHED_AT_ONCE", 5)
    async with sqlite_journal(tmp_path, clock_ms=lambda: NOON) as journal:
        for number in range(20):
            text = body(f"e{number}", "a", NOON + 1000 * number, value=20)
            await journal.append(parse_event(text, received_ms=NOON + 1000 * number))
    found = history_of(points, tmp_path, wanted=False)
    assert (found["readings"], found["since_ms"]) == (5, NOON + 14_000)
    assert history_of(points, tmp_path)["readings"] == 20
