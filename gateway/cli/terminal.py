"""Sanitises what commands print, so that no name from elsewhere moves a cursor or hides a line; formats help.

Names of assets, keys of readings and reasons of failures come from Infodeck, devices and proxies. Control
characters are shown as JSON writes them: a backslash and the number.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from inspect import cleandoc
from typing import TYPE_CHECKING, TextIO, cast

from gateway.errors import CommandError
from gateway.text import sanitise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.errors import GatewayError


def print_failure(reason: str, problems: Sequence[str] = ()) -> None:
    """Print why a command failed, below the problems of files, each with its place."""
    print(*problems, f"gateway: {reason}", sep="\n", file=sys.stderr)


def problems_of(error: GatewayError) -> Sequence[str]:
    """Return the problems that are shown above the text of an error."""
    return error.problems if isinstance(error, CommandError) else ()


class _SanitisingStream:
    """A text stream that shows control characters instead of sending them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text; return its length, as streams do."""
        self._stream.write(sanitise(text))
        return len(text)


@contextmanager
def sanitised_output() -> Iterator[None]:
    """Sanitise what is printed to standard output and standard error."""
    with redirect_stdout(_sanitising(sys.stdout)), redirect_stderr(_sanitising(sys.stderr)):
        yield


def _sanitising(stream: TextIO | None) -> TextIO | None:
    """Return the stream, wrapped; None if a shell closed it."""
    return None if stream is None else cast("TextIO", _SanitisingStream(stream))


class HelpFormatter(argparse.HelpFormatter):
    """Fills each paragraph, and leaves indented ones as they are: those are commands to copy."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = cleandoc(text).split("\n\n")
        return "\n\n".join(
            each if each.startswith(" ") else super(HelpFormatter, self)._fill_text(each, width, indent)
            for each in paragraphs
        )
