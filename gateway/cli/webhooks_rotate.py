"""`gateway webhooks rotate`: replaces the signing secret without a delivery being lost.

`gateway.intake.signing_secrets` says in which order, and what is left if the command is killed between two
steps.
"""

from __future__ import annotations

import getpass
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from gateway.cli.control_client import NotRunningError, ask
from gateway.cli.secret_file import open_secret_file, uninterrupted
from gateway.cli.webhooks_access import find_webhook, leads_here, manage
from gateway.config.secrets import LONGEST_SECRET, is_usable
from gateway.doctor.secret_checks import no_signing_secret
from gateway.errors import ApiRefusalError, CommandError, GatewayError, TransientError
from gateway.infodeck.webhooks import leads_to, signing_secret_of
from gateway.intake.secret_memory import remove_memory
from gateway.settings import load_settings

if TYPE_CHECKING:
    import argparse

    from gateway.infodeck.api_client import InfodeckApi
    from gateway.settings import Settings

_CONTROL_PATH = "/signing-secrets"
_BACK_WITHIN_S = 60.0
_TRY_EVERY_S = 0.5
_MOST_READ_BYTES = 4 * LONGEST_SECRET + 2
_MOST_NAMES = 4
_LONGEST_NAME = 40
_SOURCE = "intake.signing_secrets[0]"
_FAILED = "gateway webhooks deliveries --failed"
_SECRET_UNKNOWN = (
    "Infodeck has answered, but not with a secret that can be used: if it signs with a new one by now,"
    f" deliveries are refused (401, `{_FAILED}`) until Infodeck's web page makes one that `gateway webhooks"
    " rotate --from-stdin` is given"
)


def rotate(arguments: argparse.Namespace) -> int:
    """Get a new secret into file and gateway; return 0 once both have it."""
    settings = load_settings(arguments.config).require()
    path = _file_of(settings, arguments.secret_file)
    if not arguments.from_stdin:
        _require_path(settings, arguments.config)
    runs = _is_running(arguments.config, required=not arguments.forget_old)
    given = _read_secret() if arguments.from_stdin else None
    with open_secret_file(path, may_replace=True) as file:
        api_path = "" if given or file.pending else _api_path(settings, arguments.id)
        with uninterrupted():
            secret = given or file.pending or manage(settings, lambda api: _ask_infodeck(api, api_path))
            steps = [file.write_new(secret)]
            if runs:
                steps.append(
                    send_secret(arguments.config, secret, settings, keep_previous=not arguments.forget_old)
                )
            else:
                steps.append(_forget_previous(settings.previous_secrets))
            if steps[0] is None:
                steps.append(file.rename_new())
    problems = [problem for problem in steps if problem is not None]
    if file.pending and not given:
        print("This has finished a rotation that did not end; no other secret was made.")
    lines = [*problems, "All else is done."] if problems else _done(path, settings, arguments, runs=runs)
    for line in [*lines, f"See whether it works: gateway webhooks test -c {arguments.config}"]:
        print(line)
    return 1 if problems else 0


def send_secret(config: Path, secret: bytes, settings: Settings, *, keep_previous: bool) -> str | None:
    """Send the secret to the gateway; return what could not be done, and what to do then.

    A gateway that does not run just now, but did a moment ago, is waited for: it starts with the old secret,
    which its file still holds.
    """
    document = {"secret": secret.decode(), "keep_previous": keep_previous}
    deadline = time.monotonic() + _BACK_WITHIN_S
    is_waiting = False
    while True:
        try:
            problem = ask(config, _CONTROL_PATH, document).get("problem")
        except NotRunningError as error:
            if time.monotonic() > deadline:
                return _not_sent(error, settings, keep_previous=keep_previous)
        except GatewayError as error:
            return _not_sent(error, settings, keep_previous=keep_previous)
        else:
            return None if problem is None else f"The gateway accepts the new secret, but {problem}"
        if not is_waiting:
            print(f"Waiting for the gateway to come back, {_BACK_WITHIN_S:g} s at most.", file=sys.stderr)
            is_waiting = True
        time.sleep(_TRY_EVERY_S)


def _not_sent(error: GatewayError, settings: Settings, *, keep_previous: bool) -> str:
    advice = "If it runs, restart it: it reads the new secret when it starts"
    if keep_previous and settings.intake.signing_secrets[0].kind == "file":
        advice = (
            "If it runs, `systemctl reload gateway` has it read its file, and accept the old secret for 48 h;"
            " if not, it reads the file when it starts"
        )
    return f"The new secret could not be sent to the gateway: {error}. {advice}"


def _file_of(settings: Settings, named: Path | None) -> Path:
    """Return the file that the gateway's signing secret comes from; raise CommandError if there is none."""
    source = settings.intake.signing_secrets[0]
    if source.kind == "env":
        raise CommandError(
            f"{_SOURCE} is {source}, and no command can change a variable of the gateway's environment: write"
            " the secret into a file (chmod 600) and set {file: PATH}, or {credential: NAME} with"
            " LoadCredential=NAME:PATH in the unit"
        )
    if source.kind == "file":
        configured = Path(source.name)
        if named is not None and os.path.realpath(named) != os.path.realpath(configured):
            raise CommandError(
                f"--secret-file {named}: the gateway reads {configured} ({_SOURCE}), leave this out"
            )
        return configured
    if named is None:
        raise CommandError(
            f"{_SOURCE} is {source}: say with --secret-file FILE which file LoadCredential={source.name}:"
            " names in the gateway's unit (`systemctl cat gateway` shows it)"
        )
    if not os.path.lexists(named):
        raise CommandError(
            f"{named} is not there: name the file that LoadCredential={source.name}: names in the unit"
            " (`systemctl cat gateway` shows it), or a restart has the old secret again"
        )
    return named


def _require_path(settings: Settings, config: Path) -> None:
    webhook = settings.infodeck.webhook
    if webhook is None or webhook.rotate is None:
        raise CommandError(
            "infodeck.webhook.rotate is not set: Infodeck's documents, as we know them, do not say where the"
            " API makes a new secret. If yours say it, set it, such as /webhooks/{id}/rotate. Without it:"
            " have Infodeck's web page make a new secret, then at once"
            f" `gateway webhooks rotate -c {config} --from-stdin`, and paste it there"
        )


def _is_running(config: Path, *, required: bool) -> bool:
    """Return whether the gateway runs; raise CommandError if it does not and is `required`."""
    try:
        ask(config, _CONTROL_PATH)
    except NotRunningError as error:
        if not required:
            return False
        raise CommandError(
            f"{error}. Only a running gateway goes on accepting the old secret: start it first, or say"
            " --forget-old if nothing that is signed with it is wanted any more"
        ) from error
    return True


def _read_secret() -> bytes:
    """Return the secret from standard input: typed or pasted unseen at a terminal, else the whole of it."""
    secret = _typed() if sys.stdin is not None and sys.stdin.isatty() else _piped()
    if not is_usable(secret) or "\ufffd" in secret:
        raise CommandError(
            "standard input holds no signing secret: a text of one line is expected, of"
            f" {LONGEST_SECRET} characters at most"
        )
    if (flaw := no_signing_secret(secret.encode())) is not None:
        raise CommandError(f"what standard input holds {flaw.found}: {flaw.remedy}")
    return secret.encode()


def _typed() -> str:
    try:
        return getpass.getpass("The new signing secret, as Infodeck shows it: ").strip()
    except EOFError:  # Ctrl-D
        return ""


def _piped() -> str:
    if sys.stdin is None:  # a shell's `<&-`
        return ""
    return sys.stdin.buffer.read(_MOST_READ_BYTES).decode(errors="replace").strip()


def _api_path(settings: Settings, given_id: str | None) -> str:
    """Return the path at which the API makes a new secret for the webhook that leads here."""
    named = settings.infodeck.webhook
    assert named is not None and named.rotate is not None  # noqa: S101, PT018 - `_require_path` has checked
    webhook, webhook_id = manage(settings, lambda api: find_webhook(api, settings, given_id))
    if not (leads_here(webhook, settings) or leads_to(webhook, url=named.url, webhook_id=None)):
        raise CommandError(
            f"the webhook {webhook_id} leads to {webhook.url or 'nowhere that is known'}, not here: rotate on"
            " the gateway that it leads to, or correct infodeck.webhook"
        )
    return named.rotate.replace("{id}", quote(webhook_id, safe=""))


async def _ask_infodeck(api: InfodeckApi, path: str) -> bytes:
    """Return the secret that Infodeck makes; raise CommandError, which says which one is in force then."""
    try:
        item = await api.rotate_secret(path)
    except ApiRefusalError as error:
        raise CommandError(
            f"Infodeck has made no new secret, the old one stays: {error}. It was asked at {path}"
            " (infodeck.webhook.rotate)"
        ) from error
    except TransientError as error:
        raise CommandError(
            f"whether Infodeck has made a new secret is not known: {error}. Try again soon: that makes"
            f" another one, and until then deliveries may be refused (401, `{_FAILED}`) and come again"
        ) from error
    except GatewayError as error:
        raise CommandError(f"{_SECRET_UNKNOWN}: {error}") from error
    secret = signing_secret_of(item)
    if secret is None:
        names = [repr(name[:_LONGEST_NAME]) for name in sorted(item)[:_MOST_NAMES]]
        there = ", ".join([*names, "…"] if len(item) > _MOST_NAMES else names) or "nothing"
        raise CommandError(f"{_SECRET_UNKNOWN}: no `signingSecret` in it that can be used ({there})")
    return secret.encode()


def _forget_previous(memory: Path) -> str | None:
    """Remove the previous secrets of a stopped gateway; return what failed."""
    try:
        remove_memory(memory)
    except OSError as error:
        return (
            f"{memory} can't be removed: {error.strerror or error}. Remove it, for a gateway that starts"
            " accepts the previous secrets in it"
        )
    return None


def _done(path: Path, settings: Settings, arguments: argparse.Namespace, *, runs: bool) -> list[str]:
    """Return what a rotation without problems has done."""
    lines = [f"{path} holds the new signing secret."]
    if not runs:
        lines.append("No gateway runs; when it starts, it accepts the new secret and not the old one.")
    elif arguments.forget_old:
        lines.append("The running gateway accepts it, and the old one no more.")
    else:
        lines.append(
            "The running gateway accepts it, and the old one for 48 h (/api/status: intake.previous_secrets)."
        )
    others = len(settings.intake.signing_secrets) - 1
    if arguments.forget_old and others:
        lines.append(
            f"It accepts {others} more that intake.signing_secrets names: take out what has leaked of them,"
            " and restart it."
        )
    if settings.intake.signing_secrets[0].kind == "credential":
        lines.append(f"A restart has systemd read {path} anew; none is needed now.")
    return lines
