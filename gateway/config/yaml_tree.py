"""YAML text as plain values with their places: the core schema of YAML 1.2, no tags, no merge keys.

Keys are always text, as written. Messages never repeat values: one may be a secret.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from gateway.config.problems import Location, Problem, path_text
from gateway.config.yaml_errors import NO_BREAK_SPACE, NO_TAGS, ODD_SPACES, syntax_problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Path = tuple[str | int, ...]

_DEEPEST = 60
_MOST_FROM_ALIASES = 1_000_000
_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_QUOTES = "\u201c\u201d\u201e\u201f\u2018\u201a\u201b"  # without U+2019, which may be an apostrophe
_LOOKALIKE = re.compile(f"[{ODD_SPACES}{_QUOTES}]")
_INVISIBLE = "\u00ad\u200b-\u200f\u2060\ufeff"
_HIDDEN = re.compile(f"^[{_INVISIBLE}]|[{_INVISIBLE}]$")
_MINUS = re.compile(r"[\u2212\u2013](\d+(?:\.\d+)?)")
_EQUATION = re.compile(r"[^=\s]+ *= *[^=\s]+")
_COMMA_ENDS = "ends with a comma, which is a part of the text; leave it out, or put quotes around the text"

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

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is about ten times as fast


@dataclass(slots=True)
class Node:
    """A value and its place; line and column count from 1. `zeros`: what starts with 0, as it is written."""

    value: Any
    line: int
    column: int
    zeros: str | None = field(default=None, kw_only=True)


@dataclass(slots=True)
class Sequence(Node):
    """A list; `children` in the order of `value`."""

    children: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Mapping(Node):
    """A mapping; `children` by the keys of `value`; `keys` has the place of each key."""

    children: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)


def child(node: Node | None, step: str | int) -> Node | None:
    """Return the node that one step of a path leads to, None where it leads nowhere."""
    if isinstance(node, Mapping) and isinstance(step, str):
        return node.children.get(step)
    if isinstance(node, Sequence) and isinstance(step, int) and 0 <= step < len(node.children):
        return node.children[step]
    return None


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
        if key and isinstance(node, Mapping):
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
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return _finite(float(text))
    if _NOT_FINITE.fullmatch(text):
        return _finite(math.nan)
    return text


def _integer(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    number = int(text, base) if len(text) <= _MOST_DIGITS else None
    if number is None or not _SMALLEST <= number <= _LARGEST:
        raise ValueError("a whole number must fit into 64 bits; put quotes around it if it is text")
    return number


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("a finite number is expected; put quotes around it if it is text")
    return number


class _StopError(Exception):
    """The last problem leaves nothing worth reading."""


@dataclass(slots=True)
class _Anchored:
    """What an alias stands for; None while it is being read."""

    node: Node | None
    nodes: int = 0
    height: int = 0


class _Composer:
    """Builds the tree from the parser's events, by recursive descent; goes on after most problems."""

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._anchored: dict[str, _Anchored] = {}
        self._nodes = 0
        self._from_aliases = 0
        self._keys_above = 0  # mappings and lists in a key's place that are being read
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
            if not any(problem.message == NO_BREAK_SPACE for problem in self.problems):  # that is the cause
                line, column, message = syntax_problem(error, text)
                self._report((line, column), (), message)
            return None
        finally:
            loader.dispose()

    def _document(self) -> Node | None:
        root = None
        while type(event := self._next()) is not yaml.StreamEndEvent:
            if type(event) is yaml.DocumentStartEvent:
                if root is not None:
                    self._report(_place(event), (), "a second document starts here; a file holds one")
                    raise _StopError
                root, _ = self._value(self._next(), ())
        if root is None:
            self._report((1, 1), (), "the file is empty")
        return root

    def _value(self, event: Any, path: Path) -> tuple[Node, int]:
        """Return the value that begins with `event`, and its levels of nesting."""
        if type(event) is yaml.AliasEvent:
            return self._alias(event, path)
        if event.tag is not None:
            self._report(_place(event), path, NO_TAGS)
        nodes_before = self._nodes
        self._nodes += 1
        if event.anchor is not None:
            self._anchored[event.anchor] = _Anchored(None)
        node: Node
        height = 0
        if type(event) is yaml.ScalarEvent:
            node = self._scalar(event, path)
        else:
            self._check_depth(event, path, levels=1)
            is_list = type(event) is yaml.SequenceStartEvent
            node, height = self._sequence(event, path) if is_list else self._mapping(event, path)
        if event.anchor is not None:
            self._anchored[event.anchor] = _Anchored(node, self._nodes - nodes_before, height)
        return node, height

    def _sequence(self, start: Any, path: Path) -> tuple[Sequence, int]:
        sequence, height = Sequence([], *_place(start)), 1
        while type(event := self._next()) is not yaml.SequenceEndEvent:
            inner, inner_height = self._value(event, (*path, len(sequence.children)))
            sequence.children.append(inner)
            sequence.value.append(inner.value)
            height = max(height, inner_height + 1)
        return sequence, height

    def _mapping(self, start: Any, path: Path) -> tuple[Mapping, int]:
        mapping, height = Mapping({}, *_place(start)), 1
        previous: tuple[str, Any, Any] | None = None  # key, scalar event and value of the pair before
        while type(event := self._next()) is not yaml.MappingEndEvent:
            key = self._key(event, path)
            value_event = self._next()
            if previous and _is_fraction(previous, event, value_event):
                place = _place(previous[1])
                self._report(place, (*path, previous[0]), "a number has a decimal point, not a comma")
                previous = None
                continue
            is_new = key is not None and self._is_new_key(mapping, key, event, path)
            if key is not None and _is_equation(key, value_event):
                self._report(
                    _place(event), (*path, key), "a colon and a space part a key from its value, not ="
                )
            inner, inner_height = self._value(value_event, path if key is None else (*path, key))
            height = max(height, inner_height + 1)
            if key is not None and is_new:
                mapping.children[key] = inner
                mapping.value[key] = inner.value
            previous = None if key is None else (key, value_event, inner.value)
        return mapping, height

    def _key(self, event: Any, path: Path) -> str | None:
        """Return the key that begins with `event`, None where it is no word."""
        if type(event) is yaml.AliasEvent:
            self._report(_place(event), path, "an alias cannot be a key")
            return None
        if type(event) is yaml.ScalarEvent:
            self._nodes += 1
            if event.tag is not None:
                self._report(_place(event), path, NO_TAGS)
            self._check_text(event, path)
            if event.anchor is not None:
                self._anchored[event.anchor] = _Anchored(Node(event.value, *_place(event)), 1)
            return str(event.value)
        if not self._keys_above:
            self._report(_place(event), path, "a key must be a word; put quotes around braces and brackets")
        self._keys_above += 1
        self._value(event, path)
        self._keys_above -= 1
        return None

    def _is_new_key(self, mapping: Mapping, key: str, event: Any, path: Path) -> bool:
        if key in mapping.keys:
            first = mapping.keys[key][0]
            self._report(_place(event), (*path, key), f"this key is given twice, first on line {first}")
            return False
        if event.implicit[0] and key == "<<":
            self._report(_place(event), (*path, key), "merging with << is not supported; write the keys out")
            return False
        mapping.keys[key] = _place(event)
        return True

    def _scalar(self, event: Any, path: Path) -> Node:
        self._check_text(event, path)
        node = Node(event.value, *_place(event))
        if event.implicit[0]:
            try:
                node.value = resolve(event.value)
                if event.value[:1] == "0" and len(event.value) > 1:
                    node.zeros = event.value
            except ValueError as error:
                node.value = None
                self._report(_place(event), path, str(error))
        return node

    def _alias(self, event: Any, path: Path) -> tuple[Node, int]:
        target = self._anchored.get(event.anchor)
        if target is None or target.node is None:
            self._report(
                _place(event),
                path,
                "nothing before it is named like this alias; put quotes around text with *"
                if target is None
                else "this alias lies within what it refers to",
            )
            return Node(None, *_place(event)), 0
        self._check_depth(event, path, levels=target.height)
        self._from_aliases += target.nodes
        self._nodes += target.nodes
        if self._from_aliases > _MOST_FROM_ALIASES:
            message = f"aliases stand for more than {_MOST_FROM_ALIASES:,} values by here"
            self._report(_place(event), path, message)
            raise _StopError
        return target.node, target.height

    def _check_depth(self, event: Any, path: Path, *, levels: int) -> None:
        if len(path) + self._keys_above + levels > _DEEPEST:
            self._report(_place(event), path, f"nested more than {_DEEPEST} levels deep")
            raise _StopError

    def _check_text(self, event: Any, path: Path) -> None:
        """Report what is easily mistyped, and put into the event what is meant."""
        if not event.value.isascii():
            if _SURROGATE.search(event.value):
                self._report(_place(event), path, "half of a surrogate pair is no character")
                event.value = ""
            elif event.implicit[0]:
                self._check_lookalikes(event, path)
        if event.implicit[0] and event.value[-1:] == ",":
            self._report(_place(event), path, _COMMA_ENDS)
            event.value = event.value[:-1]

    def _check_lookalikes(self, event: Any, path: Path) -> None:
        """Report characters that look like others, or like nothing."""
        first, last = _LOOKALIKE.match(event.value), _LOOKALIKE.search(event.value[-1:])
        if first or (last and last[0].isspace()):
            is_space = (first or last or "")[0].isspace()
            quotes = "typographic quotes are a part of the text; write straight ones"
            self._report(_place(event), path, NO_BREAK_SPACE if is_space else quotes)
            event.value = event.value.strip().strip(f"{_QUOTES}\u2019")
        elif hidden := _HIDDEN.search(event.value):
            which = f"U+{ord(hidden[0]):04X}"
            message = f"an invisible character, {which}, is a part of the text; delete it"
            self._report(_place(event), path, message)
            event.value = event.value.strip(hidden[0])
        elif minus := _MINUS.fullmatch(event.value):
            self._report(_place(event), path, "a typographic minus sign; write the one of the keyboard, -")
            event.value = f"-{minus[1]}"

    def _report(self, place: tuple[int, int], path: Path, message: str) -> None:
        self.problems.append(Problem(Location(self._file, *place), path_text(path), message, steps=path))


def _is_fraction(previous: tuple[str, Any, Any], key: Any, value: Any) -> bool:
    """Return whether a pair is the fraction of the number before it: {gain: 0,1}."""
    _, number, parsed = previous
    return (
        type(parsed) is int
        and _is_plain(number)
        and _is_plain(key)
        and key.start_mark.index == number.end_mark.index + 1
        and key.value.isdecimal()
        and _is_empty(value)
    )


def _is_equation(key: str, value: Any) -> bool:
    """Return whether {vacant=0} is written, which is a key without a value."""
    return _is_empty(value) and _EQUATION.fullmatch(key) is not None


def _is_empty(event: Any) -> bool:
    return _is_plain(event) and event.value == ""


def _is_plain(event: Any) -> bool:
    """Return whether a scalar stands there without quotes."""
    return type(event) is yaml.ScalarEvent and bool(event.implicit[0])


def _place(event: Any) -> tuple[int, int]:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1
