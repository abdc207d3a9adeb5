"""`gateway status` where the daemon that runs is of another version than the command."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cli.status import _rows
from gateway.doctor.facts import DaemonStatus


@pytest.mark.parametrize("odd", [None, 7, "text", ["text"], {"key": 7}])
def test_what_another_version_tells_otherwise_is_passed_over(odd: Any) -> None:
    """Every line is there, and no part that has another shape ends the command."""
    document = {
        "name": "edge-1",
        "intake": {"secrets": odd, "refused": odd},
        "tables": {"problems": odd},
        "journal": odd,
        "sinks": {"bms": odd},
        "reconcile": odd,
        "alarms": odd,
    }
    told = [name for name, _ in _rows(DaemonStatus(document), 0) if name != "secret"]
    assert told[:-1] == ["edge-1", "intake", "journal", "tables", "points", "sink bms", "Infodeck"]
