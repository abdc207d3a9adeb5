"""Findings about settings, point tables and certificates that cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.installation import Installation


async def test_broken_settings_do_not_end_the_examination(installation: Installation) -> None:
    """Checks that need a broken section are named and left out; the others run."""
    installation.change("infodeck.organisation", "o-test")
    (installation.folder / "secret").chmod(0o640)
    diagnosis = await installation.diagnose()
    unknown_key, left_out = diagnosis.finding("settings", "problem"), diagnosis.finding("settings", "warning")
    assert "unknown key" in unknown_key.found or "organisation" in unknown_key.found
    assert left_out.found.startswith("not checked because of that: examples, API key")
    assert installation.api.asked == []
    assert diagnosis.finding("secrets").found.startswith("intake.signing_secrets[0]: others may read")
    assert {"brokers", "controllers", "ports", "disk"} <= {one.check for one in diagnosis.findings}


@pytest.mark.parametrize("content", ["", ": [", "sinks: 3"])
async def test_settings_without_a_usable_section(installation: Installation, content: str) -> None:
    """They are problems, without a traceback."""
    installation.config.write_text(content)
    diagnosis = await installation.diagnose()
    assert diagnosis.code == 1


async def test_no_settings_at_all(installation: Installation) -> None:
    """The finding names the file."""
    installation.config.unlink()
    finding = (await installation.diagnose()).finding("settings", "problem")
    assert finding.found.endswith("cannot be read: No such file or directory")


async def test_tables_with_problems_and_without_points(installation: Installation) -> None:
    """Problems of tables are shown with their place; a folder without points is a warning."""
    table = installation.tables / "hq.yaml"
    table.write_text(table.read_text().replace("from:", "form:"))
    finding = (await installation.diagnose()).finding("point tables")
    assert finding.level == "problem"
    assert "hq.yaml:5:" in finding.found
    table.write_text("schema: gateway.points/1\nsite: hq\n")
    finding = (await installation.diagnose()).finding("point tables")
    assert finding.level == "warning"
    assert finding.found.endswith("has no points")


async def test_values_of_the_example(installation: Installation) -> None:
    """Each value left from the shipped example is named by its path."""
    installation.change("infodeck.api", "https://api.infodeck.invalid")
    installation.change("infodeck.organization", "o-xxxx")
    installation.change("infodeck.webhook.url", "https://gateway.example.com/webhooks/infodeck")
    installation.change("sinks.ahu.host", "192.0.2.10")
    diagnosis = await installation.diagnose("--offline")
    found = {one.found for one in diagnosis.findings if one.check == "examples"}
    assert found == {
        "infodeck.organization: o-xxxx is an example",
        "infodeck.webhook.url: https://gateway.example.com/webhooks/infodeck is an example",
        "sinks.ahu.host: 192.0.2.10 is an example",
    }


async def test_an_expired_certificate(installation: Installation) -> None:
    """An expired certificate file is a problem."""
    installation.new_certificate(days=-3.1)
    finding = (await installation.diagnose()).finding("certificates")
    assert finding.level == "problem"
    assert "expired 3 days ago" in finding.found


async def test_a_key_that_is_not_the_certificate_s(installation: Installation) -> None:
    """A key that does not fit its certificate is a problem."""
    assert installation.authority is not None
    _, other = installation.authority.issue("other")
    installation.change("intake.tls.key", str(other))
    finding = (await installation.diagnose()).finding("certificates")
    assert finding.level == "problem"
    assert "key values mismatch" in finding.found


async def test_a_certificate_for_another_name(installation: Installation) -> None:
    """A certificate without the webhook's host name is a warning."""
    installation.change("infodeck.webhook.url", "https://gateway.invalid/webhooks/infodeck")
    finding = (await installation.diagnose()).finding("certificates", "warning")
    assert finding.found.endswith("not for gateway.invalid, to which Infodeck posts")
