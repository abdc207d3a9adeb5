"""Patterns with names in braces, `{tag}`, such as users write for tags and topics."""

from __future__ import annotations

from string import Formatter
from typing import TYPE_CHECKING

from gateway.text import closest_name

if TYPE_CHECKING:
    from collections.abc import Sequence


def placeholders_in(pattern: str, known: Sequence[str]) -> list[str]:
    """Return the placeholders in their order; raise ValueError for one that is not known or not plain.

    What is returned without error can be given to `str.format` with the known names.
    """
    listed = ", ".join(f"{{{name}}}" for name in known)
    try:
        parts = list(Formatter().parse(pattern))
    except ValueError as error:
        raise ValueError("braces stand in pairs, around one of " + listed) from error
    fields = [field for _, field, _, _ in parts if field is not None]
    strange = next((field for field in fields if field not in known), None)
    if strange is not None:
        close = closest_name(strange, known)
        meant = f"did you mean {{{close}}}? Known are " if close else "known are "
        raise ValueError(f"unknown placeholder {{{strange}}}; {meant}{listed}")
    if any(form or conversion for _, _, form, conversion in parts):
        raise ValueError("a placeholder is a name in braces and nothing else: " + listed)
    return fields


def literals_of(pattern: str) -> list[str]:
    """Return what stands between the placeholders, of a pattern without mistakes."""
    return [literal for literal, *_ in Formatter().parse(pattern)]
