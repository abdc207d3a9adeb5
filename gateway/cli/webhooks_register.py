"""`gateway webhooks register`: makes a webhook that leads here, and writes its signing secret into a file."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.secret_file import open_secret_file, uninterrupted
from gateway.cli.webhooks_access import leads_here, list_webhooks, manage
from gateway.errors import ApiRefusalError, CommandError, GatewayError, TransientError
from gateway.events import ABOUT_ASSETS, TELEMETRY
from gateway.infodeck.webhooks import ALL_DOCUMENTED_EVENTS, leads_to, signing_secret_of, webhook_of
from gateway.settings import load_settings
from gateway.settings.infodeck import check_webhook_url

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.infodeck.webhooks import Webhook
    from gateway.settings import Settings


def register(arguments: argparse.Namespace) -> int:
    """Register the webhook with Infodeck; return 0 once its secret is in its file."""
    settings = load_settings(arguments.config).require()
    url = _url(arguments.url, settings)
    path = arguments.secret_file or _file_of(settings)
    description = arguments.description or f"building gateway {settings.name}"

    if not arguments.again:
        manage(settings, lambda api: _refuse_second(api, url))
    with open_secret_file(path, may_replace=False) as file, uninterrupted():
        item = manage(
            settings, lambda api: _make(api, url=url, events=arguments.events, description=description)
        )
        secret = signing_secret_of(item)
        if secret is None:
            raise CommandError(
                f"Infodeck has made the webhook {webhook_of(item).id or url}, but its answer has no"
                " `signingSecret`: make a new secret in Infodeck's web page, and give it to `gateway webhooks"
                " rotate --from-stdin`"
            )
        problem = file.write_new(secret.encode()) or file.rename_new()
    print(f"Infodeck has the webhook {webhook_of(item).id or '?'} for {url}: {', '.join(arguments.events)}")
    if problem is not None:
        print(problem)
        return 1
    print(f"Its signing secret is in {path}, for its owner alone ({_owner(path)}).")
    made = replace(webhook_of(item), url=url)
    for line in [*_next_steps(path, made, settings, config=arguments.config), *_remarks(arguments.events)]:
        print(line)
    return 0


def _file_of(settings: Settings) -> Path:
    source = settings.intake.signing_secrets[0]
    if source.kind == "file":
        return Path(source.name)
    raise CommandError(
        f"intake.signing_secrets[0] is {source}: say with --secret-file FILE where the signing secret is to"
        " be written; it is never shown"
    )


def _remarks(events: Sequence[str]) -> list[str]:
    """Return remarks on event types that are unknown or of no use; new ones appear, so none is refused."""
    lines = []
    for name in events:
        if name not in ALL_DOCUMENTED_EVENTS:
            close = get_close_matches(name, sorted(ALL_DOCUMENTED_EVENTS), n=1)
            hint = f": did you mean {close[0]}?" if close else "."
            lines.append(f"Infodeck's documents do not name {name}{hint}")
    dropped = [name for name in events if name in ALL_DOCUMENTED_EVENTS and not name.startswith(ABOUT_ASSETS)]
    if dropped:
        lines.append(f"The gateway acknowledges {', '.join(dropped)} and has no use for them.")
    if TELEMETRY not in events:
        lines.append(f"Without {TELEMETRY} no reading arrives.")
    return lines


def _url(written: str | None, settings: Settings) -> str:
    if written is None:
        if settings.infodeck.webhook is None:
            raise CommandError("say --url URL, or set infodeck.webhook.url: where Infodeck posts to")
        return settings.infodeck.webhook.url
    try:
        return check_webhook_url(written)
    except ValueError as error:
        raise CommandError(
            f"--url {written}: {error}; Infodeck posts to https alone, so that nobody reads along"
        ) from error


async def _refuse_second(api: InfodeckApi, url: str) -> None:
    for webhook in await list_webhooks(api):
        if leads_to(webhook, url=url, webhook_id=None):
            raise CommandError(
                f"the webhook {webhook.id or '?'} has this URL already ({webhook.status or 'no status'}), and"
                " with a second one each event would come twice; its secret is renewed with `gateway webhooks"
                " rotate`. --again makes a second one all the same"
            )


async def _make(api: InfodeckApi, *, url: str, events: Sequence[str], description: str) -> Item:
    try:
        return await api.register_webhook(url=url, events=events, description=description)
    except ApiRefusalError as error:
        raise CommandError(f"Infodeck has made no webhook: {error}") from error
    except TransientError as error:
        raise CommandError(
            f"whether Infodeck has made the webhook is not known: {error}. Look with `gateway webhooks list`;"
            " if it is there, remove it in Infodeck's web page, for nobody knows its secret, and try again"
        ) from error
    except GatewayError as error:
        raise CommandError(
            f"Infodeck has answered, but not with a webhook and its secret: {error}"
        ) from error


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:
        return f"user {path.stat().st_uid}"


def _next_steps(path: Path, made: Webhook, settings: Settings, *, config: Path) -> list[str]:
    source = settings.intake.signing_secrets[0]
    lines = []
    if source.kind != "file" or Path(source.name) != path:
        lines.append(f"Next: have the gateway read it: {_reading(source.kind, source.name, path)}")
        lines.append(
            "Then: restart the gateway, for settings are read at its start (systemctl restart gateway)"
        )
    else:
        lines.append("Next: start the gateway (systemctl start gateway)")
    if not leads_here(made, settings):
        named = settings.infodeck.webhook
        of_its_own = "" if named is None or named.id is None else f", id: {made.id}"
        lines.append(f"Then: set infodeck: {{webhook: {{url: {made.url}{of_its_own}}}}} in {config}")
    lines.append(f"Then: gateway webhooks test -c {config}")
    return lines


def _reading(kind: str, name: str, path: Path) -> str:
    if kind == "credential":
        return f"LoadCredential={name}:{path.absolute()} in its unit"
    return f"{{file: {path.absolute()}}} in intake.signing_secrets"
