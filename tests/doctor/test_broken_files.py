"""Settings, tables and certificates that cannot be used: told, and the rest is examined all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.doctored import Doctored


async def test_broken_settings_do_not_end_the_examination(patient: Doctored) -> None:
    """Each problem is a line; what depends on the broken section is left out by name, the rest looked at."""
    patient.change("infodeck.organisation", "o-test")
    (patient.folder / "secret").chmod(0o640)
    diagnosis = await patient.diagnose()
    told, left_out = diagnosis.of("settings", "problem"), diagnosis.of("settings", "warning")
    assert "unknown key" in told.found or "organisation" in told.found
    assert left_out.found.startswith("not checked because of that: examples, API key")
    assert patient.api.asked == []
    assert diagnosis.of("secrets").found.startswith("intake.signing_secrets[0]: others may read")
    assert {"brokers", "controllers", "ports", "disk"} <= {one.check for one in diagnosis.findings}


@pytest.mark.parametrize("content", ["", ": [", "sinks: 3"])
async def test_settings_without_anything_of_use(patient: Doctored, content: str) -> None:
    """Problems alone, no traceback."""
    patient.config.write_text(content)
    diagnosis = await patient.diagnose()
    assert diagnosis.code == 1


async def test_no_settings_at_all(patient: Doctored) -> None:
    """The file is named."""
    patient.config.unlink()
    seen = (await patient.diagnose()).of("settings", "problem")
    assert seen.found.endswith("cannot be read: No such file or directory")


async def test_tables_with_problems_and_without_points(patient: Doctored) -> None:
    """The first ones are shown."""
    table = patient.tables / "hq.yaml"
    table.write_text(table.read_text().replace("from:", "form:"))
    seen = (await patient.diagnose()).of("point tables")
    assert seen.level == "problem"
    assert "hq.yaml:5:" in seen.found
    table.write_text("schema: gateway.points/1\nsite: hq\n")
    seen = (await patient.diagnose()).of("point tables")
    assert seen.level == "warning"
    assert seen.found.endswith("has no points")


async def test_values_of_the_example(patient: Doctored) -> None:
    """Whatever was left standing of the shipped file is named by its path."""
    patient.change("infodeck.api", "https://api.infodeck.invalid")
    patient.change("infodeck.organization", "o-xxxx")
    patient.change("infodeck.webhook.url", "https://gateway.example.com/webhooks/infodeck")
    patient.change("sinks.ahu.host", "192.0.2.10")
    diagnosis = await patient.diagnose("--offline")
    found = {one.found for one in diagnosis.findings if one.check == "examples"}
    assert found == {
        "infodeck.organization: o-xxxx is an example",
        "infodeck.webhook.url: https://gateway.example.com/webhooks/infodeck is an example",
        "sinks.ahu.host: 192.0.2.10 is an example",
    }


async def test_an_expired_certificate(patient: Doctored) -> None:
    """In the file of the settings."""
    patient.new_certificate(days=-3.1)
    seen = (await patient.diagnose()).of("certificates")
    assert seen.level == "problem"
    assert "expired 3 days ago" in seen.found


async def test_a_key_that_is_not_the_certificate_s(patient: Doctored) -> None:
    """As the gateway itself would refuse it at its start."""
    assert patient.authority is not None
    _, other = patient.authority.issue("other")
    patient.change("intake.tls.key", str(other))
    seen = (await patient.diagnose()).of("certificates")
    assert seen.level == "problem"
    assert "key values mismatch" in seen.found


async def test_a_certificate_for_another_name(patient: Doctored) -> None:
    """It is for an address, but Infodeck posts to a name."""
    patient.change("infodeck.webhook.url", "https://gateway.invalid/webhooks/infodeck")
    seen = (await patient.diagnose()).of("certificates", "warning")
    assert seen.found.endswith("not for gateway.invalid, to which Infodeck posts")
