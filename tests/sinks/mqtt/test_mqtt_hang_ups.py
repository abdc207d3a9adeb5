"""What is concluded from brokers that hang up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sinks.broker.hang_ups import HangUps

_TOPICS = st.frozensets(st.sampled_from("abcdef"))


def hang_up(hang_ups: HangUps, *under_way: str, has_taken_others: bool = True) -> None:
    """Have the broker hang up a tenth of a second after the last message."""
    hang_ups.note(under_way, after_s=0.1, has_taken_others=has_taken_others)


@given(st.lists(st.tuples(_TOPICS, st.booleans())))
def test_a_network_that_breaks_all_the_time_has_no_topic_skipped(
    losses: list[tuple[frozenset[str], bool]],
) -> None:
    """Whatever is on its way each time: as long as every suspect gets through in the end, none is skipped."""
    hang_ups = HangUps()
    for under_way, has_taken_others in losses:
        hang_up(hang_ups, *under_way, has_taken_others=has_taken_others)
        for topic in hang_ups.suspects:
            hang_ups.acquit(topic)
        assert not any(hang_ups.skips(topic) for topic in "abcdef")
        assert not hang_ups.watched


def test_a_topic_is_skipped_for_an_hour_and_then_tried_alone() -> None:
    """One more hang-up, and it is skipped for another hour; taken, it is like any other."""
    now_s = 0.0
    hang_ups = HangUps(clock_s=lambda: now_s)
    hang_up(hang_ups, *"abc")
    hang_up(hang_ups, *"bcd")
    assert hang_ups.suspects == {"b", "c"}
    hang_ups.acquit("c")
    for _ in range(4):
        hang_up(hang_ups, "b")
        assert not hang_ups.skips("b")
    hang_up(hang_ups, "b")
    assert hang_ups.skips("b")
    now_s = 3600.0
    assert not hang_ups.skips("b")
    assert hang_ups.suspects == {"b"}
    hang_up(hang_ups, "b")
    assert hang_ups.skips("b")
    now_s = 7200.0
    assert not hang_ups.skips("b")
    hang_ups.acquit("b")
    assert not hang_ups.watched


def test_two_topics_at_which_the_broker_hangs_up_by_turns_are_both_found() -> None:
    """That the one is found does not hinder that the other is."""
    hang_ups = HangUps()
    for topic in "aa" + "bb" + "ab" * 5:
        hang_up(hang_ups, topic)
    assert hang_ups.skips("a")
    assert hang_ups.skips("b")


@pytest.mark.parametrize("under_way", ["", "ac"])
def test_a_connection_that_also_breaks_otherwise_has_no_topic_skipped(under_way: str) -> None:
    """Before the suspect is sent, or with other messages on their way: it is the network that breaks."""
    hang_ups = HangUps()
    for _ in range(9):
        for _ in range(4):
            hang_up(hang_ups, "a")
        hang_up(hang_ups, *under_way)
    assert not hang_ups.skips("a")


def test_a_broker_that_takes_nothing_at_all_has_no_topic_skipped() -> None:
    """Where nothing was acknowledged, the message says nothing about its topic."""
    hang_ups = HangUps()
    for _ in range(9):
        hang_up(hang_ups, "a", has_taken_others=False)
    assert not hang_ups.skips("a")
