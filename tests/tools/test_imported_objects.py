"""BACnet objects in lists that `gateway import` reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.mapping.compiler import TableInputs
from gateway.tools.import_table import import_points
from gateway.tools.spreadsheet import read_sheet

INPUTS = TableInputs(Path(), {"regs": "modbus_server", "bac": "bacnet"})
HEAD = "equipment,point name,telemetry key,BACnet object type,BACnet instance\n"


def imported(rows: str) -> str:
    """Return the table made of a list in a gateway with a BACnet sink."""
    return import_points(read_sheet((HEAD + rows).encode()), name="a.csv", site="hq", inputs=INPUTS).text


def test_a_list_may_have_some_instances_or_none() -> None:
    """Instances of the list are kept; the others come from `gateway lock` once the table is in place."""
    text = imported("A,B,t,Analog Input,4\nA,C,t,LAV,\nA,D,t,,\n")
    lines = [line for line in text.splitlines() if "point: " in line]
    assert "bacnet: {object: analog-input, instance: 4}" in lines[0]
    assert "bacnet: {object: large-analog-value}" in lines[1]
    assert "bacnet" not in lines[2]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("A,B,t,AV,4\n", "row 2, column BACnet object type: one of analog-input, binary-input,"),
        ("A,B,t,AI,4194303\n", "row 2, column BACnet instance: must be at most 4194302"),
        ("A,B,t,AI,4\nA,C,t,AI,4\n", "row 3, column BACnet instance: analog-input 4 for A/C on bac already"),
    ],
)
def test_mistakes_are_reported_by_row_and_column(rows: str, problem: str) -> None:
    """A type that no point can have, an instance out of range or taken, are shown where they are."""
    with pytest.raises(ConfigError) as caught:
        imported(rows)
    assert any(each.startswith(problem) for each in caught.value.problems), caught.value.problems
