"""How checks are run: side by side, each within its time, and none of them brings the others down."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from gateway.doctor.checks import Check, DaemonThreads, examine
from gateway.doctor.facts import Facts
from gateway.doctor.findings import Level, ok, problem
from gateway.settings import load_settings

if TYPE_CHECKING:
    from support.doctored import Doctored

    from gateway.doctor.findings import Finding


@pytest.fixture
def facts(patient: Doctored) -> Facts:
    """Return the facts that checks get; nothing is asked."""
    return Facts(settings=load_settings(patient.config).require(), point_map=None)


async def _hang(_: Facts) -> list[Finding]:
    await asyncio.sleep(60)
    return [ok("never")]


async def _fail(_: Facts) -> list[Finding]:
    raise ZeroDivisionError("by zero")


def _well(_: Facts) -> list[Finding]:
    return [ok("well")]


async def test_a_check_that_fails_is_a_finding_by_its_name(facts: Facts) -> None:
    """Neither a traceback nor the end of the others."""
    results = await examine(facts, [Check("bad", _fail), Check("good", _well)])
    (failed,) = results["bad"]
    assert failed.level is Level.PROBLEM
    assert failed.found.startswith("the check itself failed: ZeroDivisionError: by zero (line ")
    assert results["good"] == [ok("well")]


async def test_checks_that_hang_end_in_time(facts: Facts) -> None:
    """Fifty of them end within the time for one; others are not held up."""
    began_s = time.monotonic()
    checks = [Check("good", _well), *(Check(f"slow {number}", _hang) for number in range(50))]
    results = await examine(facts, checks, within_s=0.2)
    assert time.monotonic() - began_s < 5
    assert list(results) == [check.name for check in checks]
    assert results.pop("good") == [ok("well")]
    assert all(one.found.startswith("not finished within") for found in results.values() for one in found)


async def test_secrets_are_taken_out_of_whatever_is_found(patient: Doctored, facts: Facts) -> None:
    """The last line of defence: what a check shows by mistake is shown as `***`."""
    secret = (patient.folder / "secret").read_text()

    def show(_: Facts) -> list[Finding]:
        return [problem(f"it is {secret}", f"forget {secret}")]

    results = await examine(facts, [Check("chatty", show)])
    assert results == {"chatty": [problem("it is ***", "forget ***")]}


def test_a_thread_that_hangs_keeps_nobody_from_ending() -> None:
    """Such as a name server that never answers: Python's own executor would wait for it."""
    release = threading.Event()

    async def look() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.to_thread(release.wait, 30)

    began_s = time.monotonic()
    with asyncio.Runner() as runner:
        runner.get_loop().set_default_executor(DaemonThreads())
        runner.run(look())
    assert time.monotonic() - began_s < 10
    release.set()


async def test_an_endless_silence_everywhere_ends_in_time(patient: Doctored) -> None:
    """API, public address, broker, controller and admin port take connections and never say a word."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for path, value in {
            "infodeck.api": f"http://127.0.0.1:{port}",
            "infodeck.webhook.url": f"https://127.0.0.1:{port}/webhooks/infodeck",
            "sinks.bms.url": f"mqtt://127.0.0.1:{port}",
            "admin.listen": f"127.0.0.1:{port}",
        }.items():
            patient.change(path, value)
        began_s = time.monotonic()
        diagnosis = await patient.diagnose()
        assert time.monotonic() - began_s < 20
    assert diagnosis.of("API").found == "127.0.0.1 did not answer within 6 s"
    assert "does not answer within 6 s" in diagnosis.of("brokers").found
    assert diagnosis.of("public address").found == "127.0.0.1 did not answer within 4 s, from here"
