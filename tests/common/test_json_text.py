"""JSON with half a character or a number too large is read; all other JSON is read as it is."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.events import parse_event, read_telemetry
from gateway.json_text import load_json

ANY_TEXT = st.text(st.characters() | st.sampled_from('\ud83d\udd2c\udfff\ud800\\u"d8'), max_size=12)
DOCUMENTS = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=10,
)


def as_text(value: Any) -> Any:
    """Return a document with U+FFFD for each half of a character, and whole ones for two halves."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [as_text(one) for one in value]
    if isinstance(value, dict):
        return {as_text(key): as_text(one) for key, one in value.items()}
    return value


@given(document=DOCUMENTS)
def test_halves_of_characters_are_replaced_and_nothing_else(document: Any) -> None:
    """Escaped backslashes, whole characters and everything around them stay."""
    written = json.dumps(document).encode()
    found, readable = load_json(written)
    assert found == as_text(document)
    assert orjson.loads(readable) == found
    if found == document:
        assert readable == written


@pytest.mark.parametrize("text", [b"", b"{", b"[NaN]", b'"\\ud83d', b'{"a": "\\ud83d"', b"\xff", b'["\\x"]'])
def test_broken_json_is_refused(text: bytes) -> None:
    """Truncated documents and other bytes are refused."""
    with pytest.raises(orjson.JSONDecodeError):
        load_json(text)


def test_an_event_with_half_a_character_keeps_its_value() -> None:
    """The event is accepted, and its stored body can be read again."""
    body = (
        b'{"id": "evt_1", "type": "asset.telemetry.updated", "created": 1790000000, "data": {"object":'
        b' {"assetId": "ast-1", "name": "Lab \\ud83d", "telemetry": {"temperature": 21.5}}}}'
    )
    event = parse_event(body, received_ms=1_790_000_000_000)
    telemetry = read_telemetry(event)
    assert telemetry is not None
    assert [(reading.key, reading.value) for reading in telemetry.readings] == [("temperature", 21.5)]
    assert orjson.loads(event.body) == event.document


@pytest.mark.parametrize("number", ["1e400", "-1E+400", "9" * 400, f"-{'9' * 310}.5"])
def test_a_number_beyond_all_floats_is_null(number: str) -> None:
    """The same digits inside a text stay."""
    body = (
        '{"id": "evt_1", "type": "asset.telemetry.updated", "note": "\\"1e400\\\\", "data": {"object":'
        f' {{"assetId": "1e400", "telemetry": {{"flow": {number}, "t 1e400": 21.5,'
        f' "n": [{number}, "\\ud83d"]}}}}}}}}'
    ).encode()
    event = parse_event(body, received_ms=1_790_000_000_000)
    telemetry = read_telemetry(event)
    assert telemetry is not None
    assert telemetry.asset == "1e400"
    assert [(each.key, each.value) for each in telemetry.readings] == [
        ("flow", None),
        ("t 1e400", 21.5),
        ("n", None),
    ]
    assert event.document["note"] == '"1e400\\'
    assert orjson.loads(event.body) == event.document


@pytest.mark.parametrize("text", [b"[1e400", b"[1e400e]", b'["1e400', b"[01e400]", b"[-]", b"1e400" * 3])
def test_a_broken_document_with_such_a_number_is_refused(text: bytes) -> None:
    """Only whole numbers are replaced."""
    with pytest.raises(orjson.JSONDecodeError):
        load_json(text)
