"""The CSV that was handed to the BMS engineer, compared with the tables of now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.point_tables import EXAMPLES, HEAD, SINKS, TOPICS

from gateway.errors import ConfigError
from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.mapping.topics import TopicScheme
from gateway.tools.diff import compare, inventory_from_csv, inventory_of
from gateway.tools.diff_report import ChangeKind
from gateway.tools.register_map import csv_text, register_map

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap
    from gateway.tools.diff import Inventory


def listed_inventory(point_map: PointMap, topics: dict[str, TopicScheme]) -> Inventory:
    """Return the inventory of the tables' own CSV."""
    return inventory_from_csv(csv_text(register_map(point_map, topics=topics)).encode(), file="x.csv")


def test_a_csv_has_the_same_facts_as_the_tables() -> None:
    """A CSV has the registers, topics and meanings of the tables that it was printed from."""
    compiled = load_point_map(TableInputs(EXAMPLES, SINKS, topics=TOPICS))
    assert compiled.point_map is not None
    rows = register_map(compiled.point_map, topics=TOPICS)
    listed = inventory_from_csv(csv_text(rows).encode(), file="x.csv")
    full = inventory_of(compiled.point_map, topics=TOPICS, sinks={})
    assert listed.points.keys() == full.points.keys()
    for name, point in listed.points.items():
        assert point.registers == full.points[name].registers
        assert {topic for _, topic in point.topics} == {topic for _, topic in full.points[name].topics}
        reported = point.facts.keys() & full.points[name].facts.keys()
        for fact in reported - ({"on_stale"} if name == "$gateway/heartbeat" else set()):
            assert point.facts[fact] == full.points[name].facts[fact], fact
    for excel in ("point", "comma"):
        assert compare(listed, inventory_from_csv(csv_text(rows, excel=excel).encode(), file="y.csv")) == []


def test_messages_of_whole_assets_are_reported_by_point() -> None:
    """Points share the topic of their asset; one that leaves its messages is reported."""
    schemes = {"bms": TopicScheme(prefix="gw/v1", assets="{prefix}/{site}/{tag}")}
    compiled = load_point_map(TableInputs(EXAMPLES, SINKS, topics=schemes))
    assert compiled.point_map is not None
    full = inventory_of(compiled.point_map, topics=schemes, sinks={})
    listed = inventory_from_csv(
        csv_text(register_map(compiled.point_map, topics=schemes)).encode(), file="x.csv"
    )
    for name, point in listed.points.items():
        assert {topic for _, topic in point.topics} == {topic for _, topic in full.points[name].topics}
    assert ("bms", "gw/v1/hq-tower/L03-RM312 (ZN-T)") in full.points["L03-RM312/ZN-T"].topics
    assert compare(full, full) == []
    by_point = inventory_of(compiled.point_map, topics=TOPICS, sinks={})
    assert {change.kind for change in compare(full, by_point)} == {ChangeKind.TOPIC_GONE}


def test_columns_that_a_csv_lacks_are_not_compared() -> None:
    """Facts that an older or shortened list lacks are not compared."""
    rows = "tag,point,asset,from,topic,sink,unit,table,address,type{}\nA,P,ast-1,t,,regs,1,input,0,int16{}\n"
    short = inventory_from_csv(rows.format("", "").encode(), file="x.csv")
    full = inventory_from_csv(rows.format(",description,gain", ",x,0.1").encode(), file="y.csv")
    assert compare(short, full) == []
    other = inventory_from_csv(rows.format(",description,gain", ",x,").encode(), file="z.csv")
    assert [change.kind for change in compare(full, other)] == [ChangeKind.MEANING]


def test_unusable_cells_are_reported_by_row_and_column() -> None:
    """All unusable cells are reported at once, and so are missing columns."""
    rows = (
        "tag,point,asset,from,topic,sink,unit,table,address,type\n"
        "A,P,a,t,,regs,1,inputs,0,int16\nB,P,a,t,,regs,1,input,70000,int16\nC,P,a,t,,regs,1,input,0,int17\n"
    )
    with pytest.raises(ConfigError) as caught:
        inventory_from_csv(rows.encode(), file="x.csv")
    reported = {problem.partition(": ")[2].partition(":")[0] for problem in caught.value.problems}
    assert reported == {"row 2, column table", "row 3, column address", "row 4, column type"}
    assert all(problem.startswith("x.csv: ") for problem in caught.value.problems)
    with pytest.raises(ConfigError, match=r"x\.csv: needs the columns tag, point, asset, from, topic"):
        inventory_from_csv(b"sink,table,type\n", file="x.csv")
    with pytest.raises(ConfigError, match=r"x\.csv: needs the columns topic, sink"):
        inventory_from_csv(b"tag,point,asset,from\nA,B,a,t\n", file="x.csv")


def test_own_topics_on_several_sinks_are_no_difference(tmp_path: Path) -> None:
    """A cell with two topics of the point's own is compared as a whole."""
    keys = '{tag: T, point: P, asset: a, from: t, mqtt: {topic: "{prefix}/own/{tag}"}}'
    schemes = {"bms": TopicScheme(prefix="gw/v1"), "cloud": TopicScheme(prefix="site")}
    (tmp_path / "a.yaml").write_text(f"{HEAD}points:\n  - {keys}\n")
    compiled = load_point_map(TableInputs(tmp_path, SINKS | {"cloud": "mqtt"}, topics=schemes))
    assert compiled.point_map is not None
    printed = csv_text(register_map(compiled.point_map, topics=schemes)).encode()
    listed = inventory_from_csv(printed, file="x.csv")
    assert compare(listed, listed_inventory(compiled.point_map, schemes)) == []
    moved = schemes | {"cloud": TopicScheme(prefix="other")}
    (change,) = compare(listed, listed_inventory(compiled.point_map, moved))
    assert (change.kind, change.new) == (ChangeKind.TOPIC_MOVED, "gw/v1/own/T other/own/T")


def test_spaces_around_texts_are_no_difference(tmp_path: Path) -> None:
    """Tables with spaces around texts equal their own CSV, whose cells have none."""
    keys = '{tag: T, point: P, asset: "a ", from: " t", unit: "kWh ", description: " "}'
    (tmp_path / "a.yaml").write_text(f"{HEAD}points:\n  - {keys}\n")
    compiled = load_point_map(TableInputs(tmp_path, SINKS, topics=TOPICS))
    assert compiled.point_map is not None, compiled.problems
    printed = csv_text(register_map(compiled.point_map, topics=TOPICS)).encode()
    listed = inventory_from_csv(printed, file="x.csv")
    assert compare(listed, listed_inventory(compiled.point_map, TOPICS)) == []
