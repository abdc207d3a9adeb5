r"""JSON from outside, in which half a character does not spoil all the rest.

JavaScript counts an emoji as two characters. Where it cuts a name in between, it writes the half that is left
as an escape, `\ud83d`, which is no text: JSON readers refuse the whole document, be it a page of a hundred
assets or an event with a value in it.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

# Behind an even number of backslashes, which are text: a whole character, or half of one.
_HALVES = re.compile(
    rb"(?<!\\)((?:\\\\)*)"
    rb"(\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|\\u[dD][89a-fA-F][\da-fA-F]{2})"
)
_HALF_BYTES = 6
_REPLACEMENT = rb"\ufffd"  # what Unicode has for a character that cannot be shown


def load_json(text: bytes) -> tuple[Any, bytes]:
    """Return what the text holds, and the text such that any reader can read it: mostly as it is.

    Half a character becomes U+FFFD. Raise `orjson.JSONDecodeError`, a ValueError, where it is no JSON.
    """
    try:
        return orjson.loads(text), text
    except orjson.JSONDecodeError:
        mended = _HALVES.sub(_whole, text)
        if mended == text:
            raise
        return orjson.loads(mended), mended


def _whole(found: re.Match[bytes]) -> bytes:
    backslashes, escape = found.groups()
    return backslashes + (_REPLACEMENT if len(escape) == _HALF_BYTES else escape)
