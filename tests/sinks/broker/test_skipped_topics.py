"""Which topics are skipped, by the disconnects of a broker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sinks.broker.skipped_topics import SkippedTopics

_TOPICS = st.frozensets(st.sampled_from("abcdef"))


def hang_up(topics: SkippedTopics, *in_flight: str, accepted_others: bool = True) -> None:
    """Have the broker disconnect."""
    topics.record_disconnect(in_flight, accepted_others=accepted_others)


@given(st.lists(st.tuples(_TOPICS, st.booleans())))
def test_a_network_that_breaks_all_the_time_has_no_topic_skipped(
    losses: list[tuple[frozenset[str], bool]],
) -> None:
    """Whatever is on its way each time: as long as every suspect gets through in the end, none is skipped."""
    topics = SkippedTopics()
    for in_flight, accepted_others in losses:
        hang_up(topics, *in_flight, accepted_others=accepted_others)
        for topic in topics.suspects:
            topics.record_accepted(topic)
        assert not any(topics.is_skipped(topic) for topic in "abcdef")
        assert not any(topic in topics for topic in "abcdef")


def test_a_topic_is_skipped_for_an_hour_and_then_tried_alone() -> None:
    """One more hang-up, and it is skipped for another hour; taken, it is like any other."""
    now_s = 0.0
    topics = SkippedTopics(clock_s=lambda: now_s)
    hang_up(topics, *"abc")
    hang_up(topics, *"bcd")
    assert topics.suspects == {"a", "b", "c", "d"}
    for topic in "acd":
        topics.record_accepted(topic)
    for _ in range(4):
        hang_up(topics, "b")
        assert not topics.is_skipped("b")
    hang_up(topics, "b")
    assert topics.is_skipped("b")
    now_s = 3600.0
    assert not topics.is_skipped("b")
    assert topics.suspects == {"b"}
    hang_up(topics, "b")
    assert topics.is_skipped("b")
    now_s = 7200.0
    assert not topics.is_skipped("b")
    topics.record_accepted("b")
    assert "b" not in topics


def test_two_topics_at_which_the_broker_hangs_up_by_turns_are_both_found() -> None:
    """That the one is found does not hinder that the other is."""
    topics = SkippedTopics()
    for topic in "aa" + "bb" + "ab" * 5:
        hang_up(topics, topic)
    assert topics.is_skipped("a")
    assert topics.is_skipped("b")


@pytest.mark.parametrize("in_flight", ["", "ac"])
def test_a_connection_that_also_breaks_otherwise_has_no_topic_skipped(in_flight: str) -> None:
    """Before the suspect is sent, or with other messages on their way: it is the network that breaks."""
    topics = SkippedTopics()
    for _ in range(9):
        for _ in range(4):
            hang_up(topics, "a")
        hang_up(topics, *in_flight)
    assert not topics.is_skipped("a")


def test_a_broker_that_takes_nothing_at_all_has_no_topic_skipped() -> None:
    """Where nothing was acknowledged, the message says nothing about its topic."""
    topics = SkippedTopics()
    for _ in range(9):
        hang_up(topics, "a", accepted_others=False)
    assert not topics.is_skipped("a")
