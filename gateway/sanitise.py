"""Pure: text from elsewhere as it may be shown: whatever could steer a terminal is shown or left out.

Names, keys and reasons are what somebody has typed into Infodeck, a device or a proxy, or what an attacker
has. Joiners between letters stay, for some languages are not written without them.
"""

from __future__ import annotations

import re

_CONTROLS = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # but for tabs and line ends
_DIRECTIONS = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # and line ends of Unicode's own
_HALVES = "\ud800-\udfff"  # of surrogate pairs, which are no characters and can't be printed
_STEERING = f"{_CONTROLS}{_DIRECTIONS}{_HALVES}"
_IN_LINES = re.compile(f"\r(?!\n)|[{_STEERING}]")
_IN_ONE_LINE = re.compile(f"[\t\r\n{_STEERING}]")


def harmless(text: str) -> str:
    """Return text of any number of lines with what could steer a terminal shown as JSON would have it."""
    return _IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str, *, longest: int) -> str:
    """Return text as one line of so many characters at most, without what could steer a terminal."""
    return _IN_ONE_LINE.sub(" ", text).strip()[:longest].rstrip()
