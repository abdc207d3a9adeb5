"""Suggestions for misspelt names: right, and quick in large buildings."""

from __future__ import annotations

import time

from gateway.text import unknown_name

NAMES = [f"L03-RM{number}/{point}" for number in range(10_000) for point in ("ZN-T", "ZN-RH", "OCC")]


def test_a_similar_name_is_found_among_many() -> None:
    """A slip of one key in a building of 30,000 points still gives a suggestion."""
    for wrong, meant in (
        ("L03-RM412/ZNT", "L03-RM412/ZN-T"),
        ("L3-RM412/ZN-T", "L03-RM412/ZN-T"),
        ("L03-RN7/OCC", "L03-RM7/OCC"),
    ):
        assert (
            unknown_name("point", wrong, NAMES) == f"there is no point of this name, did you mean `{meant}`?"
        )


def test_many_wrong_names_are_reported_within_seconds() -> None:
    """After a tag was renamed in all places but the cases, `gateway check` still answers at once."""
    started = time.process_time()
    for number in range(100):
        unknown_name("point", f"L3-RM{number}/ZN-T", NAMES)
    assert time.process_time() - started < 60  # comparing each with each takes minutes
