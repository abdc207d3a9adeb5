"""How old a signing secret is whose source does not tell: since when the gateway knows it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from typing import TYPE_CHECKING

import pytest
from support.daemon import SECRET, Daemon
from support.ports import free_port

from gateway.intake.secret_ages import first_seen_ms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW_MS = 1_771_911_526_000
DAY_MS = 86_400_000


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
    """It is known since the first start that had it; another one in its place is new."""

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


def test_what_is_kept_gives_no_secret_away(tmp_path: Path) -> None:
    """Neither itself nor a hash that could be compared with others; the file is for one user alone."""
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        assert first_seen_ms(file, [SECRET.encode()], now_ms=NOW_MS) == {SECRET.encode(): NOW_MS}
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first, second = (file.read_text() for file in files)
    for told in (SECRET, hashlib.sha256(SECRET.encode()).hexdigest()):
        assert told not in first + second
    assert first != second


def test_each_is_remembered_by_itself(tmp_path: Path) -> None:
    """Also while others come and go; what is gone and comes back is new."""
    file = tmp_path / "ages"
    assert first_seen_ms(file, [b"a"], now_ms=NOW_MS) == {b"a": NOW_MS}
    later_ms = NOW_MS + DAY_MS
    assert first_seen_ms(file, [b"b", b"a"], now_ms=later_ms) == {b"b": later_ms, b"a": NOW_MS}
    assert first_seen_ms(file, [b"b"], now_ms=later_ms) == {b"b": later_ms}
    assert first_seen_ms(file, [b"a"], now_ms=later_ms + 1) == {b"a": later_ms + 1}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"form":1,"key":"zz","seen":{}}', '{"form":2}', "\0"])
def test_a_file_that_cannot_be_used_is_begun_anew(tmp_path: Path, content: str) -> None:
    """It is no reason not to start."""
    file = tmp_path / "ages"
    file.write_text(content)
    file.chmod(0o600)
    assert first_seen_ms(file, [b"a"], now_ms=NOW_MS) == {b"a": NOW_MS}
    assert first_seen_ms(file, [b"a"], now_ms=NOW_MS + 1) == {b"a": NOW_MS}


def test_nothing_is_written_where_nothing_is_new(tmp_path: Path) -> None:
    """A gateway that starts often wears no SD card out."""
    file = tmp_path / "ages"
    first_seen_ms(file, [b"a"], now_ms=NOW_MS)
    os.utime(file, (1, 1))
    first_seen_ms(file, [b"a"], now_ms=NOW_MS + DAY_MS)
    assert file.stat().st_mtime == 1
