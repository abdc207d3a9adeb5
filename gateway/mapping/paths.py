"""Paths into an event, `$.data.object.sensors[0].value`: compiled to getters, and set in simulated events."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model import Scalar

_PATH = re.compile(r"\$(?:\.[^.\[\]\s]+|\[\d{1,4}\])+")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class _NotFound(Enum):
    NOT_FOUND = "not found"


NOT_FOUND: Final = _NotFound.NOT_FOUND
"""Returned by a getter if the event has nothing at its path."""

NotFound = Literal[_NotFound.NOT_FOUND]


def compile_path(path: str) -> Callable[[Any], Scalar | NotFound]:
    """Return the getter from a parsed event body to the value at the path.

    It returns NOT_FOUND if nothing is there, and None for an object or a list. Raises ValueError with an
    example for text that is not a path.
    """
    if not _PATH.fullmatch(path):
        raise ValueError("a path into the event is written like $.data.object.sensors[0].value")
    steps = split_path(path)

    def get(body: Any) -> Scalar | NotFound:
        for step in steps:
            if isinstance(body, str):  # can be indexed, but has no parts
                return NOT_FOUND
            try:
                body = body[step]
            except (LookupError, TypeError):
                return NOT_FOUND
        return None if isinstance(body, dict | list) else body

    return get


def split_path(path: str) -> list[str | int]:
    """Return the steps of a valid path: names and positions in lists."""
    return [match[1] or int(match[2]) for match in _STEP.finditer(path)]


def set_path(path: str, body: Any, value: Scalar) -> bool:
    """Set the value at a path of a body. Return False, and change nothing there, if the place is occupied."""
    steps = split_path(path)
    for at, step in enumerate(steps):
        is_last = at == len(steps) - 1
        if isinstance(body, list) and isinstance(step, int):
            body.extend([None] * (step + 1 - len(body)))
        elif not isinstance(body, dict) or isinstance(step, int):
            return False
        found = body.get(step) if isinstance(body, dict) else body[step]
        if is_last and found is not None:
            return False
        if found is None:
            found = body[step] = value if is_last else [] if isinstance(steps[at + 1], int) else {}
        body = found
    return True
