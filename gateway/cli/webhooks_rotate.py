"""`gateway webhooks rotate`: a new signing secret, without a delivery being lost.

The order, and what an end at any point of it leaves behind, is in `gateway.intake.signing_secrets`.
"""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

from gateway.cli.webhooks_access import find_webhook, leads_here, manage
from gateway.cli.webhooks_secret import file_for_rotation, put_draft, uninterrupted, write_draft
from gateway.cli.webhooks_tell import forget_kept, is_running, tell
from gateway.config.secret_drafts import secret_draft
from gateway.config.secrets import LONGEST_SECRET, is_usable
from gateway.doctor.secret_checks import no_signing_secret
from gateway.errors import ApiRefusalError, CommandError, GatewayError, TransientError
from gateway.infodeck.webhooks import leads_to, signing_secret_of
from gateway.settings import load_settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.config.secret_drafts import SecretDraft
    from gateway.infodeck.api_client import InfodeckApi
    from gateway.settings import Settings

_MOST_READ_BYTES = 4 * LONGEST_SECRET + 2
_MOST_NAMES = 4
_LONGEST_NAME = 40
_FAILED = "gateway webhooks deliveries --failed"
_SECRET_UNKNOWN = (
    "Infodeck has answered, but not with a secret that can be used: if it signs with a new one by now,"
    f" deliveries are refused (401, `{_FAILED}`) until Infodeck's web page makes one that `gateway webhooks"
    " rotate --from-stdin` is given"
)


def rotate(arguments: argparse.Namespace) -> int:
    """Have a new secret made and taken over; return 0 once file and gateway have it."""
    settings = load_settings(arguments.config).require()
    path = file_for_rotation(settings, arguments.secret_file)
    if not arguments.from_stdin:
        _require_path(settings, arguments.config)
    runs = is_running(arguments.config, may_forget=arguments.forget_old)
    given = _read_secret() if arguments.from_stdin else None
    at = "" if given else _where(settings, wanted=arguments.id)
    with secret_draft(path, may_replace=True, holding=given) as draft, uninterrupted():
        secret = given or manage(settings, lambda api: _ask_infodeck(api, at))
        problems = _take_over(draft, secret, gateway=_gateway(arguments, settings, runs=runs))
    for line in _told(path, settings, problems, is_running=runs, forget=arguments.forget_old):
        print(line)
    print(f"See whether it works: gateway webhooks test -c {arguments.config}")
    return 1 if problems else 0


def _require_path(settings: Settings, config: Path) -> None:
    webhook = settings.infodeck.webhook
    if webhook is None or webhook.rotate is None:
        raise CommandError(
            "infodeck.webhook.rotate is not set: Infodeck's documents, as we know them, do not say where the"
            " API makes a new secret. If yours say it, set it, such as /webhooks/{id}/rotate. Without it:"
            " have Infodeck's web page make a new secret, then at once"
            f" `gateway webhooks rotate -c {config} --from-stdin`, and paste it there"
        )


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


def _where(settings: Settings, *, wanted: str | None) -> str:
    """Return the path at which a new secret is asked for."""
    named = settings.infodeck.webhook
    assert named is not None and named.rotate is not None  # noqa: S101, PT018 - checked at the beginning
    webhook, webhook_id = manage(settings, lambda api: find_webhook(api, settings, wanted=wanted))
    if not (leads_here(webhook, settings) or leads_to(webhook, url=named.url, webhook_id=None)):
        raise CommandError(
            f"the webhook {webhook_id} leads to {webhook.url or 'nowhere that is known'}, not here: rotate on"
            " the gateway that it leads to, or correct infodeck.webhook"
        )
    return named.rotate.replace("{id}", quote(webhook_id, safe=""))


async def _ask_infodeck(api: InfodeckApi, path: str) -> bytes:
    """Return the secret that Infodeck makes; raise CommandError that says which one is in force then."""
    try:
        item = await api.rotate_secret(path)
    except ApiRefusalError as error:
        raise CommandError(
            f"Infodeck has made no new secret, the old one goes on: {error}. It was asked at {path}"
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


def _gateway(
    arguments: argparse.Namespace, settings: Settings, *, runs: bool
) -> Callable[[bytes], str | None]:
    """Return what has the gateway know of a new secret, or forget the former ones where it does not run."""
    if not runs:
        return lambda _: forget_kept(settings.previous_secrets)
    source = settings.intake.signing_secrets[0].kind
    return lambda secret: tell(arguments.config, secret, keep=not arguments.forget_old, source=source)


def _take_over(draft: SecretDraft, secret: bytes, *, gateway: Callable[[bytes], str | None]) -> list[str]:
    """Have the secret on disk, the gateway know it, the file in its place; return what could not be done."""
    problems = [write_draft(draft, secret), gateway(secret)]
    if draft.is_written:
        problems.append(put_draft(draft))
    return [problem for problem in problems if problem is not None]


def _told(
    path: Path, settings: Settings, problems: Sequence[str], *, is_running: bool, forget: bool
) -> list[str]:
    if problems:
        return [*problems, "All else is done."]
    lines = [f"{path} holds the new signing secret."]
    if not is_running:
        lines.append("No gateway runs; when it starts, it accepts the new secret and not the old one.")
    elif forget:
        lines.append("The running gateway accepts it, and the old one no more.")
    else:
        lines.append(
            "The running gateway accepts it, and the old one until nothing was signed with that for 24 h"
            " (/api/status: intake.previous_secrets)."
        )
    others = len(settings.intake.signing_secrets) - 1
    if forget and others:
        lines.append(
            f"It accepts {others} more that intake.signing_secrets names: take out what has leaked of them,"
            " and restart it."
        )
    if settings.intake.signing_secrets[0].kind == "credential":
        lines.append(f"A restart has systemd read {path} anew; none is needed now.")
    return lines
