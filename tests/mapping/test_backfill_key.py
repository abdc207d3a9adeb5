"""`refill` in point tables: the points whose history is filled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.point_tables import load_good_tables

if TYPE_CHECKING:
    from pathlib import Path

TABLE = """\
schema: gateway.points/1
site: hq
defaults: {refill: history}
templates:
  own: {defaults: {refill: newest}, points: {P: {from: p}, Q: {from: q, refill: history}}}
  file: {points: {P: {from: p}, PATH: {from: $.data.object.p}, ON: {from: $online}}}
assets:
  - {id: a, tag: A, use: own}
  - {id: b, tag: B, use: file}
  - {id: c, tag: C, use: file, points: {P: {refill: newest}}}
"""


def test_the_closest_refill_key_applies(tmp_path: Path) -> None:
    """A point's `refill` overrides its template's defaults, these the file's; paths have no history."""
    points = load_good_tables(tmp_path, TABLE).points
    assert [point.name for point in points if point.backfill] == ["A/Q", "B/P"]
    assert not any(point.backfill for point in load_good_tables(tmp_path, BARE).points)


BARE = """\
schema: gateway.points/1
site: hq
points: [{tag: A, point: P, asset: a, from: p}]
"""
