"""Evidence for `discover` in tests, and drafts written beside other tables as a user does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.records import AssetProperty, AssetSnapshot, AssetType, KnownAsset
from gateway.tools.discover import Draft, discover
from gateway.tools.draft_points import Evidence, Samples, add_value
from support.point_tables import SINKS, TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gateway.mapping.plan import PointMap
    from gateway.mapping.topics import TopicScheme
    from gateway.model import Scalar


def asset_type(name: str, *properties: tuple[str, str | None, str | None, str | None]) -> AssetType:
    """Return a type with properties as key, name, type and unit."""
    return AssetType(name, f"Type {name}", tuple(AssetProperty(*one) for one in properties))


def evidence(
    assets: Iterable[KnownAsset] = (),
    *,
    types: Iterable[AssetType] = (),
    seen: Mapping[str, Mapping[str, Scalar]] | None = None,
) -> Evidence:
    """Return evidence. `seen`: readings by asset and key."""
    samples: dict[str, Samples] = {}
    for asset, readings in (seen or {}).items():
        for key, value in readings.items():
            add_value(samples, asset, key, value)
    snapshot = AssetSnapshot(1, {one.id: one for one in assets}, {one.id: one for one in types})
    return Evidence("a test", snapshot, samples)


def draft(
    folder: Path,
    found: Evidence,
    *,
    sinks: Mapping[str, str] = SINKS,
    topics: Mapping[str, TopicScheme] = TOPICS,
    snapshot: AssetSnapshot | None = None,
    **choice: Any,
) -> Draft:
    """Draft a table beside those in a folder."""
    inputs = TableInputs(folder, sinks, topics=topics, snapshot=snapshot)
    return discover(found, inputs, organization="o-test", **choice)


def compile_with_draft(
    folder: Path,
    drafted: Draft,
    *,
    sinks: Mapping[str, str] = SINKS,
    topics: Mapping[str, TopicScheme] = TOPICS,
    snapshot: AssetSnapshot | None = None,
    name: str = "drafted.yaml",
) -> PointMap:
    """Write the draft into the folder and load it with the tables there, as the gateway does."""
    assert drafted.text is not None, drafted
    (folder / name).write_text(drafted.text, encoding="utf-8")
    compiled = load_point_map(TableInputs(folder, sinks, topics=topics, snapshot=snapshot))
    assert compiled.problems == []
    assert compiled.point_map is not None
    return compiled.point_map
