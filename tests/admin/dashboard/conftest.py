"""A Chromium for tests of the dashboard, and daemons with an admin token."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.browser import chromium
from support.daemon import REPOSITORY, Daemon
from support.mosquitto import Mosquitto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from playwright.sync_api import Browser

TOKEN = "made-up-admin-token-1"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run Chromium for a module at most: Playwright's own event loop leaves no room for asyncio tests."""
    with chromium() as running:
        yield running


@contextmanager
def running_daemon(
    folder: Path, tables: Path = REPOSITORY / "mappings", *, more_sinks: str = ""
) -> Iterator[Daemon]:
    """Run broker and daemon; actions need TOKEN. `more_sinks` are lines of the settings."""
    with Mosquitto(folder) as broker:
        gateway = Daemon(folder, broker.port, tables)
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(TOKEN + "\n")
        settings = gateway.config.read_text()
        settings = settings.replace("admin: {", "admin: {token: {file: token}, ")
        gateway.config.write_text(settings.replace("mappings: ", f"{more_sinks}mappings: "))
        gateway.start()
        try:
            yield gateway
        finally:
            gateway.kill()


@pytest.fixture(scope="session")
def run_daemon() -> Callable[..., AbstractContextManager[Daemon]]:
    """Return what runs a daemon in a folder."""
    return running_daemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Run the daemon with the example tables."""
    with running_daemon(tmp_path_factory.mktemp("dashboard")) as gateway:
        yield gateway
