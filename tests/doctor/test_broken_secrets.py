"""Secrets that are missing, open to others, mixed up, incomplete or old: each is told with its remedy."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest
from support.asset_lists import API_KEY
from support.daemon import SECRET
from support.doctored import DAY_S, TOKEN
from support.odd_server import answering
from support.tokens import json_web_token

if TYPE_CHECKING:
    from support.doctored import Doctored


@pytest.mark.parametrize(
    ("key", "found", "remedy"),
    [
        (API_KEY.replace("live", "test"), "does not begin with `idt_live_`", "put the API key there"),
        (API_KEY[:-4], "has 28 characters behind `idt_live_`", "copy the key once more"),
        (SECRET, "does not begin with `idt_live_`", "put the API key there"),
        (f'"{API_KEY}"', "has quotes around it", "take the quotes out"),
        (API_KEY[:-1] + "\x7f", "has characters that no secret has", "copy it once more"),
    ],
)
async def test_a_wrong_api_key(patient: Doctored, key: str, found: str, remedy: str) -> None:
    """It is told once: that the API refuses it, too, follows from that."""
    patient.secret("api-key", key.encode())
    diagnosis = await patient.diagnose()
    seen = diagnosis.of("API key")
    assert (seen.level, found in seen.found) == ("problem", True)
    assert seen.remedy is not None
    assert seen.remedy.startswith(remedy)
    assert diagnosis.levels["problem"] == ["API key"]


async def test_an_api_key_that_looks_well_and_is_refused(patient: Doctored) -> None:
    """Revoked, or of somebody else: only the API can tell, and what to do is told once."""
    patient.secret("api-key", API_KEY[::-1][:32].join(["idt_live_", ""]).encode())
    seen = (await patient.diagnose()).of("organization")
    assert (seen.level, seen.found) == ("problem", "the API answered 401 (Invalid API key)")
    assert (seen.remedy or "").startswith("check infodeck.api_key")


async def test_a_folder_in_the_place_of_a_secret(patient: Doctored) -> None:
    """Nobody is told to take the rights of a folder away, which might be `/tmp`."""
    patient.change("infodeck.api_key", {"file": str(patient.folder)})
    seen = (await patient.diagnose()).of("secrets")
    assert (seen.level, seen.found.endswith("Is a directory")) == ("problem", True)
    assert "chmod" not in (seen.remedy or "")


async def test_a_secret_file_that_others_may_read(patient: Doctored) -> None:
    """With the command that mends it."""
    (patient.folder / "secret").chmod(0o644)
    seen = (await patient.diagnose()).of("secrets")
    assert seen.level == "problem"
    assert seen.found == (
        f"intake.signing_secrets[0]: others may read the secret file {patient.folder}/secret (0644):"
        f" chmod 600 {patient.folder}/secret"
    )


async def test_a_secret_file_that_is_not_there(patient: Doctored) -> None:
    """By the setting that names it."""
    (patient.folder / "api-key").unlink()
    seen = (await patient.diagnose()).of("secrets")
    assert seen.found.startswith("infodeck.api_key: the secret file")
    assert seen.found.endswith("cannot be read: No such file or directory")


async def test_a_systemd_credential_is_beyond_a_command(patient: Doctored) -> None:
    """No problem, but nothing that could be looked at from here: how to do that is told."""
    patient.change("intake.signing_secrets", [{"credential": "signing-secret"}])
    seen = (await patient.diagnose()).of("secrets")
    assert seen.level == "warning"
    assert "sudo CREDENTIALS_DIRECTORY=/run/credentials/gateway.service gateway doctor" in (seen.remedy or "")


async def test_an_environment_variable_that_is_not_set(patient: Doctored) -> None:
    """While no gateway runs that may have it, it is missing."""
    patient.change("intake.signing_secrets", [{"env": "NO_SUCH_SECRET"}])
    seen = (await patient.diagnose()).of("secrets")
    assert seen.level == "problem"
    assert seen.found.endswith("the environment variable NO_SUCH_SECRET is not set")
    assert "EnvironmentFile=" in (seen.remedy or "")


async def test_the_age_of_a_secret_from_the_environment_is_unknown(
    patient: Doctored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that is said, not passed over."""
    monkeypatch.setenv("SIGNING", SECRET)
    patient.change("intake.signing_secrets", [{"env": "SIGNING"}])
    seen = (await patient.diagnose()).of("signing secret")
    assert seen.level == "ok"
    assert "its age is unknown here" in seen.found


@pytest.mark.parametrize(("days", "level"), [(89, "ok"), (100, "warning")])
async def test_the_age_of_a_credential_as_the_gateway_knows_it(
    *, patient: Doctored, days: int, level: str
) -> None:
    """The service alone is given it, so it is the service that remembers since when."""
    patient.change("intake.signing_secrets", [{"credential": "signing"}])
    known_ms = round((time.time() - days * DAY_S - 60) * 1000)
    secrets = [{"source": "{credential: signing}", "changed_ms": known_ms, "last_used_ms": None}]
    body = json.dumps({"name": "test-box", "ready": True, "intake": {"secrets": secrets}})
    async with answering(body=body, port=patient.admin_port):
        seen = (await patient.diagnose("--offline")).of("signing secret")
    assert (seen.level, seen.found) == (level, f"{{credential: signing}} is known for {days} days")


async def test_a_signing_secret_of_100_days(patient: Doctored) -> None:
    """The guide recommends a new one every 90 days."""
    moment = time.time() - 100 * DAY_S
    os.utime(patient.folder / "secret", (moment, moment))
    seen = (await patient.diagnose()).of("signing secret")
    assert seen.level == "warning"
    assert seen.found.endswith("secret} is known for 100 days")
    assert "gateway webhooks rotate" in (seen.remedy or "")


async def test_an_api_key_in_the_place_of_the_signing_secret(patient: Doctored) -> None:
    """The two secrets go in two directions, and are easily mixed up."""
    patient.secret("secret", API_KEY.encode())
    seen = (await patient.diagnose()).of("signing secret")
    assert seen.level == "problem"
    assert seen.found.endswith("is an API key")


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
    patient: Doctored, token: bytes, level: str, found: str
) -> None:
    """Expired, about to expire, or another secret: told once, unless Infodeck alone knows why it refuses."""
    patient.secret("token", token)
    diagnosis = await patient.diagnose()
    seen = diagnosis.of("bearer token")
    assert seen.level == level
    assert found in seen.found
    assert (seen.remedy or "").startswith("put a JWT there of a user who may manage webhooks")
    refused = [one for one in diagnosis.findings if one.check == "webhook"]
    known = ["the API answered 401 (Invalid token)"]
    assert [one.found for one in refused] == ([] if level == "problem" else known)
    assert all((one.remedy or "").startswith("check infodeck.bearer_token") for one in refused)


async def test_without_key_and_token_it_is_said_what_is_missed(patient: Doctored) -> None:
    """Both are optional, so both are warnings."""
    patient.change("infodeck.api_key", None)
    patient.change("infodeck.bearer_token", None)
    diagnosis = await patient.diagnose()
    assert diagnosis.code == 0
    assert "api_key: {file: PATH}" in (diagnosis.of("API key").remedy or "")
    assert "bearer_token: {file: PATH}" in (diagnosis.of("bearer token").remedy or "")
