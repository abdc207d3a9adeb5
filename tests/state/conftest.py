"""An empty state of one room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.point_tables import load_good_tables
from support.room_state import TABLE, Room

from gateway.state.building_state import BuildingState

if TYPE_CHECKING:
    from gateway.mapping.plan import PointMap


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> PointMap:
    """Return the compiled table; nothing changes it."""
    return load_good_tables(tmp_path_factory.mktemp("tables"), TABLE)


@pytest.fixture
def room(points: PointMap) -> Room:
    """Return an empty state."""
    return Room(points, BuildingState(points))
