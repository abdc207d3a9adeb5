"""What the gateway keeps of signing secrets over restarts: one file beside the journal, mode 0600.

It holds the secrets that are accepted although no source of the settings has them, and since when each
current secret is known, by a fingerprint with a key of this file alone, so that two gateways' files do not
show that they have the same secret.
"""

from __future__ import annotations

import base64
import hmac
import threading
from secrets import token_bytes
from typing import TYPE_CHECKING

import orjson

from gateway.config.private_files import draft_of, sync_folder, write_private
from gateway.config.secrets import SecretSource
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_FORM = 2

Kept = dict[bytes, int | None]
"""Kept secrets, with when each was replaced (Unix ms); None: it is newer than what the settings have."""


class SecretMemory:
    """The file; reading and writing block."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._key = token_bytes(32)
        self._first_seen: dict[str, int] = {}  # Unix ms by fingerprint
        self._written = b""
        self._writing = threading.Lock()  # not asyncio's: a thread goes on when its task is cancelled

    def read(self) -> Kept:
        """Return the kept secrets; raise GatewayError, which quotes nothing, if the file can't be used."""
        if not self.file.exists():
            return {}
        content = SecretSource("file", str(self.file)).resolve().reveal()
        try:
            document = orjson.loads(content)
            kept = {base64.b64decode(secret): ms for secret, ms in document["accepted"].items()}
            first_seen, key = dict(document["first_seen"]), bytes.fromhex(document["key"])
        except (ValueError, KeyError, TypeError, AttributeError):
            document = kept = {}
        if document.get("form") != _FORM or b"" in kept:
            raise GatewayError(f"{self.file} was not written by this version of the gateway")
        self._first_seen, self._key, self._written = first_seen, key, content
        return kept

    def first_seen_ms(self, secret: bytes, *, now_ms: int) -> int:
        """Return since when the gateway knows a secret: since now, if it is new."""
        return self._first_seen.setdefault(self._fingerprint(secret), now_ms)

    def write(self, *, current: Iterable[bytes], kept: Kept) -> None:
        """Write what has changed, durably; raise OSError. Ages are kept of `current` secrets only."""
        with self._writing:
            names = [self._fingerprint(secret) for secret in current]
            accepted = {base64.b64encode(secret).decode(): ms for secret, ms in kept.items()}
            first_seen = {name: self._first_seen[name] for name in names}
            document = orjson.dumps(
                {"form": _FORM, "key": self._key.hex(), "first_seen": first_seen, "accepted": accepted}
            )
            if document != self._written:
                write_private(self.file, document)
                self._written = document

    def _fingerprint(self, secret: bytes) -> str:
        return hmac.digest(self._key, secret, "sha256").hex()


def remove_memory(file: Path) -> None:
    """Remove the file and what is left of an interrupted writing, durably; raise OSError."""
    for path in (file, draft_of(file)):
        if path.is_file():
            path.unlink()
            sync_folder(file.parent)
