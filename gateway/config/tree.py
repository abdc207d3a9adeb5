"""YAML text as plain values with their places: the core schema of YAML 1.2, no tags, no surprises.

Works on the parser's events and without recursion, so that no nesting can exhaust the stack.
Keys are always text, as written. Messages never repeat values: one may be a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from gateway.config.core_schema import resolve
from gateway.config.problems import Location, Problem, path_text
from gateway.config.syntax import NO_BREAK_SPACE, NO_TAGS, ODD_SPACES, syntax_problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DEEPEST = 60
_MOST_FROM_ALIASES = 1_000_000
_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_QUOTES = "\u201c\u201d\u201e\u201f\u2018\u201a\u201b"  # without U+2019, which may be an apostrophe
_LOOKALIKE = re.compile(f"[{ODD_SPACES}{_QUOTES}]")
_INVISIBLE = "\u00ad\u200b-\u200f\u2060\ufeff"
_HIDDEN = re.compile(f"^[{_INVISIBLE}]|[{_INVISIBLE}]$")
_MINUS = re.compile(r"[\u2212\u2013](\d+(?:\.\d+)?)")
_EQUATION = re.compile(r"[^=\s]+ *= *[^=\s]+")
_COMMA_ENDS = "ends with a comma, which is a part of the text; leave it out, or put quotes around the text"
_SURROGATE = re.compile("[\ud800-\udfff]")

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
    """A mapping; `children` by the keys of `value`; `keys` says where each key stands."""

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

    With `key`, where the key stands that leads to it.
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


def nulls_in(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
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
    complete = composer.run(text)
    return composer.root if complete else None, composer.problems


class _StopError(Exception):
    """The problem just noted leaves nothing worth reading."""


@dataclass(slots=True)
class _Whole:
    """A whole number that ends at `end` of the text, and its key: behind a comma, a fraction may follow."""

    key: str
    line: int
    column: int
    end: int


@dataclass(slots=True)
class _Open:
    """A list or mapping that is still being read."""

    node: Sequence | Mapping
    anchor: str | None
    is_key: bool
    nodes_before: int
    key: str | None = None  # of the value that comes next; None: a key comes next
    drop: bool = False  # that value has no place, for its key was refused
    height: int = 1  # levels of nesting from here down
    whole: _Whole | None = None  # the value before, where it is a whole number
    fraction_of: _Whole | None = None  # what the present key may be the fraction of


@dataclass(slots=True)
class _Anchored:
    node: Node
    nodes: int
    height: int


class _Composer:
    """Builds the tree; carries on after every problem that lets it."""

    def __init__(self, file: str) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._file = file
        self._open: list[_Open] = []
        self._anchored: dict[str, _Anchored] = {}
        self._nodes = 0
        self._from_aliases = 0

    def run(self, text: str) -> bool:
        """Read everything; return whether the tree is complete."""
        if unreadable := _UNREADABLE.search(text):
            lines = text[: unreadable.start()].split("\n")
            character = f"U+{ord(unreadable[0]):04X}"
            self._note(len(lines), len(lines[-1]) + 1, f"the character {character} is not allowed in YAML")
            return False
        loader = _Loader(text)
        try:
            while type(event := loader.get_event()) is not yaml.StreamEndEvent:
                self._take(event)
        except _StopError:
            return False
        except yaml.MarkedYAMLError as error:
            if not any(problem.message == NO_BREAK_SPACE for problem in self.problems):  # that is the cause
                line, column, message = syntax_problem(error, text)
                self.problems.append(Problem(Location(self._file, line, column), "", message))
            return False
        finally:
            loader.dispose()
        if self.root is None:
            self._note(1, 1, "the file is empty")
        return True

    def _take(self, event: Any) -> None:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._take_scalar(event)
        elif kind is yaml.MappingStartEvent:
            self._start(event, Mapping({}, *_place(event)))
        elif kind is yaml.SequenceStartEvent:
            self._start(event, Sequence([], *_place(event)))
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self._end()
        elif kind is yaml.AliasEvent:
            self._take_alias(event)
        elif kind is yaml.DocumentStartEvent and self.root is not None:
            self._note(*_place(event), "a second document starts here; a file holds one")
            raise _StopError

    def _take_scalar(self, event: Any) -> None:
        self._nodes += 1
        line, column = _place(event)
        self._refuse_tag(event)
        if not event.value.isascii() and _SURROGATE.search(event.value):
            self._note(line, column, "half of a surrogate pair is no character")
            event.value = ""
        plain = event.implicit[0]
        if plain:
            self._refuse_slips(event)
        if self._key_is_next():
            self._take_key(event, line, column, plain=plain)
            return
        if plain and event.value == "" and self._open and self._open[-1].fraction_of is not None:
            self._refuse_comma(self._open[-1], self._open[-1].fraction_of)
            return
        node = Node(event.value, line, column)
        if plain:
            try:
                node.value = resolve(event.value)
                if event.value[:1] == "0" and len(event.value) > 1:
                    node.zeros = event.value
            except ValueError as error:
                node.value = None
                self._note(line, column, str(error))
        if event.anchor is not None:
            self._anchored[event.anchor] = _Anchored(node, 1, 0)
        parent = self._open[-1] if self._open else None
        key = parent.key if parent is not None and plain and type(node.value) is int else None
        self._finish(node)
        if parent is not None:
            parent.whole = None if key is None else _Whole(key, line, column, event.end_mark.index)

    def _refuse_slips(self, event: Any) -> None:
        """Refuse what is easily mistyped in text without quotes, and go on with what is meant."""
        if not event.value.isascii():
            self._refuse_lookalikes(event)
        if event.value[-1:] == ",":
            self._note(*_place(event), _COMMA_ENDS)
            event.value = event.value[:-1]
        elif event.value == "":
            self._refuse_equation()

    def _refuse_lookalikes(self, event: Any) -> None:
        """Refuse characters that look like others, or like nothing."""
        first, last = _LOOKALIKE.match(event.value), _LOOKALIKE.search(event.value[-1:])
        if first or (last and last[0].isspace()):
            is_space = (first or last or "")[0].isspace()
            quotes = "typographic quotes are a part of the text; write straight ones"
            self._note(*_place(event), NO_BREAK_SPACE if is_space else quotes)
            event.value = event.value.strip().strip(f"{_QUOTES}\u2019")

        elif hidden := _HIDDEN.search(event.value):
            which = f"U+{ord(hidden[0]):04X}"
            self._note(*_place(event), f"an invisible character, {which}, is a part of the text; delete it")
            event.value = event.value.strip(hidden[0])
        elif minus := _MINUS.fullmatch(event.value):
            self._note(*_place(event), "a typographic minus sign; write the one of the keyboard, -")
            event.value = f"-{minus[1]}"

    def _refuse_equation(self) -> None:
        """Refuse {vacant=0}, which is a key without a value."""
        parent = self._open[-1] if self._open else None
        if parent is not None and isinstance(parent.node, Mapping) and _EQUATION.fullmatch(parent.key or ""):
            place = parent.node.keys[str(parent.key)]
            self._note(*place, "a colon and a space part a key from its value, not =")

    def _refuse_comma(self, parent: _Open, number: _Whole) -> None:
        """Refuse a number with a decimal comma, which makes its fraction a key: {gain: 0,1}."""
        if isinstance(parent.node, Mapping) and parent.key is not None:
            parent.node.keys.pop(parent.key, None)
        parent.key, parent.fraction_of = number.key, None
        self._note(number.line, number.column, "a number has a decimal point, not a comma")
        parent.key = None

    def _key_is_next(self) -> bool:
        return bool(self._open) and type(self._open[-1].node) is Mapping and self._open[-1].key is None

    def _take_key(self, event: Any, line: int, column: int, *, plain: bool) -> None:
        parent, key = self._open[-1], event.value
        whole, parent.whole = parent.whole, None
        follows = whole is not None and plain and event.start_mark.index == whole.end + 1
        parent.fraction_of = whole if follows and key.isdecimal() else None
        parent.key = key
        places = parent.node.keys if isinstance(parent.node, Mapping) else {}
        parent.drop = key in places or (plain and key == "<<")
        if key in places:
            self._note(line, column, f"this key is given twice, first on line {places[key][0]}")
        elif parent.drop:
            self._note(line, column, "merging with << is not supported; write the keys out")
        else:
            places[key] = (line, column)

    def _start(self, event: Any, node: Sequence | Mapping) -> None:
        self._refuse_tag(event)
        self._refuse_depth(event, levels=1)
        is_key = self._key_is_next()
        if is_key and not any(open_.is_key for open_ in self._open):
            self._note(node.line, node.column, "a key must be a word; put quotes around braces and brackets")
        if not is_key:
            self._attach(node)
        self._open.append(_Open(node, event.anchor, is_key=is_key, nodes_before=self._nodes))
        self._nodes += 1

    def _end(self) -> None:
        ended = self._open.pop()
        if ended.anchor is not None:
            size = self._nodes - ended.nodes_before
            self._anchored[ended.anchor] = _Anchored(ended.node, size, ended.height)
        if self._open:
            parent = self._open[-1]
            parent.height = max(parent.height, ended.height + 1)
            parent.key, parent.drop = ("", True) if ended.is_key else (None, False)

    def _take_alias(self, event: Any) -> None:
        line, column = _place(event)
        target = self._anchored.get(event.anchor)
        if self._key_is_next():
            self._note(line, column, "an alias cannot be a key")
            self._open[-1].key, self._open[-1].drop = "", True
            return
        if any(event.anchor == open_.anchor for open_ in self._open):
            self._note(line, column, "this alias lies within what it refers to")
            target = None
        elif target is None:
            self._note(
                line, column, "nothing before it is named like this alias; put quotes around text with *"
            )
        if target is None:
            self._finish(Node(None, line, column))
            return
        self._refuse_depth(event, levels=target.height)
        self._from_aliases += target.nodes
        self._nodes += target.nodes
        if self._from_aliases > _MOST_FROM_ALIASES:
            self._note(line, column, f"aliases stand for more than {_MOST_FROM_ALIASES:,} values by here")
            raise _StopError
        if self._open:
            self._open[-1].height = max(self._open[-1].height, target.height + 1)
        self._finish(target.node)

    def _attach(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        if isinstance(parent.node, Sequence):
            parent.node.children.append(node)
            parent.node.value.append(node.value)
        elif not parent.drop and parent.key is not None:
            parent.node.children[parent.key] = node
            parent.node.value[parent.key] = node.value

    def _finish(self, node: Node) -> None:
        """Attach a value that is complete: a key comes next."""
        self._attach(node)
        if self._open:
            self._open[-1].key, self._open[-1].drop = None, False

    def _refuse_tag(self, event: Any) -> None:
        if event.tag is not None:
            self._note(*_place(event), NO_TAGS)

    def _refuse_depth(self, event: Any, *, levels: int) -> None:
        if len(self._open) + levels > _DEEPEST:
            self._note(*_place(event), f"nested more than {_DEEPEST} levels deep")
            raise _StopError

    def _note(self, line: int, column: int, message: str) -> None:
        path: list[str | int] = []
        for position, open_ in enumerate(self._open, start=1):
            if isinstance(open_.node, Sequence):
                path.append(len(open_.node.children) - (position < len(self._open)))
            elif open_.key is not None:
                path.append(open_.key)
        place = Location(self._file, line, column)
        self.problems.append(Problem(place, path_text(path), message, steps=tuple(path)))


def _place(event: Any) -> tuple[int, int]:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1
