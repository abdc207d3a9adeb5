"""Where `gateway webhooks` puts a signing secret, and how it is not lost once Infodeck has given it away."""

from __future__ import annotations

import os
import signal
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config.secret_drafts import SecretDraft
    from gateway.settings import Settings

_SOURCE = "intake.signing_secrets[0]"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def file_for_new_webhook(settings: Settings, named: Path | None) -> Path:
    """Return where the secret of a new webhook goes; raise CommandError where there is no place for it."""
    source = settings.intake.signing_secrets[0]
    if named is not None:
        return named
    if source.kind == "file":
        return Path(source.name)
    raise CommandError(
        f"{_SOURCE} is {source}: say with --secret-file FILE where the signing secret is to be written; it is"
        " never shown"
    )


def file_for_rotation(settings: Settings, named: Path | None) -> Path:
    """Return the file that the gateway's signing secret comes from; raise CommandError if there is none."""
    source = settings.intake.signing_secrets[0]
    if source.kind == "env":
        raise CommandError(
            f"{_SOURCE} is {source}, and no command can change a variable of the gateway's environment: write"
            " the secret into a file (chmod 600) and set {file: PATH}, or {credential: NAME} with"
            " LoadCredential=NAME:PATH in the unit"
        )
    if source.kind == "credential":
        if named is None:
            raise CommandError(
                f"{_SOURCE} is {source}: say with --secret-file FILE which file LoadCredential={source.name}:"
                " names in the gateway's unit (`systemctl cat gateway` shows it)"
            )
        if _is_missing(named):
            raise CommandError(
                f"{named} is not there: name the file that LoadCredential={source.name}: names in the unit"
                " (`systemctl cat gateway` shows it), or a restart has the old secret again"
            )
        return named
    configured = Path(source.name)
    if named is not None and os.path.realpath(named) != os.path.realpath(configured):
        raise CommandError(
            f"--secret-file {named}: the gateway reads {configured} ({_SOURCE}), leave this out"
        )
    return configured


def _is_missing(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:  # told when it is to be replaced
        return False
    return False


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let neither Ctrl-C nor a terminal that is closed end us with a secret in our hands."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write_draft(draft: SecretDraft, secret: bytes) -> str | None:
    """Write the secret into the draft, or else anywhere; return where it is then and what to do."""
    try:
        draft.write(secret)
    except OSError as error:
        why = f"{draft.file} can't be written: {error.strerror or error}"
    else:
        return None
    try:
        descriptor, name = tempfile.mkstemp(prefix="gateway-signing-secret-")  # for our user alone
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secret + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        return f"{why}. The new secret is in no file: make room, then have Infodeck make another one"
    return f"{why}. The new secret is in {name}: move it to {draft.path} (its owner, its mode)"


def put_draft(draft: SecretDraft) -> str | None:
    """Put the draft in the place of the file; return where the secret is if that fails, and what to do."""
    try:
        draft.put()
    except OSError as error:
        if draft.is_put:
            return f"{draft.path} holds the new secret, but may not after a power cut: {error.strerror}"
        return (
            f"{draft.path} can't be replaced: {error.strerror or error}. The new secret is in {draft.file}:"
            f" mv {draft.file} {draft.path}"
        )
    return None
