"""The conformance statement in docs."""

from __future__ import annotations

import re

from support.processes import REPOSITORY

from gateway.sinks.bacnet.pics import conformance_statement


def test_the_statement_is_current() -> None:
    """docs/pics.md is what the code's tables say (python -m gateway.sinks.bacnet.pics > docs/pics.md)."""
    assert (REPOSITORY / "docs/pics.md").read_text() == conformance_statement()


def test_the_statement_claims_the_smart_sensor_profile() -> None:
    """The device claims B-SS with COV, and neither writes nor a gateway's profile."""
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", conformance_statement(), flags=re.MULTILINE))
    assert rows["Device profile (annex L)"] == "B-SS (BACnet Smart Sensor)"
    blocks = rows["Interoperability building blocks (annex K)"].split(", ")
    assert blocks == ["DS-RP-B", "DS-RPM-B", "DS-COV-B", "DM-DDB-B", "DM-DOB-B"]
    assert "WriteProperty" not in rows["Services executed"]
