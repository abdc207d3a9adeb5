"""Which signing secrets are accepted while one follows another: pure, with time as an argument."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.intake.secrets_in_force import UNUSED_FOR_MS, Former, SecretsInForce

NOW = 1_771_911_526_000


def started(*source: bytes) -> SecretsInForce:
    """Return what is in force after a start with these in the settings' sources."""
    return SecretsInForce(source, source)


def test_announced_secret_is_first_and_the_one_before_stays() -> None:
    """Both verify; a second one of the settings is none of the rotation's business."""
    after = started(b"old", b"other").announced(b"new", now_ms=NOW, keep=True)
    assert (after.current, after.told) == ((b"new", b"other"), (b"new",))
    assert after.former == (Former(b"old", NOW),)


def test_announced_again_changes_nothing() -> None:
    """A command that is not sure whether it was heard may say it again."""
    once = started(b"old").announced(b"new", now_ms=NOW, keep=True)
    assert once.announced(b"new", now_ms=NOW + 5, keep=True) is once


def test_leaked_secret_is_refused_at_once() -> None:
    """Without `keep`, neither the one before nor earlier ones are accepted; also when asked for later."""
    kept = started(b"older").announced(b"old", now_ms=NOW, keep=True).announced(b"new", now_ms=NOW, keep=True)
    assert kept.all == (b"new", b"older", b"old")
    assert kept.announced(b"newest", now_ms=NOW, keep=False).all == (b"newest",)
    assert kept.announced(b"new", now_ms=NOW, keep=False).all == (b"new",)


def test_file_that_catches_up_keeps_the_former_one() -> None:
    """Told first, read later: the former secret stays as it was, with its time."""
    told = started(b"old").announced(b"new", now_ms=NOW, keep=True)
    read = told.reread((b"new",), now_ms=NOW + 5)
    assert (read.current, read.told, read.former) == ((b"new",), (), (Former(b"old", NOW),))


def test_source_that_has_not_changed_undoes_nothing() -> None:
    """A systemd credential is the old one until a restart, however often it is read."""
    told = started(b"old").announced(b"new", now_ms=NOW, keep=True)
    assert told.reread((b"old",), now_ms=NOW + 5) is told


def test_secret_changed_by_hand() -> None:
    """What the sources no longer hold is former; what they hold again is not."""
    changed = started(b"a", b"b").reread((b"b", b"c"), now_ms=NOW)
    assert (changed.current, changed.former) == ((b"b", b"c"), (Former(b"a", NOW),))
    back = changed.reread((b"a",), now_ms=NOW + 1)
    assert back.current == (b"a",)
    assert {former.secret for former in back.former} == {b"b", b"c"}


def test_dropped_when_unused_for_a_day() -> None:
    """The day counts from the rotation and from each use, whichever is later."""
    in_force = started(b"old").announced(b"new", now_ms=NOW, keep=True)
    assert in_force.without_unused(now_ms=NOW + UNUSED_FOR_MS - 1) is in_force
    assert in_force.without_unused(now_ms=NOW + UNUSED_FOR_MS).former == ()
    in_force.former[0].last_used_ms = NOW + 1000
    assert in_force.without_unused(now_ms=NOW + UNUSED_FOR_MS) is in_force
    assert in_force.without_unused(now_ms=NOW + UNUSED_FOR_MS + 1000).all == (b"new",)


def test_time_of_a_clock_that_was_ahead_keeps_no_secret_alive() -> None:
    """Times that lie in the future count as now."""
    in_force = started(b"old").announced(b"new", now_ms=NOW + 365 * UNUSED_FOR_MS, keep=True)
    in_force.former[0].last_used_ms = NOW + 366 * UNUSED_FOR_MS
    assert in_force.without_unused(now_ms=NOW) is in_force
    assert in_force.without_unused(now_ms=NOW + UNUSED_FOR_MS).former == ()


def test_clock_that_is_set_ahead_takes_the_times_along() -> None:
    """What happened a moment ago did so still; and nothing has happened later than now."""
    in_force = started(b"older").announced(b"old", now_ms=NOW - 10, keep=True)
    in_force = in_force.announced(b"new", now_ms=NOW + 7 * UNUSED_FOR_MS, keep=True)  # as of the new time
    in_force.follow_clock(7 * UNUSED_FOR_MS, now_ms=NOW + 7 * UNUSED_FOR_MS)
    assert in_force.without_unused(now_ms=NOW + 8 * UNUSED_FOR_MS - 11) is in_force
    left = in_force.without_unused(now_ms=NOW + 8 * UNUSED_FOR_MS - 10).former
    assert [former.secret for former in left] == [b"old"]
    assert in_force.without_unused(now_ms=NOW + 8 * UNUSED_FOR_MS).former == ()


def test_former_secret_that_goes_on_to_be_used_is_overdue() -> None:
    """Infodeck repeats a delivery for a day: what is signed with a former secret days later is another."""
    in_force = started(b"old").announced(b"new", now_ms=NOW, keep=True)
    assert in_force.used_after_ms is None
    in_force.former[0].last_used_ms = NOW + UNUSED_FOR_MS
    assert in_force.used_after_ms == UNUSED_FOR_MS
    in_force = in_force.announced(b"newest", now_ms=NOW + UNUSED_FOR_MS, keep=True)
    in_force.former[1].last_used_ms = NOW + 4 * UNUSED_FOR_MS
    assert in_force.used_after_ms == 3 * UNUSED_FOR_MS


def test_many_rotations_do_not_slow_down_the_intake() -> None:
    """Each former secret costs an HMAC per delivery: the eight that were needed last are kept."""
    in_force = started(b"0")
    for number in range(1, 20):
        in_force = in_force.announced(b"%d" % number, now_ms=NOW + number, keep=True)
    assert [former.secret for former in in_force.former] == [b"%d" % number for number in range(11, 19)]


def test_start_with_what_was_kept() -> None:
    """What the settings hold by now is not former any more."""
    kept = (Former(b"new", NOW), Former(b"old", NOW - 5, NOW - 1))
    assert started(b"new").with_kept(kept).former == kept[1:]


def test_no_secret_shows_in_an_error() -> None:
    """Nothing of this has a secret in its text."""
    told = started(b"hidden-1").announced(b"hidden-2", now_ms=NOW, keep=True)
    assert "hidden" not in repr(told)


SECRETS = st.sampled_from([b"a", b"b", b"c", b"d"])
STEPS = st.one_of(
    st.tuples(st.just("tell"), SECRETS),
    st.tuples(st.just("read"), st.lists(SECRETS, min_size=1, unique=True)),
)


@given(st.lists(STEPS, max_size=8))
def test_nothing_is_refused_that_was_accepted_a_moment_ago(
    steps: list[tuple[str, list[bytes] | bytes]],
) -> None:
    """Whatever is told and read within a day, every secret that was in force still is, and none is twice."""
    in_force = started(b"a")
    for number, (step, what) in enumerate(steps):
        before = set(in_force.all)
        if isinstance(what, bytes):
            in_force = in_force.announced(what, now_ms=NOW + number, keep=True)
            assert in_force.current[0] == what
        else:
            in_force = in_force.reread(tuple(what), now_ms=NOW + number)
            assert set(what) <= set(in_force.all)
        assert before <= set(in_force.all), step
        assert len(set(in_force.all)) == len(in_force.all)
