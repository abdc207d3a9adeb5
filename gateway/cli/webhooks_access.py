"""What every action of `gateway webhooks` begins with: settings, token, API, and which webhook is meant."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from gateway.errors import CommandError, ConfigError
from gateway.infodeck.api_client import connect
from gateway.infodeck.transport import ApiAccess
from gateway.infodeck.webhooks import leads_to, webhook_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.config.secrets import Secret
    from gateway.infodeck.api_client import InfodeckApi
    from gateway.infodeck.webhooks import Webhook
    from gateway.settings import Settings

Result = TypeVar("Result")


def manage(settings: Settings, act: Callable[[InfodeckApi], Awaitable[Result]]) -> Result:
    """Return what `act` does with the API; raise CommandError where there is no token for it."""
    access = ApiAccess(
        api=settings.infodeck.api,
        organization=settings.infodeck.organization,
        proxy=settings.infodeck.proxy,
        bearer_token=_bearer_token(settings),
    )

    async def within() -> Result:
        async with connect(access, share=settings.infodeck.request_share) as api:
            return await act(api)

    return asyncio.run(within())


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
    """Say whether this is the webhook that the settings name."""
    named = settings.infodeck.webhook
    return named is not None and leads_to(webhook, url=named.url, webhook_id=named.id)


async def webhooks_of(api: InfodeckApi) -> list[Webhook]:
    """Return every webhook of the organization."""
    return [webhook_of(item) for item in await api.webhooks()]


async def find_webhook(
    api: InfodeckApi, settings: Settings, *, webhook_id: str | None
) -> tuple[Webhook, str]:
    """Return the webhook with the id `webhook_id`, or else the one that leads here; and its id.

    Raises CommandError where there is none or more than one.
    """
    named = settings.infodeck.webhook
    if webhook_id is None and named is None:
        raise CommandError(
            "which webhook leads here is not known: set infodeck.webhook.url, or say --id ID as `gateway"
            " webhooks list` shows it"
        )
    every = await webhooks_of(api)
    found = [
        one for one in every if (leads_here(one, settings) if webhook_id is None else one.id == webhook_id)
    ]
    if len(found) == 1 and found[0].id is not None:
        return found[0], found[0].id
    if found:
        ids = ", ".join(one.id or "?" for one in found)
        raise CommandError(
            f"{len(found)} webhooks lead here ({ids}): say --id ID, or set infodeck.webhook.id"
        )
    raise CommandError(_none_found(settings, webhook_id, count=len(every)))


def _none_found(settings: Settings, webhook_id: str | None, *, count: int) -> str:
    named = settings.infodeck.webhook
    if webhook_id is not None or (named is not None and named.id is not None):
        what = (
            f"--id {webhook_id}"
            if webhook_id is not None or named is None
            else f"infodeck.webhook.id ({named.id})"
        )
        return f"none of {count} webhooks has this id: {what}; `gateway webhooks list` shows them"
    url = "" if named is None else named.url
    return f"none of {count} webhooks has the URL {url}: `gateway webhooks register` makes one"
