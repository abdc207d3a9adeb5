"""What is easily mistyped: a message says what it is and where, not what a parser made of it."""

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
BULLET = "a hyphen and a space begin an entry of a list: `- key: value`"
INDENT = "wrong indentation: this line belongs to none of those above"
COMMA = "ends with a comma, which is a part of the text; leave it out, or put quotes around the text"
NO_SPACE = "a no-break space, or the like, stands here; write an ordinary space in its place"


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (
            HEAD.replace("site: hq", "site hq") + POINT,
            "a.yaml:2:1: not valid YAML: a colon is missing here, behind the key: `key: value`",
        ),
        (
            HEAD + POINT.replace("points:", "points"),
            "a.yaml:4:1: not valid YAML: a colon is missing here, behind the key: `key: value`",
        ),
        (
            HEAD + BLOCK.replace("point: T", "point T"),
            "a.yaml:6:5: not valid YAML: a colon is missing here, behind the key: `key: value`",
        ),
        (
            HEAD + "templates:\n  iaq\n    # the office's\n    points: {T: {from: t}}\n",
            "a.yaml:5:3: not valid YAML: the colon behind this key is missing",
        ),
        (
            HEAD.replace("site: hq", "site:hq") + POINT,
            "a.yaml:2:1: not valid YAML: a space is missing behind the colon: `key: value`",
        ),
        (
            HEAD + POINT.replace("asset: a", "asset:a"),
            'a.yaml:5:24: points[0]."asset:a": unknown key: a space is missing behind the colon',
        ),
        (
            HEAD + POINT.replace("asset: a", "asset a"),
            'a.yaml:5:24: points[0]."asset a": unknown key: a colon is missing behind `asset`',
        ),
        (HEAD.replace("site: hq", "site:\u00a0hq") + POINT, f"a.yaml:2:6: not valid YAML: {NO_SPACE}"),
        (HEAD + BLOCK.replace("    asset", "\u00a0\u00a0  asset"), f"a.yaml:7:1: {NO_SPACE}"),
        (HEAD + POINT.replace("{tag: A, ", "{tag: A,\u00a0"), f"a.yaml:5:13: points[0]: {NO_SPACE}"),
        (HEAD + POINT.replace("from: t", "from: t\u202f"), f"a.yaml:5:40: points[0].from: {NO_SPACE}"),
        (
            HEAD + POINT.replace("from: t", "from: \u201ct\u201d"),
            "a.yaml:5:40: points[0].from: typographic quotes are a part of the text; write straight ones",
        ),
        (
            HEAD + POINT.replace("unit: K", "gain: 0,1"),
            "a.yaml:5:49: points[0].gain: a number has a decimal point, not a comma",
        ),
        (
            HEAD + POINT.replace("unit: K", "offset: -10,45, unit: K"),
            "a.yaml:5:51: points[0].offset: a number has a decimal point, not a comma",
        ),
        (
            HEAD + BLOCK + "    gain: 0,1\n",
            (
                "a.yaml:9:11: points[0].gain: a number is expected; a number has a decimal point, not a comma"
                ' ("0,1")'
            ),
        ),
        (
            HEAD + POINT.replace("unit: K", "range: [0,5, 30]"),
            (
                "a.yaml:5:50: points[0].range: takes 2 entries at most, has more; a number has a decimal"
                " point, not a comma (a list)"
            ),
        ),
        (
            HEAD + POINT.replace("K}\n", "K\n  - {tag: B, point: T, asset: b, from: t}\n"),
            (
                "a.yaml:6:5: not valid YAML: `,` or the closing } is missing here, for the { at line 5,"
                " column 5"
            ),
        ),
        (
            HEAD + "templates:\n  iaq:\n    stride 16\n    points: {T: {from: t}}\n",
            "a.yaml:6:5: not valid YAML: the colon behind this key is missing",
        ),
        (
            HEAD + BLOCK.replace("- tag: A", "- tag A"),
            "a.yaml:5:3: not valid YAML: the colon behind this key is missing",
        ),
        (HEAD + BLOCK.replace("- tag", "-tag"), f"a.yaml:5:3: not valid YAML: {BULLET}"),
        (HEAD + BLOCK.replace("- tag", "\u2022 tag"), f"a.yaml:5:3: not valid YAML: {BULLET}"),
        (HEAD + BLOCK.replace("- tag", "\u2013 tag"), f"a.yaml:5:3: not valid YAML: {BULLET}"),
        (HEAD + BLOCK.replace("    from", "   from"), f"a.yaml:8:4: not valid YAML: {INDENT}"),
        (HEAD + BLOCK.replace("    from", "  from"), f"a.yaml:8:3: not valid YAML: {INDENT}"),
        (
            HEAD + POINT.replace("K}", "K}}"),
            "a.yaml:5:51: not valid YAML: this } closes nothing: there is one too many",
        ),
        (
            HEAD + BLOCK + "    description: 'Bob's meter'\n",
            (
                "a.yaml:9:23: not valid YAML: text follows a closing quote; close every quote, and write"
                " a ' within '...' twice"
            ),
        ),
        (
            HEAD.replace("site: hq", 'site: "hq') + POINT,
            "a.yaml:2:7: not valid YAML: the quote that opens here is never closed",
        ),
        (
            HEAD + BLOCK.replace("from: t", "from: *"),
            "a.yaml:8:12: not valid YAML: a character that cannot stand here",
        ),
        (HEAD + BLOCK.replace("from: t", "from: t,"), f"a.yaml:8:11: points[0].from: {COMMA}"),
        (HEAD + BLOCK + "    decimals: 1,\n", f"a.yaml:9:15: points[0].decimals: {COMMA}"),
        (
            HEAD + POINT.replace("unit: K", "range: [\u221240, 60]"),
            "a.yaml:5:51: points[0].range[0]: a typographic minus sign; write the one of the keyboard, -",
        ),
        (
            HEAD + POINT.replace("from: t", "from: \u200bt"),
            "a.yaml:5:40: points[0].from: an invisible character, U+200B, is a part of the text; delete it",
        ),
        (
            HEAD + POINT.replace("from: t", "FROM: t"),
            "a.yaml:5:34: points[0].FROM: unknown key, did you mean `from`?",
        ),
        (
            HEAD + POINT.replace("unit: K", "map: {vacant=0, 1: 1}"),
            'a.yaml:5:49: points[0].map."vacant=0": a colon and a space part a key from its value, not =',
        ),
    ],
)
def test_a_slip_of_the_keyboard_is_one_clear_message(tmp_path: Path, table: str, problem: str) -> None:
    """It has the place of the slip, and nothing that follows from it is reported besides."""
    assert load_tables(tmp_path, table)[1] == [problem]


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
def test_what_only_looks_like_a_slip_is_taken(tmp_path: Path, written: str) -> None:
    """Quotes within text, flow style without spaces, and numbers as keys are right."""
    assert load_tables(tmp_path, HEAD + POINT.replace("unit: K", written))[1] == []


@given(text=st.text("ab:{}[],\u00a0\u201c01 \n#-\"'", max_size=24))
def test_whatever_is_written_there_is_a_value_or_a_problem(text: str) -> None:
    """No text makes the reader fail, and an incomplete tree never comes without a reason."""
    root, problems = compose(text, file="file.yaml")
    assert root is not None or problems


@pytest.mark.parametrize(
    ("written", "warning"),
    [
        (
            "unit: dgeC",
            (
                "a.yaml:5:49: points[0].unit: an unknown unit; did you mean `degC`?"
                ' It is published unchanged ("dgeC")'
            ),
        ),
        ("unit: kWhr", "did you mean `kWh`?"),
        (
            "modbus: {register: 40001, type: int16}",
            (
                "a.yaml:5:62: points[0].modbus.register: a 0-based PDU address, so this is number 40002 of"
                " its table; did you mean `modicon: 40001`, which is PDU address 0? (40001)"
            ),
        ),
        (
            "unit: W, modbus: {register: 1, type: uint32, scale: 0.001}",
            (
                "points[0].modbus.scale: the register holds the value times this, in steps of 1000;"
                " did you mean 1000? (0.001)"
            ),
        ),
    ],
)
def test_what_can_be_right_but_hardly_is_is_a_warning(tmp_path: Path, written: str, warning: str) -> None:
    """It says what may be meant."""
    (told,) = warnings_of(tmp_path, HEAD + POINT.replace("unit: K", written))
    assert warning in told


@pytest.mark.parametrize("unit", ["persons", "°C", "L/s", "MPa", "kvarh", "%RH", "mins", "steps", "Wh/m2"])
def test_units_that_are_known_or_free_text_are_no_slip(tmp_path: Path, unit: str) -> None:
    """A unit that the library reads, and text that is like none, is published without a word."""
    assert warnings_of(tmp_path, HEAD + POINT.replace("unit: K", f"unit: {unit}")) == []


def test_a_base_that_counts_as_the_bms_does_is_a_warning(tmp_path: Path) -> None:
    """40001 is the first holding register there, and 40002 here."""
    table = HEAD + (
        "templates: {t: {points: {T: {from: t, modbus: {register: 0, type: int16}}}}}\n"
        "assets: [{id: a, tag: A, use: t, base: 40001}, {id: b, tag: B, use: t, base: 40002}]\n"
    )
    (told,) = warnings_of(tmp_path, table)
    assert "assets[0].base: a 0-based PDU address: what a BMS calls 30001, or 40001, is 0" in told
