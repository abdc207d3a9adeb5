"""The CSV that was handed to the BMS engineer, compared with the tables of now."""

from __future__ import annotations

import pytest
from support.point_tables import EXAMPLES, SINKS, TOPICS

from gateway.errors import ConfigError
from gateway.mapping.compiler import load_point_map
from gateway.mapping.listing import list_points
from gateway.mapping.topics import TopicScheme
from gateway.tools.diff.comparison import compare
from gateway.tools.diff.handed_out import inventory_in
from gateway.tools.diff.inventory import inventory_of
from gateway.tools.diff.verdicts import Kind
from gateway.tools.sheets.listing_forms import csv_rows


def test_a_csv_tells_what_the_tables_tell() -> None:
    """The CSV that was handed out has the registers, topics and meanings of the tables it was made from."""
    compiled = load_point_map(EXAMPLES, SINKS, topics=TOPICS)
    assert compiled.point_map is not None
    rows = list_points(compiled.point_map, topics=TOPICS)
    listed = inventory_in(csv_rows(rows).encode(), file="x.csv")
    full = inventory_of(compiled.point_map, topics=TOPICS, sinks={})
    assert listed.points.keys() == full.points.keys()
    for name, point in listed.points.items():
        assert point.registers == full.points[name].registers
        assert {topic for _, topic in point.topics} == {topic for _, topic in full.points[name].topics}
        told = point.facts.keys() & full.points[name].facts.keys()
        for fact in told - ({"on_stale"} if name == "$gateway/heartbeat" else set()):
            assert point.facts[fact] == full.points[name].facts[fact], fact
    for excel in ("point", "comma"):
        assert compare(listed, inventory_in(csv_rows(rows, excel=excel).encode(), file="y.csv")) == []


def test_messages_of_whole_assets_are_told_by_point() -> None:
    """Points that share a topic do not take it from each other; one that leaves the message is told."""
    schemes = {"bms": TopicScheme(prefix="gw/v1", assets="{prefix}/{site}/{tag}")}
    compiled = load_point_map(EXAMPLES, SINKS, topics=schemes)
    assert compiled.point_map is not None
    full = inventory_of(compiled.point_map, topics=schemes, sinks={})
    listed = inventory_in(csv_rows(list_points(compiled.point_map, topics=schemes)).encode(), file="x.csv")
    for name, point in listed.points.items():
        assert {topic for _, topic in point.topics} == {topic for _, topic in full.points[name].topics}
    assert ("bms", "gw/v1/hq-tower/L03-RM312 (ZN-T)") in full.points["L03-RM312/ZN-T"].topics
    assert compare(full, full) == []
    by_point = inventory_of(compiled.point_map, topics=TOPICS, sinks={})
    assert {change.kind for change in compare(full, by_point)} == {Kind.TOPIC_GONE}


def test_topics_of_several_sinks_are_told_apart_in_a_csv() -> None:
    """A cell with two topics is two topics, also where a tag has spaces in it; one more is a new one."""
    head = "tag,point,site,topic,sink,type\n"
    one = inventory_in(f"{head}Room 3,T,hq,gw/v1/hq/Room 3/T,,\n".encode(), file="x.csv")
    two = inventory_in(f"{head}Room 3,T,hq,gw/v1/hq/Room 3/T site/hq/Room 3/T,,\n".encode(), file="y.csv")
    (change,) = compare(one, two)
    assert (change.kind, change.new) == (Kind.NEW_TOPIC, "site/hq/Room 3/T")


def test_a_csv_without_a_column_does_not_tell_it() -> None:
    """What an older or shortened list does not say is not compared."""
    rows = "tag,point,topic,sink,unit,table,address,type{}\nA,P,,regs,1,input,0,int16{}\n"
    short = inventory_in(rows.format("", "").encode(), file="x.csv")
    full = inventory_in(rows.format(",asset,gain", ",ast-1,0.1").encode(), file="y.csv")
    assert compare(short, full) == []
    other = inventory_in(rows.format(",asset,gain", ",ast-1,").encode(), file="z.csv")
    assert [change.kind for change in compare(full, other)] == [Kind.CALCULATION]


def test_a_csv_that_cannot_be_read_is_told_by_row_and_column() -> None:
    """Every unreadable cell is named, all at once; a file without the columns is told as well."""
    rows = (
        "tag,point,topic,sink,unit,table,address,type\n"
        "A,P,,regs,1,inputs,0,int16\nB,P,,regs,1,input,zero,int16\nC,P,,regs,1,input,0,int17\n"
    )
    with pytest.raises(ConfigError) as caught:
        inventory_in(rows.encode(), file="x.csv")
    told = {problem.partition(": ")[2].partition(":")[0] for problem in caught.value.problems}
    assert told == {"row 2, column table", "row 3, column address", "row 4, column type"}
    assert all(problem.startswith("x.csv: ") for problem in caught.value.problems)
    with pytest.raises(ConfigError, match=r"x\.csv: row 1: needs the columns tag, point, topic"):
        inventory_in(b"sink,table,type\n", file="x.csv")
