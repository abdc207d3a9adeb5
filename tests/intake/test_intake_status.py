"""Refused and ignored deliveries in the status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from support.intake_server import event, request, running_intake

from gateway.status import Status

if TYPE_CHECKING:
    from pathlib import Path


async def test_refused_and_ignored_deliveries_are_counted_by_name(tmp_path: Path) -> None:
    """Refusals are counted by reason, ignored events by type, answers by code."""
    async with running_intake(tmp_path) as running:
        for _ in range(2):
            await running.ask(request(event(), signed=False))
        await running.ask(request(event(type="workorder.created")))
        status = Status(name="gw", started_ms=0, intake=running.status)
        intake = orjson.loads(orjson.dumps(status.snapshot()))["intake"]
    assert intake["refused"] == {"missing": 2}
    assert intake["ignored_types"] == {"workorder.created": 1}
    assert intake["answers"] == {"401": 2, "200": 1}


def test_a_right_signature_from_another_time_is_remembered() -> None:
    """The age of the last signature outside the tolerance stays in the status."""
    status = Status(name="gw", started_ms=0)
    status.intake.count_refusal("outside tolerance", age_s=412.5)
    status.intake.count_refusal("mismatch", age_s=None)
    intake = orjson.loads(orjson.dumps(status.snapshot()))["intake"]
    assert intake["refused"] == {"outside tolerance": 1, "mismatch": 1}
    assert (intake["last_refusal"], intake["signature_age_s"]) == ("mismatch", 412.5)
