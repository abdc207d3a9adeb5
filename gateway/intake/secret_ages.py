"""Since when the gateway knows each signing secret: not every source tells when it was written there.

A file beside the journal, for the gateway's user alone (0600): of each secret a fingerprint (HMAC-SHA256),
keyed with a random text of this file, so that two gateways' files do not show that they have the same one.
"""

from __future__ import annotations

import hmac
from secrets import token_bytes
from typing import TYPE_CHECKING

import orjson

from gateway.config.private_files import write_private
from gateway.config.secrets import SecretSource
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_FORM = 1
_KEY_BYTES = 32


def first_seen_ms(path: Path, secrets: Iterable[bytes], *, now_ms: int) -> dict[bytes, int]:
    """Return since when (Unix ms) each secret is known, and remember it durably; others are forgotten.

    Blocking. Raise OSError where that can't be written. A file that can't be used is begun anew.
    """
    key, before = _read(path)
    seen = {secret: before.get(_fingerprint(key, secret), now_ms) for secret in secrets}
    after = {_fingerprint(key, secret): since_ms for secret, since_ms in seen.items()}
    if after != before:
        document = {"form": _FORM, "key": key.hex(), "seen": after}
        write_private(path, orjson.dumps(document) + b"\n")
    return seen


def _read(path: Path) -> tuple[bytes, dict[str, int]]:
    """Return the key and what is remembered; a new key and nothing where there is no usable file."""
    try:
        document = orjson.loads(SecretSource("file", str(path)).resolve().reveal())
        seen = {str(fingerprint): int(since_ms) for fingerprint, since_ms in document["seen"].items()}
        key = bytes.fromhex(document["key"])
        if document["form"] == _FORM and len(key) == _KEY_BYTES:
            return key, seen
    except (GatewayError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return token_bytes(_KEY_BYTES), {}


def _fingerprint(key: bytes, secret: bytes) -> str:
    return hmac.digest(key, secret, "sha256").hex()
