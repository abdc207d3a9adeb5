"""Paths into an event, `$.data.object.sensors[0].value`: compiled to getters, and set in simulated events."""

from __future__ import annotations

import re
from enum import Enum
from itertools import pairwise
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


def set_path(path: str, body: dict[str, Any], value: Scalar) -> bool:
    """Set the value at a path of a body. Return False, and change nothing there, if the place is occupied."""
    steps = split_path(path)
    container: Any = body
    for step, following in pairwise(steps):
        container = _child(container, step, [] if isinstance(following, int) else {})
    if container is None or _existing_child(container, steps[-1]) is not None:
        return False
    return _child(container, steps[-1], value) is value


def _child(container: Any, step: str | int, new: Any) -> Any:
    """Return the child at a step, after setting it to `new` if there is none; None if there cannot be one."""
    found = _existing_child(container, step)
    if found is not None:
        return found
    if isinstance(container, dict) and isinstance(step, str):
        container[step] = new
    elif isinstance(container, list) and isinstance(step, int):
        container.extend([None] * (step + 1 - len(container)))
        container[step] = new
    else:
        return None
    return new


def _existing_child(container: Any, step: str | int) -> Any:
    try:
        return container[step]
    except (LookupError, TypeError):
        return None
