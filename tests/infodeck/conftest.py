"""What most tests of backfilling share: their table, compiled, and the place of the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.point_tables import load_good_tables

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap


@pytest.fixture(scope="module")
def points(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PointMap:
    """Compile the `TABLE` of a module once; nothing changes it."""
    return load_good_tables(tmp_path_factory.mktemp("tables"), request.module.TABLE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the journal is."""
    return tmp_path / "journal.db"
