"""Runs all checks side by side, each within its time; one that goes wrong is a finding of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.doctor.findings import Finding, problem
from gateway.logs import unforeseen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.doctor.setup import Setup

    Look = Callable[[Setup], Awaitable[Finding | list[Finding]]]

AT_ONCE = 12
CHECK_WITHIN_S = 10.0
ALL_WITHIN_S = 18.0


@dataclass(frozen=True, slots=True)
class Check:
    """One check by its name. `needs` are the sections of gateway.yaml that it cannot do without.

    `asks_infodeck`: it is left out where nobody on the internet is to be asked.
    """

    name: str
    look: Look
    needs: frozenset[str] = frozenset()
    asks_infodeck: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What one check has found."""

    check: str
    findings: tuple[Finding, ...]


async def examine(
    setup: Setup,
    checks: Sequence[Check],
    *,
    check_within_s: float = CHECK_WITHIN_S,
    all_within_s: float = ALL_WITHIN_S,
) -> list[Result]:
    """Return what each check has found, in their order."""
    places = asyncio.Semaphore(AT_ONCE)
    deadline_s = asyncio.get_running_loop().time() + all_within_s

    async def look(check: Check) -> Result:
        async with places:
            left_s = deadline_s - asyncio.get_running_loop().time()
            findings = await _findings(check, setup, within_s=max(0.0, min(check_within_s, left_s)))
        return Result(check.name, tuple(_without_secrets(finding, setup) for finding in findings))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(look(check), name=f"check {check.name}") for check in checks]
    return [task.result() for task in tasks]


async def _findings(check: Check, setup: Setup, *, within_s: float) -> list[Finding]:
    try:
        async with asyncio.timeout(within_s):
            found = await check.look(setup)
    except TimeoutError:
        return [
            problem(
                f"not finished within {within_s:.0f} s",
                "see what hangs: the network, the name server, or a disk; then try again",
            )
        ]
    except Exception as error:  # noqa: BLE001 - one check that fails must not hide what the others find
        return [
            problem(
                f"the check itself failed: {unforeseen(error)}",
                "this is a fault of the gateway, please report it",
            )
        ]
    return found if isinstance(found, list) else [found]


def _without_secrets(finding: Finding, setup: Setup) -> Finding:
    remedy = None if finding.remedy is None else setup.without_secrets(finding.remedy)
    return replace(finding, found=setup.without_secrets(finding.found), remedy=remedy)
