"""Strict YAML files: every problem at once, each with file, line, column, path and value.

A shape is a pydantic dataclass with `config=STRICT`; its validators raise `FieldError` or ValueError in the
user's words. Files are checked in pydantic's JSON mode: what a `BeforeValidator` returns goes on as Python,
where strict refuses lists for tuples, and dicts for dataclasses: use a `PlainValidator` or `AfterValidator`.
"""

from __future__ import annotations

from functools import reduce
from os.path import normpath
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    ConfigDict,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)

from gateway.config.findings import problems_of
from gateway.config.problems import MISSING, FieldError, Location, Problem, path_text
from gateway.config.salvage import Parts, Remains, Steps, salvage
from gateway.config.yaml_tree import Node, child, compose, nulls_in, place_of
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "MISSING",
    "STRICT",
    "Document",
    "FieldError",
    "Location",
    "Problem",
    "RelativePath",
    "read_document",
]

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""For every shape: no unknown keys, and nothing is turned into another type on the quiet."""

_LARGEST_FILE_BYTES = 64 << 20
_EMPTY = "is empty: write a value, or leave the key out"


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    return Path(normpath(folder / path))


RelativePath = Annotated[Path, AfterValidator(_beside_the_file)]
"""A path, relative to the folder of the file that names it."""


class Document(Generic[T]):
    """A file that was read: its value, or what is wrong with it.

    Whoever finds more appends to `problems`; `warnings` do not keep the file from being used.
    `remains` is what can be looked through for more problems: all of a good file, or what is left of another.
    """

    def __init__(
        self, file: Path, root: Node | None, value: T | None, problems: list[Problem], remains: Remains[T]
    ) -> None:
        self.file = file
        self.problems = problems
        self.remains = remains
        self.warnings: list[Problem] = []
        self._root = root
        self._value = value

    @property
    def value(self) -> T | None:
        """The file in its shape; None while there are problems."""
        return None if self.problems else self._value

    def require(self) -> T:
        """Return the value; raise ConfigError with all problems where there are any."""
        if self.problems or self._value is None:
            raise ConfigError([str(problem) for problem in self.problems])
        return self._value

    def location(self, path: Iterable[str | int]) -> Location:
        """Return the place of the value at `path`, or of the nearest one above it that is in the file."""
        return Location(str(self.file), *(place_of(self._root, path) if self._root else (1, 1)))

    def problem(self, path: Iterable[str | int], message: str, value: object = MISSING) -> Problem:
        """Return a problem at `path`; it counts once it is appended to `problems`."""
        steps = tuple(path)
        return Problem(self.location(steps), path_text(steps), message, value, steps)

    def written(self, path: Iterable[str | int]) -> Any:
        """Return what the file has at `path`, unchecked; MISSING where it has nothing."""
        node = reduce(child, path, self._root)
        return MISSING if node is None else node.value

    def with_zeros(self, path: Iterable[str | int]) -> str | None:
        """Return the number at `path` as it is written if it starts with 0: YAML drops leading zeros."""
        node = reduce(child, path, self._root)
        return None if node is None else node.zeros


def read_document(
    file: Path,
    shape: type[T],
    *,
    parts: Parts | None = None,
    may_be_null: Callable[[Steps], bool] | None = None,
) -> Document[T]:
    """Read a YAML file into `shape`. Never raises for what the file contains: see `Document.problems`.

    `parts` says what can be left out of a file with problems, so that the rest can be checked further;
    `may_be_null` at which paths null is a value: elsewhere it is refused, not taken for a key left out.
    """
    text = _read_text(file)
    root, problems = (None, [text]) if isinstance(text, Problem) else compose(text, file=str(file))
    if root is None:
        return Document(file, None, None, problems, Remains(None))
    adapter = TypeAdapter(shape)
    found = _validated(root.value, adapter, file)
    if isinstance(found, ValidationError):
        value, more = None, problems_of(found, shape, root=root, file=str(file))
    else:
        value, more = found, []
    reported = {problem.steps for problem in more}
    more += [
        Problem(Location(str(file), *place_of(root, path)), path_text(path), _EMPTY, None, path)
        for path in nulls_in(root.value)
        if may_be_null is not None and path and path not in reported and not may_be_null(path)
    ]
    known = {(problem.location, problem.path) for problem in problems}  # these name the true cause
    problems += [problem for problem in more if (problem.location, problem.path) not in known]
    problems.sort(key=lambda problem: problem.location)
    remains: Remains[T] = Remains(value, written=root.value)
    if problems:
        remains = Remains(None) if parts is None else _salvage(root, adapter, problems, parts, file)
    return Document(file, root, value, problems, remains)


def _salvage(
    root: Node, adapter: TypeAdapter[T], problems: list[Problem], parts: Parts, file: Path
) -> Remains[T]:
    """Check again without what was refused. What is found then are consequences: only their paths count."""

    def validate(written: Any) -> T | list[Steps]:
        found = _validated(written, adapter, file)
        if isinstance(found, ValidationError):
            return [detail["loc"] for detail in found.errors(include_url=False)]
        return found

    return salvage(root.value, [problem.steps for problem in problems], parts=parts, validate=validate)


def _validated(written: Any, adapter: TypeAdapter[T], file: Path) -> T | ValidationError:
    """Check as JSON: there, strict still takes lists for tuples, and text for enums and paths."""
    context = {"folder": file.parent.absolute()}
    try:
        return adapter.validate_json(orjson.dumps(written), strict=True, context=context)
    except ValidationError as error:
        return error


def _read_text(file: Path) -> str | Problem:
    start = Location(str(file), 1, 1)
    try:
        with file.open("rb") as stream:
            data = stream.read(_LARGEST_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        return Problem(start, "", f"cannot be read: {getattr(error, 'strerror', None) or error}")
    if len(data) > _LARGEST_FILE_BYTES:
        return Problem(start, "", f"the file is larger than {_LARGEST_FILE_BYTES >> 20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        lines = data[: error.start].decode("utf-8-sig").split("\n")
        place = Location(str(file), len(lines), len(lines[-1]) + 1)
        return Problem(place, "", "this is not UTF-8; save the file as UTF-8")
