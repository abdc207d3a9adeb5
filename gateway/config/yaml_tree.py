"""YAML text as plain values with their places: the core schema of YAML 1.2, no tags, no merge keys.

Keys are always text, as written. Messages never repeat values: one may be a secret.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from gateway.config.problems import Location, Problem, path_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Path = tuple[str | int, ...]

_DEEPEST = 60
_MOST_VALUES = 10_000_000  # with those that aliases stand for
_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Spaces, quotes and signs that look like others or like nothing. U+2019 may be an apostrophe.
_ODD = "\u00a0\u00ad\u1680\u2000-\u200f\u2018\u201a-\u201f\u202f\u205f\u2060\u2212\u3000\ufeff"
_ODD_EDGE = re.compile(f"^[{_ODD}]|[{_ODD},]$")
_NO_TAGS = "tags are not supported; put quotes around text that starts with !"

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER_STARTS = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_SMALLEST, _LARGEST = -(1 << 63), (1 << 64) - 1
_MOST_DIGITS = 24  # enough for 64 bits in every base; Python itself refuses to read very long numbers

_SYNTAX = {  # by a part of what the parser reports
    "expected ':'": "a colon and an ordinary space are missing here, behind the key: `key: value`",
    "end of stream": "the quote that opens here is never closed",
    "mapping values": "a second `: ` on this line, a line above without its colon, or wrong indentation; put"
    " quotes around text with a colon",
    "tag": _NO_TAGS,
    "character": "a character that cannot stand here; put quotes around the text",
    "expected": "wrong indentation, or text behind a closing quote or bracket",
}

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is about ten times as fast


@dataclass(slots=True)
class Node:
    """A value and its place; line and column count from 1. `zeros`: a number that starts with 0, as written.

    `children` are the nodes of a list, or of a mapping by its keys; `keys` has the place of each key. `size`
    counts all values in it, `height` its levels of nesting.
    """

    value: Any
    line: int
    column: int
    zeros: str | None = None
    children: dict[str | int, Node] | None = None
    keys: dict[str, tuple[int, int]] | None = None
    size: int = 1
    height: int = 0

    def add(self, step: str | int, inner: Node) -> None:
        """Add a child, but for its value."""
        if self.children is None:
            self.children = {}
        self.children[step] = inner
        self.size += inner.size
        self.height = max(self.height, inner.height + 1)


def child(node: Node | None, step: str | int) -> Node | None:
    """Return the node that one step of a path leads to, None where it leads nowhere."""
    return None if node is None or node.children is None else node.children.get(step)


def place_of(root: Node, path: Iterable[str | int], *, key: bool = False) -> tuple[int, int]:
    """Return line and column of the value at `path`, or of the nearest one above that exists.

    With `key`, return the place of the key that leads to it.
    """
    node, place = root, (root.line, root.column)
    for step in path:
        inner = child(node, step)
        if inner is None:
            return node.line, node.column
        place = (inner.line, inner.column)
        if key and node.keys is not None:
            place = node.keys[str(step)]
        node = inner
    return place


def nulls_in(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every null in a value of a tree."""
    if value is None:
        yield path
    elif isinstance(value, dict | list):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if inner is None or isinstance(inner, dict | list):
                yield from nulls_in(inner, (*path, step))


def compose(text: str, *, file: str) -> tuple[Node | None, list[Problem]]:
    """Return the tree of the one document in `text` and all problems found.

    The tree is None where the text cannot be read to its end; otherwise it holds whatever is usable.
    """
    composer = _Composer(file)
    return composer.read(text), composer.problems


def resolve(text: str) -> bool | int | float | str | None:
    """Return the value of a plain scalar; raise ValueError for numbers that no point could hold."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if _INTEGER.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        whole = int(text, base) if len(text) <= _MOST_DIGITS else math.inf
        if not _SMALLEST <= whole <= _LARGEST:
            raise ValueError("a whole number must fit into 64 bits; put quotes around it if it is text")
        return int(whole)
    number = float(text) if _FLOAT.fullmatch(text) else math.nan
    if math.isinf(number) or _NOT_FINITE.fullmatch(text):
        raise ValueError("a finite number is expected; put quotes around it if it is text")
    return text if math.isnan(number) else number


class _StopError(Exception):
    """The last problem leaves nothing worth reading."""


class _Composer:
    """Builds the tree from the parser's events, by recursive descent; goes on after most problems.

    `yaml.compose` would recurse in C without a limit, and take a key that comes twice.
    """

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._anchored: dict[str, Node] = {}
        self._next: Any = None

    def read(self, text: str) -> Node | None:
        """Return the document, None where it cannot be read to its end."""
        if unreadable := _UNREADABLE.search(text):
            lines = text[: unreadable.start()].split("\n")
            message = f"the character U+{ord(unreadable[0]):04X} is not allowed in YAML"
            self._report((len(lines), len(lines[-1]) + 1), (), message)
            return None
        loader = _Loader(text)
        self._next = loader.get_event
        try:
            return self._document()
        except _StopError:
            return None
        except yaml.MarkedYAMLError as error:
            place, cause = _syntax_problem(error, text)
            self._report(place, (), f"not valid YAML: {cause}")
            return None
        finally:
            loader.dispose()

    def _document(self) -> Node | None:
        root = None
        while type(event := self._next()) is not yaml.StreamEndEvent:
            if type(event) is yaml.DocumentStartEvent:
                if root is not None:
                    self._stop(event, (), "a second document starts here; a file holds one")
                root = self._value(self._next(), ())
        if root is None:
            self._report((1, 1), (), "the file is empty")
        return root

    def _value(self, event: Any, path: Path) -> Node:
        """Return the value that begins with `event`."""
        if type(event) is yaml.AliasEvent:
            return self._alias(event, path)
        if event.tag is not None:
            self._report(_place(event), path, _NO_TAGS)
        if event.anchor is not None:
            self._anchored.pop(event.anchor, None)
        if type(event) is yaml.ScalarEvent:
            node = self._scalar(event, path)
        else:
            self._check_depth(event, path, levels=1)
            is_list = type(event) is yaml.SequenceStartEvent
            node = self._sequence(event, path) if is_list else self._mapping(event, path)
        if node.size > _MOST_VALUES:
            self._stop(event, path, f"aliases make this more than {_MOST_VALUES:,} values")
        if event.anchor is not None:
            self._anchored[event.anchor] = node
        return node

    def _sequence(self, start: Any, path: Path) -> Node:
        node = Node([], *_place(start), height=1)
        while type(event := self._next()) is not yaml.SequenceEndEvent:
            inner = self._value(event, (*path, len(node.value)))
            node.add(len(node.value), inner)
            node.value.append(inner.value)
        return node

    def _mapping(self, start: Any, path: Path) -> Node:
        keys: dict[str, tuple[int, int]] = {}
        node = Node({}, *_place(start), keys=keys, height=1)
        while type(event := self._next()) is not yaml.MappingEndEvent:
            key = self._key(event, path)
            is_new = self._is_new_key(keys, key, event, path)
            inner = self._value(self._next(), (*path, key))
            if event.implicit[0] and "=" in key and inner.value is None:
                message = "a colon and a space part a key from its value, not ="
                self._report(_place(event), (*path, key), message)
            if is_new:
                keys[key] = _place(event)
                node.add(key, inner)
                node.value[key] = inner.value
        return node

    def _key(self, event: Any, path: Path) -> str:
        if type(event) is not yaml.ScalarEvent:
            self._stop(event, path, "a key must be a word; put quotes around braces, brackets and *")
        if event.tag is not None:
            self._report(_place(event), path, _NO_TAGS)
        self._check_edges(event, path)
        return str(event.value)

    def _is_new_key(self, keys: dict[str, tuple[int, int]], key: str, event: Any, path: Path) -> bool:
        if key in keys:
            first = keys[key][0]
            self._report(_place(event), (*path, key), f"this key is given twice, first on line {first}")
            return False
        if event.implicit[0] and key == "<<":
            self._report(_place(event), (*path, key), "merging with << is not supported; write the keys out")
            return False
        return True

    def _scalar(self, event: Any, path: Path) -> Node:
        self._check_edges(event, path)
        node = Node(event.value, *_place(event))
        if event.implicit[0]:  # without quotes
            try:
                node.value = resolve(event.value)
                if event.value[:1] == "0" and len(event.value) > 1:
                    node.zeros = event.value
            except ValueError as error:
                node.value = None
                self._report(_place(event), path, str(error))
        return node

    def _alias(self, event: Any, path: Path) -> Node:
        target = self._anchored.get(event.anchor)
        if target is None:
            message = "nothing before it is named like this alias; put quotes around text with *"
            self._report(_place(event), path, message)
            return Node(None, *_place(event))
        self._check_depth(event, path, levels=target.height)
        return target

    def _check_depth(self, event: Any, path: Path, *, levels: int) -> None:
        if len(path) + levels > _DEEPEST:
            self._stop(event, path, f"nested more than {_DEEPEST} levels deep")

    def _check_edges(self, event: Any, path: Path) -> None:
        """Report what is hardly ever meant as a part of a text, and keeps it from being found or read."""
        if event.implicit[0] and (odd := _ODD_EDGE.search(event.value)):
            name = f"{unicodedata.name(odd[0])} (U+{ord(odd[0]):04X})"
            message = (
                f"{name} at its start or end is a part of the text; delete it, or put quotes around the text"
            )
            self._report(_place(event), path, message)

    def _stop(self, event: Any, path: Path, message: str) -> None:
        self._report(_place(event), path, message)
        raise _StopError

    def _report(self, place: tuple[int, int], path: Path, message: str) -> None:
        self.problems.append(Problem(Location(self._file, *place), path_text(path), message, steps=path))


def _syntax_problem(error: yaml.MarkedYAMLError, text: str) -> tuple[tuple[int, int], str]:
    """Return place and cause of what the parser stopped at."""
    problem, opening = error.problem or "", error.context_mark
    mark = error.problem_mark or opening
    if opening and ("expected ':'" in problem or "end of stream" in problem):
        mark = opening
    if mark is None:
        return (1, 1), problem
    place = mark.line + 1, mark.column + 1
    lines = text.split("\n")
    rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
    if rest.startswith("\t"):
        return place, "a tab cannot indent; use spaces"
    if rest.startswith("<<<<<<<"):
        return place, "a merge conflict that is not resolved"
    if "expected ','" in problem and opening:
        if rest[:1] in {"[", "{"} and mark.line == opening.line:
            return place, "put quotes around text with [, ], { or } inside braces or brackets"
        bracket = f"the bracket at line {opening.line + 1}, column {opening.column + 1}"
        return place, f"`,` or the end of {bracket} is missing here"
    return place, next((words for part, words in _SYNTAX.items() if part in problem), problem)


def _place(event: Any) -> tuple[int, int]:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1
