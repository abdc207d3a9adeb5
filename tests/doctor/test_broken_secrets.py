"""Findings about secrets that are missing, readable by others, mixed up, incomplete or old."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest
from support.asset_lists import API_KEY
from support.daemon import SECRET
from support.installation import DAY_S, TOKEN
from support.odd_server import answering
from support.tokens import json_web_token

if TYPE_CHECKING:
    from support.installation import Installation


@pytest.mark.parametrize(
    ("key", "found", "remedy"),
    [
        (API_KEY.replace("live", "test"), "does not begin with `idt_live_`", "put the API key there"),
        (API_KEY[:-4], "has 28 characters behind `idt_live_`", "copy the key once more"),
    ],
)
async def test_a_wrong_api_key(installation: Installation, key: str, found: str, remedy: str) -> None:
    """A key with a visible flaw is the only problem: it is not sent to the API."""
    installation.secret("api-key", key.encode())
    diagnosis = await installation.diagnose()
    finding = diagnosis.finding("API key")
    assert (finding.level, found in finding.found) == ("problem", True)
    assert finding.remedy is not None
    assert finding.remedy.startswith(remedy)
    assert diagnosis.levels["problem"] == ["API key"]


async def test_an_api_key_that_looks_well_and_is_refused(installation: Installation) -> None:
    """The finding is the API's refusal."""
    installation.secret("api-key", API_KEY[::-1][:32].join(["idt_live_", ""]).encode())
    finding = (await installation.diagnose()).finding("organization")
    assert (finding.level, finding.found) == ("problem", "the API answered 401 (Invalid API key)")
    assert (finding.remedy or "").startswith("check infodeck.api_key")


async def test_a_folder_in_the_place_of_a_secret(installation: Installation) -> None:
    """The remedy has no `chmod`: the folder may be `/tmp`."""
    installation.change("infodeck.api_key", {"file": str(installation.folder)})
    finding = (await installation.diagnose()).finding("secrets")
    assert (finding.level, finding.found.endswith("Is a directory")) == ("problem", True)
    assert "chmod" not in (finding.remedy or "")


async def test_a_secret_file_that_others_may_read(installation: Installation) -> None:
    """The finding has the command that corrects it."""
    (installation.folder / "secret").chmod(0o644)
    finding = (await installation.diagnose()).finding("secrets")
    assert finding.level == "problem"
    assert finding.found == (
        f"intake.signing_secrets[0]: others may read the secret file {installation.folder}/secret (0644):"
        f" chmod 600 {installation.folder}/secret"
    )


async def test_a_secret_file_that_is_not_there(installation: Installation) -> None:
    """The finding names the setting and the file."""
    (installation.folder / "api-key").unlink()
    finding = (await installation.diagnose()).finding("secrets")
    assert finding.found.startswith("infodeck.api_key: the secret file")
    assert finding.found.endswith("cannot be read: No such file or directory")


async def test_a_systemd_credential_cannot_be_read_by_a_command(installation: Installation) -> None:
    """It is a warning with the command that reads it."""
    installation.change("intake.signing_secrets", [{"credential": "signing-secret"}])
    finding = (await installation.diagnose()).finding("secrets")
    assert finding.level == "warning"
    assert "sudo CREDENTIALS_DIRECTORY=/run/credentials/gateway.service gateway doctor" in (
        finding.remedy or ""
    )


async def test_an_environment_variable_that_is_not_set(installation: Installation) -> None:
    """It is a problem while no gateway runs that may have it."""
    installation.change("intake.signing_secrets", [{"env": "NO_SUCH_SECRET"}])
    finding = (await installation.diagnose()).finding("secrets")
    assert finding.level == "problem"
    assert finding.found.endswith("the environment variable NO_SUCH_SECRET is not set")
    assert "EnvironmentFile=" in (finding.remedy or "")


async def test_the_age_of_a_secret_from_the_environment_is_unknown(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finding says that the age is unknown."""
    monkeypatch.setenv("SIGNING", SECRET)
    installation.change("intake.signing_secrets", [{"env": "SIGNING"}])
    finding = (await installation.diagnose()).finding("signing secret")
    assert finding.level == "ok"
    assert "its age is unknown here" in finding.found


@pytest.mark.parametrize(("days", "level"), [(89, "ok"), (100, "warning")])
async def test_the_age_of_a_credential_as_the_gateway_knows_it(
    *, installation: Installation, days: int, level: str
) -> None:
    """The age is counted from when the gateway first had the credential."""
    installation.change("intake.signing_secrets", [{"credential": "signing"}])
    known_ms = round((time.time() - days * DAY_S - 60) * 1000)
    secrets = [{"source": "{credential: signing}", "changed_ms": known_ms, "last_used_ms": None}]
    body = json.dumps({"name": "test-box", "ready": True, "intake": {"secrets": secrets}})
    async with answering(body=body, port=installation.admin_port):
        finding = (await installation.diagnose("--offline")).finding("signing secret")
    assert (finding.level, finding.found) == (level, f"{{credential: signing}} is known for {days} days")


async def test_secrets_of_another_user_than_the_gateway_s(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root, who runs the doctor, reads every file; the user to whom the journal belongs does not."""
    monkeypatch.setattr("gateway.doctor.secret_checks._owner_of", lambda _: 4711)
    diagnosis = await installation.diagnose("--offline")
    found = [one for one in diagnosis.findings if one.check == "secrets"]
    assert [one.level for one in found] == ["warning"] * 3
    file = installation.folder / "secret"
    assert f"{file} belongs to user {os.getuid()}, the journal to user 4711" in found[-1].found
    assert (found[-1].remedy or "").endswith(f"chown 4711 {file}")


async def test_a_signing_secret_of_100_days(installation: Installation) -> None:
    """A secret older than 90 days is a warning."""
    moment = time.time() - 100 * DAY_S
    os.utime(installation.folder / "secret", (moment, moment))
    finding = (await installation.diagnose()).finding("signing secret")
    assert finding.level == "warning"
    assert finding.found.endswith("secret} is known for 100 days")
    assert "gateway webhooks rotate" in (finding.remedy or "")


async def test_an_api_key_in_the_place_of_the_signing_secret(installation: Installation) -> None:
    """It is recognised as an API key."""
    installation.secret("secret", API_KEY.encode())
    finding = (await installation.diagnose()).finding("signing secret")
    assert finding.level == "problem"
    assert finding.found.endswith("is an API key")


@pytest.mark.parametrize(
    ("token", "level", "found"),
    [
        (json_web_token(exp=time.time() - 3.5 * DAY_S), "problem", "expired 3 days ago"),
        (json_web_token(exp=time.time() + 2.5 * DAY_S), "warning", "expires in 2 days"),
        (API_KEY.encode(), "problem", "is an API key, which Infodeck refuses for webhooks"),
        (TOKEN[:10], "problem", "is no JWT"),
    ],
    ids=["expired", "expires soon", "an API key", "no JWT"],
)
async def test_a_bearer_token_that_is_of_no_use(
    installation: Installation, token: bytes, level: str, found: str
) -> None:
    """A visibly unusable token is reported once; a valid one may still be refused."""
    installation.secret("token", token)
    diagnosis = await installation.diagnose()
    finding = diagnosis.finding("bearer token")
    assert finding.level == level
    assert found in finding.found
    assert (finding.remedy or "").startswith("put a JWT there of a user who may manage webhooks")
    refused = [one for one in diagnosis.findings if one.check == "webhook"]
    known = ["the API answered 401 (Invalid token)"]
    assert [one.found for one in refused] == ([] if level == "problem" else known)
    assert all((one.remedy or "").startswith("check infodeck.bearer_token") for one in refused)


async def test_missing_key_and_token_are_warnings(installation: Installation) -> None:
    """Both are optional; the remedies show how to set them."""
    installation.change("infodeck.api_key", None)
    installation.change("infodeck.bearer_token", None)
    diagnosis = await installation.diagnose()
    assert diagnosis.code == 0
    assert "api_key: {file: PATH}" in (diagnosis.finding("API key").remedy or "")
    assert "bearer_token: {file: PATH}" in (diagnosis.finding("bearer token").remedy or "")
