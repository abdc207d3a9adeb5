"""How a point is computed, as the column `from` of `gateway points` has it: read as keys of a point table."""

from __future__ import annotations

import re
from typing import Any

from gateway.mapping.computed_keys import AGGREGATES

_AGGREGATE = re.compile(rf"\$({'|'.join(AGGREGATES)}) of (.+?)(?:, at least (\d+%?))?")
_RATE = re.compile(r"\$rate of (.+) per (\w+)(?:, rollover (\d+))?")


def computed_keys(source: str) -> dict[str, Any]:
    """Return the key that computes a point, such as `mean`, with its value; nothing for other sources."""
    kind, _, rest = source.partition(" ")
    if kind == "$expr":
        return {"expr": rest}
    if kind == "$runtime":
        return {"runtime": {"of": rest.removeprefix("of ")}}
    if (found := _RATE.fullmatch(source)) is not None:
        rollover = {} if found[3] is None else {"rollover": int(found[3])}
        return {"rate": {"of": found[1], "per": found[2]} | rollover}
    if (found := _AGGREGATE.fullmatch(source)) is None:
        return {}
    names, least = found[2].split(", "), found[3]
    keys: dict[str, Any] = {"of": names[0] if len(names) == 1 else names}
    if least is not None:
        keys["at_least"] = least if least.endswith("%") else int(least)
    return {found[1]: keys}
