"""What an asset may look like in the API's list, and what is made of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.assets.items import known_asset
from gateway.assets.pages import page_of
from gateway.errors import GatewayError
from gateway.model import KnownAsset

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
)
ITEMS = st.fixed_dictionaries({}, optional=dict.fromkeys(("id", *NAMES), JSON)) | JSON


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"metadata": {"model": "M-1", "manufacturer": "Maker"}}, {"model": "M-1", "manufacturer": "Maker"}),
        ({"modelName": "M-2", "metadata": {"model": "M-1"}}, {"model": "M-2"}),
        ({"location": {"id": "loc-1", "name": "Level 3"}, "locationId": "loc-1"}, {"location": "Level 3"}),
        ({"location": {"id": "loc-1"}, "locationId": "loc-1"}, {"location": "loc-1"}),
        ({"connectionStatus": False, "status": "Online"}, {"online": False}),
        ({"connectionStatus": None, "status": "ONLINE"}, {"online": True}),
        ({"connectionStatus": "yes", "status": " offline "}, {"online": False}),
        ({"status": "Maintenance"}, {}),
        ({"name": 312, "modelName": 1.5, "assetTypeId": True}, {"name": "312"}),
        ({"name": "  Room 1\n"}, {"name": "Room 1"}),
        ({"name": "   "}, {}),
        ({"name": "x" * 500}, {"name": "x" * 200}),
    ],
)
def test_fields_are_found_where_either_documentation_has_them(
    item: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Each field has its places in order; what says nothing usable is None."""
    assert known_asset({"id": "ast-1", **item}) == KnownAsset(id="ast-1", **expected)


@pytest.mark.parametrize(
    "item", [None, "ast-1", [], {}, {"id": None}, {"id": 7}, {"id": ""}, {"id": "x" * 201}]
)
def test_an_item_without_a_usable_id_is_left_out_alone(item: object) -> None:
    """The others of its page are taken."""
    page = page_of({"data": [item, {"id": "ast-1"}]}, "/assets")
    assert [found.id for item in page.items if (found := known_asset(item))] == ["ast-1"]


@given(items=st.lists(ITEMS, max_size=4), rest=st.dictionaries(st.text(), JSON, max_size=2), cursor=JSON)
def test_whatever_is_listed_is_read_or_refused(
    items: list[Any], rest: dict[str, Any], cursor: object
) -> None:
    """No shape of items and cursor raises anything but an error in the user's words."""
    try:
        page = page_of({**rest, "data": items, "nextToken": cursor}, "/assets")
    except GatewayError:
        return
    for asset in filter(None, map(known_asset, page.items)):
        texts = (asset.id, asset.name, asset.asset_type, asset.model, asset.manufacturer, asset.location)
        assert all(text is None or 0 < len(text) <= 200 for text in texts)


@given(document=JSON)
def test_whatever_is_answered_is_read_or_refused(document: object) -> None:
    """No document at all raises anything else."""
    try:
        page_of(document, "/assets")
    except GatewayError as error:
        assert "infodeck.api" in str(error) or "cursor" in str(error)  # noqa: PT017 - either outcome is right
