"""How checks are run: side by side, each within its time, and none of them brings the others down."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from gateway.doctor.checks import Check, DaemonThreads, examine
from gateway.doctor.diagnosis import Level, ok, problem
from gateway.doctor.setup import Once, Setup
from gateway.settings import load_settings

if TYPE_CHECKING:
    from support.doctored import Doctored

    from gateway.doctor.diagnosis import Finding


@pytest.fixture
def setup(patient: Doctored) -> Setup:
    """Return what checks are given."""
    return Setup(
        settings=load_settings(patient.config).require(),
        point_map=None,
        table_problems=(),
        warnings=(),
        is_offline=False,
        clock_ms=lambda: 0,
    )


async def _hang(_: Setup) -> Finding:
    await asyncio.sleep(60)
    return ok("never")


async def _fail(_: Setup) -> Finding:
    raise ZeroDivisionError("by zero")


async def _well(_: Setup) -> list[Finding]:
    return [ok("well")]


async def test_a_check_that_fails_is_a_finding_by_its_name(setup: Setup) -> None:
    """Neither a traceback nor the end of the others."""
    failed, well = await examine(setup, [Check("bad", _fail), Check("good", _well)])
    assert failed.check == "bad"
    assert failed.findings[0].level is Level.PROBLEM
    assert failed.findings[0].found.startswith("the check itself failed: ZeroDivisionError: by zero (line ")
    assert well.findings == (ok("well"),)


async def test_checks_that_hang_end_in_time(setup: Setup) -> None:
    """Fifty of them, more than run at once, still end within the time for all; others are not held up."""
    began_s = time.monotonic()
    checks = [Check("good", _well), *(Check(f"slow {number}", _hang) for number in range(50))]
    results = await examine(setup, checks, check_within_s=0.2, all_within_s=0.5)
    assert time.monotonic() - began_s < 5
    assert results[0].findings == (ok("well"),)
    assert all(result.findings[0].found.startswith("not finished within") for result in results[1:])
    assert [result.check for result in results] == [check.name for check in checks]


async def test_secrets_are_taken_out_of_whatever_is_found(patient: Doctored, setup: Setup) -> None:
    """The last line of defence: what a check shows by mistake is shown as `***`."""
    secret = (patient.folder / "secret").read_text()

    async def tell(_: Setup) -> Finding:
        return problem(f"it is {secret}", f"forget {secret}")

    result = (await examine(setup, [Check("chatty", tell)]))[0]
    assert result.findings == (problem("it is ***", "forget ***"),)


async def test_an_answer_is_asked_for_once() -> None:
    """However many checks await it."""
    asked = 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return asked

    once = Once(ask)
    assert await asyncio.gather(*(once() for _ in range(5))) == [1] * 5


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
