"""What is not known of tables with problems: nobody is told of consequences, only of causes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.config.decode import Document
    from gateway.config.salvage import Remains, Steps
    from gateway.mapping.table import Table

_WITHOUT_TEMPLATES = frozenset({"assets", "points", "cases", "system", "defaults"})
_WITHOUT_POINTS = frozenset({"cases", "defaults"})


@dataclass(frozen=True, slots=True)
class Gaps:
    """What was left out of all tables together.

    `any_template`: templates whose names are unknown; `templates`: those of these names; `template_points`:
    these points, each with its template; `points`: points or assets, so that a name may be right that leads
    nowhere now.
    """

    any_template: bool
    templates: frozenset[str]
    template_points: frozenset[tuple[str, str]]
    points: bool

    @classmethod
    def of(cls, documents: Iterable[Document[Table]]) -> Gaps:
        """Return what the documents do not tell because of their problems."""
        all_remains = [document.remains for document in documents]
        is_unreadable = any(remains.value is None for remains in all_remains)
        sections: set[str | int] = set()
        templates, template_points = set(), set()
        points = is_unreadable
        for remains in all_remains:
            for path in remains.dropped:
                match path:
                    case ("templates", str(template), "points", str(point)):
                        template_points.add((template, point))
                    case ("templates", str(template)):
                        templates.add(template)
                    case (section,):
                        sections.add(section)
                points = points or _hides_points(path, remains)
        return cls(
            any_template=is_unreadable or not sections <= _WITHOUT_TEMPLATES,
            templates=frozenset(templates),
            template_points=frozenset(template_points),
            points=points,
        )

    def may_have(self, template: str) -> bool:
        """Say whether a template that is not there may be one that was left out."""
        return self.any_template or template in self.templates


def _hides_points(path: Steps, remains: Remains[Table]) -> bool:
    """Say whether points or assets are unknown without the part at a path, or where they read."""
    match path:
        case ("assets", int(), *_, _):
            return True
        case ("points", int(index), str()):
            return not _has_source(remains.written["points"][index])
        case ("templates", str(template), "points", str(point), str()):
            return not _has_source(remains.written["templates"][template]["points"][point])
    return path[0] not in _WITHOUT_POINTS


def _has_source(point: Any) -> bool:
    return isinstance(point, dict) and "from" in point
