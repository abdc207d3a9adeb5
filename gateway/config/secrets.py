"""Secrets are never written into a file of settings: it says where they are, and they are read when needed.

`{env: NAME}` is an environment variable, `{file: PATH}` a file of its own that nobody else may
read, `{credential: NAME}` a systemd credential (`LoadCredential=`). No message repeats what was written.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from gateway.config.problems import FieldError
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_LARGEST_BYTES = 64 << 10
LONGEST_SECRET = 1000  # characters
ROTATE_AFTER_S = 90 * 86_400  # by Infodeck's integration guide
_BLANKS = b"\0 \t\r\n\v\f"
_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_READ_ONLY = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_A_SECRET_ITSELF = re.compile(r"idt_live_|whsec_")
_ADVICE = "write {env: NAME}, {file: PATH} or {credential: NAME}, and keep the secret itself out of this file"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Secret:
    """A secret that was read. Shows itself as `***` everywhere; `reveal` alone gives it away.

    `source` says where it is; `changed_ms` when it was last written there (Unix ms), None where nobody knows.
    """

    _value: bytes
    source: str = ""
    changed_ms: int | None = None

    def reveal(self) -> bytes:
        """Return the secret itself, without the line ends behind it."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a secret is not to be written anywhere")


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Where a secret is: `name` is a variable, an absolute path, or a credential."""

    kind: Literal["env", "file", "credential"]
    name: str

    def __str__(self) -> str:
        return f"{{{self.kind}: {self.name}}}"

    def resolve(self, environ: Mapping[str, str] = os.environ) -> Secret:
        """Read the secret; raise ConfigError, which says what is missing and what to do."""
        changed_ms = None
        if self.kind == "file":
            value, changed_ms = _from_file(Path(self.name), private=True)
        elif self.kind == "env" and self.name in environ:
            value = os.fsencode(environ[self.name])
        elif self.kind == "env":
            raise ConfigError([f"the environment variable {self.name} is not set"])
        elif folder := environ.get("CREDENTIALS_DIRECTORY"):
            # systemd itself keeps others out, and copies it at each start
            value, _ = _from_file(Path(folder, self.name), private=False)
        else:
            advice = f"the unit needs LoadCredential={self.name}:/path/to/it"
            raise ConfigError([f"there are no systemd credentials here; {advice}"])
        value = value.rstrip(b"\r\n")
        # A power cut may leave null bytes; to HMAC, a key of them is the same as none: anybody could sign.
        if not value.strip(_BLANKS):
            raise ConfigError([f"the secret {self} is empty"])
        if value.startswith(_BYTE_ORDER_MARKS):
            raise ConfigError([f"the secret {self} begins with a byte order mark: save it without one"])
        return Secret(value, source=str(self), changed_ms=changed_ms)


def _from_file(path: Path, *, private: bool) -> tuple[bytes, int]:
    """Return what the file holds, and when it was changed (Unix ms)."""
    try:
        with open(path, "rb", opener=_open_without_waiting) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError([f"the secret file {path} is not a regular file"])
            if private and others_may_read(status):
                mode = stat.S_IMODE(status.st_mode)
                raise ConfigError([f"others may read the secret file {path} ({mode:04o}): chmod 600 {path}"])
            value = stream.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"the secret file {path} cannot be read: {error.strerror}"]) from None
    if len(value) > _LARGEST_BYTES:
        raise ConfigError([f"the secret file {path} is larger than {_LARGEST_BYTES >> 10} KiB: no secret"])
    return value, status.st_mtime_ns // 1_000_000


def others_may_read(status: os.stat_result) -> bool:
    """Return whether others may read a file, other than by a grant of our user, root or a group of ours.

    A read-only mode is a grant, for no umask leaves one: Kubernetes mounts secrets with 0440, Docker Swarm
    with 0444.
    """
    mode = stat.S_IMODE(status.st_mode)
    if not mode & _FOR_OTHERS:
        return False
    is_ours = status.st_uid in (0, os.geteuid()) or status.st_gid in (os.getegid(), *os.getgroups())
    return bool(mode & ~_READ_ONLY) or not is_ours


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe in its place must not hang the gateway


def is_usable(secret: str) -> bool:
    """Return whether a text can be a signing secret: one line without spaces around it."""
    return 0 < len(secret) <= LONGEST_SECRET and secret.isprintable() and secret.strip() == secret


def parse_secret(written: object, info: ValidationInfo) -> SecretSource:
    """Return where the secret is; raise FieldError, without what was written, for anything else."""
    if isinstance(written, SecretSource):
        return written
    if not isinstance(written, dict):
        raise FieldError(f"a secret is not written here: {_ADVICE}", secret=True)
    match list(written.items()):
        case [(_, str(name))] if _A_SECRET_ITSELF.search(name) or not name.isprintable():
            pass
        case [("env" | "credential" as kind, str(name))] if re.fullmatch(_KINDS[kind]["pattern"], name):
            if name not in {".", ".."}:
                return SecretSource(kind, name)
        case [("file", str(name))] if name:
            folder: Path = (info.context or {}).get("folder", Path())
            return SecretSource("file", str(folder / name))
    raise FieldError(f"this does not say where a secret is: {_ADVICE}", secret=True)


def _parse_secrets(written: object) -> tuple[object, ...]:
    if not isinstance(written, list | tuple):
        raise FieldError(f"a list of secrets is expected, [{{env: NAME}}]: {_ADVICE}", secret=True)
    return tuple(written)


_KINDS: dict[str, dict[str, Any]] = {
    "env": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "description": "The name of an environment variable."},
    "file": {"minLength": 1, "description": "A file of its own that nobody else may read (chmod 600)."},
    "credential": {
        "pattern": r"^[^/\s]+$",
        "description": "A systemd credential: LoadCredential= in the unit.",
    },
}

SecretReference = Annotated[
    SecretSource,
    BeforeValidator(parse_secret),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {kind: {"type": "string", **keys} for kind, keys in _KINDS.items()},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        }
    ),
]
SecretReferences = Annotated[tuple[SecretReference, ...], BeforeValidator(_parse_secrets)]
