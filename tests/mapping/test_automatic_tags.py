"""Tags of automatic assets: one level of a topic each, unique and stable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gateway.mapping.compile.automatic import TagRequest, assign_tags, tag_from_pattern
from gateway.mapping.table import Level
from gateway.records import KnownAsset

TEXT = st.one_of(st.none(), st.text(max_size=8), st.sampled_from(["IAQ 1", "a/b", "$x", " ", "#"]))
ASSETS = st.builds(KnownAsset, id=st.text(min_size=1, max_size=12), name=TEXT, location=TEXT, model=TEXT)
PATTERNS = st.sampled_from(["{name}", "{id}", "{location}-{name}", "L3 {model}.{id}", "{name}{name}"])
WISHES = st.lists(
    st.builds(
        TagRequest,
        asset=st.text("ab1", min_size=1, max_size=6),
        tag=st.sampled_from(["A", "B", "A-ab", "A-a1b1"]),
        kept=st.sampled_from([None, None, None, "K", "A"]),
    ),
    unique_by=lambda wish: wish.asset,
    max_size=12,
)


@pytest.mark.parametrize(
    ("pattern", "asset", "tag"),
    [
        ("{name}", KnownAsset(id="ast-1", name="IAQ 12"), "IAQ 12"),
        ("{name}", KnownAsset(id="ast-1", name=" "), "ast-1"),
        ("{name}", KnownAsset(id="ast-1", name="3/F + hall #2\n"), "3-F - hall -2"),
        ("{name}", KnownAsset(id="ast-1", name="$gateway"), "-gateway"),
        ("{location}-{name}", KnownAsset(id="ast-1", name="IAQ", location="L03"), "L03-IAQ"),
        ("{location}-{name}", KnownAsset(id="ast-1", name="IAQ"), "IAQ"),
        ("{model}_{id}", KnownAsset(id="ast-1", model="AM319"), "AM319_ast-1"),
    ],
)
def test_a_pattern_makes_the_tag(pattern: str, asset: KnownAsset, tag: str) -> None:
    """Placeholders are filled in; characters that no topic level can contain become dashes."""
    assert tag_from_pattern(pattern, asset) == tag


@given(pattern=PATTERNS, asset=ASSETS)
def test_every_tag_is_a_topic_level(pattern: str, asset: KnownAsset) -> None:
    """Any name in Infodeck gives a tag that tables would accept."""
    tag = tag_from_pattern(pattern, asset)
    assert TypeAdapter(Level).validate_python(tag) == tag


@given(requests=WISHES, taken=st.sets(st.sampled_from(["A", "B", "K"])))
def test_tags_are_unique(requests: list[TagRequest], taken: set[str]) -> None:
    """No two assets share a tag, none has the tag of a table, and a free kept tag is kept."""
    tags = assign_tags(requests, taken=taken)
    assert len(set(tags.values())) == len(tags)
    assert taken.isdisjoint(tags.values())
    keepers = [wish.asset for wish in requests if wish.kept == "K"]
    if keepers and "K" not in taken:
        assert tags[keepers[0]] == "K"


@given(requests=WISHES, data=st.data())
def test_the_order_of_assets_does_not_matter(requests: list[TagRequest], data: st.DataObject) -> None:
    """Without kept tags, any order of assets gives the same tags."""
    free = [TagRequest(wish.asset, wish.tag) for wish in requests]
    shuffled = data.draw(st.permutations(free))
    assert assign_tags(free, taken=()) == assign_tags(shuffled, taken=())


def test_assets_of_the_same_name_have_the_end_of_their_ids() -> None:
    """None of them has the plain name, because it could pass to another device later."""
    requests = [TagRequest("ast-a001", "A"), TagRequest("ast-b002", "A"), TagRequest("ast-c003", "C")]
    assert assign_tags(requests, taken=()) == {"ast-a001": "A-a001", "ast-b002": "A-b002", "ast-c003": "C"}


def test_ids_with_the_same_end_have_longer_ends() -> None:
    """More characters of the ids are added until the tags differ."""
    requests = [TagRequest("ast-1x-0001", "A"), TagRequest("ast-2x-0001", "A")]
    assert assign_tags(requests, taken=()) == {"ast-1x-0001": "A--1x-0001", "ast-2x-0001": "A--2x-0001"}
