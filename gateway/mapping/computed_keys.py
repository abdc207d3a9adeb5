"""The keys of computed points: `mean: {of: …}` and its likes, `rate` and `runtime`."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT
from gateway.config.value_types import Period
from gateway.text import duration_text

AGGREGATES = ("mean", "min", "max", "sum", "count", "any", "all")
COMPUTED_KEYS = (*AGGREGATES, "rate", "runtime", "expr")
"""The keys of a point that take the place of `from`."""

_SHARE = r"^([1-9]|[1-9][0-9]|100)%$"


def _check_share(text: str) -> str:
    if not (text.endswith("%") and text[:-1].isascii() and text[:-1].isdigit() and 0 < int(text[:-1]) <= 100):  # noqa: PLR2004 - percent
        raise ValueError("a share of the points, such as 50%")
    return text


def _check_name(text: str) -> str:
    parts = text.split("/")
    if len(parts) > 2 or not all(parts):  # noqa: PLR2004 - tag and point
        raise ValueError(
            "names points as TAG/POINT, or POINT of the same tag; `*` stands for any text in each"
        )
    return text


def _check_single_name(text: str) -> str:
    if "*" in text:
        raise ValueError("names one point as TAG/POINT, or POINT of the same tag, without `*`")
    return _check_name(text)


SingleName = Annotated[
    str,
    AfterValidator(_check_single_name),
    WithJsonSchema({"type": "string", "pattern": "^[^/*]+(/[^/*]+)?$"}),
]
PointName = Annotated[
    str, AfterValidator(_check_name), WithJsonSchema({"type": "string", "pattern": "^[^/]+(/[^/]+)?$"})
]
Share = Annotated[str, AfterValidator(_check_share), WithJsonSchema({"type": "string", "pattern": _SHARE})]
AtLeast = Annotated[int, Field(ge=1)] | Share


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class AggregateKeys:
    """`mean`, `min`, `max`, `sum`, `count`, `any` or `all` of other points."""

    of: PointName | Annotated[tuple[PointName, ...], Field(min_length=1)]
    """Points as TAG/POINT, or POINT of the same tag; `*` stands for any text within a tag or a point."""
    at_least: AtLeast = 1
    """How many of them must be good or forced, or what share of them (50%); otherwise the point is stale."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names and patterns."""
        return (self.of,) if isinstance(self.of, str) else self.of

    def needed(self, members: int) -> int:
        """Return how many of so many members must have a value."""
        if isinstance(self.at_least, int):
            return self.at_least
        return max(1, math.ceil(members * int(self.at_least[:-1]) / 100))

    def __str__(self) -> str:
        return "" if self.at_least == 1 else f", at least {self.at_least}"


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class RateKeys:
    """`rate`: how fast a counter counts."""

    of: SingleName
    """The counter, as TAG/POINT, or POINT of the same tag."""
    per: Period
    """The time that the rate is for: 1h of a counter in kWh gives kW."""
    rollover: Annotated[int, Field(ge=1)] | None = None
    """The number of values after which the counter starts again at 0. Without it, a decrease is a reset."""

    @property
    def names(self) -> tuple[str, ...]:
        """The counter's name."""
        return (self.of,)

    def __str__(self) -> str:
        rollover = "" if self.rollover is None else f", rollover {self.rollover}"
        return f" per {duration_text(round(self.per * 1000))}{rollover}"


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class RuntimeKeys:
    """`runtime`: how long a point has been on."""

    of: SingleName
    """A point that is true, or not 0, while something runs: as TAG/POINT, or POINT of the same tag."""

    @property
    def names(self) -> tuple[str, ...]:
        """The point's name."""
        return (self.of,)

    def __str__(self) -> str:
        return ""
