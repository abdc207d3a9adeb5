"""Topics are made by templates, and no two points share one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.point_tables import HEAD, SINKS, load_tables, table_of_points

from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.mapping.topics import TopicScheme

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap

EVERY = "{gateway}/{asset}/{prefix}/{site}/{tag}/{point}"
WILD = "is a topic: it has no wildcard + or #, and no level that starts with $"
ROOMS = f"""{HEAD}templates:
  iaq:
    points:
      T: {{from: t, mqtt: {{topic: "plant/{{tag}}/{{point}}"}}}}
      RH: {{from: rh}}
assets:
  - {{id: ast-1, tag: R1, use: iaq}}
  - {{id: ast-2, tag: R2, use: iaq, points: {{RH: {{mqtt: {{topic: "{EVERY}"}}}}}}}}
"""


def load(folder: Path, text: str, **schemes: TopicScheme) -> tuple[PointMap | None, list[str]]:
    """Compile one table for MQTT sinks with these topics."""
    (folder / "a.yaml").write_text(text)
    sinks = SINKS | dict.fromkeys(schemes, "mqtt")
    compiled = load_point_map(TableInputs(folder, sinks, topics=schemes))
    return compiled.point_map, [str(problem).replace(f"{folder}/", "") for problem in compiled.problems]


def test_topics_are_made_of_names(tmp_path: Path) -> None:
    """A sink's template applies to its points; a point's own template overrides it."""
    scheme = TopicScheme(prefix="gw/v1", gateway="edge-1", points="{site}:{point}@{tag}")
    usual = TopicScheme(prefix="c", gateway="edge-1")
    point_map, problems = load(tmp_path, ROOMS, bms=scheme, cloud=usual)
    assert problems == []
    assert point_map is not None
    both = (scheme, usual)
    by_sink = [{name: one.topics(point) for name, point in point_map.by_name.items()} for one in both]
    assert by_sink == [
        {
            "R1/T": ("plant/R1/T",),
            "R1/RH": ("hq:RH@R1",),
            "R2/T": ("plant/R2/T",),
            "R2/RH": ("edge-1/ast-2/gw/v1/hq/R2/RH",),
        },
        {
            "R1/T": ("plant/R1/T",),
            "R1/RH": ("c/hq/R1/RH",),
            "R2/T": ("plant/R2/T",),
            "R2/RH": ("edge-1/ast-2/c/hq/R2/RH",),
        },
    ]


def test_doubled_braces_are_braces(tmp_path: Path) -> None:
    """Doubled braces become single ones in the topic."""
    point_map, problems = load_tables(tmp_path, table_of_points('tag: X, point: A, mqtt: {topic: "a/{{b}}"}'))
    assert problems == []
    assert point_map is not None
    assert TopicScheme(prefix="p").topics(point_map.points[0]) == ("a/{b}",)


@pytest.mark.parametrize(
    ("topic", "problem"),
    [
        (
            "plant/{tags}/x",
            "braces stand in pairs, around one of {prefix}, {site}, {tag}, {point}, {asset}, {gateway}",
        ),
        ("plant/{}/x", "braces stand in pairs, around one of {prefix}"),
        ("plant/{tag/x", "braces stand in pairs, around one of {prefix}"),
        ("plant/tag}/x", "braces stand in pairs, around one of {prefix}"),
        ("plant/{tag:>9}", "braces stand in pairs, around one of {prefix}"),
        ("plant/{tag.site}", "braces stand in pairs, around one of {prefix}"),
        ("plant/{tag}/+", WILD),
        ("plant/{tag}/$meta", WILD),
        ("{tag}//x", "has an empty level"),
        ("{tag}/", "has an empty level"),
    ],
)
def test_a_template_that_makes_no_topic_is_refused(tmp_path: Path, topic: str, problem: str) -> None:
    """The message has the place of the template and the known placeholders."""
    _, problems = load_tables(tmp_path, table_of_points(f'tag: X, point: A, mqtt: {{topic: "{topic}"}}'))
    (reported,) = problems
    assert reported.startswith("a.yaml:5:57: ")
    assert f"points[0].mqtt.topic: {problem}" in reported


def test_a_point_on_the_topic_of_an_asset_is_refused(tmp_path: Path) -> None:
    """The topic of an asset message is taken, whichever comes first."""
    both = TopicScheme(prefix="gw/v1", assets="{prefix}/{site}/{tag}")
    table = table_of_points("tag: X, point: A", "tag: X, point: B, mqtt: {topic: gw/v1/hq/X}")
    (reported,) = load(tmp_path, table, bms=both)[1]
    message = "the topic gw/v1/hq/X of X/B on bms already belongs to the asset X on bms at a.yaml:5:5"
    assert reported == f'a.yaml:6:57: points[1].mqtt.topic: {message} ("gw/v1/hq/X")'
    table = table_of_points("tag: Y, point: B, mqtt: {topic: gw/v1/hq/X}", "tag: X, point: A")
    (reported,) = load(tmp_path, table, bms=both)[1]
    assert reported.endswith("gw/v1/hq/X of the asset X on bms already belongs to Y/B on bms at a.yaml:5:5")
    assert reported.startswith("a.yaml:6:")


def test_two_tags_on_one_topic_of_assets_are_refused(tmp_path: Path) -> None:
    """A topic of assets with only the id cannot serve two tags of one device."""
    by_id = TopicScheme(prefix="gw", points=None, assets="{prefix}/{asset}")
    table = table_of_points("tag: X, point: A", "tag: Y, point: A")
    (reported,) = load(tmp_path, table, bms=by_id)[1]
    assert "gw/a of the asset Y on bms already belongs to the asset X on bms at a.yaml:5:5" in reported


def test_an_asset_id_must_fit_topics_that_contain_it(tmp_path: Path) -> None:
    """An id with a slash is a problem only if a topic contains it."""
    by_id = TopicScheme(prefix="gw", points="{prefix}/{asset}/{point}")
    table = table_of_points("tag: X, point: A", "tag: X, point: B").replace("asset: a", "asset: a/b")
    assert load(tmp_path, table, bms=TopicScheme(prefix="gw"))[1] == []
    rule = "becomes part of a topic, so it cannot start with $ or contain /, + or #"
    assert load(tmp_path, table, bms=by_id)[1] == [
        f'a.yaml:{line}:13: points[{line - 5}].asset: {rule} ({{asset}} in the topics of bms) ("a/b")'
        for line in (5, 6)
    ]


ONE_BROKER = {
    "bms": TopicScheme(prefix="gw/v1", broker="h:1883"),
    "plain": TopicScheme(prefix="gw/plain", broker="h:1883"),
}


def test_a_topic_of_two_sinks_on_one_broker_is_refused(tmp_path: Path) -> None:
    """A prefix, a single sink or another broker makes it valid."""
    table = table_of_points("tag: X, point: A, mqtt: {topic: plate}")
    (reported,) = load(tmp_path, table, **ONE_BROKER)[1]
    assert reported == (
        "a.yaml:5:57: points[0].mqtt.topic: the topic plate of X/A on plain already belongs to X/A on bms at"
        ' a.yaml:5:5 ("plate")'
    )
    for mended in ("mqtt: {topic: '{prefix}/plate'}", "mqtt: {topic: plate, to: [bms]}"):
        assert load(tmp_path, table.replace("mqtt: {topic: plate}", mended), **ONE_BROKER)[1] == []
    elsewhere = TopicScheme(prefix="gw/plain", broker="h:1884")
    assert load(tmp_path, table, **ONE_BROKER | {"plain": elsewhere})[1] == []


def test_a_topic_that_another_sink_of_the_broker_has_is_refused(tmp_path: Path) -> None:
    """If the templates of two sinks cause it, there is one message for all points."""
    table = table_of_points("tag: X, point: A", "tag: X, point: B, mqtt: {topic: gw/plain/hq/X/A, to: [bms]}")
    (reported,) = load(tmp_path, table, **ONE_BROKER)[1]
    taken = "the topic gw/plain/hq/X/A of X/B on bms already belongs to X/A on plain at a.yaml:5:5"
    assert f"points[1].mqtt.topic: {taken}" in reported
    other = TopicScheme(prefix="gw/plain", points="gw/v1/hq/{tag}/{point}", broker="h:1883")
    table = table_of_points("tag: X, point: A", "tag: X, point: B")
    (reported,) = load(tmp_path, table, **ONE_BROKER | {"plain": other})[1]
    assert "points[0]: the topic gw/v1/hq/X/A of X/A on plain already belongs to X/A on bms at" in reported


def test_a_template_on_the_same_topics_of_two_sinks_is_reported_once(tmp_path: Path) -> None:
    """The problem is at the key of the template, not at its assets."""
    (reported,) = load(tmp_path, ROOMS, **ONE_BROKER)[1]
    assert reported.startswith("a.yaml:7:")
    assert "points.T.mqtt.topic: the topic plant/R1/T of R1/T on plain already belongs to R1/T" in reported


def test_topics_of_an_automatic_template_are_checked_without_assets(tmp_path: Path) -> None:
    """A clash is reported when the table is written, not when the first device appears."""
    template = 'auto: true, match: {asset_type: iaq}, points: {A: {from: a, mqtt: {topic: "plant/{tag}"}}'
    table = f"{HEAD}templates:\n  iaq: {{{template}}}}}\n"
    (reported,) = load(tmp_path, table, **ONE_BROKER)[1]
    assert "points.A.mqtt.topic: the topic plant/{iaq} of {iaq}/A on plain already belongs to" in reported
    table = table.replace('"}}}}', '"}}, B: {from: b, mqtt: {topic: "plant/{tag}"}}}}')
    (reported,) = load(tmp_path, table, bms=ONE_BROKER["bms"])[1]
    assert "the topic plant/{iaq} of {iaq}/B on bms already belongs to {iaq}/A on bms" in reported
