"""Assets, types and locations as read from items of the API."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.infodeck.api_client import page_of
from gateway.infodeck.inventory import asset_type, known_asset, location
from gateway.records import AssetLocation, AssetProperty, AssetType, KnownAsset

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
NAMES = (
    "name",
    "assetTypeId",
    "modelName",
    "metadata",
    "location",
    "locationId",
    "connectionStatus",
    "status",
    "properties",
    "parentId",
)
ITEMS = st.fixed_dictionaries({}, optional=dict.fromkeys(("id", *NAMES), JSON)) | JSON


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"metadata": {"model": "M-1", "manufacturer": "Maker"}}, {"model": "M-1", "manufacturer": "Maker"}),
        ({"modelName": "M-2", "metadata": {"model": "M-1"}}, {"model": "M-2"}),
        (
            {"location": {"id": "loc-1", "name": "Level 3"}, "locationId": "loc-1"},
            {"location": "Level 3", "location_id": "loc-1"},
        ),
        ({"location": {"id": "loc-1"}}, {"location": "loc-1", "location_id": "loc-1"}),
        ({"shadows": ["DeviceUplink"]}, {}),
        ({"connectionStatus": False, "status": "Online"}, {"online": False}),
        ({"connectionStatus": None, "status": "ONLINE"}, {"online": True}),
        ({"connectionStatus": "yes", "status": " offline "}, {"online": False}),
        ({"status": "Maintenance"}, {}),
        ({"name": 312, "modelName": 1.5, "assetTypeId": True}, {"name": "312"}),
        ({"name": "  Room 1\n"}, {"name": "Room 1"}),
        ({"name": "Room\x1b[2J\r\n\x001\u202e"}, {"name": "Room [2J   1"}),
        ({"name": "ห้อง\u200b 1\u00a0👩\u200d🔬"}, {"name": "ห้อง\u200b 1\u00a0👩\u200d🔬"}),
        ({"name": "\x00\x1b"}, {}),
        ({"name": "   "}, {}),
        ({"name": "\x1b[2JRoom\n1\u202e"}, {"name": "[2JRoom 1"}),
        ({"name": "x" * 500}, {"name": "x" * 200}),
    ],
)
def test_fields_are_found_where_either_documentation_has_them(
    item: dict[str, Any], expected: dict[str, Any]
) -> None:
    """A field is read from the first of its places that has a usable value."""
    assert known_asset({"id": "ast-1", **item}) == KnownAsset(id="ast-1", **expected)


@pytest.mark.parametrize(
    "item",
    [
        None,
        "ast-1",
        [],
        {},
        {"id": None},
        {"id": 7},
        {"id": ""},
        {"id": "x" * 201},
        {"id": "ast-\x1b[2J"},
        {"id": "ast-9\n"},
    ],
)
def test_an_item_without_a_usable_id_is_left_out(item: object) -> None:
    """The other items of its page are used."""
    found, _ = page_of({"data": [item, {"id": "ast-1"}]}, "/assets")
    assert [asset.id for item in found if (asset := known_asset(item))] == ["ast-1"]


@settings(max_examples=50)
@given(items=st.lists(ITEMS, max_size=4), rest=st.dictionaries(st.text(), JSON, max_size=2), cursor=JSON)
def test_any_list_is_read_or_refused(items: list[Any], rest: dict[str, Any], cursor: object) -> None:
    """Any shape of items and cursor is read, or refused with a GatewayError."""
    try:
        found, _ = page_of({**rest, "data": items, "nextToken": cursor}, "/assets")
    except GatewayError:
        return
    for asset in filter(None, map(known_asset, found)):
        texts = (asset.id, asset.name, asset.asset_type, asset.model, asset.manufacturer, asset.location)
        assert all(text is None or 0 < len(text) <= 200 for text in texts)
        assert not any("\n" in text or "\x1b" in text for text in filter(None, texts))


@given(document=JSON)
def test_any_answer_is_read_or_refused(document: object) -> None:
    """Any JSON document is read, or refused with a GatewayError."""
    try:
        page_of(document, "/assets")
    except GatewayError as error:
        assert "infodeck.api" in str(error) or "cursor" in str(error)  # noqa: PT017 - either outcome is right


def test_a_type_lists_its_properties() -> None:
    """A type lists its properties by key; a property without a usable key is left out."""
    power = {"key": "Power", "name": "Active power", "type": "integer", "unit": "W"}
    odd = [None, 7, {}, {"key": ""}, {"key": 7}, {"key": "x" * 201}, {"key": "P\n"}, power | {"unit": "kW"}]
    found = asset_type(
        {"id": "other", "name": "Meter", "properties": [power, *odd, {"key": "State"}]}, asked="at-1"
    )
    assert found == AssetType(
        "at-1", "Meter", (AssetProperty("Power", "Active power", "integer", "W"), AssetProperty("State"))
    )


@settings(max_examples=50)
@given(item=ITEMS)
def test_any_type_or_location_is_read(item: object) -> None:
    """Any type or location is read; unusable fields are left out."""
    found = asset_type(item, asked="at-1")
    assert found.id == "at-1"
    assert len({one.key for one in found.properties}) == len(found.properties)
    place = location(item)
    assert place is None or 0 < len(place.id) <= 200


def test_a_location_has_a_name_and_a_parent() -> None:
    """A location may lack both."""
    assert location({"id": "loc-1", "name": " Level 3 ", "parentId": "loc-0"}) == AssetLocation(
        "loc-1", "Level 3", "loc-0"
    )
    assert location({"id": "loc-1", "name": "", "parentId": None}) == AssetLocation("loc-1")
