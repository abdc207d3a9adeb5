"""The point table and the place of the journal that most tests of delivery share."""

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
    """Compile the table once; nothing changes it."""
    return load_good_tables(tmp_path_factory.mktemp("tables"), TABLE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the journal is."""
    return tmp_path / "journal.db"
