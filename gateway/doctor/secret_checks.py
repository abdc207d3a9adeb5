"""Checks of the secrets: can they be read, by whom, how old are they, and are they what they should be."""

from __future__ import annotations

import asyncio
import os
import pwd
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config.problems import path_text
from gateway.config.secrets import ROTATE_AFTER_S, others_may_read
from gateway.doctor.daemon_answers import mappings, number, text
from gateway.doctor.findings import Finding, counted, ok, problem, span, warning
from gateway.doctor.secret_shapes import ANOTHER_TOKEN, jwt_expiry_s, signing_secret_flaw

if TYPE_CHECKING:
    from gateway.config.secrets import SecretSource
    from gateway.doctor.setup import Setup

_WEEK_S = 7 * 86_400
_DAY_S = 86_400
_CREDENTIALS = "/run/credentials/gateway.service"  # where systemd has them while the service runs
_AS_THE_GATEWAY = "run this command as the gateway's user, or as root"


async def check_secrets(setup: Setup) -> list[Finding]:
    """Read every secret, as the daemon will when it starts."""
    runs = (await setup.daemon()).status is not None
    owner = await asyncio.to_thread(_owner_of, setup.settings.journal.path)
    findings = []
    for path, source in setup.secret_paths:
        finding = await asyncio.to_thread(_reading, setup, path_text(path), source, runs=runs, owner=owner)
        if finding is not None:
            findings.append(finding)
    count = len(setup.secret_paths)
    if findings or not count:
        return findings
    return [ok("it can be read" if count == 1 else f"all {count} can be read")]


def _reading(
    setup: Setup, path: str, source: SecretSource, *, runs: bool, owner: int | None
) -> Finding | None:
    """Say what is wrong with the place of a secret; `owner` is whose the journal is, None: not known."""
    error = setup.secret_error(source)
    if source.kind == "file":
        return _file_reading(
            path, Path(source.name), error=None if error is None else str(error), owner=owner
        )
    if error is None:
        return None
    if source.kind == "credential" and "CREDENTIALS_DIRECTORY" not in os.environ:
        return warning(
            f"{path}: {source} is a systemd credential, which only the service itself is given",
            f"while it runs: sudo CREDENTIALS_DIRECTORY={_CREDENTIALS} gateway doctor …; else check"
            f" LoadCredential={source.name}:… in the unit",
        )
    if source.kind == "env" and runs:
        return warning(
            f"{path}: {error} here, though the running gateway has it",
            "set it for this command, too, to have it checked",
        )
    where = "LoadCredential= in the unit" if source.kind == "credential" else "EnvironmentFile= in the unit"
    return problem(f"{path}: {error}", f"give it to the service, such as by {where}")


def _file_reading(path: str, file: Path, *, error: str | None, owner: int | None) -> Finding | None:
    try:
        status = file.stat()
    except PermissionError:
        return warning(f"{path}: this user may not look at {file}", _AS_THE_GATEWAY)
    except OSError as missing:
        return problem(
            f"{path}: the secret file {file} cannot be read: {missing.strerror}",
            "write it, readable by the gateway's user alone (chmod 600)",
        )
    if stat.S_ISDIR(status.st_mode):
        return problem(f"{path}: {file} is a folder", "name the file in it that holds the secret")
    return _kept_badly(path, file, status, error=error, owner=owner)


def _kept_badly(
    path: str, file: Path, status: os.stat_result, *, error: str | None, owner: int | None
) -> Finding | None:
    if others_may_read(status):
        mode = stat.S_IMODE(status.st_mode)
        return problem(f"{path}: others may read {file} ({mode:04o})", f"chmod 600 {file}")
    if not os.access(file, os.R_OK):
        return warning(
            f"{path}: {file} is {_name_of(status.st_uid)}'s, this user may not read it", _AS_THE_GATEWAY
        )
    if error is not None:
        return problem(f"{path}: {error}", f"write the secret into {file}, and nothing else")
    is_granted = status.st_mode & (stat.S_IRGRP | stat.S_IROTH)
    if owner not in {None, 0, status.st_uid} and not is_granted:
        return warning(
            f"{path}: {file} belongs to {_name_of(status.st_uid)}, the journal to {_name_of(owner or 0)}",
            f"let the gateway's user read it: chown {_name_of(owner or 0)} {file}",
        )
    return None


async def check_signing_secrets(setup: Setup) -> list[Finding]:
    """Look at each signing secret: its form, and its age."""
    intake = (await setup.daemon()).section("intake")
    known_ms = {
        text(each, "source"): int(number(each, "changed_ms")) for each in mappings(intake.get("secrets"))
    }
    findings = [
        _signing_secret(setup, source, known_ms=known_ms.get(str(source)) or None)
        for source in setup.settings.intake.signing_secrets
    ]
    previous = intake.get("previous_secrets")
    count = int(number(previous, "number")) if isinstance(previous, dict) else 0
    if count:
        findings.append(ok(f"{counted(count, 'former one')} accepted until unused for a day"))
    return [finding for finding in findings if finding is not None]


def _signing_secret(setup: Setup, source: SecretSource, *, known_ms: int | None) -> Finding | None:
    """Look at one; `known_ms` is since when the running gateway knows it, if it is running."""
    secret = setup.secret(source)
    if secret is not None and (flaw := signing_secret_flaw(secret.reveal())) is not None:
        return problem(f"{source} {flaw.found}", flaw.remedy)
    written_ms = None if secret is None else secret.changed_ms
    since_ms = written_ms or known_ms
    if since_ms is None:
        if secret is None:
            return None  # told by the check of all secrets
        return ok(f"{source}: how old it is is not known here; every 90 days a new one is due")
    age_s = (setup.clock_ms() - since_ms) / 1000
    days = counted(int(age_s // _DAY_S), "day")
    found = f"{source} is known here for {days}" if written_ms is None else f"{source} is {days} old"
    if age_s > ROTATE_AFTER_S:
        return warning(found, "renew it: `gateway webhooks rotate`, every 90 days")
    return ok(found)


async def check_api_key(setup: Setup) -> Finding | list[Finding]:
    """Look at the form of the API key; what the API says of it is another check."""
    source = setup.settings.infodeck.api_key
    if source is None:
        return warning(
            "infodeck.api_key is not set: names, locations and units are not known, and nothing that webhooks"
            " miss is noticed or refilled",
            "make a key of its own for this gateway in Infodeck, and say where it is: api_key: {file: PATH}",
        )
    if setup.secret(source) is None:
        return []  # told by the check of all secrets
    if (flaw := setup.api_key_flaw) is not None:
        return problem(f"{source} {flaw.found}", flaw.remedy)
    return ok(f"{source} begins with `idt_live_` and has 32 characters behind it")


async def check_bearer_token(setup: Setup) -> Finding | list[Finding]:
    """Look at the JWT that manages webhooks: its form and when it expires; Infodeck alone can verify it."""
    source = setup.settings.infodeck.bearer_token
    if source is None:
        return warning(
            "infodeck.bearer_token is not set: whether Infodeck has a webhook that leads here, and what"
            " became of its deliveries, is not known",
            "say where a JWT of a user who may manage webhooks is: bearer_token: {file: PATH}",
        )
    token = setup.secret(source)
    if token is None:
        return []
    if (flaw := setup.bearer_token_flaw) is not None:
        return problem(f"{source} {flaw.found}", flaw.remedy)
    expiry_s = jwt_expiry_s(token.reveal())
    if expiry_s is None:
        return ok(f"{source} does not say when it expires")
    left_s = expiry_s - setup.clock_ms() / 1000
    expires = f"{source} expires in {span(left_s)}"
    if left_s < _WEEK_S:
        return warning(expires, f"{ANOTHER_TOKEN} that is valid for longer")
    return ok(expires)


def _owner_of(journal: Path) -> int | None:
    try:
        return journal.stat().st_uid
    except OSError:
        return None


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
