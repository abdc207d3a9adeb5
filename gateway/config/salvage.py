"""What is left of a file without its refused parts, so that the rest is checked in the same run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

T = TypeVar("T")
Steps = tuple[str | int, ...]

ANY = None
"""In a pattern: whatever key or index stands there."""

_MOST_ROUNDS = 6  # a part that is dropped may leave a mapping empty that must not be, and so on


@dataclass(frozen=True)
class Parts:
    """Which parts of a file can be left out.

    `droppable` are patterns of paths; the longest one that leads to a problem says what is dropped, and where
    that was not enough, the next shorter one.
    `stand_ins` take the place of refused values that nothing can be checked without. Where there is a
    problem in one of the `essential` keys, or an unknown key may be meant for an absent one, nothing is
    worth checking.
    """

    droppable: tuple[tuple[str | None, ...], ...] = ()
    stand_ins: Mapping[str, Any] = field(default_factory=dict)
    essential: tuple[str, ...] = ()

    def part_of(self, path: Steps, *, written: Mapping[str, Any], dropped: frozenset[Steps]) -> Steps | None:
        """Return the path of what to drop next for a problem at `path`, None where nothing would be left."""
        pattern = max(
            (one for one in self.droppable if _leads_to(one, path) and path[: len(one)] not in dropped),
            key=len,
            default=(),
        )
        is_unknown = pattern[:1] == (ANY,)
        if is_unknown and any(key == path[0] or key not in written for key in self.essential):
            return None
        return path[: len(pattern)] or None


@dataclass(frozen=True)
class Remains(Generic[T]):
    """A file's value without what was dropped, by the paths of the file. `value` None: nothing is left.

    It is for finding more problems, and never to be used.
    """

    value: T | None
    dropped: frozenset[Steps] = frozenset()
    written: Any = None

    def is_whole(self, path: Steps) -> bool:
        """Return whether the value at a path is complete: nothing below it was dropped."""
        return not any(part[: len(path)] == path for part in self.dropped)

    def positions(self, key: str) -> Sequence[int]:
        """Return where in the file the remaining entries of a top-level list are."""
        entries = self.written.get(key) if isinstance(self.written, dict) else None
        count = len(entries) if isinstance(entries, list) and (key,) not in self.dropped else 0
        return [index for index in range(count) if (key, index) not in self.dropped]


def salvage(
    written: Any, problems: Iterable[Steps], *, parts: Parts, validate: Callable[[Any], T | list[Steps]]
) -> Remains[T]:
    """Drop what has problems, given by their paths, until `validate` returns a value and no more paths.

    Those further problems are consequences of what was dropped, and are not reported.
    """
    if not isinstance(written, dict):
        return Remains(None)
    dropped: frozenset[Steps] = frozenset()
    stand_ins: dict[str, Any] = {}
    paths = set(problems)
    for _ in range(_MOST_ROUNDS):
        replaced = {path for path in paths if path and path[0] in parts.stand_ins}
        stand_ins |= {str(path[0]): parts.stand_ins[str(path[0])] for path in replaced}
        refused = [parts.part_of(path, written=written, dropped=dropped) for path in paths - replaced]
        if None in refused:
            break
        dropped |= {part for part in refused if part is not None}
        found = validate(_without(written, dropped) | stand_ins)
        if not isinstance(found, list):
            return Remains(found, dropped, written)
        remains: Remains[T] = Remains(None, dropped, written)
        paths = {_in_file(path, remains) for path in found}
    return Remains(None)


def _leads_to(pattern: tuple[str | None, ...], path: Steps) -> bool:
    """Return whether a path begins with a pattern."""
    steps = zip(pattern, path, strict=False)
    return len(pattern) <= len(path) and all(wanted is ANY or wanted == step for wanted, step in steps)


def _without(written: dict[str, Any], dropped: Iterable[Steps]) -> dict[str, Any]:
    """Return a copy without what is at the dropped paths."""
    copy: dict[str, Any] = orjson.loads(orjson.dumps(written))  # nothing is shared, as it is with aliases
    for path in sorted(dropped, reverse=True):  # so that positions before it, and below it, stay right
        holder: Any = copy
        for step in path[:-1]:
            holder = holder[step]
        last: Any = path[-1]
        if isinstance(holder, list) or last in holder:
            del holder[last]
    return copy


def _in_file(path: Steps, remains: Remains[Any]) -> Steps:
    """Return the path in the file of what stands at `path` in what remains of it."""
    match path:
        case (str(key), int(index), *rest):
            return (key, remains.positions(key)[index], *rest)
    return path
