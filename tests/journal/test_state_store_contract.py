"""What every state store promises (`gateway.ports.StateStore`), on real files; one line adds another."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.journal_parts import START_MS, STATE_STORES

from gateway.records import DeadLetter, Gap, LastValue, OnlineState, Override, StateChanges, StoredState

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from gateway.model import Scalar
    from gateway.ports import StateStore

    Open = Callable[..., AbstractAsyncContextManager[StateStore]]


@pytest.fixture(params=list(STATE_STORES.values()), ids=list(STATE_STORES))
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Return a function that opens the state store under test, always on the same files."""
    return partial(request.param, tmp_path)


def last_value(point: str, value: Scalar, *, seq: int = 1) -> LastValue:
    """Make a last value of good quality."""
    return LastValue(point, "ast-1", "temperature", value, value, START_MS, seq, f"evt_{seq}")


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
async def test_last_values_are_restored(open_store: Open, value: Scalar) -> None:
    """Every kind of value keeps its type over a restart, and `values_through` is restored."""
    kept = LastValue("L03/ZN-T", "ast-1", "t", value, "before", START_MS - 1, 4, None)
    async with open_store() as store:
        assert store.at_start == StoredState([], 0, [], [], {}, None, [], [])
        store.save(StateChanges(last_values={"L03/ZN-T": last_value("L03/ZN-T", 1)}, values_through=3))
        store.save(StateChanges(last_values={"L03/ZN-T": kept, "B": last_value("B", 2)}, values_through=4))
        await store.flush()
    async with open_store() as store:
        values, through = store.at_start.last_values, store.at_start.values_through
        assert sorted(values, key=lambda each: each.point) == [last_value("B", 2), kept]
        assert type(next(each.raw for each in values if each.point == "L03/ZN-T")) is type(value)
        assert through == 4


async def test_later_changes_replace_only_what_they_name(open_store: Open) -> None:
    """Other values stay as they were."""
    async with open_store() as store:
        store.save(StateChanges(last_values={"A": last_value("A", 1)}, values_through=8))
        await store.flush()
        store.save(StateChanges(last_values={"B": last_value("B", 2)}, values_through=9))
    async with open_store() as store:
        values, through = store.at_start.last_values, store.at_start.values_through
        assert {each.point: each.raw for each in values} == {"A": 1, "B": 2}
        assert through == 9


async def test_overrides_and_connections_are_restored_until_removed(open_store: Open) -> None:
    """The last one of each point or asset is restored, also an override that has ended."""
    first, later = Override("A", 21.5, START_MS, START_MS + 1), Override("A", None, START_MS, START_MS + 2)
    other = Override("B", True, START_MS - 9, START_MS - 1)  # noqa: FBT003 - the forced value
    async with open_store() as store:
        assert (store.at_start.overrides, store.at_start.online) == ([], [])
        store.save(StateChanges(overrides={"A": first, "B": other}))
        await store.flush()
        store.save(StateChanges(overrides={"A": later}))
        store.save(StateChanges(online={"x": OnlineState("x", online=False, at_ms=START_MS)}))
        store.save(StateChanges(online={"x": OnlineState("x", online=True, at_ms=START_MS + 1)}))
    async with open_store() as store:
        assert sorted(store.at_start.overrides, key=lambda each: each.point) == [later, other]
        assert store.at_start.online == [OnlineState("x", online=True, at_ms=START_MS + 1)]
        store.save(StateChanges(overrides={"A": None}))
    async with open_store() as store:
        assert store.at_start.overrides == [other]


async def test_retained_topics_are_restored_until_cleared(open_store: Open) -> None:
    """They are restored by sink and topic, as last saved."""
    async with open_store() as store:
        assert store.at_start.retained.get("bms", {}) == {}
        store.save(
            StateChanges(retained={("bms", "t/A"): False, ("bms", "t/B"): True, ("other", "t/A"): True})
        )
        await store.flush()
        store.save(StateChanges(retained={("bms", "t/A"): True, ("bms", "t/B"): None}))
    async with open_store() as store:
        assert store.at_start.retained.get("bms", {}) == {"t/A": True}


def dead_letter(point: str, *, seq: int = 0, sink: str = "bms") -> DeadLetter:
    """Make a dead letter of the event `seq`, 0 for none."""
    return DeadLetter(sink, seq, f"evt_{seq}" if seq else "", point, "no such register", START_MS + seq)


async def test_numbers_of_removed_dead_letters_are_never_used_again(open_store: Open) -> None:
    """Not even the number of the newest one, and not after a restart."""
    letters = [dead_letter(name) for name in "ABC"]
    async with open_store() as store:
        store.save(StateChanges(dead_letters=letters))
        await store.flush()
        first, second, third = [each.number for each in await store.dead_letters(range(1, 100))]
        store.save(StateChanges(removed_dead_letters=[third, second, 99]))
        await store.flush()
        assert [each.number for each in await store.dead_letters(range(1, 100))] == [first]
        store.save(StateChanges(removed_dead_letters=[first], dead_letters=letters[:1]))
        await store.flush()
        (fourth,) = [each.number for each in await store.dead_letters(range(1, 100))]
        assert fourth > third
        store.save(StateChanges(removed_dead_letters=[fourth]))
    async with open_store() as store:
        store.save(StateChanges(dead_letters=letters[:1]))
        await store.flush()
        (fifth,) = [each.number for each in await store.dead_letters(range(1, 100))]
        assert fifth > fourth


async def test_gaps_are_restored_until_filled(open_store: Open) -> None:
    """Known seconds add up on disk; a closed gap stays closed, a filled one is deleted."""
    gap = Gap("ast-1", "co2", START_MS)
    closed = replace(gap, until_ms=START_MS + 9_000)
    async with open_store() as store:
        assert store.at_start.gaps == []
        assert await store.known_seconds(gap) == set()
        store.save(StateChanges(gaps={gap.id: gap}))
        store.save(StateChanges(gaps={gap.id: replace(gap, known_s=(7, 8))}))
        await store.flush()
        assert await store.known_seconds(gap) == {7, 8}
        other = replace(gap, key="t")
        store.save(StateChanges(gaps={gap.id: replace(closed, known_s=(9,)), other.id: other}))
    async with open_store() as store:
        assert {gap.id: gap for gap in store.at_start.gaps} == {gap.id: closed, other.id: other}
        store.save(StateChanges(gaps={gap.id: replace(gap, known_s=(9, 10))}))
        await store.flush()
        assert await store.known_seconds(gap) == {7, 8, 9, 10}
        store.save(StateChanges(gaps={gap.id: None}))
    async with open_store() as store:
        assert store.at_start.gaps == [other]
        assert await store.known_seconds(gap) == set()


async def test_flush_returns_without_changes(open_store: Open) -> None:
    """It also returns if several flushes run at once."""
    async with open_store() as store, asyncio.timeout(60):
        await store.flush()
        await asyncio.gather(store.flush(), store.flush())
        store.save(StateChanges(values_through=1))
        await store.flush()


async def test_leaving_stores_what_was_saved(open_store: Open) -> None:
    """No flush is needed before leaving."""
    async with open_store() as store:
        store.save(StateChanges(values_through=7))
    async with open_store() as store:
        assert store.at_start.values_through == 7
