"""The point table and the journal's path, shared by most tests of delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.delivery_parts import TABLE
from support.point_tables import load_good_tables

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> PointMap:
    """Return the compiled table; nothing changes it."""
    return load_good_tables(tmp_path_factory.mktemp("tables"), TABLE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the journal's path."""
    return tmp_path / "journal.db"
