"""Pure: what is to be seen of a secret without asking anybody: copied whole, and the right one of the two.

Source: Infodeck's integration guide, which describes the API key, and where each secret is used.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

import orjson

from gateway.doctor.findings import counted, span

API_KEY_PREFIX = b"idt_live_"
API_KEY_CHARACTERS = 32

ANOTHER_TOKEN = "put a JWT there of a user who may manage webhooks"  # noqa: S105 - a remedy, no password
"""How the remedies of a Bearer token begin."""

THE_REAL_ONE = "put the signing secret there, which Infodeck showed when the webhook was created"

_SHORTEST = 12  # characters
_FEW = 2  # different ones
_ASSIGNMENT = re.compile(rb"(export\s+)?[A-Za-z_]\w*=[^=]")  # base64 has `=` at its end alone
_PLACEHOLDER = re.compile(rb"change[-_ ]?(me|it|this)|placeholder|your[-_ ]|<.*>", re.IGNORECASE)
_QUOTES = (b'"', b"'", b"`")
_JWT = re.compile(rb"[A-Za-z0-9_-]+={0,2}\.[A-Za-z0-9_-]+={0,2}\.[A-Za-z0-9_-]*={0,2}")


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a secret; never a part of it."""

    found: str
    remedy: str


def wrapping_flaw(secret: bytes) -> Flaw | None:
    """Return what came along when the secret was copied: quotes, blanks, line ends."""
    text = secret.strip()
    if b"\0" in secret:
        return Flaw("has null bytes in it, as text has that was saved as UTF-16", "write it as plain text")
    if len(text) > 1 and text[:1] in _QUOTES and text[:1] == text[-1:]:
        return Flaw("has quotes around it, which are no part of it", "take the quotes out")
    if text != secret:
        return Flaw("has blanks or line ends around it", "write it without them")
    if len(text.split()) > 1:
        return Flaw("has blanks or line ends within it", "write it on one line, as it was shown")
    return None


def api_key_flaw(key: bytes, *, signing_secrets: tuple[bytes, ...] = ()) -> Flaw | None:
    """Return what is wrong with an API key; blanks around it do no harm."""
    key = key.strip()
    if key in signing_secrets:
        return Flaw("is the webhook's signing secret", "put the API key there; it begins with `idt_live_`")
    if (flaw := wrapping_flaw(key)) is not None:
        return flaw
    if _JWT.fullmatch(key):
        return Flaw("is a JWT", "put the API key there; the JWT belongs to infodeck.bearer_token")
    if not key.startswith(API_KEY_PREFIX):
        return Flaw(
            "does not begin with `idt_live_`",
            "put the API key there; a webhook's signing secret is no API key",
        )
    return _characters_flaw(key)


def _characters_flaw(key: bytes) -> Flaw | None:
    if not key.isascii() or not key.decode().isprintable():
        return Flaw("has characters that no API key has", "copy the key once more, as it was shown")
    count = len(key) - len(API_KEY_PREFIX)
    if count != API_KEY_CHARACTERS:
        return Flaw(
            f"has {count} characters behind `idt_live_`, {API_KEY_CHARACTERS} are expected",
            "copy the key once more, all of it",
        )
    return None


def signing_secret_flaw(secret: bytes) -> Flaw | None:
    """Return what is wrong with a signing secret, as far as an opaque text can tell."""
    return no_signing_secret(secret) or _guessable_flaw(secret)


def no_signing_secret(secret: bytes) -> Flaw | None:
    """Return why a text is none that Infodeck could have made, however long its secrets are."""
    if secret.strip().startswith(API_KEY_PREFIX):
        return Flaw("is an API key", THE_REAL_ONE)
    if _ASSIGNMENT.match(secret):
        return Flaw("has a name and `=` before it", "write what stands behind the `=` alone")
    if _PLACEHOLDER.search(secret):
        return Flaw("is a text that stands for a secret, not one", THE_REAL_ONE)
    return wrapping_flaw(secret)


def _guessable_flaw(secret: bytes) -> Flaw | None:
    """Return why anybody could sign as Infodeck. Infodeck's documents do not say how long its secrets are."""
    if len(secret) < _SHORTEST:
        return Flaw(f"has {counted(len(secret), 'character')}, so that it can be guessed", THE_REAL_ONE)
    if len(set(secret)) <= _FEW:
        return Flaw("has hardly two different characters, so that it can be guessed", THE_REAL_ONE)
    return None


def bearer_token_flaw(token: bytes, *, now_s: float) -> Flaw | None:
    """Return why Infodeck will refuse a JWT, as far as it shows; blanks around it do no harm.

    `now_s`: Unix time.
    """
    token = token.strip()
    if (flaw := wrapping_flaw(token)) is not None:
        return flaw
    if token.startswith(API_KEY_PREFIX):
        return Flaw("is an API key, which Infodeck refuses for webhooks", ANOTHER_TOKEN)
    try:
        expiry_s = jwt_expiry_s(token)
    except ValueError as error:
        return Flaw(f"is no JWT: {error}", ANOTHER_TOKEN)
    if expiry_s is not None and expiry_s <= now_s:
        return Flaw(f"expired {span(now_s - expiry_s)} ago", f"{ANOTHER_TOKEN} that is still valid")
    return None


def jwt_expiry_s(token: bytes) -> float | None:
    """Return when a JWT expires (Unix seconds), None where it does not say; ValueError where it is none.

    Nothing is verified: that is up to Infodeck.
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
