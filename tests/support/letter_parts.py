"""A journal with dead letters, and settings that name it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.events import parse_event
from gateway.model import DeadLetter, Notes
from support.daemon import telemetry
from support.journal_parts import START_MS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.ports import Journal

MINUTE_MS = 60_000


def letter(point: str, *, seq: int = 0, sink: str = "regs", reason: str = "no such register") -> DeadLetter:
    """Make a letter about the journal's event `seq`, 0 for none, written as many minutes after the start."""
    return DeadLetter(sink, seq, f"evt_{seq}" if seq else "", point, reason, START_MS + seq * MINUTE_MS)


async def write_letters(journal: Journal, letters: Sequence[DeadLetter], *, padding: int = 0) -> None:
    """Write events 1, 2, …, as many as the letters speak of, and then the letters."""
    for seq in range(journal.head + 1, max(each.seq for each in letters) + 1):
        readings = {"t": seq} | ({"padding": "x" * padding} if padding else {})
        body = telemetry(f"evt_{seq}", "ast-1", readings)
        await journal.append(parse_event(body, received_ms=START_MS + seq * MINUTE_MS))
    journal.note(Notes(dead_letters=list(letters)))
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
