"""The age of a signing secret whose source has no time: since the gateway first read it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support.daemon import SECRET, Daemon
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """Make a daemon's files, whose signing secret comes from the environment."""
    made = Daemon(tmp_path, broker_port=free_port())
    made.config.write_text(made.config.read_text().replace("{file: secret}", "{env: SIGNING}"))
    monkeypatch.setenv("SIGNING", SECRET)
    yield made
    made.kill()


async def test_a_restart_does_not_make_a_secret_younger(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The age counts from the first start with this secret; another secret is new."""

    async def known_since_ms() -> int:
        await asyncio.to_thread(daemon.start)
        (secret,) = (await asyncio.to_thread(daemon.status))["intake"]["secrets"]
        await asyncio.to_thread(daemon.stop)
        assert secret["source"] == "{env: SIGNING}"
        return int(secret["changed_ms"])

    first_ms = await known_since_ms()
    assert await known_since_ms() == first_ms
    monkeypatch.setenv("SIGNING", "another-signing-secret")
    assert await known_since_ms() > first_ms
