"""Values that are set at a path of an event, where its getter finds them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.mapping.paths import compile_path, set_path


@pytest.mark.parametrize(
    "path", ["$.data.object.t", "$.data.object.sensors[2].value", "$.data.object.a[0][1]", "$.new.key"]
)
def test_a_set_value_is_found(path: str) -> None:
    """Missing objects and lists are created, and nothing else changes."""
    body: dict[str, Any] = {"id": "evt", "data": {"object": {"assetId": "a"}}}
    assert set_path(path, body, 21.5)
    assert compile_path(path)(body) == 21.5
    assert (body["id"], body["data"]["object"]["assetId"]) == ("evt", "a")


def test_two_values_of_one_list_are_set() -> None:
    """Paths with the same beginning keep each other's values."""
    body: dict[str, Any] = {}
    for index in (1, 0):
        assert set_path(f"$.list[{index}].value", body, index)
    assert body == {"list": [{"value": 0}, {"value": 1}]}


@pytest.mark.parametrize("path", ["$.id", "$.id.more", "$.id[0]", "$.list.key", "$.list[0]"])
def test_existing_values_stay(path: str) -> None:
    """An event keeps its id, whatever the path of a table."""
    body: dict[str, Any] = {"id": "evt", "list": [1]}
    assert not set_path(path, body, 5)
    assert body == {"id": "evt", "list": [1]}
