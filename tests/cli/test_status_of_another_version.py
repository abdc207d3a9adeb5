"""`gateway status` with a running daemon of another version."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cli.status import _rows
from gateway.doctor.daemon_status import DaemonStatus


@pytest.mark.parametrize("odd", [None, 7, "text", ["text"], {"key": 7}])
def test_values_of_other_types_are_ignored(odd: Any) -> None:
    """Every line is printed, and no value ends the command."""
    document = {
        "name": "edge-1",
        "intake": {"secrets": odd, "refused": odd},
        "tables": {"problems": odd},
        "journal": odd,
        "sinks": {"bms": odd},
        "reconcile": odd,
        "alarms": odd,
    }
    printed = [name for name, _ in _rows(DaemonStatus(document), 0) if name != "secret"]
    assert printed[:-1] == ["edge-1", "intake", "journal", "tables", "points", "sink bms", "Infodeck"]
