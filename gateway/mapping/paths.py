"""Explicit paths into an event, `$.data.object.sensors[0].value`, compiled into getters. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model import Scalar

_PATH = re.compile(r"\$(?:\.[^.\[\]\s]+|\[\d{1,4}\])+")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class _Missing:
    """The type of MISSING, which is no value that an event can hold."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""Stands for "the event has nothing there", which makes no reading."""


def compile_path(path: str) -> Callable[[Any], Scalar | _Missing]:
    """Return the getter from a parsed event body to what stands at the path.

    MISSING where nothing does, None where an object or a list does. Raises ValueError with an example
    for text that is no path.
    """
    if not _PATH.fullmatch(path):
        raise ValueError("a path into the event is written like $.data.object.sensors[0].value")
    steps: list[str | int] = [match[1] or int(match[2]) for match in _STEP.finditer(path)]

    def get(body: Any) -> Scalar | _Missing:
        for step in steps:
            if isinstance(body, str):  # has indexes too, but no parts
                return MISSING
            try:
                body = body[step]
            except (LookupError, TypeError):
                return MISSING
        return None if isinstance(body, dict | list) else body

    return get
