"""Which topics are skipped after which disconnects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sinks.broker.skipped_topics import SkippedTopics

_TOPICS = st.frozensets(st.sampled_from("abcdef"))


def disconnect(topics: SkippedTopics, *in_flight: str, accepted_others: bool = True) -> None:
    """Record a disconnect of the broker."""
    topics.record_disconnect(in_flight, accepted_others=accepted_others)


@given(st.lists(st.tuples(_TOPICS, st.booleans())))
def test_a_network_that_breaks_all_the_time_has_no_topic_skipped(
    losses: list[tuple[frozenset[str], bool]],
) -> None:
    """If every suspect is accepted in the end, no topic is skipped."""
    topics = SkippedTopics()
    for in_flight, accepted_others in losses:
        disconnect(topics, *in_flight, accepted_others=accepted_others)
        for topic in topics.suspects:
            topics.record_accepted(topic)
        assert not any(topics.is_skipped(topic) for topic in "abcdef")
        assert not any(topic in topics for topic in "abcdef")


def test_a_topic_is_skipped_for_an_hour_and_then_tried_alone() -> None:
    """After one more disconnect it is skipped for another hour; once accepted, it is no suspect."""
    now_s = 0.0
    topics = SkippedTopics(clock_s=lambda: now_s)
    disconnect(topics, *"abc")
    disconnect(topics, *"bcd")
    assert topics.suspects == {"a", "b", "c", "d"}
    for topic in "acd":
        topics.record_accepted(topic)
    for _ in range(4):
        disconnect(topics, "b")
        assert not topics.is_skipped("b")
    disconnect(topics, "b")
    assert topics.is_skipped("b")
    now_s = 3600.0
    assert not topics.is_skipped("b")
    assert topics.suspects == {"b"}
    disconnect(topics, "b")
    assert topics.is_skipped("b")
    now_s = 7200.0
    assert not topics.is_skipped("b")
    topics.record_accepted("b")
    assert "b" not in topics


def test_two_topics_are_found_by_turns() -> None:
    """Disconnects at two topics in turn are counted for each."""
    topics = SkippedTopics()
    for topic in "aa" + "bb" + "ab" * 5:
        disconnect(topics, topic)
    assert topics.is_skipped("a")
    assert topics.is_skipped("b")


@pytest.mark.parametrize("in_flight", ["", "ac"])
def test_a_connection_that_also_breaks_otherwise_has_no_topic_skipped(in_flight: str) -> None:
    """If the connection also breaks without the suspect, the network is at fault."""
    topics = SkippedTopics()
    for _ in range(9):
        for _ in range(4):
            disconnect(topics, "a")
        disconnect(topics, *in_flight)
    assert not topics.is_skipped("a")


def test_a_broker_that_accepts_nothing_has_no_topic_skipped() -> None:
    """Without an acknowledgement on the connection, no topic is at fault."""
    topics = SkippedTopics()
    for _ in range(9):
        disconnect(topics, "a", accepted_others=False)
    assert not topics.is_skipped("a")
