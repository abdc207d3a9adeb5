"""Names of points and templates, made of what Infodeck calls things."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

from gateway.mapping.topics import FORBIDDEN_IN_LEVELS

if TYPE_CHECKING:
    from collections.abc import Container

_LONGEST = 60
_LONGEST_COMMENT = 120


def point_name(key: str, *, taken: Container[str]) -> str:
    """Return a telemetry key in upper case, as one level of a topic that no other point has."""
    return _unique(_as_level(key.upper()) or "POINT", taken)


def template_name(asset_type: str, *, taken: Container[str]) -> str:
    """Return the id of an asset type as a template's name that no other template has."""
    return _unique(one_line(asset_type, longest=_LONGEST) or "template", taken)


def site_name(text: str) -> str:
    """Return some text as one level of a topic."""
    return _as_level(text) or "site"


def one_line(text: str, *, longest: int = _LONGEST_COMMENT) -> str:
    """Return text as it can stand in a comment: printable, on one line, and not for ever."""
    plain = "".join(mark if mark.isprintable() else " " for mark in text)
    plain = re.sub(r"\s+", " ", plain).strip()
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


def _as_level(text: str) -> str:
    marks = ("-" if mark in FORBIDDEN_IN_LEVELS or not mark.isprintable() else mark for mark in text.strip())
    clean = re.sub(r"\s+", "-", "".join(marks))[:_LONGEST].strip()
    return f"-{clean[1:]}" if clean.startswith("$") else clean


def _unique(name: str, taken: Container[str]) -> str:
    if name not in taken:
        return name
    return next(other for number in count(2) if (other := f"{name}-{number}") not in taken)
