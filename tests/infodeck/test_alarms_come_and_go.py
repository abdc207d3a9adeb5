"""How alarms begin and end: once in the log, steady where their cause is not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support.arrival_parts import HOUR_MS, MINUTE_MS, NOW_MS

from gateway.alarms import Alarms

NAME = "webhook-missed"


class Course:
    """Alarms whose clock is moved by the test, set again and again as the watch does."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.alarms = Alarms(clock_ms=lambda: self.now_ms)
        self.changes = 0
        self.alarms.subscribe(self._count)

    def _count(self) -> None:
        self.changes += 1

    def for_(self, ms: int, reason: str | None) -> str | None:
        """Let it be so for a while; return the reason that is shown at the end."""
        until_ms = self.now_ms + ms
        while self.now_ms < until_ms:
            self.now_ms += MINUTE_MS
            self.alarms.set(NAME, reason)
        return self.reason

    @property
    def reason(self) -> str | None:
        """What is shown."""
        return next((alarm.reason for alarm in self.alarms.current()), None)


def test_one_that_ends_is_gone_at_once() -> None:
    """Once up and once down, and a later one is another one."""
    course = Course()
    with capture_logs() as logs:
        for _ in range(2):
            assert course.for_(HOUR_MS, "why") == "why"
            assert course.for_(MINUTE_MS, None) is None
            course.for_(4 * HOUR_MS, None)
    assert [line["event"] for line in logs] == ["alarm.raised", "alarm.cleared"] * 2
    assert course.changes == 4


def test_one_that_comes_and_goes_holds_until_it_stays_away() -> None:
    """Every half hour for a day: two alarms in the log, and a reason that says how it is just now."""
    course = Course()
    with capture_logs() as logs:
        for _ in range(48):
            course.for_(15 * MINUTE_MS, "why")
            course.for_(15 * MINUTE_MS, None)
        assert course.reason == "why (It comes and goes, and is away just now.)"
        assert course.for_(MINUTE_MS, "why") == "why"
        assert course.for_(3 * HOUR_MS - MINUTE_MS, None) is not None
        assert course.for_(2 * MINUTE_MS, None) is None
    assert [line["event"] for line in logs] == ["alarm.raised", "alarm.cleared"] * 2
    assert course.alarms.current() == ()


def test_a_clock_that_is_set_back_ends_it() -> None:
    """Nobody waits until an old time comes again."""
    course = Course()
    for reason in ("why", None, "why", None):
        course.for_(MINUTE_MS, reason)
    assert course.reason is not None
    course.now_ms -= 1000 * HOUR_MS
    assert course.for_(MINUTE_MS, None) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 300)), max_size=30))
def test_it_is_shown_whenever_it_holds_and_not_for_ever(course_of: list[tuple[bool, int]]) -> None:
    """Whatever comes and goes, an alarm that holds is shown as such; three quiet hours end any."""
    course = Course()
    for holds, minutes in course_of:
        shown = course.for_(minutes * MINUTE_MS, "why" if holds else None)
        assert not holds or shown == "why"
    assert course.for_(3 * HOUR_MS + MINUTE_MS, None) is None
