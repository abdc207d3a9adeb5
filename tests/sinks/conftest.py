"""A fresh receiver for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.libmodbus_controller import LibmodbusController
from support.mosquitto import Mosquitto

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """Run mosquitto."""
    with Mosquitto(tmp_path) as mosquitto:
        yield mosquitto


@pytest.fixture
def controller() -> Iterator[LibmodbusController]:
    """Run a controller."""
    with LibmodbusController() as running:
        yield running
