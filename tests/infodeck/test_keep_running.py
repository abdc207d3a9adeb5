"""Endless work is restarted whatever it raises, and logged once."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.errors import JournalError
from gateway.infodeck.service import keep_running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def fail_with(error: BaseException | None) -> None:
    """Raise this after a turn of the event loop."""
    await asyncio.sleep(0)
    if error is not None:
        raise error


async def fail_in_a_group() -> None:
    """Have one of two tasks in a group fail."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fail_with(ZeroDivisionError("made up")), name="one")
        tasks.create_task(asyncio.Event().wait(), name="other")


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (partial(fail_with, ZeroDivisionError("made up")), "ZeroDivisionError: made up (line"),
        (partial(fail_with, JournalError("the journal is full", retry_after_s=1)), "the journal is full"),
        (partial(fail_with, asyncio.CancelledError()), "CancelledError:  (line"),
        (partial(fail_with, None), "it came to an end"),
        (fail_in_a_group, "ZeroDivisionError: made up (line"),
    ],
)
async def test_it_restarts_after_any_error(work: Callable[[], Awaitable[None]], reason: str) -> None:
    """The same reason is logged once, without a traceback."""
    begun = 0
    often = asyncio.Event()

    async def counted() -> None:
        nonlocal begun
        begun += 1
        if begun == 4:
            often.set()
        await work()

    with capture_logs() as lines:
        running = asyncio.create_task(keep_running("part", counted, first_pause_s=0.001), name="part")
        await often.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert [(line["event"], line["part"]) for line in lines] == [("infodeck.failed", "part")]
    assert lines[0]["reason"].startswith(reason)


async def test_it_ends_at_once_when_cancelled() -> None:
    """It ends at once when cancelled, at work or in a pause."""
    for work in (asyncio.Event().wait, partial(fail_with, ZeroDivisionError())):
        begun = asyncio.Event()

        async def noted(work: Callable[[], Awaitable[object]] = work, begun: asyncio.Event = begun) -> None:
            begun.set()
            await work()

        running = asyncio.create_task(keep_running("part", noted, first_pause_s=3600), name="part")
        await begun.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
