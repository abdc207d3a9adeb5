"""Points of a spreadsheet as the text of a point table; common values stand once, under `defaults`."""

from __future__ import annotations

import copy
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, Any

from gateway.config.value_types import parse_duration
from gateway.model import PSEUDO_SOURCES
from gateway.tools.yaml_text import flow_text, string_text, wrapped_mapping

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.tools.sheet_points import SheetPoint

_STALE_AFTER = "90m"  # the compiler's default
_ON_STALE = "sentinel"
_FACTORED_BLOCK_KEYS = ("to", "unit", "table")


def explicit_text(points: Sequence[SheetPoint], *, site: str) -> tuple[str, dict[int, int]]:
    """Return a table without defaults, one point per line, and the row number of each line."""
    lines = ["schema: gateway.points/1", f"site: {string_text(site)}"]
    rows = {}
    single = [point for point in points if point.every is None]
    lines += ["points:"] if single else []
    for point in single:
        lines.append(f"  - {flow_text(point.keys)}")
        rows[len(lines)] = point.rows[0]
    for point in points:
        if point.every is not None:
            lines += _heartbeat(point)
            rows[len(lines)] = point.rows[0]
    return "\n".join(lines) + "\n", rows


def table_text(points: Sequence[SheetPoint], *, site: str, comments: Iterable[str]) -> str:
    """Return the table as a person would write it."""
    points = copy.deepcopy(points)
    defaults = _factor_out(points)
    lines = [*(f"# {comment}" for comment in comments), ""]
    lines += ["schema: gateway.points/1", f"site: {string_text(site)}"]
    if defaults:
        lines += ["", "defaults:", *(f"  {key}: {flow_text(value)}" for key, value in defaults.items())]
    single = [point.keys for point in points if point.every is None]
    if single:
        lines += ["", "points:"]
        for tag, group in groupby(single, key=lambda keys: keys["tag"]):
            lines.append(f"{'' if lines[-1] == 'points:' else chr(10)}  # {tag}")
            for keys in group:
                lines += wrapped_mapping("  - ", keys)
    for point in points:
        if point.every is not None:
            lines += ["", *_heartbeat(point)]
    return "\n".join(lines) + "\n"


def _heartbeat(point: SheetPoint) -> list[str]:
    return ["system:", f"  heartbeat: {flow_text({'every': point.every} | point.keys)}"]


def _factor_out(points: Sequence[SheetPoint]) -> dict[str, Any]:
    """Remove the most common values from the points, and return them as `defaults`."""
    measured = [
        point.keys for point in points if point.every is None and point.keys["from"] not in PSEUDO_SOURCES
    ]
    defaults: dict[str, Any] = {}
    for keys in measured:
        keys.setdefault("stale_after", _STALE_AFTER)
        keys.setdefault("on_stale", _ON_STALE)
        _shorten_cov(keys)
    if measured:
        defaults["stale_after"] = _remove_common(measured, "stale_after")
    pseudo = [point.on_stale for point in points if point.on_stale is not None]
    if pseudo:
        defaults["on_stale"] = _most_common(pseudo)
        _remove_equal(measured, "on_stale", defaults["on_stale"])
    elif measured:
        defaults["on_stale"] = _remove_common(measured, "on_stale")
    shared = {"mqtt": _factor_out_mqtt(points), "modbus": _factor_out_blocks(points)}
    return defaults | {key: value for key, value in shared.items() if value is not None}


def _shorten_cov(keys: dict[str, Any]) -> None:
    """Leave `every` out if it is the compiler's default: half of the time until stale."""
    cov, stale_after = keys.get("cov"), keys["stale_after"]
    if isinstance(cov, dict):
        stale_ms = 0 if stale_after == "never" else _milliseconds(stale_after)
        if _milliseconds(cov["every"]) == (stale_ms or _milliseconds(_STALE_AFTER)) // 2:
            keys["cov"] = cov["delta"]


def _milliseconds(duration: str) -> int:
    return round(parse_duration(duration) * 1000)


def _factor_out_mqtt(points: Sequence[SheetPoint]) -> Any:
    """Return False if most points are on no broker; the others then state that they are."""
    keys = [point.keys for point in points if point.every is None]
    if 2 * sum(each.get("mqtt") is False for each in keys) <= len(keys):
        return None
    for each in keys:
        if each.get("mqtt") is False:
            del each["mqtt"]
        elif "mqtt" not in each:
            modbus = each.pop("modbus", None)
            each["mqtt"] = True
            if modbus is not None:
                each["modbus"] = modbus  # last, as usual
    return False


def _factor_out_blocks(points: Sequence[SheetPoint]) -> dict[str, Any] | None:
    blocks = [block for point in points for block in point.blocks]
    if not blocks:
        return None
    defaults = {key: _remove_common(blocks, key) for key in _FACTORED_BLOCK_KEYS}
    ordered = [block for block in blocks if "order" in block]
    order = _remove_common(ordered, "order") if ordered else "ABCD"
    return defaults if order == "ABCD" else defaults | {"order": order}


def _remove_common(mappings: Sequence[dict[str, Any]], key: str) -> Any:
    value = _most_common([mapping[key] for mapping in mappings])
    _remove_equal(mappings, key, value)
    return value


def _most_common(values: Sequence[Any]) -> Any:
    """Return the most frequent value, the first of several; 1, 1.0 and true are different."""
    by_text = {flow_text(value): value for value in values}
    return by_text[Counter(map(flow_text, values)).most_common(1)[0][0]]


def _remove_equal(mappings: Iterable[dict[str, Any]], key: str, value: Any) -> None:
    for mapping in mappings:
        if flow_text(mapping[key]) == flow_text(value):
            del mapping[key]
