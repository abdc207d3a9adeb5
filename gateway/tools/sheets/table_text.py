"""Points as the text of a point table: what most of them share stands once, under `defaults`."""

from __future__ import annotations

import copy
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, Any

from gateway.config.value_types import parse_duration
from gateway.model import PSEUDO_SOURCES
from gateway.tools.sheets.flow import flow
from gateway.tools.sheets.flow import text as yaml_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.tools.sheets.points import SheetPoint

_STALE_AFTER = "90m"  # what the compiler takes where nothing is written
_ON_STALE = "sentinel"
_WIDEST = 110
_BLOCK_KEYS = ("to", "unit", "table")


def explicit_text(points: Sequence[SheetPoint], *, site: str) -> tuple[str, dict[int, int]]:
    """Return a table that writes everything out, a point per line, and the row of each of its lines."""
    lines = ["schema: gateway.points/1", f"site: {yaml_text(site)}"]
    rows = {}
    single = [point for point in points if point.every is None]
    lines += ["points:"] if single else []
    for point in single:
        lines.append(f"  - {flow(point.keys)}")
        rows[len(lines)] = point.rows[0]
    for point in points:
        if point.every is not None:
            lines += ["system:", f"  heartbeat: {flow({'every': point.every} | point.keys)}"]
            rows[len(lines)] = point.rows[0]
    return "\n".join(lines) + "\n", rows


def table_text(points: Sequence[SheetPoint], *, site: str, comments: Iterable[str]) -> str:
    """Return the table as a person would write it."""
    points = copy.deepcopy(points)
    defaults = _factor_out(points)
    lines = [*(f"# {comment}" for comment in comments), ""]
    lines += ["schema: gateway.points/1", f"site: {yaml_text(site)}"]
    if defaults:
        lines += ["", "defaults:", *(f"  {key}: {flow(value)}" for key, value in defaults.items())]
    single = [point.keys for point in points if point.every is None]
    if single:
        lines += ["", "points:"]
        for tag, group in groupby(single, key=lambda keys: keys["tag"]):
            lines.append(f"{'' if lines[-1] == 'points:' else chr(10)}  # {tag}")
            for keys in group:
                lines += wrapped("  - ", keys)
    for point in points:
        if point.every is not None:
            lines += ["", "system:", f"  heartbeat: {flow({'every': point.every} | point.keys)}"]
    return "\n".join(lines) + "\n"


def wrapped(lead: str, keys: Mapping[str, Any]) -> list[str]:
    """Return the lines of a flow mapping that stands after `lead`, wrapped between its pairs."""
    lines, line = [], f"{lead}{{"
    for index, (key, value) in enumerate(keys.items()):
        pair = f"{key}: {flow(value)}" + ("}" if index == len(keys) - 1 else ",")
        is_start = line.endswith("{")
        if not is_start and len(line) + 1 + len(pair) > _WIDEST:
            lines.append(line)
            line = f"{' ' * (len(lead) + 1)}{pair}"
        else:
            line += pair if is_start else f" {pair}"
    return [*lines, line]


def _factor_out(points: Sequence[SheetPoint]) -> dict[str, Any]:
    """Take what is common out of the points, and return it as `defaults`."""
    measured = [
        point.keys for point in points if point.every is None and point.keys["from"] not in PSEUDO_SOURCES
    ]
    defaults: dict[str, Any] = {}
    for keys in measured:
        keys["stale_after"] = keys.get("stale_after", _STALE_AFTER)
        keys["on_stale"] = keys.get("on_stale", _ON_STALE)
        _shorten_cov(keys)
    if measured:
        defaults["stale_after"] = _take_common(measured, "stale_after")
    policies = [point.policy for point in points if point.policy is not None]
    if policies:
        defaults["on_stale"] = _most_common(policies)
        _drop(measured, "on_stale", defaults["on_stale"])
    elif measured:
        defaults["on_stale"] = _take_common(measured, "on_stale")
    shared = {"mqtt": _factor_mqtt(points), "modbus": _factor_blocks(points)}
    return defaults | {key: value for key, value in shared.items() if value is not None}


def _shorten_cov(keys: dict[str, Any]) -> None:
    """Leave `every` out where it is what the compiler takes anyway: half of the time until stale."""
    cov, stale_after = keys.get("cov"), keys["stale_after"]
    if isinstance(cov, dict):
        stale_ms = _milliseconds(_STALE_AFTER if stale_after == "never" else stale_after)
        if _milliseconds(cov["every"]) == (stale_ms or _milliseconds(_STALE_AFTER)) // 2:
            keys["cov"] = cov["delta"]


def _milliseconds(duration: str) -> int:
    return round(parse_duration(duration) * 1000)


def _factor_mqtt(points: Sequence[SheetPoint]) -> Any:
    """Return false where most points are on no broker; the others then say that they are."""
    keys = [point.keys for point in points if point.every is None]
    unlisted = sum(each.get("mqtt") is False for each in keys)
    if 2 * unlisted <= len(keys):
        return None
    for each in keys:
        if each.get("mqtt") is False:
            del each["mqtt"]
        elif "mqtt" not in each:
            _insert_before_modbus(each, "mqtt", value=True)
    return False


def _insert_before_modbus(keys: dict[str, Any], key: str, *, value: Any) -> None:
    modbus = keys.pop("modbus", None)
    keys[key] = value
    if modbus is not None:
        keys["modbus"] = modbus


def _factor_blocks(points: Sequence[SheetPoint]) -> dict[str, Any] | None:
    blocks = [block for point in points for block in _blocks(point.keys)]
    if not blocks:
        return None
    defaults = {key: _take_common(blocks, key) for key in _BLOCK_KEYS}
    ordered = [block for block in blocks if "order" in block]
    order = _take_common(ordered, "order") if ordered else "ABCD"
    return defaults if order == "ABCD" else defaults | {"order": order}


def _blocks(keys: dict[str, Any]) -> list[dict[str, Any]]:
    modbus = keys.get("modbus", [])
    return modbus if isinstance(modbus, list) else [modbus]


def _take_common(mappings: Sequence[dict[str, Any]], key: str) -> Any:
    value = _most_common([mapping[key] for mapping in mappings])
    _drop(mappings, key, value)
    return value


def _most_common(values: Sequence[Any]) -> Any:
    """Return the value that is there most often, the first of several; 1, 1.0 and true are different."""
    by_text = {flow(value): value for value in values}
    return by_text[Counter(map(flow, values)).most_common(1)[0][0]]


def _drop(mappings: Iterable[dict[str, Any]], key: str, value: Any) -> None:
    for mapping in mappings:
        if flow(mapping[key]) == flow(value):
            del mapping[key]
