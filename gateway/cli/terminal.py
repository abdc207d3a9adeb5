"""What commands print has characters of text alone: no name from elsewhere moves a cursor or hides a line.

Names of assets, keys of readings and reasons of failures are whatever somebody has typed into Infodeck, a
device or a proxy. What could steer a terminal is shown as JSON would have it: a backslash and its number.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, TextIO, cast

from gateway.errors import CommandError
from gateway.text import sanitise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.errors import GatewayError


def print_failure(reason: str, problems: Sequence[str] = ()) -> None:
    """Say why a command has failed, below the problems of files, each with its place."""
    print(*problems, f"gateway: {reason}", sep="\n", file=sys.stderr)


def problems_of(error: GatewayError) -> Sequence[str]:
    """Return the problems that are shown above what an error says."""
    return error.problems if isinstance(error, CommandError) else ()


class _HarmlessStream:
    """A stream for text that shows what could steer a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text; return its length, as streams do."""
        self._stream.write(sanitise(text))
        return len(text)


@contextmanager
def harmless_output() -> Iterator[None]:
    """Have standard output and standard error show what could steer a terminal."""
    with redirect_stdout(_harmless(sys.stdout)), redirect_stderr(_harmless(sys.stderr)):
        yield


def _harmless(stream: TextIO | None) -> TextIO | None:
    """Return the stream in its wrapping; there is none where a shell has closed it."""
    return None if stream is None else cast("TextIO", _HarmlessStream(stream))
