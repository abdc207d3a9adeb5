r"""JSON from outside, in which half a character or a number beyond all floats does not spoil all the rest.

JavaScript counts an emoji as two characters. Where it cuts a name in between, it writes the half that is left
as an escape, `\ud83d`, which is no text: strict readers refuse the whole document, as they do for `1e400`.
"""

from __future__ import annotations

import json
import math
from typing import Any

import orjson


def load_json(text: bytes) -> tuple[Any, bytes]:
    """Return what the text holds, and the text such that any reader can read it: mostly as it is.

    Half a character becomes U+FFFD, a number beyond all floats null. Raise `orjson.JSONDecodeError`, a
    ValueError, where it is no JSON.
    """
    try:
        return orjson.loads(text), text
    except orjson.JSONDecodeError:
        mended = _mend(text)
        return orjson.loads(mended), mended


def _mend(text: bytes) -> bytes:
    """Read as Python's own, more tolerant reader does; return the text as it is if that fails, too."""
    try:
        document = json.loads(text.decode(), parse_float=_finite, parse_int=_finite, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text
    written = json.dumps(document, ensure_ascii=False)
    return written.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _finite(number: str) -> float | int | None:
    value = float(number)
    if math.isinf(value):
        return None
    return int(number) if number.lstrip("-").isdigit() else value


def _refuse(constant: str) -> None:
    raise ValueError(constant)
