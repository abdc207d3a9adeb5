"""YAML as the gateway reads it: the 1.2 core schema, located, limited."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.config_files import complaints, write

from gateway.config import yaml_tree
from gateway.config.decode import Document, read_document
from gateway.config.yaml_tree import compose

if TYPE_CHECKING:
    from pathlib import Path


def value_of(text: str) -> Any:
    """Return the plain value of a text without problems."""
    root, problems = compose(text, file="file.yaml")
    assert not problems
    assert root is not None
    return root.value


def problems_of(text: str) -> list[str]:
    """Return the problems of the YAML itself."""
    return [str(problem) for problem in compose(text, file="file.yaml")[1]]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("No", "No"), ("y", "y"), ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"), ("2020-01-01 12:00:00", "2020-01-01 12:00:00"), ("1_000", "1_000"),
        ("0b11", "0b11"), ("=", "="), ("+", "+"), (".", "."), ("1.2.3", "1.2.3"), ("tRue", "tRue"),
        ("٣", "٣"), ("'true'", "true"), ('"12"', "12"), ("12kg", "12kg"),
        ("true", True), ("True", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
        ("12", 12), ("-7", -7), ("+7", 7), ("012", 12), ("0o17", 15), ("0x1F", 31),
        ("18446744073709551615", 2**64 - 1), ("-9223372036854775808", -(2**63)),
        ("1.5", 1.5), (".5", 0.5), ("5.", 5.0), ("1e3", 1000.0), ("-1.5E-3", -0.0015),
    ],
)  # fmt: skip
def test_plain_scalars(written: str, value: object) -> None:
    """Only true, false, null and numbers are more than text; on, off, times and dates are text."""
    found = value_of(f"key: {written}\n")["key"]
    assert (found, type(found)) == (value, type(value))


def test_map_of_on_and_off() -> None:
    """Words that are booleans in YAML 1.1 are text."""
    assert value_of("map: {on: 1, off: 0, yes: 1, 1: 2, null: 3}") == {
        "map": {"on": 1, "off": 0, "yes": 1, "1": 2, "null": 3}
    }


def test_aliases_repeat_a_value() -> None:
    """An alias stands for what its anchor names, also a whole mapping."""
    assert value_of("a: &x {b: [1]}\nc: *x\nd: &y text\ne: *y") == {
        "a": {"b": [1]}, "c": {"b": [1]}, "d": "text", "e": "text"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1:1: the file is empty"),
        ("# nothing\n", "1:1: the file is empty"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document starts here; a file holds one"),
        ("a: 1\nb: 2\na: 3\n", "3:1: a: this key is given twice, first on line 1"),
        ("x:\n  - {a: 1, 'a': 2}\n", "2:12: x[0].a: this key is given twice, first on line 2"),
        ("a: !!python/object:os.system x\n", "1:4: a: tags are not supported; put quotes"),
        ("a: !x [1]\n", "1:4: a: tags are not supported"),
        ("a: !u!x 1\n", "not valid YAML: tags are not supported"),
        (
            "a: {from: $.data.object.x[0].y}\n",
            "1:26: not valid YAML: put quotes around text with [, ], { or } inside braces or brackets",
        ),
        ("a: [x{1}]\n", "1:6: not valid YAML: put quotes around text with [, ], { or } inside"),
        (
            "a: {b: 1\nc: {d: 2}\n",
            "2:2: not valid YAML: `,` or the end of the bracket at line 1, column 4 is missing here",
        ),
        (
            "a:\n  - [1, 2\n  - 3\n",
            "4:1: not valid YAML: `,` or the end of the bracket at line 2, column 5 is missing here",
        ),
        ("{{ name }}: 1\n", "1:1: a key must be a word"),
        ("? [a]\n: 1\n", "1:3: a key must be a word"),
        ("a: &a x\n*a : 1\n", "2:1: a key must be a word"),
        ("base: &b {a: 1}\nx:\n  <<: *b\n", '3:3: x."<<": merging with << is not supported'),
        ("a: *b\n", "1:4: a: nothing before it is named like this alias; put quotes around text with *"),
        ("a: &a\n  b: *a\n", "2:6: a.b: nothing before it is named like this alias"),
        ("- &a [x, [*a]]\n", "1:11: [0][1][0]: nothing before it is named like this alias"),
        ("a: .nan\n", "1:4: a: a finite number is expected"),
        ("a: [1, -.INF]\n", "1:8: a[1]: a finite number is expected"),
        ("a: 1e999\n", "1:4: a: a finite number is expected"),
        ("a: 18446744073709551616\n", "1:4: a: a whole number must fit into 64 bits"),
        (f"a: {'9' * 5000}\n", "1:4: a: a whole number must fit into 64 bits"),
        ("a:\n\t- b\n", "2:1: not valid YAML: a tab cannot indent; use spaces"),
        (
            "a:\n  - b\n<<<<<<< HEAD\n  - c\n=======\n  - d\n>>>>>>> x\n",
            "3:1: not valid YAML: a merge conflict that is not resolved",
        ),
        ("a: b: c\n", "1:5: not valid YAML: a second `: ` on this line"),
        ("a: @x\n", "1:4: not valid YAML: a character that cannot stand here; put quotes around the text"),
        ("a: [1\n", "2:1: not valid YAML: `,` or the end of the bracket at line 1, column 4 is missing here"),
        ('a: "\\ud800"\n', "1:"),
        ("a: b\nc: \x07\n", "2:4: the character U+0007 is not allowed in YAML"),
    ],
)  # fmt: skip
def test_refused(text: str, problem: str) -> None:
    """Invalid and misleading YAML is refused at its place, in one message."""
    (found,) = problems_of(text)
    assert problem in found


def test_problems_do_not_hide_each_other() -> None:
    """All problems of the YAML itself are reported at once."""
    text = "a: !t 1\na: 2\nb: *c\nd:\n  - {e: .inf, e: 1}\n"
    places = [problem.split(": ")[0] for problem in problems_of(text)]
    assert places == [
        "file.yaml:1:4", "file.yaml:2:1", "file.yaml:3:4", "file.yaml:5:9", "file.yaml:5:15"
    ]  # fmt: skip


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting(opening: str) -> None:
    """A million levels of nesting are refused within seconds, in one message."""
    started = time.process_time()
    found = problems_of(opening * 1_000_000)
    assert "nest" in found[-1]
    assert len(found) <= 2
    assert time.process_time() - started < 12


def test_nesting_through_aliases() -> None:
    """Aliases that nest what is nested already count as levels."""
    lines = [f"a0: &a0 {'[' * 30}{']' * 30}"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 60)]
    assert "nested more than 60 levels deep" in problems_of("\n".join(lines))[0]


def test_alias_bomb(tmp_path: Path) -> None:
    """Aliases that would expand to a billion values are refused within seconds."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    started = time.process_time()
    document: Document[dict[str, Any]] = read_document(write(tmp_path, "\n".join(lines)), dict[str, Any])
    assert time.process_time() - started < 10
    (found,) = complaints(document)
    assert "aliases make this more than 10,000,000 values" in found


def test_without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML's own parser gives the same tree and the same places where libyaml is missing."""
    text = 'a: [on, 1.5, &x "q"]\nb:\n  c: *x\n  a: {d: !t 1, d: 2}\n'
    with_libyaml = compose(text, file="file.yaml")
    monkeypatch.setattr(yaml_tree, "_Loader", yaml.SafeLoader)
    assert compose(text, file="file.yaml") == with_libyaml
    assert "tags are not supported" in str(compose("a: !u!secret 1", file="f")[1][0])


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff\u2028\u2029"))
NESTED = st.recursive(
    PLAIN | TEXT, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)
)


@given(NESTED.filter(lambda value: value is not None))
def test_json_is_read_as_json(value: Any) -> None:
    """Every JSON value reads back as itself: JSON is YAML."""
    found = value_of(json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f"))
    assert found == value


@given(st.text() | st.text(alphabet="ab:-?*&!|>'\"%@`{}[],#<~ \n\t1.0e"))
def test_any_text(text: str) -> None:
    """No text whatsoever raises: there is a tree, or there are problems."""
    root, problems = compose(text, file="file.yaml")
    assert root is not None or problems
