"""A real broker and the real daemon for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.daemon import Daemon
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
def daemon(tmp_path: Path, broker: Mosquitto) -> Iterator[Daemon]:
    """Run the gateway with the shipped point tables."""
    gateway = Daemon(tmp_path, broker.port)
    gateway.start()
    yield gateway
    gateway.kill()
