"""Pure: text from elsewhere as it may be shown: whatever could steer a terminal is shown or left out.

Names, keys and reasons are what somebody has typed into Infodeck, a device or a proxy, or what an attacker
has. Joiners between letters stay, for some languages are not written without them.
"""

from __future__ import annotations

_CONTROLS = {*range(0x20), *range(0x7F, 0xA0)}
_DIRECTIONS = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_LINES = {0x2028, 0x2029}
_HALVES = {*range(0xD800, 0xE000)}  # of surrogate pairs, which are no characters and can't be printed
_STEERING = _CONTROLS | _DIRECTIONS | _LINES | _HALVES
_LEFT_OUT = dict.fromkeys(_STEERING, " ")
_SHOWN = {number: f"\\u{number:04x}" for number in _STEERING - {ord("\n"), ord("\t")}}


def harmless(text: str) -> str:
    """Return text of any number of lines with what could steer a terminal shown as JSON would have it."""
    return text.translate(_SHOWN)


def one_line(text: str, *, longest: int) -> str:
    """Return text as one line of so many characters at most, without what could steer a terminal."""
    return text.translate(_LEFT_OUT).strip()[:longest].rstrip()
