"""A journal with dead letters, and the control socket over it."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from gateway.admin.control_requests import BuildingRequests
from gateway.admin.control_socket import control_application, control_socket
from gateway.alarms import Alarms
from gateway.events import parse_event
from gateway.records import DeadLetter, StateChanges
from gateway.status import SinkStatus
from support.daemon import telemetry
from support.journal_parts import START_MS, sqlite_journal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from gateway.delivery.pipeline import Pipeline
    from gateway.records import StoredDeadLetter
    from support.journal_parts import Journal

MINUTE_MS = 60_000


def letter(point: str, *, seq: int = 0, sink: str = "regs", reason: str = "no such register") -> DeadLetter:
    """Return a dead letter of event `seq` (0: none), written as many minutes after the start."""
    return DeadLetter(sink, seq, f"evt_{seq}" if seq else "", point, reason, START_MS + seq * MINUTE_MS)


async def write_letters(journal: Journal, letters: Sequence[DeadLetter], *, padding: int = 0) -> None:
    """Append the events of the letters, then save the letters."""
    for seq in range(journal.head + 1, max(each.seq for each in letters) + 1):
        readings = {"t": seq} | ({"padding": "x" * padding} if padding else {})
        body = telemetry(f"evt_{seq}", "ast-1", readings)
        await journal.append(parse_event(body, received_ms=START_MS + seq * MINUTE_MS))
    journal.save(StateChanges(dead_letters=list(letters)))
    await journal.flush()


def write_settings(folder: Path) -> Path:
    """Write settings whose journal is the one of `sqlite_journal`, with the sinks bms and regs."""
    (folder / "mappings").mkdir()
    (folder / "mappings" / "a.yaml").write_text("schema: gateway.points/1\nsite: hq\n")
    path = folder / "gateway.yaml"
    path.write_text(
        "infodeck: {organization: o-test}\n"
        "intake: {signing_secrets: [{env: S}]}\n"
        f"journal: {{url: 'sqlite://{folder}/journal.db'}}\n"
        "sinks:\n"
        "  bms: {type: mqtt, url: 'mqtt://127.0.0.1:1883'}\n"
        "  regs: {type: modbus_server, listen: 127.0.0.1:5020}\n"
        "mappings: mappings\n"
    )
    return path


@dataclass
class RecordingRetries:
    """Replaces the pipeline: records retried letters and saves the outcome that the test sets."""

    journal: Journal
    retried: list[list[int]] = field(default_factory=list)
    left: dict[int, str] = field(default_factory=dict)
    outcome: Callable[[StoredDeadLetter], StateChanges] = lambda stored: StateChanges(
        removed_dead_letters=[stored.number]
    )

    def retry(self, letters: Sequence[StoredDeadLetter]) -> dict[int, str]:
        """Queue the letters, and save the outcome that the test sets."""
        self.retried.append([each.number for each in letters])
        for each in letters:
            if each.number not in self.left:
                self.journal.save(self.outcome(each))
        return {each.number: self.left[each.number] for each in letters if each.number in self.left}


@dataclass
class ServedDeadLetters:
    """The served journal, the recorded retries, and the states of the sinks."""

    journal: Journal
    retries: RecordingRetries
    sinks: dict[str, SinkStatus]


@asynccontextmanager
async def serve_dead_letters(
    folder: Path, letters: Sequence[DeadLetter], *, padding: int = 0
) -> AsyncIterator[ServedDeadLetters]:
    """Serve a control socket over a journal with these letters."""
    async with sqlite_journal(folder) as journal:
        await write_letters(journal, letters, padding=padding)
        served = ServedDeadLetters(
            journal,
            RecordingRetries(journal),
            {name: SinkStatus(type="mqtt", state="up") for name in ("bms", "regs")},
        )
        requests = BuildingRequests(
            pipeline=cast("Pipeline", served.retries),
            state_store=journal,
            alarms=Alarms(clock_ms=lambda: START_MS),
            sinks=served.sinks,
            topics={},
            clock_ms=lambda: START_MS,
        )
        application = control_application(requests.by_route())
        async with control_socket(folder / "control.sock", application, no_http=Counter()):
            yield served
