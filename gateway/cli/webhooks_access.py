"""What all actions of `gateway webhooks` share: the API with the Bearer token, and which webhook is meant."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from gateway.errors import CommandError, ConfigError
from gateway.infodeck.api_client import ApiAccess, connect
from gateway.infodeck.webhooks import leads_to, webhook_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.config.secrets import Secret
    from gateway.infodeck.api_client import InfodeckApi
    from gateway.infodeck.webhooks import Webhook
    from gateway.settings import Settings

Result = TypeVar("Result")


def manage(settings: Settings, act: Callable[[InfodeckApi], Awaitable[Result]]) -> Result:
    """Return what `act` does with the API; raise CommandError if there is no Bearer token."""
    access = ApiAccess(
        api=settings.infodeck.api,
        organization=settings.infodeck.organization,
        proxy=settings.infodeck.proxy,
        bearer_token=_bearer_token(settings),
    )

    async def connected() -> Result:
        async with connect(access, share=settings.infodeck.request_share) as api:
            return await act(api)

    return asyncio.run(connected())


def _bearer_token(settings: Settings) -> Secret:
    source = settings.infodeck.bearer_token
    if source is None:
        raise CommandError(
            "infodeck.bearer_token is not set: webhooks are managed with a user's JWT, not with an API key;"
            " put the token into a file (chmod 600) and set bearer_token: {file: PATH}"
        )
    try:
        return source.resolve()
    except ConfigError as error:
        raise CommandError(f"infodeck.bearer_token: {error}") from error


def leads_here(webhook: Webhook, settings: Settings) -> bool:
    """Return whether this is the webhook that the settings name."""
    named = settings.infodeck.webhook
    return named is not None and leads_to(webhook, url=named.url, webhook_id=named.id)


async def list_webhooks(api: InfodeckApi) -> list[Webhook]:
    """Return every webhook of the organization."""
    return [webhook_of(item) for item in await api.webhooks()]


async def find_webhook(api: InfodeckApi, settings: Settings, given_id: str | None) -> tuple[Webhook, str]:
    """Return the webhook with this id, or else the one that leads here, and its id.

    Raises CommandError if there is none, or more than one.
    """
    if given_id is None and settings.infodeck.webhook is None:
        raise CommandError(
            "which webhook leads here is not known: set infodeck.webhook.url, or say --id ID as `gateway"
            " webhooks list` shows it"
        )
    every = await list_webhooks(api)
    if given_id is None:
        found = [webhook for webhook in every if leads_here(webhook, settings)]
    else:
        found = [webhook for webhook in every if webhook.id == given_id]
    if len(found) == 1 and found[0].id is not None:
        return found[0], found[0].id
    if found:
        ids = ", ".join(webhook.id or "?" for webhook in found)
        raise CommandError(
            f"{len(found)} webhooks lead here ({ids}): say --id ID, or set infodeck.webhook.id"
        )
    raise CommandError(_none_found(settings, given_id, count=len(every)))


def _none_found(settings: Settings, given_id: str | None, *, count: int) -> str:
    named = settings.infodeck.webhook
    if given_id is not None:
        what = f"this id: --id {given_id}; `gateway webhooks list` shows them"
    elif named is not None and named.id is not None:
        what = f"this id: infodeck.webhook.id ({named.id}); `gateway webhooks list` shows them"
    else:
        url = "" if named is None else named.url
        what = f"the URL {url}: `gateway webhooks register` makes one"
    return f"none of {count} webhooks has {what}"
