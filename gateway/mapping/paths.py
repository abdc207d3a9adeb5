"""Explicit paths into an event, `$.data.object.sensors[0].value`, compiled into getters. Pure."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gateway.mapping.plan import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.mapping.plan import Missing
    from gateway.model import Scalar

_PATH = re.compile(r"\$(?:\.[^.\[\]\s]+|\[\d{1,4}\])+")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


def place_at(path: str, body: dict[str, Any], value: Scalar) -> bool:
    """Put a value where a path's getter finds it; say whether there was room: what is there stays."""
    steps = [match[1] or int(match[2]) for match in _STEP.finditer(path)]
    here: Any = body
    for step, following in pairwise(steps):
        here = _enter(here, step, [] if isinstance(following, int) else {})
    last = steps[-1]
    if here is None or _entry(here, last) is not None:
        return False
    return _enter(here, last, value) is value


def _enter(container: Any, step: str | int, new: Any) -> Any:
    """Return what is at a step, which is `new` where nothing is; None where nothing can be."""
    found = _entry(container, step)
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


def _entry(container: Any, step: str | int) -> Any:
    try:
        return container[step]
    except (LookupError, TypeError):
        return None


def compile_path(path: str) -> Callable[[Any], Scalar | Missing]:
    """Return the getter from a parsed event body to what stands at the path.

    MISSING where nothing does, None where an object or a list does. Raises ValueError with an example
    for text that is no path.
    """
    if not _PATH.fullmatch(path):
        raise ValueError("a path into the event is written like $.data.object.sensors[0].value")
    steps = split_path(path)

    def get(body: Any) -> Scalar | Missing:
        for step in steps:
            if isinstance(body, str):  # has indexes too, but no parts
                return MISSING
            try:
                body = body[step]
            except (LookupError, TypeError):
                return MISSING
        return None if isinstance(body, dict | list) else body

    return get


def split_path(path: str) -> list[str | int]:
    """Return the steps of a path that can be compiled: names and positions in lists."""
    return [match[1] or int(match[2]) for match in _STEP.finditer(path)]
