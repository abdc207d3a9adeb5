"""Checks of the secrets: whether they can be read and by whom, how old they are, whether they look right.

Infodeck's integration guide describes the form of the API key and where each secret is used.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import pwd
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from gateway.config.problems import path_text
from gateway.config.secrets import ROTATE_AFTER_S, others_may_read
from gateway.doctor.daemon_status import mappings, number, text
from gateway.doctor.diagnosis import Finding, ok, problem, warning
from gateway.text import count_text, span_text

if TYPE_CHECKING:
    from gateway.config.secrets import SecretSource
    from gateway.doctor.setup import Setup

_DAY_S = 86_400
_WEEK_S = 7 * _DAY_S
_CREDENTIALS = "/run/credentials/gateway.service"  # while the service runs under systemd
_AS_THE_GATEWAY = "run this command as the gateway's user, or as root"
_OTHER_TOKEN = "put a JWT there of a user who may manage webhooks"  # noqa: S105 - a remedy, no password
_REAL_SECRET = "put the signing secret there, that Infodeck showed when the webhook was created"  # noqa: S105 - likewise

_API_KEY_PREFIX = b"idt_live_"
_API_KEY_CHARACTERS = 32
_SHORTEST = 12  # characters
_FEW = 2  # different ones
_ASSIGNMENT = re.compile(rb"(export\s+)?[A-Za-z_]\w*=[^=]")  # base64 has `=` only at its end
_PLACEHOLDER = re.compile(rb"change[-_ ]?(me|it|this)|placeholder|your[-_ ]|<.*>", re.IGNORECASE)
_QUOTES = (b'"', b"'", b"`")
_JWT = re.compile(rb"[A-Za-z0-9_-]+={0,2}\.[A-Za-z0-9_-]+={0,2}\.[A-Za-z0-9_-]*={0,2}")


async def check_secrets(setup: Setup) -> list[Finding]:
    """Read every secret, as the daemon does when it starts."""
    runs = (await setup.daemon()).status is not None
    owner = await asyncio.to_thread(_owner_of, setup.settings.journal.path)
    findings = []
    for path, source in setup.secret_paths:
        finding = await asyncio.to_thread(
            _place_finding, setup, path_text(path), source, runs=runs, owner=owner
        )
        if finding is not None:
            findings.append(finding)
    count = len(setup.secret_paths)
    if findings or not count:
        return findings
    return [ok("it can be read" if count == 1 else f"all {count} can be read")]


def _place_finding(
    setup: Setup, path: str, source: SecretSource, *, runs: bool, owner: int | None
) -> Finding | None:
    """Return what keeps a secret from being read; `owner` is that of the journal, None if unknown."""
    error = setup.secret_error(source)
    if source.kind == "file":
        return _file_finding(
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


def _file_finding(path: str, file: Path, *, error: str | None, owner: int | None) -> Finding | None:
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
    return _permission_finding(path, file, status, error=error, owner=owner)


def _permission_finding(
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
    """Check the form and the age of each signing secret."""
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
        findings.append(ok(f"{count_text(count, 'previous one')} accepted for 48 h after it was replaced"))
    return [finding for finding in findings if finding is not None]


def _signing_secret(setup: Setup, source: SecretSource, *, known_ms: int | None) -> Finding | None:
    """Check one; `known_ms` is since when the running gateway has had it, None if that is unknown."""
    secret = setup.secret(source)
    if secret is not None and (flaw := signing_secret_flaw(secret.reveal())) is not None:
        return problem(f"{source} {flaw.found}", flaw.remedy)
    written_ms = None if secret is None else secret.changed_ms
    since_ms = written_ms or known_ms
    if since_ms is None:
        if secret is None:
            return None  # reported by the check of all secrets
        return ok(f"{source}: its age is unknown here; renew it every 90 days")
    age_s = (setup.clock_ms() - since_ms) / 1000
    days = count_text(int(age_s // _DAY_S), "day")
    found = f"{source} is known here for {days}" if written_ms is None else f"{source} is {days} old"
    if age_s > ROTATE_AFTER_S:
        return warning(found, "renew it: `gateway webhooks rotate`, every 90 days")
    return ok(found)


async def check_api_key(setup: Setup) -> Finding | list[Finding]:
    """Check the form of the API key; whether the API accepts it is another check."""
    source = setup.settings.infodeck.api_key
    if source is None:
        return warning(
            "infodeck.api_key is not set: names, locations and units are unknown, and values that webhooks"
            " miss are neither noticed nor backfilled",
            "create an API key for this gateway in Infodeck, and set it: api_key: {file: PATH}",
        )
    if setup.secret(source) is None:
        return []  # reported by the check of all secrets
    if (flaw := setup.api_key_flaw) is not None:
        return problem(f"{source} {flaw.found}", flaw.remedy)
    return ok(f"{source} begins with `idt_live_` and has 32 characters behind it")


async def check_bearer_token(setup: Setup) -> Finding | list[Finding]:
    """Check form and expiry of the JWT that manages webhooks; only Infodeck can verify it."""
    source = setup.settings.infodeck.bearer_token
    if source is None:
        return warning(
            "infodeck.bearer_token is not set: it is unknown whether Infodeck has a webhook that leads here,"
            " and whether its deliveries fail",
            "set the JWT of a user who may manage webhooks: bearer_token: {file: PATH}",
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
    expires = f"{source} expires in {span_text(left_s)}"
    if left_s < _WEEK_S:
        return warning(expires, f"{_OTHER_TOKEN} that is valid for longer")
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


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a secret, without any part of it."""

    found: str
    remedy: str


def _copying_flaw(secret: bytes) -> Flaw | None:
    """Return what was copied along with the secret: quotes, blanks, line ends."""
    text = secret.strip()
    if b"\0" in secret:
        return Flaw("has null bytes in it, as text has that was saved as UTF-16", "write it as plain text")
    if len(text) > 1 and text[:1] in _QUOTES and text[:1] == text[-1:]:
        return Flaw("has quotes around it that are not part of it", "take the quotes out")
    if text != secret:
        return Flaw("has blanks or line ends around it", "write it without them")
    if len(text.split()) > 1:
        return Flaw("has blanks or line ends within it", "write it on one line, as it was shown")
    return None


def api_key_flaw(key: bytes, *, signing_secrets: tuple[bytes, ...] = ()) -> Flaw | None:
    """Return what is wrong with an API key; blanks around it are harmless."""
    key = key.strip()
    if key in signing_secrets:
        return Flaw("is the webhook's signing secret", "put the API key there; it begins with `idt_live_`")
    if (flaw := _copying_flaw(key)) is not None:
        return flaw
    if _JWT.fullmatch(key):
        return Flaw("is a JWT", "put the API key there; the JWT belongs to infodeck.bearer_token")
    if not key.startswith(_API_KEY_PREFIX):
        return Flaw(
            "does not begin with `idt_live_`",
            "put the API key there; a webhook's signing secret is no API key",
        )
    return _characters_flaw(key)


def _characters_flaw(key: bytes) -> Flaw | None:
    if not key.isascii() or not key.decode().isprintable():
        return Flaw("has characters that no API key has", "copy the key once more, as it was shown")
    count = len(key) - len(_API_KEY_PREFIX)
    if count != _API_KEY_CHARACTERS:
        return Flaw(
            f"has {count} characters behind `idt_live_`, {_API_KEY_CHARACTERS} are expected",
            "copy the key once more, all of it",
        )
    return None


def signing_secret_flaw(secret: bytes) -> Flaw | None:
    """Return what is wrong with a signing secret, as far as its text shows."""
    return no_signing_secret(secret) or _guessable_flaw(secret)


def no_signing_secret(secret: bytes) -> Flaw | None:
    """Return why a text cannot be a secret made by Infodeck, whatever its length."""
    if secret.strip().startswith(_API_KEY_PREFIX):
        return Flaw("is an API key", _REAL_SECRET)
    if _ASSIGNMENT.match(secret):
        return Flaw("has a name and `=` before it", "write only what follows the `=`")
    if _PLACEHOLDER.search(secret):
        return Flaw("is a placeholder, not a secret", _REAL_SECRET)
    return _copying_flaw(secret)


def _guessable_flaw(secret: bytes) -> Flaw | None:
    """Return why a secret can be guessed. Infodeck does not document how long its secrets are."""
    if len(secret) < _SHORTEST:
        return Flaw(f"has {count_text(len(secret), 'character')}, so that it can be guessed", _REAL_SECRET)
    if len(set(secret)) <= _FEW:
        return Flaw("has hardly two different characters, so that it can be guessed", _REAL_SECRET)
    return None


def bearer_token_flaw(token: bytes, *, now_s: float) -> Flaw | None:
    """Return why Infodeck will refuse a JWT, as far as it shows; blanks around it are harmless.

    `now_s`: Unix time.
    """
    token = token.strip()
    if (flaw := _copying_flaw(token)) is not None:
        return flaw
    if token.startswith(_API_KEY_PREFIX):
        return Flaw("is an API key, which Infodeck refuses for webhooks", _OTHER_TOKEN)
    try:
        expiry_s = jwt_expiry_s(token)
    except ValueError as error:
        return Flaw(f"is no JWT: {error}", _OTHER_TOKEN)
    if expiry_s is not None and expiry_s <= now_s:
        return Flaw(f"expired {span_text(now_s - expiry_s)} ago", f"{_OTHER_TOKEN} that is still valid")
    return None


def jwt_expiry_s(token: bytes) -> float | None:
    """Return when a JWT expires (Unix seconds), None if it does not say; raises ValueError if it is none.

    Its signature is not verified: only Infodeck can do that.
    """
    token = token.strip()
    if not _JWT.fullmatch(token):
        raise ValueError("it does not consist of three parts with points between them")
    payload = token.split(b".")[1].rstrip(b"=")
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    except (binascii.Error, orjson.JSONDecodeError):
        raise ValueError("its middle part cannot be read") from None
    expiry = claims.get("exp") if isinstance(claims, dict) else None
    return float(expiry) if isinstance(expiry, int | float) and not isinstance(expiry, bool) else None
