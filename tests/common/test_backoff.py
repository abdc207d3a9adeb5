"""The pauses between delivery's attempts."""

from __future__ import annotations

from itertools import pairwise

from gateway.backoff import Backoff

LONGEST_TURN_S = 50.0  # after which the watchdog takes a loop for stuck


def test_pauses_grow_to_a_bound_and_begin_anew_after_success() -> None:
    """They double from half a second up to 30 seconds, less than the watchdog's time-out."""
    backoff = Backoff()
    for _ in range(2):
        pauses_s = [backoff.next_s() for _ in range(20)]
        assert 0.25 <= pauses_s[0] <= 0.5
        assert all(later > earlier / 2 for earlier, later in pairwise(pauses_s))
        assert all(15 <= pause_s <= 30 < LONGEST_TURN_S for pause_s in pauses_s[8:])
        backoff.reset()


def test_two_gateways_do_not_retry_in_step() -> None:
    """Pauses vary by half, so that gateways that lost the same broker return at different times."""
    one, other = ([backoff.next_s() for _ in range(20)] for backoff in (Backoff(), Backoff()))
    assert not set(one) & set(other)
    assert len({round(pause_s) for pause_s in one[8:]}) > 2
