"""Subjects of events: each part is one token, whatever people call their sites."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.jetstream.subjects import covers, event_subject, organization_subjects, subject_token

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(NAMES)
def test_a_token_is_legal_and_has_its_text(text: str) -> None:
    """A token has no character with a meaning in subjects, and decodes to its text."""
    token = subject_token(text)
    assert token.isascii()
    assert token.isprintable()
    assert not set(token) & set(" .*>$")
    assert unquote(token) == text
    assert token != "_"


@pytest.mark.parametrize("text", ["", "é" * 200])
def test_what_is_no_usable_name_is_unknown(text: str) -> None:
    """No text, and one that is too long for a server's control line, is `_`."""
    assert subject_token(text) == "_"


def test_the_subject_of_an_event() -> None:
    """Organization, site and asset follow `infodeck`; what is unknown is `_`."""
    assert event_subject("o-x", "hq-tower", "ast-1") == "infodeck.o-x.hq-tower.ast-1"
    assert event_subject("o-x", "St. Mary's", None) == "infodeck.o-x.St%2E%20Mary%27s._"
    assert event_subject("o-x", None, "_") == "infodeck.o-x._.%5F"
    assert organization_subjects("o-x") == "infodeck.o-x.>"


WORDS = st.lists(st.sampled_from("ab"), min_size=1, max_size=4)
PATTERNS = st.tuples(st.lists(st.sampled_from("ab*"), min_size=1, max_size=3), st.sampled_from([[], [">"]]))


@given(PATTERNS, PATTERNS, WORDS)
def test_what_covers_a_pattern_matches_all_of_it(
    wide: tuple[list[str], list[str]], narrow: tuple[list[str], list[str]], words: list[str]
) -> None:
    """No subject of the narrow pattern is outside of the wide one; a pattern covers itself."""
    wide_text, narrow_text, subject = (
        ".".join(each) for each in (wide[0] + wide[1], narrow[0] + narrow[1], words)
    )
    assert covers(wide_text, wide_text)
    if covers(wide_text, narrow_text) and _matches(narrow_text, subject):
        assert _matches(wide_text, subject)
    assert covers(wide_text, subject) == _matches(wide_text, subject)


def _matches(pattern: str, subject: str) -> bool:
    """Return whether a subject matches, by a regular expression."""
    expression = re.escape(pattern).replace(r"\*", "[^.]+").replace(">", ".+")
    return re.fullmatch(expression, subject) is not None
