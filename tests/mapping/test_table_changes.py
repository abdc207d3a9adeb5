"""The difference of two point maps: how many points differ, and which may show another value."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.point_tables import SINKS, load_good_tables

from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.mapping.plan import compare_tables, compile_the_same
from gateway.records import AssetSnapshot, AssetType, KnownAsset

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.mapping.plan import PointMap

TABLE = """\
schema: gateway.points/1
site: hq
defaults: {modbus: {to: regs, table: input}}
points:
  - {tag: R, point: T, asset: a, from: t, unit: degC}
  - {tag: R, point: H, asset: a, from: h}
  - {tag: R, point: Q, asset: a, from: $quality}
  - {tag: S, point: T, asset: b, from: t}
  - {tag: S, point: Q, asset: b, from: $quality}
system: {heartbeat: {every: 10s, modbus: {register: 0, type: uint16}}}
"""


def tables(folder: Path, *, was: str = "", becomes: str = "") -> tuple[PointMap, PointMap]:
    """Return the table, and the table with one change."""
    return load_good_tables(folder, TABLE), load_good_tables(folder, TABLE.replace(was, becomes, 1))


def test_a_table_compiled_twice_has_no_changes(tmp_path: Path) -> None:
    """Points are compared by their keys, not by identity."""
    difference = compare_tables(*tables(tmp_path))
    assert not difference
    assert (difference.unchanged, difference.affected) == (6, ())


@pytest.mark.parametrize(
    ("was", "becomes", "counts", "names"),
    [
        ("unit: degC", "unit: degC, gain: 2", (0, 0, 1, 5), {"R/T", "R/Q"}),
        ("unit: degC", "unit: degF", (0, 0, 1, 5), {"R/T", "R/Q"}),
        ("unit: degC", "unit: degC, tags: {brick: X}", (0, 0, 1, 5), {"R/T", "R/Q"}),
        ("tag: R, point: H", "tag: R, point: RH", (1, 1, 0, 5), {"R/RH", "R/Q"}),
        ("  - {tag: R, point: H, asset: a, from: h}\n", "", (0, 1, 0, 5), {"R/Q"}),
        ("point: H, asset: a", "point: H, asset: b", (0, 0, 1, 5), {"R/H", "R/Q", "S/Q"}),
        ("every: 10s", "every: 20s", (0, 0, 1, 5), {"$gateway/heartbeat"}),
        ("site: hq", "site: other", (0, 0, 6, 0), {"R/T", "R/H", "R/Q", "S/T", "S/Q", "$gateway/heartbeat"}),
    ],
)
def test_changes_are_counted_and_affected_points_named(
    tmp_path: Path, was: str, becomes: str, counts: tuple[int, ...], names: set[str]
) -> None:
    """Affected are new and changed points and the pseudo points of their assets."""
    difference = compare_tables(*tables(tmp_path, was=was, becomes=becomes))
    assert difference
    found = (difference.added, difference.removed, difference.changed, difference.unchanged)
    assert found == counts
    assert set(difference.affected) == names
    assert len(difference.affected) == len(names)


def test_a_new_description_affects_no_point(tmp_path: Path) -> None:
    """Another name of the asset in Infodeck is a change that shows no other value."""
    old = load_good_tables(tmp_path, TABLE)
    snapshot = AssetSnapshot(0, {"a": KnownAsset(id="a", name="Room", online=True)})
    new = load_point_map(TableInputs(tmp_path, SINKS, snapshot=snapshot)).point_map
    assert new is not None
    difference = compare_tables(old, new)
    assert (difference.changed, difference.unchanged, difference.affected) == (3, 3, ())
    offline = AssetSnapshot(1, {"a": KnownAsset(id="a", name="Room", online=False)})
    again = load_point_map(TableInputs(tmp_path, SINKS, snapshot=offline)).point_map
    assert again is not None
    assert not compare_tables(new, again)


def test_connections_do_not_make_another_snapshot() -> None:
    """Names, locations, types and further assets do; the connection of a device does not."""

    def snapshot(*assets: KnownAsset) -> AssetSnapshot:
        return AssetSnapshot(0, {asset.id: asset for asset in assets})

    known = KnownAsset(id="a", name="Room", online=True)
    assert compile_the_same(snapshot(known), snapshot(replace(known, online=False)))
    assert not compile_the_same(snapshot(known), snapshot(replace(known, name="Hall")))
    assert not compile_the_same(snapshot(known), snapshot(replace(known, location_path=("HQ", "Room"))))
    assert not compile_the_same(snapshot(known), snapshot(known, KnownAsset(id="b")))
    assert not compile_the_same(snapshot(known), snapshot())
    typed = replace(snapshot(known), types={"at-1": AssetType("at-1")})
    assert not compile_the_same(snapshot(known), typed)
    assert not compile_the_same(None, snapshot())


def test_only_relevant_assets_make_another_snapshot() -> None:
    """Changes of other assets do not cause a compilation."""

    def snapshot(*assets: KnownAsset, types: Iterable[AssetType] = ()) -> AssetSnapshot:
        return AssetSnapshot(0, {asset.id: asset for asset in assets}, {one.id: one for one in types})

    ours, other = KnownAsset(id="a", name="Room", asset_type="at-1"), KnownAsset(id="b", asset_type="at-2")
    before = snapshot(ours, other)
    assert compile_the_same(before, snapshot(ours, replace(other, name="Hall")), of={"a", "stranger"})
    assert compile_the_same(before, snapshot(ours), of={"a"})
    assert compile_the_same(before, snapshot(ours, other, types=[AssetType("at-2")]), of={"a"})
    assert not compile_the_same(before, snapshot(ours, other, types=[AssetType("at-1")]), of={"a"})
    assert not compile_the_same(before, snapshot(replace(ours, name="Hall"), other), of={"a"})
    assert not compile_the_same(before, snapshot(other), of={"a"})
    assert not compile_the_same(before, snapshot(ours, other, KnownAsset(id="new")), of={"a", "new"})
    assert not compile_the_same(None, snapshot(), of=())
