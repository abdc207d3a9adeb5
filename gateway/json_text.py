r"""JSON from outside, in which half a character or a number beyond all floats does not spoil all the rest.

JavaScript counts an emoji as two characters. Where it cuts a name in between, it writes the half that is left
as an escape, `\ud83d`, which is no text: JSON readers refuse the whole document, be it a page of a hundred
assets or an event with a value in it. They do the same for `1e400`, which JSON allows and no float holds.
"""

from __future__ import annotations

import math
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

# A string, also one without an end, so that the search never starts again inside it; or a token of at
# least five characters, as 1e309 has.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[^\s,:\[\]{}"]{5,}', re.DOTALL)
_NUMBER = re.compile(rb"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")


def load_json(text: bytes) -> tuple[Any, bytes]:
    """Return what the text holds, and the text such that any reader can read it: mostly as it is.

    Half a character becomes U+FFFD, a number beyond all floats null. Raise `orjson.JSONDecodeError`, a
    ValueError, where it is no JSON.
    """
    try:
        return orjson.loads(text), text
    except orjson.JSONDecodeError:
        mended = _TOKENS.sub(_finite, _HALVES.sub(_whole, text))
        if mended == text:
            raise
        return orjson.loads(mended), mended


def _whole(found: re.Match[bytes]) -> bytes:
    backslashes, escape = found.groups()
    return backslashes + (_REPLACEMENT if len(escape) == _HALF_BYTES else escape)


def _finite(found: re.Match[bytes]) -> bytes:
    token = found[0]
    return b"null" if _NUMBER.fullmatch(token) and math.isinf(float(token)) else token
