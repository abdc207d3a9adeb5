"""How long commits wait for company, on simulated senders."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.journal.gathering import GatheringPause

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMIT_S = 0.002


class Commits:
    """Commits as the journal does them: `waits_s` of each event, and the number of commits."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []
        self.commits = 0
        self._pause = GatheringPause()

    def run(self, came_s: Iterator[float], *, until: int) -> None:
        """Commit events that come at these times, however long each commit takes."""
        waiting = [next(came_s)]
        after, now_s = 0, waiting[0]
        upcoming_s = next(came_s)
        while len(self.waits_s) < until:
            ends_s = now_s + self._pause.next_s(after=after, now_s=now_s)
            while upcoming_s <= ends_s:
                waiting.append(upcoming_s)
                upcoming_s = next(came_s)
            self._pause.record(len(waiting), now_s=ends_s)
            self.waits_s += [ends_s - each for each in waiting]
            self.commits += 1
            after, now_s, waiting = len(waiting), ends_s + _COMMIT_S, []
            while upcoming_s <= now_s:
                waiting.append(upcoming_s)
                upcoming_s = next(came_s)
            if not waiting:
                after, now_s, waiting = 0, upcoming_s, [upcoming_s]
                upcoming_s = next(came_s)

    @property
    def events_per_commit(self) -> float:
        """How many share one, on average."""
        return len(self.waits_s) / self.commits


def at_random(rate: float) -> Iterator[float]:
    """Yield the times of independent sensors, which do not wait for each other."""
    chance, now_s = random.Random(7), 0.0
    while True:
        now_s += chance.expovariate(rate)
        yield now_s


@pytest.mark.parametrize(("rate", "at_least"), [(200, 2.0), (500, 3.0), (1000, 3.5)])
def test_events_of_independent_sensors_share_commits(rate: float, at_least: float) -> None:
    """The faster they come, the more events share a commit."""
    commits = Commits()
    commits.run(at_random(rate), until=5_000)
    assert commits.events_per_commit >= at_least


@pytest.mark.parametrize("rate", [1, 20])
def test_events_of_a_small_building_do_not_wait(rate: float) -> None:
    """At 20 events/s and below, an event waits at most for the commit before it."""
    commits = Commits()
    commits.run(at_random(rate), until=2_000)
    assert max(commits.waits_s) <= _COMMIT_S


@pytest.mark.parametrize("senders", [1, 2, 3, 5])
def test_senders_that_wait_for_their_answers_are_not_delayed(senders: int) -> None:
    """Whether one or some: they spend less than a tenth of the time in pauses."""
    pause, now_s, paused_s = GatheringPause(), 0.0, 0.0
    for _ in range(5_000):
        pause_s = pause.next_s(after=0, now_s=now_s)
        alone = 1 if pause_s == 0 else senders  # without a pause, the others come while the first is written
        pause.record(alone, now_s=now_s + pause_s)
        if alone < senders:
            pause.record(senders - alone, now_s=now_s + _COMMIT_S)
        paused_s += pause_s
        now_s += pause_s + 2 * _COMMIT_S + 0.001  # until they have the answers and have sent again
    assert paused_s < now_s / 10


def test_an_event_after_a_quiet_time_does_not_wait() -> None:
    """However fast events came before."""
    commits = Commits()
    commits.run(at_random(500), until=1_000)
    assert commits._pause.next_s(after=0, now_s=1e6) == 0


@given(st.lists(st.tuples(st.integers(1, 100), st.floats(0, 100)), max_size=50))
def test_no_pause_is_longer_than_ten_milliseconds(batches: list[tuple[int, float]]) -> None:
    """Whatever came before."""
    pause, now_s = GatheringPause(), 0.0
    for events, quiet_s in batches:
        now_s += quiet_s
        assert 0 <= pause.next_s(after=events, now_s=now_s) <= 0.01
        pause.record(events, now_s=now_s)
