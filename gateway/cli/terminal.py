"""What commands print has characters of text alone: no name from elsewhere moves a cursor or hides a line.

Names of assets, keys of readings and reasons of failures are whatever somebody has typed into Infodeck, a
device or a proxy. What could steer a terminal is shown as JSON would have it: a backslash and its number.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONTROLS = ({*range(0x20), *range(0x7F, 0xA0)}) - {*map(ord, "\n\t")}
_DIRECTIONS = {0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_LINES = {0x2028, 0x2029}
_HALVES = {*range(0xD800, 0xE000)}  # of surrogate pairs, which are no characters and can't be printed
_SHOWN = {number: f"\\u{number:04x}" for number in _CONTROLS | _DIRECTIONS | _LINES | _HALVES}


class _HarmlessStream:
    """A stream for text that shows what could steer a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text; return its length, as streams do."""
        self._stream.write(text.translate(_SHOWN))
        return len(text)


@contextmanager
def harmless_output() -> Iterator[None]:
    """Have standard output and standard error show what could steer a terminal."""
    with redirect_stdout(_harmless(sys.stdout)), redirect_stderr(_harmless(sys.stderr)):
        yield


def _harmless(stream: TextIO | None) -> TextIO | None:
    """Return the stream in its wrapping; there is none where a shell has closed it."""
    return None if stream is None else cast("TextIO", _HarmlessStream(stream))
