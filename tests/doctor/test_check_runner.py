"""Checks run side by side, each with a time limit, and a failing check does not end the others."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from gateway.doctor.checks import Check, DaemonThreads, examine
from gateway.doctor.diagnosis import Level, ok, problem
from gateway.doctor.facts import Facts
from gateway.settings import load_settings

if TYPE_CHECKING:
    from support.installation import Installation

    from gateway.doctor.diagnosis import Finding


@pytest.fixture
def facts(installation: Installation) -> Facts:
    """Return the facts that checks get; nothing is asked."""
    return Facts(settings=load_settings(installation.config).require(), point_map=None)


async def _hang(_: Facts) -> list[Finding]:
    await asyncio.sleep(60)
    return [ok("never")]


async def _fail(_: Facts) -> list[Finding]:
    raise ZeroDivisionError("by zero")


def _pass(_: Facts) -> list[Finding]:
    return [ok("well")]


async def test_a_check_that_raises_is_a_problem(facts: Facts) -> None:
    """The finding names the error and its line; the other checks report as usual."""
    results = await examine(facts, [Check("bad", _fail), Check("good", _pass)])
    (failed,) = results["bad"]
    assert failed.level is Level.PROBLEM
    assert failed.found.startswith("the check itself failed: ZeroDivisionError: by zero (line ")
    assert results["good"] == [ok("well")]


async def test_checks_that_hang_end_in_time(facts: Facts) -> None:
    """Fifty hanging checks end together after the limit of one."""
    began_s = time.monotonic()
    checks = [Check("good", _pass), *(Check(f"slow {number}", _hang) for number in range(50))]
    results = await examine(facts, checks, within_s=1)
    assert time.monotonic() - began_s < 25
    assert list(results) == [check.name for check in checks]
    assert results.pop("good") == [ok("well")]
    assert all(one.found.startswith("not finished within") for found in results.values() for one in found)


async def test_secrets_are_removed_from_findings(installation: Installation, facts: Facts) -> None:
    """A secret that a check shows by mistake becomes `***`."""
    secret = (installation.folder / "secret").read_text()

    def show(_: Facts) -> list[Finding]:
        return [problem(f"it is {secret}", f"forget {secret}")]

    results = await examine(facts, [Check("leaking", show)])
    assert results == {"leaking": [problem("it is ***", "forget ***")]}


def test_a_hanging_thread_does_not_delay_the_end() -> None:
    """Python's own executor would wait for it."""
    release = threading.Event()

    async def wait_for_thread() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.to_thread(release.wait, 120)

    began_s = time.monotonic()
    with asyncio.Runner() as runner:
        runner.get_loop().set_default_executor(DaemonThreads())
        runner.run(wait_for_thread())
    assert time.monotonic() - began_s < 60
    release.set()


async def test_silent_servers_everywhere_end_in_time(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """API, public address, broker and admin port accept connections and answer nothing."""

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(stay_silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for path, value in {
            "infodeck.api": f"http://127.0.0.1:{port}",
            "infodeck.webhook.url": f"https://127.0.0.1:{port}/webhooks/infodeck",
            "sinks.bms.url": f"mqtt://127.0.0.1:{port}",
            "admin.listen": f"127.0.0.1:{port}",
        }.items():
            installation.change(path, value)
        for limit in (
            "daemon_status._WITHIN_S",
            "facts._API_WITHIN_S",
            "infodeck_checks._ADDRESS_WITHIN_S",
            "machine_checks._BROKER_WITHIN_S",
        ):
            monkeypatch.setattr(f"gateway.doctor.{limit}", 1.5)
        began_s = time.monotonic()
        diagnosis = await installation.diagnose()
        assert time.monotonic() - began_s < 60
    assert diagnosis.finding("API").found == "127.0.0.1 did not answer within 1.5 s"
    assert "does not answer within 1.5 s" in diagnosis.finding("brokers").found
    assert diagnosis.finding("public address").found == "127.0.0.1 did not answer within 1.5 s, from here"
