"""A healthy set-up for each test."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.authority import Authority
from support.doctored import Doctored
from support.libmodbus_controller import LibmodbusController
from support.mosquitto import Mosquitto

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder on a disk, as a journal wants it: the usual one for tests may be in memory."""
    path = Path(tempfile.mkdtemp(prefix="gateway-doctor-", dir="/var/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def only_controller() -> Iterator[LibmodbusController]:
    """Start a controller for all tests: that takes longer than all else that they need."""
    with LibmodbusController() as started:
        yield started


@pytest.fixture
def controller(only_controller: LibmodbusController) -> Iterator[LibmodbusController]:
    """Return a controller that runs, holds nothing and was asked nothing."""
    yield only_controller
    if not only_controller.is_running or only_controller.requests():
        only_controller.kill()
        only_controller.start()


@pytest.fixture
async def patient(
    folder: Path, controller: LibmodbusController, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Doctored]:
    """Run everything but the daemon: API, broker, controller; trust the authority."""
    authority = Authority(folder)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder))
        setup = Doctored(folder, broker.port, authority=authority, broker=broker, controller=controller)
        stack.callback(setup.kill)
        async with setup.api:
            yield setup
