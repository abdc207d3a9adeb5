"""Work that never ends by itself: where it fails, the log says so once, and it begins again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import structlog

from gateway.backoff import Backoff
from gateway.errors import GatewayError
from gateway.logs import unforeseen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger()

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


async def lasting(
    name: str, work: Callable[[], Awaitable[None]], *, first_pause_s: float = _FIRST_PAUSE_S
) -> None:
    """Have `work` done until cancelled, whatever it raises. It must allow for being begun again."""
    loop = asyncio.get_running_loop()
    backoff = Backoff(first_s=first_pause_s, longest_s=_LONGEST_PAUSE_S)
    told: str | None = None
    while True:
        began_s = loop.time()
        reason = await _failure_of(work)
        if loop.time() - began_s > _LONGEST_PAUSE_S:  # it had worked
            backoff.reset()
            told = None
        if reason != told:
            log.error("cloud.failed", part=name, reason=reason, restarts="with back-off; events go on")
        told = reason
        await asyncio.sleep(backoff.next_s())


async def _failure_of(work: Callable[[], Awaitable[None]]) -> str:
    """Return why the work came to an end; raise only where this task is cancelled itself."""
    task = cast("asyncio.Task[None]", asyncio.current_task())
    try:
        await work()
    except asyncio.CancelledError as error:
        if task.cancelling():
            raise
        return unforeseen(error)  # something inside of it was cancelled
    except Exception as error:  # noqa: BLE001 - whatever it is, events must go on
        return _reason(error)
    return "it came to an end"


def _reason(error: Exception) -> str:
    """Return what was the first to go wrong, where several tasks went down together."""
    if isinstance(error, ExceptionGroup):
        return _reason(error.exceptions[0])
    return str(error) if isinstance(error, GatewayError) else unforeseen(error)
