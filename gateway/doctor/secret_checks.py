"""Checks of the secrets: whether they can be read, how old they are, whether they look right.

Infodeck's integration guide describes the form of the API key and where each secret is used.
"""

from __future__ import annotations

import base64
import errno
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from gateway.config.problems import path_text
from gateway.config.secrets import ROTATE_AFTER_S
from gateway.doctor.diagnosis import Finding, ok, problem, warning
from gateway.errors import ConfigError
from gateway.settings.settings_file import secret_sources
from gateway.text import count_text, span_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.config.secrets import SecretSource
    from gateway.doctor.facts import Facts

_DAY_S = 86_400
_WEEK_S = 7 * _DAY_S
_OTHER_TOKEN = "put a JWT there of a user who may manage webhooks"  # noqa: S105 - a remedy, no password
_REAL_SECRET = "put the signing secret there, that Infodeck showed when the webhook was created"  # noqa: S105 - likewise
_REAL_KEY = "put the API key there, as it was shown; it begins with `idt_live_`"
_UNREADABLE = {
    "file": "write the secret, and nothing else, into a file that only the gateway's user may read",
    "env": "set it for the service: EnvironmentFile= in the unit",
    "credential": "give it to the service: LoadCredential= in the unit",
}

_API_KEY_PREFIX = b"idt_live_"
_API_KEY_CHARACTERS = 32
_SHORTEST = 12  # characters
_FEW = 2  # different ones
_ASSIGNMENT = re.compile(rb"(export\s+)?[A-Za-z_]\w*=[^=]")  # base64 has `=` only at its end
_PLACEHOLDER = re.compile(rb"change[-_ ]?(me|it|this)|placeholder|your[-_ ]|<.*>", re.IGNORECASE)
_QUOTES = (b'"', b"'", b"`")


def check_secrets(facts: Facts) -> Iterator[Finding]:
    """Report the secrets that cannot be read."""
    sources: list[tuple[Any, SecretSource]] = list(secret_sources(facts.settings))
    used = [(path, source) for path, source in sources if path[0] not in facts.broken]
    unreadable = [each for each in used if isinstance(facts.secrets[each[1]], ConfigError)]
    findings = [
        _unreadable(facts, source, f"{path_text(path)}: {facts.secrets[source]}")
        for path, source in unreadable
    ]
    files = [(path, Path(one.name)) for path, one in used if one.kind == "file" and facts.secret(one)]
    owner = _owner_of(facts.settings.journal.path)
    findings += [finding for path, file in files if (finding := _of_another(path, file, owner)) is not None]
    yield from findings
    if used and not findings:
        yield ok(f"all can be read ({len(used)})")


def _owner_of(journal: Path) -> int:
    """Return the gateway's user, root if that is unknown."""
    try:
        return journal.stat().st_uid
    except OSError:
        return 0


def _of_another(path: Any, file: Path, owner: int) -> Finding | None:
    """Report a file that root may read, but not the gateway's user."""
    status = file.stat()
    if owner in {0, status.st_uid} or status.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return None
    return warning(
        f"{path_text(path)}: {file} belongs to user {status.st_uid}, the journal to user {owner}",
        f"let the gateway's user read it: chown {owner} {file}",
    )


def _unreadable(facts: Facts, source: SecretSource, found: str) -> Finding:
    if source.kind == "credential" and "CREDENTIALS_DIRECTORY" not in os.environ:
        return warning(
            found,
            "only the service has it; while that runs:"
            " sudo CREDENTIALS_DIRECTORY=/run/credentials/gateway.service gateway doctor …",
        )
    if source.kind == "env" and facts.daemon.status is not None:
        return warning(found, "set it for this command, too: the running gateway may have it")
    if found.endswith(os.strerror(errno.EACCES)):
        return warning(found, "run this command as the gateway's user, or as root")
    return problem(found, _UNREADABLE[source.kind])


def check_signing_secrets(facts: Facts) -> Iterator[Finding]:
    """Check the form and the age of each signing secret."""
    known = facts.daemon.list_at("intake.secrets")
    known_ms = {each.get("source"): each.get("changed_ms") for each in known if isinstance(each, dict)}
    for source in facts.settings.signing_secrets:
        secret = facts.secret(source)
        if secret is not None and (flaw := signing_secret_flaw(secret.reveal())) is not None:
            yield problem(f"{source} {flaw.found}", flaw.remedy)
            continue
        since_ms = (secret and secret.changed_ms) or known_ms.get(str(source))
        if secret is not None or since_ms is not None:  # otherwise reported by the check of all secrets
            yield _age(facts, source, since_ms)
    if count := facts.daemon.at("intake.previous_secrets.number", 0):
        yield ok(f"{count_text(count, 'previous one')} accepted for 48 h after it was replaced")


def _age(facts: Facts, source: SecretSource, since_ms: int | None) -> Finding:
    if since_ms is None:
        return ok(f"{source}: its age is unknown here; renew it every 90 days")
    age_s = facts.now_ms / 1000 - since_ms / 1000
    found = f"{source} is known for {count_text(int(age_s // _DAY_S), 'day')}"
    if age_s > ROTATE_AFTER_S:
        return warning(found, "renew it: `gateway webhooks rotate`, every 90 days")
    return ok(found)


def check_api_key(facts: Facts) -> Iterator[Finding]:
    """Check the form of the API key; whether the API accepts it is another check."""
    source = facts.settings.infodeck.api_key
    key = facts.secret(source)
    has_automatic = facts.point_map is not None and facts.point_map.has_automatic
    if source is None and facts.settings.source is not None and not has_automatic:
        yield ok("infodeck.api_key is not set: the gateways with an intake compare with Infodeck")
    elif source is None:
        yield warning(
            "infodeck.api_key is not set: names, locations and units are unknown, and values that webhooks"
            " miss are neither noticed nor backfilled",
            "create an API key for this gateway in Infodeck, and set it: api_key: {file: PATH}",
        )
    elif key is None:
        pass  # reported by the check of all secrets
    elif (flaw := api_key_flaw(key.reveal())) is not None:
        yield problem(f"{source} {flaw.found}", flaw.remedy)
    else:
        yield ok(f"{source} begins with `idt_live_` and has 32 characters behind it")


def check_bearer_token(facts: Facts) -> Iterator[Finding]:
    """Check form and expiry of the JWT that manages webhooks; only Infodeck can verify it."""
    source = facts.settings.infodeck.bearer_token
    token = facts.secret(source)
    if source is None and facts.settings.source is not None:
        pass  # webhooks are the business of the gateways with an intake
    elif source is None:
        yield warning(
            "infodeck.bearer_token is not set: it is unknown whether Infodeck has a webhook that leads here,"
            " and whether its deliveries fail",
            "set the JWT of a user who may manage webhooks: bearer_token: {file: PATH}",
        )
    elif token is None:
        pass  # reported by the check of all secrets
    elif (flaw := bearer_token_flaw(token.reveal(), now_s=facts.now_ms / 1000)) is not None:
        yield problem(f"{source} {flaw.found}", flaw.remedy)
    elif (expiry_s := jwt_expiry_s(token.reveal())) is None:
        yield ok(f"{source} does not say when it expires")
    else:
        left_s = expiry_s - facts.now_ms / 1000
        expires = f"{source} expires in {span_text(left_s)}"
        yield (
            ok(expires) if left_s > _WEEK_S else warning(expires, f"{_OTHER_TOKEN} that is valid for longer")
        )


class Flaw(NamedTuple):
    """What is wrong with a secret, without any part of it."""

    found: str
    remedy: str


def _first(flaws: Iterable[tuple[object, str, str]]) -> Flaw | None:
    return next((Flaw(found, remedy) for is_there, found, remedy in flaws if is_there), None)


def _copying_flaws(secret: bytes) -> list[tuple[object, str, str]]:
    """Return what may be copied along with any secret."""
    is_quoted = len(secret) > 1 and secret[:1] in _QUOTES and secret[:1] == secret[-1:]
    is_printable = secret.isascii() and secret.decode().isprintable()
    return [
        (is_quoted, "has quotes around it that are not part of it", "take the quotes out"),
        (
            secret.strip() != secret or len(secret.split()) > 1,
            "has blanks or line ends in it",
            "write it on one line, as it was shown, and nothing else",
        ),
        (not is_printable, "has characters that no secret has", "copy it once more, as plain text"),
    ]


def api_key_flaw(key: bytes) -> Flaw | None:
    """Return what is wrong with an API key; blanks around it are harmless."""
    key = key.strip()
    count = len(key) - len(_API_KEY_PREFIX)
    return _first(
        [
            *_copying_flaws(key),
            (not key.startswith(_API_KEY_PREFIX), "does not begin with `idt_live_`", _REAL_KEY),
            (
                count != _API_KEY_CHARACTERS,
                f"has {count} characters behind `idt_live_`, {_API_KEY_CHARACTERS} are expected",
                "copy the key once more, all of it",
            ),
        ]
    )


def signing_secret_flaw(secret: bytes) -> Flaw | None:
    """Return what is wrong with a signing secret. Infodeck does not document how long its secrets are."""
    is_guessable = len(secret) < _SHORTEST or len(set(secret)) <= _FEW
    guessable = Flaw("is so short or simple that it can be guessed", _REAL_SECRET)
    return no_signing_secret(secret) or (guessable if is_guessable else None)


def no_signing_secret(secret: bytes) -> Flaw | None:
    """Return why a text cannot be a secret made by Infodeck, whatever its length."""
    return _first(
        [
            (secret.strip().startswith(_API_KEY_PREFIX), "is an API key", _REAL_SECRET),
            (
                _ASSIGNMENT.match(secret),
                "has a name and `=` before it",
                "write only what follows the `=`",
            ),
            (_PLACEHOLDER.search(secret), "is a placeholder, not a secret", _REAL_SECRET),
            *_copying_flaws(secret),
        ]
    )


def bearer_token_flaw(token: bytes, *, now_s: float) -> Flaw | None:
    """Return why Infodeck will refuse a JWT, as far as it shows; blanks around it are harmless."""
    token = token.strip()
    if token.startswith(_API_KEY_PREFIX):
        return Flaw("is an API key, which Infodeck refuses for webhooks", _OTHER_TOKEN)
    if (flaw := _first(_copying_flaws(token))) is not None:
        return flaw
    try:
        expiry_s = jwt_expiry_s(token)
    except ValueError:
        return Flaw("is no JWT: three parts with points between them", _OTHER_TOKEN)
    if expiry_s is not None and expiry_s <= now_s:
        return Flaw(f"expired {span_text(now_s - expiry_s)} ago", f"{_OTHER_TOKEN} that is still valid")
    return None


def jwt_expiry_s(token: bytes) -> float | None:
    """Return when a JWT expires (Unix seconds), None if it does not say; raise ValueError if it is none.

    Its signature is not verified: only Infodeck can do that.
    """
    _, payload, _ = token.strip().split(b".")
    claims = orjson.loads(base64.urlsafe_b64decode(payload + b"=="))  # more padding than needed is allowed
    expiry = claims.get("exp") if isinstance(claims, dict) else None
    return float(expiry) if isinstance(expiry, int | float) and not isinstance(expiry, bool) else None
