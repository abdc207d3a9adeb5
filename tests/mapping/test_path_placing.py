"""Values put at a path into an event, where the path's getter must find them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.mapping.paths import compile_path, set_path


@pytest.mark.parametrize(
    "path", ["$.data.object.t", "$.data.object.sensors[2].value", "$.data.object.a[0][1]", "$.new.key"]
)
def test_what_is_placed_is_found(path: str) -> None:
    """Objects and lists on the way are made, and nothing else changes."""
    body: dict[str, Any] = {"id": "evt", "data": {"object": {"assetId": "a"}}}
    assert set_path(path, body, 21.5)
    assert compile_path(path)(body) == 21.5
    assert (body["id"], body["data"]["object"]["assetId"]) == ("evt", "a")


def test_paths_that_share_their_beginning_do_not_disturb_each_other() -> None:
    """Two values of one list are both there."""
    body: dict[str, Any] = {}
    for index in (1, 0):
        assert set_path(f"$.list[{index}].value", body, index)
    assert body == {"list": [{"value": 0}, {"value": 1}]}


@pytest.mark.parametrize("path", ["$.id", "$.id.more", "$.id[0]", "$.list.key", "$.list[0]"])
def test_what_is_there_stays(path: str) -> None:
    """An event keeps its id, whatever a table reads from there."""
    body: dict[str, Any] = {"id": "evt", "list": [1]}
    assert not set_path(path, body, 5)
    assert body == {"id": "evt", "list": [1]}
