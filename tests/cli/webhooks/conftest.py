"""The real daemon, with no broker behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.daemon import Daemon
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Make a daemon's files; a test starts the daemon if it needs it, and it is killed here."""
    gateway = Daemon(tmp_path, broker_port=free_port())
    yield gateway
    gateway.kill()
