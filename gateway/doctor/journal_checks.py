"""Checks of the journal: as the running gateway sees it, and whether its file can be read at all."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from gateway.config.scalars import rounded_size_text, size_text
from gateway.doctor.daemon_answers import number, text
from gateway.doctor.findings import Finding, counted, ok, problem, warning
from gateway.journal.lookup import ailment
from gateway.journal.opening import corrupt_files

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.doctor.daemon_answers import Running
    from gateway.doctor.setup import Setup

_NEARLY_FULL = 0.8
_OF_THE_DISK = "see the check of the disk here, and the disk's cable or card (`dmesg`)"


async def check_journal(setup: Setup) -> list[Finding]:
    """Look into the file, as the gateway will have to, and at what the daemon says of it."""
    daemon = await setup.daemon()
    runs = daemon.status is not None
    findings = await asyncio.to_thread(_file_findings, setup.settings.journal.path, runs=runs)
    if not runs:
        return findings
    journal, most = daemon.section("journal"), setup.settings.journal.max_size
    used = int(number(journal, "bytes_used"))
    if (state := text(journal, "state")) != "ok":
        remedy = _make_room(daemon, size_text(most)) if state.endswith(" is full") else _OF_THE_DISK
        findings.append(problem(f"it takes no events: {state}", f"{remedy}; Infodeck tries again for 24 h"))
    elif used > most * _NEARLY_FULL:
        findings.append(
            warning(
                f"{used * 100 // most} % of journal.max_size ({size_text(most)}) are used",
                _make_room(daemon, size_text(most)),
            )
        )
    if letters := int(number(journal, "dead_letters")):
        findings.append(
            warning(
                f"{counted(letters, 'dead letter')}: refused by a receiver, or unreadable",
                "`gateway deadletters list` says why; after mending the cause: `gateway deadletters retry`",
            )
        )
    return findings or [ok(f"{rounded_size_text(used)} of {size_text(most)}, no dead letters")]


def _make_room(daemon: Running, most: str) -> str:
    """Say what takes the room: events that a sink has yet to get are kept whatever they take."""
    more = f"give the journal more room, journal.max_size is {most}"
    if daemon.kept is None:
        return f"see the check of the disk here; where that has room, {more}"
    return f"{daemon.kept}: see the check of sinks here; or {more}"


def _file_findings(journal: Path, *, runs: bool) -> list[Finding]:
    """Return what keeps the file from being read; another user's rights do not matter to the gateway."""
    findings = []
    if (found := ailment(journal)) is not None:
        level = problem if os.access(journal, os.R_OK) and not runs else warning
        findings.append(level(*found))
    if corrupt := corrupt_files(journal):
        findings.append(
            warning(
                f"a corrupt journal was moved aside: {corrupt[-1]}",
                "check the disk; see `A damaged journal` in docs/operations.md, then remove that file",
            )
        )
    return findings
