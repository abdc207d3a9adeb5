"""All checks, in the order in which one would look for a fault, and their runner.

They run side by side, each with a time limit; a check that fails is a finding of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from gateway.doctor import (
    bacnet_checks,
    daemon_checks,
    infodeck_checks,
    machine_checks,
    nats_checks,
    secret_checks,
)
from gateway.doctor.diagnosis import Finding, Results, problem
from gateway.logs import internal_error_text

if TYPE_CHECKING:
    from gateway.doctor.facts import Facts

P = ParamSpec("P")
T = TypeVar("T")

Found = Iterable[Finding] | Awaitable[list[Finding]]

_WITHIN_S = 10.0
_INFODECK = frozenset({"infodeck"})
_INTAKE = frozenset({"intake"})
_ADMIN = frozenset({"admin"})
_JOURNAL = frozenset({"journal"})
_PUBLIC = _INFODECK | _INTAKE


@dataclass(frozen=True, slots=True)
class Check:
    """A check by its name. `needs` are the sections of gateway.yaml that it cannot do without.

    `asks_infodeck`: it is left out if nothing on the internet is to be asked.
    """

    name: str
    run: Callable[[Facts], Found]
    needs: frozenset[str] = frozenset()
    asks_infodeck: bool = False


CHECKS: tuple[Check, ...] = (
    Check("point tables", machine_checks.check_tables),
    Check("examples", machine_checks.check_examples, needs=_INFODECK),
    Check("secrets", secret_checks.check_secrets),
    Check("signing secret", secret_checks.check_signing_secrets, needs=_INTAKE),
    Check("API key", secret_checks.check_api_key, needs=_INFODECK),
    Check("bearer token", secret_checks.check_bearer_token, needs=_INFODECK),
    Check("clock", infodeck_checks.check_clock, needs=_PUBLIC),
    Check("API", infodeck_checks.check_api, needs=_INFODECK, asks_infodeck=True),
    Check("organization", infodeck_checks.check_organization, needs=_INFODECK, asks_infodeck=True),
    Check("inventory", infodeck_checks.check_inventory, needs=_INFODECK | _JOURNAL),
    Check("webhook", infodeck_checks.check_webhook, needs=_PUBLIC, asks_infodeck=True),
    Check("deliveries", infodeck_checks.check_deliveries, needs=_INFODECK, asks_infodeck=True),
    Check("public address", infodeck_checks.check_public_address, needs=_PUBLIC, asks_infodeck=True),
    Check("certificates", machine_checks.check_certificates, needs=_INTAKE),
    Check("gateway", daemon_checks.check_daemon, needs=_ADMIN),
    Check("alarms", daemon_checks.check_alarms, needs=_ADMIN),
    Check("intake", daemon_checks.check_intake, needs=_ADMIN | _INTAKE),
    Check("journal", daemon_checks.check_journal, needs=_ADMIN | _JOURNAL),
    Check("reconciliation", daemon_checks.check_reconciliation, needs=_ADMIN | _INFODECK),
    Check("sinks", daemon_checks.check_sinks, needs=_ADMIN),
    Check("brokers", machine_checks.check_brokers),
    Check("controllers", machine_checks.check_controllers, needs=_ADMIN),
    Check("BACnet", bacnet_checks.check_bacnet, needs=_ADMIN),
    Check("NATS servers", nats_checks.check_servers),
    Check("NATS stream", nats_checks.check_streams),
    Check("ports", machine_checks.check_ports, needs=_ADMIN | _INTAKE),
    Check("disk", machine_checks.check_disk, needs=_JOURNAL),
)


async def examine(facts: Facts, checks: Sequence[Check], *, within_s: float = _WITHIN_S) -> Results:
    """Return the findings of each check by its name, in their order."""
    found = await asyncio.gather(*(_findings(check, facts, within_s=within_s) for check in checks))
    return {
        check.name: [_without_secrets(finding, facts) for finding in findings]
        for check, findings in zip(checks, found, strict=True)
    }


async def _findings(check: Check, facts: Facts, *, within_s: float) -> Iterable[Finding]:
    try:
        async with asyncio.timeout(within_s):
            found = await asyncio.to_thread(_begin, check, facts)
            return await found if isinstance(found, Awaitable) else found
    except TimeoutError:
        return [
            problem(
                f"not finished within {within_s:.0f} s",
                "find what hangs: the network, the name server, or a disk; then try again",
            )
        ]
    except Exception as error:  # noqa: BLE001 - a check that fails must not hide what the others find
        return [
            problem(
                f"the check itself failed: {internal_error_text(error)}",
                "this is a fault of the gateway, please report it",
            )
        ]


def _begin(check: Check, facts: Facts) -> Found:
    """Run a check that reads files to its end; one that waits for the network is only called."""
    found = check.run(facts)
    return found if isinstance(found, Awaitable) else list(found)


def _without_secrets(finding: Finding, facts: Facts) -> Finding:
    remedy = None if finding.remedy is None else facts.without_secrets(finding.remedy)
    return replace(finding, found=facts.without_secrets(finding.found), remedy=remedy)


class DaemonThreads(ThreadPoolExecutor):
    """An executor with a daemon thread for each call, so that the command ends even if a call hangs.

    A name server or a disk can hang, and Python waits for the threads of its own executor when it ends.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start the call at once."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - raised where the future is awaited
                future.set_exception(error)

        threading.Thread(target=work, name="doctor", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as in Python
        """Return at once."""
