"""`gateway doctor` on a healthy installation."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from support.building import gateway
from support.commands import gateway as run_here
from support.waiting import until

from gateway.doctor.checks import CHECKS

if TYPE_CHECKING:
    from support.installation import Installation


async def test_every_line_of_a_healthy_set_up_is_ok(installation: Installation) -> None:
    """Every check has a finding, all are ok, and the exit code is 0."""
    installation.add_bacnet()
    await asyncio.to_thread(installation.start)
    sent = await asyncio.to_thread(gateway, installation, "send", "--asset", "ast-0", "temperature=21.5")
    assert sent.returncode == 0, sent.stderr
    await until(installation.is_settled)
    diagnosis = await installation.diagnose()
    assert diagnosis.levels == {"warning": [], "problem": []}, diagnosis.printed
    silent = {"examples", "NATS servers", "NATS stream"}  # they speak only of what is wrong, or is there
    assert {one.check for one in diagnosis.findings} == {
        "settings",
        *(check.name for check in CHECKS),
    } - silent


async def test_text_has_one_line_per_check_and_a_summary(installation: Installation) -> None:
    """The text has level, check and finding, remedies below, and a summary."""
    installation.change("infodeck.bearer_token", None)
    done = await asyncio.to_thread(run_here, "doctor", "-c", os.fspath(installation.config))
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert lines[0].startswith("ok       settings        ")
    assert any(line.startswith("ok       API             127.0.0.1 answers in ") for line in lines)
    at = next(at for at, line in enumerate(lines) if line.startswith("warning  bearer token"))
    assert lines[at + 1].strip().startswith("-> set the JWT")
    assert lines[-1].startswith("0 problems, 3 warnings, ")
