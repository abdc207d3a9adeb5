"""A healthy set-up for each test."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.authority import Authority
from support.installation import Installation
from support.libmodbus_controller import LibmodbusController
from support.mosquitto import Mosquitto

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder on a disk: pytest's own temporary folder may be in memory."""
    path = Path(tempfile.mkdtemp(prefix="gateway-doctor-", dir="/var/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def only_controller() -> Iterator[LibmodbusController]:
    """Start one controller for all tests: its start takes longer than a test."""
    with LibmodbusController() as started:
        yield started


@pytest.fixture
def controller(only_controller: LibmodbusController) -> Iterator[LibmodbusController]:
    """Return the running controller, without values or recorded requests."""
    yield only_controller
    if not only_controller.is_running or only_controller.requests():
        only_controller.kill()
        only_controller.start()


@pytest.fixture
async def installation(
    folder: Path, controller: LibmodbusController, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Installation]:
    """Run API, broker and controller, but not the daemon; trust the test's authority."""
    authority = Authority(folder)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder))
        setup = Installation(folder, broker.port, authority=authority, broker=broker, controller=controller)
        stack.callback(setup.kill)
        async with setup.api:
            yield setup
