"""What is wrong in a file and where: `file:line:col: path: message (value)`, in words a user knows."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST_VALUE = 60
_PLAIN_KEY = re.compile(r"[\w$+/@-]+")
_CREDENTIALS = re.compile(r"(?<=//)[^/@\s]+(?=@)|(?<=idt_live_)\w+|(?<=whsec_)\w+")


class _Missing:
    def __bool__(self) -> bool:
        return False


MISSING: Final = _Missing()
"""Stands for "no value to show"; it is false, and no value that a file can hold."""


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a file; line and column count from 1, line 0 is the file, or folder, as a whole."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that a user has to mend. `path`, made up of `steps`, is "" where the whole file is meant."""

    location: Location
    path: str
    message: str
    value: object = MISSING
    steps: tuple[str | int, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        shown = show(self.value)
        return f"{self.location}: {path}{self.message}" + (f" ({shown})" if shown else "")


class FieldError(ValueError):
    """Raised by a shape's own validator to refuse one of its fields in the user's words.

    `at` leads from the validated value to the refused one, `value` is what to show of it;
    `secret` keeps whatever stands there out of the message.
    """

    def __init__(
        self, message: str, *, at: Iterable[str | int] = (), value: object = MISSING, secret: bool = False
    ) -> None:
        super().__init__(message)
        self.at = tuple(at)
        self.value = value
        self.secret = secret


def path_text(path: Iterable[str | int]) -> str:
    """Return `assets[3].points.ZN-T`; a key that would not read well so is quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + key_text(step)
    return text


def key_text(key: str) -> str:
    """Return a key as it stands in a path."""
    shown = _CREDENTIALS.sub("***", key)
    return _shortened(shown if _PLAIN_KEY.fullmatch(key) and key.isascii() else _quoted(shown))


def show(value: Any) -> str:
    """Return a value as a file would have it, short, on one line and without passwords; "" for MISSING."""
    if value is MISSING:
        return ""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool | int | float | None):
        return _shortened(json.dumps(value))
    return _shortened(_quoted(_CREDENTIALS.sub("***", str(value))))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
