"""What is easily mistyped is reported with its cause and place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.point_tables import HEAD, load_tables, warnings_of

from gateway.config.yaml_tree import compose

if TYPE_CHECKING:
    from pathlib import Path

POINT = "points:\n  - {tag: A, point: T, asset: a, from: t, unit: K}\n"
BLOCK = "points:\n  - tag: A\n    point: T\n    asset: a\n    from: t\n"
COLON = "not valid YAML: a colon and an ordinary space are missing here, behind the key: `key: value`"
TWO_COLONS = (
    "not valid YAML: a second `: ` on this line, a line above without its colon, or wrong indentation; put"
    " quotes around text with a colon"
)
INDENT = "not valid YAML: wrong indentation, or text behind a closing quote or bracket"
A_PART = "at its start or end is a part of the text; delete it, or put quotes around the text"
MAPPING = HEAD + "templates:\n  iaq:\n    stride: 16\n    points: {T: {from: t}}\n"


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (HEAD.replace("site: hq", "site hq") + POINT, f"2:1: {COLON}"),
        (HEAD.replace("site: hq", "site:hq") + POINT, f"2:1: {COLON}"),
        (HEAD.replace("site: hq", "site:\u00a0hq") + POINT, f"2:1: {COLON}"),
        (HEAD + POINT.replace("points:", "points"), f"4:1: {COLON}"),
        (HEAD + BLOCK.replace("point: T", "point T"), f"6:5: {COLON}"),
        (HEAD + BLOCK.replace("- tag: A", "- tag A"), f"6:10: {TWO_COLONS}"),
        (HEAD + BLOCK.replace("- tag", "-tag"), f"6:10: {TWO_COLONS}"),
        (HEAD + BLOCK.replace("- tag", "\u2022 tag"), f"6:10: {TWO_COLONS}"),
        (MAPPING.replace("stride: 16", "stride 16"), f"7:11: {TWO_COLONS}"),
        (MAPPING.replace("iaq:", "iaq"), f"6:11: {TWO_COLONS}"),
        (HEAD + BLOCK.replace("    from", "   from"), f"8:4: {INDENT}"),
        (HEAD + BLOCK.replace("    from", "  from"), f"8:3: {INDENT}"),
        (HEAD + BLOCK + "    description: 'Bob's meter'\n", f"9:23: {INDENT}"),
        (HEAD + POINT.replace("K}", "K}}"), f"5:51: {INDENT}"),
        (
            HEAD + POINT.replace("K}\n", "K\n  - {tag: B, point: T, asset: b, from: t}\n"),
            "6:5: not valid YAML: `,` or the end of the bracket at line 5, column 5 is missing here",
        ),
        (
            HEAD.replace("site: hq", 'site: "hq') + POINT,
            "2:7: not valid YAML: the quote that opens here is never closed",
        ),
        (
            HEAD + BLOCK.replace("from: t", "from: *"),
            "8:12: not valid YAML: a character that cannot stand here; put quotes around the text",
        ),
        (
            HEAD + POINT.replace("from: t", "from: t\u202f"),
            f"5:40: points[0].from: NARROW NO-BREAK SPACE (U+202F) {A_PART}",
        ),
        (
            HEAD + POINT.replace("from: t", "from: \u201ct\u201d"),
            f"5:40: points[0].from: LEFT DOUBLE QUOTATION MARK (U+201C) {A_PART}",
        ),
        (
            HEAD + POINT.replace("from: t", "from: \u200bt"),
            f"5:40: points[0].from: ZERO WIDTH SPACE (U+200B) {A_PART}",
        ),
        (HEAD + BLOCK.replace("from: t", "from: t,"), f"8:11: points[0].from: COMMA (U+002C) {A_PART}"),
        (HEAD + BLOCK + "    decimals: 1,\n", f"9:15: points[0].decimals: COMMA (U+002C) {A_PART}"),
        (
            HEAD + POINT.replace("unit: K", "range: [\u221240, 60]"),
            f"5:51: points[0].range[0]: MINUS SIGN (U+2212) {A_PART}",
        ),
        (HEAD + BLOCK + "    gain: 0,1\n", '9:11: points[0].gain: a number is expected ("0,1")'),
        (
            HEAD + POINT.replace("unit: K", "range: [0,5, 30]"),
            "5:50: points[0].range: takes 2 entries at most, has more (a list)",
        ),
        (
            HEAD + POINT.replace("asset: a", "asset:a"),
            '5:24: points[0]."asset:a": unknown key, did you mean `asset`?',
        ),
        (
            HEAD + POINT.replace("from: t", "FROM: t"),
            "5:34: points[0].FROM: unknown key, did you mean `from`?",
        ),
        (
            HEAD + POINT.replace("unit: K", "map: {vacant=0, 1: 1}"),
            '5:49: points[0].map."vacant=0": a colon and a space part a key from its value, not =',
        ),
    ],
)
def test_a_slip_of_the_keyboard_is_one_clear_message(tmp_path: Path, table: str, problem: str) -> None:
    """It has the place of the slip, and its consequences are not reported."""
    assert load_tables(tmp_path, table)[1] == [f"a.yaml:{problem}"]


@pytest.mark.parametrize(
    "written",
    [
        "description: 24\u201d pipe",
        'description: "a, b,"',
        "description: \u2013 5",
        "description: a\u00a0b",
        "description: \u2019t Hart",
        'description: "\u201cfine\u201d"',
        "map: {0: 1,2: 3}",
        "range: [0,5]",
        "map: {a: 1,b: 2}",
        "tags: {x: 1, y: 2}",
    ],
)
def test_what_only_looks_like_a_slip_is_accepted(tmp_path: Path, written: str) -> None:
    """Quotes within text, flow style without spaces, and numbers as keys are valid."""
    assert load_tables(tmp_path, HEAD + POINT.replace("unit: K", written))[1] == []


@given(text=st.text("ab:{}[],\u00a0\u201c01 \n#-\"'", max_size=24))
def test_any_text_is_a_value_or_a_problem(text: str) -> None:
    """No text makes the reader raise, and there is no incomplete tree without a problem."""
    root, problems = compose(text, file="file.yaml")
    assert root is not None or problems


@pytest.mark.parametrize(
    ("written", "warning"),
    [
        (
            "modbus: {register: 40001, type: int16}",
            (
                "a.yaml:5:62: points[0].modbus.register: a 0-based PDU address: what a BMS calls 30001 or"
                " 40001 is 0 here; write such a number as `modicon` (40001)"
            ),
        ),
        (
            "unit: W, modbus: {register: 1, type: uint32, scale: 0.001}",
            (
                "points[0].modbus.scale: uint32 at scale 0.001 rounds to steps of 1000; `scale: 1` would"
                " not (0.001)"
            ),
        ),
    ],
)
def test_unlikely_values_are_warnings(tmp_path: Path, written: str, warning: str) -> None:
    """A warning says what the value does."""
    (found,) = warnings_of(tmp_path, HEAD + POINT.replace("unit: K", written))
    assert warning in found


@pytest.mark.parametrize("unit", ["persons", "°C", "L/s", "MPa", "kvarh", "%RH", "mins", "steps", "Wh/m2"])
def test_known_units_and_free_text_raise_no_warning(tmp_path: Path, unit: str) -> None:
    """A unit of the library, and text that resembles none, is published without a warning."""
    assert warnings_of(tmp_path, HEAD + POINT.replace("unit: K", f"unit: {unit}")) == []


def test_a_base_in_modicon_numbers_is_a_warning(tmp_path: Path) -> None:
    """40001 is the first holding register in a BMS, and number 40002 here."""
    table = HEAD + (
        "templates: {t: {points: {T: {from: t, modbus: {register: 0, type: int16}}}}}\n"
        "assets: [{id: a, tag: A, use: t, base: 40001}, {id: b, tag: B, use: t, base: 40002}]\n"
    )
    (found,) = warnings_of(tmp_path, table)
    assert "assets[0].base: a 0-based PDU address: what a BMS calls 30001 or 40001 is 0 here" in found
