"""What the gateway keeps of signing secrets over restarts: one file beside the journal, mode 0600.

It holds the secrets that are accepted although no source of the settings has them, and since when each
current secret is known, by a fingerprint: HMAC-SHA256 with a key of this file alone, so that two gateways'
files do not show that they have the same secret.
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
_KEY_BYTES = 32


Kept = dict[bytes, int | None]
"""Kept secrets, with when each was replaced (Unix ms); None: it is newer than what the settings have."""


class SecretMemory:
    """The file. `update` sets what it is to hold, `write` writes that; `read` and `write` block."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._key = token_bytes(_KEY_BYTES)
        self._first_seen: dict[str, int] = {}  # Unix ms by fingerprint
        self._document = self._written = b""
        self._writing = threading.Lock()  # not asyncio's: a thread goes on when its task is cancelled

    def read(self) -> Kept:
        """Return the kept secrets; raise GatewayError, which quotes nothing, if the file can't be used."""
        if not self.file.exists():
            return {}
        content = SecretSource("file", str(self.file)).resolve().reveal()
        try:
            document = orjson.loads(content)
            if document["form"] != _FORM:
                raise GatewayError(f"{self.file} was written by another version of the gateway")
            kept = {
                base64.b64decode(secret, validate=True): None if replaced_ms is None else int(replaced_ms)
                for secret, replaced_ms in document["accepted"].items()
            }
            first_seen = {str(name): int(since_ms) for name, since_ms in document["first_seen"].items()}
            self._key = bytes.fromhex(document["key"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise GatewayError(f"{self.file} is not what this gateway has written") from None
        if b"" in kept:
            raise GatewayError(f"{self.file} holds an empty secret")
        self._first_seen, self._written = first_seen, content
        return kept

    def first_seen_ms(self, secret: bytes, *, now_ms: int) -> int:
        """Return since when the gateway knows a secret: since now, if it is new."""
        return self._first_seen.setdefault(self._fingerprint(secret), now_ms)

    def update(self, *, current: Iterable[bytes], kept: Kept) -> None:
        """Set what the next `write` writes; other secrets than the `current` ones count as new again."""
        names = {self._fingerprint(secret) for secret in current}
        self._first_seen = {name: ms for name, ms in self._first_seen.items() if name in names}
        self._document = orjson.dumps(
            {
                "form": _FORM,
                "key": self._key.hex(),
                "first_seen": self._first_seen,
                "accepted": {base64.b64encode(secret).decode(): ms for secret, ms in kept.items()},
            }
        )

    def write(self) -> None:
        """Write what has changed, durably; raise OSError."""
        with self._writing:
            document = self._document
            if document != self._written:
                write_private(self.file, document)
                self._written = document

    def remove(self) -> None:
        """Remove the file; raise OSError."""
        with self._writing:
            remove_memory(self.file)
            self._written = b""

    def _fingerprint(self, secret: bytes) -> str:
        return hmac.digest(self._key, secret, "sha256").hex()


def remove_memory(file: Path) -> None:
    """Remove the file and what is left of an interrupted writing, durably; raise OSError."""
    for path in (file, draft_of(file)):
        if path.is_file():
            path.unlink()
            sync_folder(file.parent)
