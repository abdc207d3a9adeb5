"""`gateway webhooks register` and `rotate`: Infodeck makes a signing secret, and it goes into its file.

`gateway.intake.signing_secrets` has the order of a rotation, and what is left if it is killed in between.
"""

from __future__ import annotations

import getpass
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from gateway.cli.control_client import NotRunningError, ask
from gateway.cli.loading import require_intake
from gateway.cli.secret_file import open_secret_file, uninterrupted
from gateway.cli.webhooks_list import find_webhook, leads_here, list_webhooks, manage
from gateway.config.secrets import LONGEST_SECRET, is_usable
from gateway.doctor.secret_checks import no_signing_secret
from gateway.errors import ApiRefusalError, CommandError, GatewayError, TransientError
from gateway.events import ABOUT_ASSETS, TELEMETRY
from gateway.infodeck.webhooks import (
    ALL_DOCUMENTED_EVENTS,
    DOCUMENTED_EVENTS,
    leads_to,
    published_types,
    signing_secret_of,
    webhook_of,
)
from gateway.intake.signing_secrets import remove_memory
from gateway.settings import load_settings
from gateway.settings.infodeck import check_webhook_url

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.settings import Settings

_CONTROL_PATH = "/signing-secrets"
_SOURCE = "intake.signing_secrets[0]"
_NOT_USABLE = (
    "Infodeck has answered, but not with a secret that can be used: have its web page make one, and give it"
    " to `gateway webhooks rotate --from-stdin`; until then deliveries may be refused (401)"
)


def register(arguments: argparse.Namespace) -> int:
    """Register the webhook with Infodeck; return 0 once its secret is in its file."""
    settings = load_settings(arguments.config).require()
    source = require_intake(settings).signing_secrets[0]
    url = _url(arguments.url, settings)
    path = arguments.secret_file or (Path(source.name) if source.kind == "file" else None)
    if path is None:
        raise CommandError(
            f"{_SOURCE} is {source}: name a file for the signing secret with --secret-file FILE"
        )
    if not arguments.again:
        manage(settings, lambda api: _refuse_second(api, url))
    published = settings.event_patterns
    events: tuple[str, ...] = arguments.events or (*DOCUMENTED_EVENTS, *published_types(published))
    description = arguments.description or f"building gateway {settings.name}"
    with open_secret_file(path, may_replace=False) as file, uninterrupted():
        item = manage(settings, lambda api: _make(api, url, events, description))
        secret = signing_secret_of(item)
        if secret is None:
            raise CommandError(f"the webhook {webhook_of(item).id or url} is made. {_NOT_USABLE}")
        file.write_new(secret.encode())
        file.rename_new()
    made = replace(webhook_of(item), url=url)
    print(f"Infodeck has the webhook {made.id or '?'} for {url}: {', '.join(events)}")
    print(f"Its signing secret is in {path}, for its owner alone (user {path.stat().st_uid}).")
    if source.kind != "file" or Path(source.name) != path:
        print(f"Next: set intake: {{signing_secrets: [{{file: {path.absolute()}}}]}}, or a credential with")
        print(f"LoadCredential=NAME:{path.absolute()} in the gateway's unit")
    if not leads_here(made, settings):
        named = url if made.id is None else f"{url}, id: {made.id}"
        print(f"Next: set infodeck: {{webhook: {{url: {named}}}}} in {arguments.config}")
    print(f"Next: start the gateway anew, then: gateway webhooks test -c {arguments.config}")
    for name in events:  # new ones appear, so none is refused
        if name not in ALL_DOCUMENTED_EVENTS:
            print(f"Infodeck's documents do not name {name}.")
        elif not name.startswith(ABOUT_ASSETS) and name not in published:
            print(f"The gateway acknowledges {name} and has no use for it.")
    if TELEMETRY not in events:
        print(f"Without {TELEMETRY} no reading arrives.")
    return 0


def _url(written: str | None, settings: Settings) -> str:
    if written is None:
        if settings.infodeck.webhook is None:
            raise CommandError("say --url URL, or set infodeck.webhook.url: where Infodeck posts to")
        return settings.infodeck.webhook.url
    try:
        return check_webhook_url(written)
    except ValueError as error:
        raise CommandError(f"--url {written}: {error}") from error


async def _refuse_second(api: InfodeckApi, url: str) -> None:
    for webhook in await list_webhooks(api):
        if leads_to(webhook, url=url, webhook_id=None):
            raise CommandError(
                f"the webhook {webhook.id or '?'} has this URL already: `gateway webhooks rotate` renews its"
                " secret; --again makes a second one, and each event comes twice"
            )


async def _make(api: InfodeckApi, url: str, events: Sequence[str], description: str) -> Item:
    try:
        return await api.register_webhook(url=url, events=events, description=description)
    except ApiRefusalError as error:
        raise CommandError(f"Infodeck has made no webhook: {error}") from error
    except GatewayError as error:
        raise CommandError(
            f"whether Infodeck has made the webhook is not known: {error}. If `gateway webhooks list` shows"
            " it, remove it, for nobody knows its secret, and try again"
        ) from error


def rotate(arguments: argparse.Namespace) -> int:
    """Get a new secret into file and gateway; return 0 once both have it."""
    settings = load_settings(arguments.config).require()
    path = _file_of(settings, arguments.secret_file)
    runs = _is_running(arguments.config, required=not arguments.forget_old)
    given = _read_secret() if arguments.from_stdin else b""
    with open_secret_file(path, may_replace=True) as file:
        api_path = "" if given or file.pending else _api_path(settings, arguments)
        with uninterrupted():
            secret = given or file.pending or manage(settings, lambda api: _ask_infodeck(api, api_path))
            file.write_new(secret)
            try:
                problem = _announce(secret, settings, arguments, runs=runs)
            except (GatewayError, OSError) as error:
                raise CommandError(
                    f"the new secret is in {file.new}, but could not be sent to the gateway: {error}. Then"
                    " run this command again, which finishes"
                ) from error
            file.rename_new()
    if file.pending and not given:
        print("This has finished a rotation that did not end; no other secret was made.")
    print(f"{path} holds the new signing secret.")
    print(_outcome(runs=runs, forget_old=arguments.forget_old, others=settings.signing_secrets[1:]))
    if problem is not None:
        print(f"The gateway accepts the new secret, but {problem}")
    print(f"See whether it works: gateway webhooks test -c {arguments.config}")
    return 0 if problem is None else 1


def _file_of(settings: Settings, named: Path | None) -> Path:
    """Return the file that the gateway's signing secret comes from; raise CommandError if there is none."""
    source = require_intake(settings).signing_secrets[0]
    if source.kind == "env":
        raise CommandError(
            f"{_SOURCE} is {source}, and no command can change a variable of the gateway's environment: use"
            " {file: PATH}, or {credential: NAME}"
        )
    if source.kind == "file":
        if named is not None and os.path.realpath(named) != os.path.realpath(source.name):
            raise CommandError(
                f"--secret-file {named}: the gateway reads {source.name} ({_SOURCE}), leave this out"
            )
        return Path(source.name)
    if named is None or not named.exists():
        raise CommandError(
            f"{_SOURCE} is {source}: name with --secret-file FILE the file that LoadCredential={source.name}:"
            " names in the gateway's unit (`systemctl cat gateway` shows it)"
        )
    return named


def _is_running(config: Path, *, required: bool) -> bool:
    """Return whether the gateway runs; raise CommandError if it does not and is `required`."""
    try:
        ask(config, _CONTROL_PATH)
    except NotRunningError as error:
        if not required:
            return False
        raise CommandError(
            f"{error}. Only a running gateway goes on accepting the old secret: start it, or say --forget-old"
        ) from error
    return True


def _read_secret() -> bytes:
    """Return the secret from standard input: typed or pasted unseen at a terminal, else the whole of it."""
    secret = ""
    if sys.stdin is not None:  # it is None behind a shell's `<&-`
        with suppress(EOFError, UnicodeDecodeError):
            secret = (
                getpass.getpass("The new signing secret, as Infodeck shows it: ")
                if sys.stdin.isatty()
                else sys.stdin.read(4 * LONGEST_SECRET)
            ).strip()
    if not is_usable(secret):
        raise CommandError(
            "standard input holds no signing secret: a text of one line is expected, of"
            f" {LONGEST_SECRET} characters at most"
        )
    if (flaw := no_signing_secret(secret.encode())) is not None:
        raise CommandError(f"what standard input holds {flaw.found}: {flaw.remedy}")
    return secret.encode()


def _api_path(settings: Settings, arguments: argparse.Namespace) -> str:
    """Return the path at which the API makes a new secret for the webhook that leads here."""
    named = settings.infodeck.webhook
    if named is None or named.rotate is None:
        raise CommandError(
            "infodeck.webhook.rotate is not set, such as /webhooks/{id}/rotate if Infodeck's documents say"
            " so. Without it: have Infodeck's web page make a new secret, then at once"
            f" `gateway webhooks rotate -c {arguments.config} --from-stdin`, and paste it there"
        )
    webhook, webhook_id = manage(settings, lambda api: find_webhook(api, settings, arguments.id))
    if not (leads_here(webhook, settings) or leads_to(webhook, url=named.url, webhook_id=None)):
        raise CommandError(
            f"the webhook {webhook_id} leads to {webhook.url or '?'}, not here: correct infodeck.webhook"
        )
    return named.rotate.replace("{id}", quote(webhook_id, safe=""))


async def _ask_infodeck(api: InfodeckApi, path: str) -> bytes:
    """Return the secret that Infodeck makes; raise CommandError, which says which one is in force then."""
    try:
        secret = signing_secret_of(await api.rotate_secret(path))
    except ApiRefusalError as error:
        raise CommandError(
            f"Infodeck has made no new secret, the old one stays: {error} ({path}, infodeck.webhook.rotate)"
        ) from error
    except TransientError as error:
        raise CommandError(
            f"whether Infodeck has made a new secret is not known: {error}. Try again soon: that makes"
            " another one, and until then deliveries may be refused (401) and come again"
        ) from error
    except GatewayError as error:
        raise CommandError(f"{_NOT_USABLE}: {error}") from error
    if secret is None:
        raise CommandError(f"{_NOT_USABLE}: it has no usable `signingSecret`")
    return secret.encode()


def _announce(secret: bytes, settings: Settings, arguments: argparse.Namespace, *, runs: bool) -> str | None:
    """Have the gateway accept the secret; return why a restart would forget it, None if it won't."""
    if not runs:
        remove_memory(settings.previous_secrets)
        return None
    document = {"secret": secret.decode(), "keep_previous": not arguments.forget_old}
    problem: str | None = ask(arguments.config, _CONTROL_PATH, document).get("problem")
    return problem


def _outcome(*, runs: bool, forget_old: bool, others: Sequence[object]) -> str:
    if not forget_old:
        return (
            "The running gateway accepts it, and the old one for 48 h (/api/status: intake.previous_secrets)."
        )
    accepts = "The running gateway accepts it" if runs else "When the gateway starts, it accepts it"
    more = f" {len(others)} more that intake.signing_secrets names are accepted, too." if others else ""
    return f"{accepts}, and the old one no more.{more}"
