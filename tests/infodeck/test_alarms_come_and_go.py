"""How alarms begin and end, and that one that comes and goes lasts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support.arrival_parts import HOUR_MS, MINUTE_MS, NOW_MS

from gateway.alarms import Alarms

NAME = "webhook-missed"


class Course:
    """Alarms with a clock that the test moves."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.alarms = Alarms(clock_ms=lambda: self.now_ms)
        self.changes = 0
        self.alarms.subscribe(self._count)

    def _count(self) -> None:
        self.changes += 1

    def for_(self, ms: int, reason: str | None) -> str | None:
        """Let time pass with a state; return the reason at the end."""
        until_ms = self.now_ms + ms
        while self.now_ms < until_ms:
            self.now_ms += MINUTE_MS
            self.alarms.set(NAME, reason)
        return self.reason

    @property
    def reason(self) -> str | None:
        """The current reason."""
        return next((alarm.reason for alarm in self.alarms.current()), None)


def test_an_alarm_ends_at_once() -> None:
    """It is logged once up and once down."""
    course = Course()
    with capture_logs() as logs:
        for _ in range(2):
            assert course.for_(HOUR_MS, "why") == "why"
            assert course.for_(MINUTE_MS, None) is None
            course.for_(4 * HOUR_MS, None)
    assert [line["event"] for line in logs] == ["alarm.raised", "alarm.cleared"] * 2
    assert course.changes == 4


def test_an_alarm_that_comes_and_goes_lasts() -> None:
    """Every half hour for a day, it is two alarms in the log."""
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
    """It does not wait for a time that has passed already."""
    course = Course()
    for reason in ("why", None, "why", None):
        course.for_(MINUTE_MS, reason)
    assert course.reason is not None
    course.now_ms -= 1000 * HOUR_MS
    assert course.for_(MINUTE_MS, None) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 300)), max_size=30))
def test_three_quiet_hours_end_any_alarm(course_of: list[tuple[bool, int]]) -> None:
    """Until then it is shown, with a reason that says whether it holds."""
    course = Course()
    for holds, minutes in course_of:
        shown = course.for_(minutes * MINUTE_MS, "why" if holds else None)
        assert not holds or shown == "why"
    assert course.for_(3 * HOUR_MS + MINUTE_MS, None) is None
