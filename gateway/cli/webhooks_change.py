"""`gateway webhooks remove` and `enable`: asked for as the settings say, for Infodeck's documents do not.

What an answer to such a request means is not known either: done is what the list of webhooks shows then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from gateway.cli.webhooks_access import find_webhook, leads_here, manage, webhooks_of
from gateway.errors import ApiRefusalError, CommandError, GatewayError
from gateway.settings import load_settings
from gateway.settings.infodeck import parse_api_call

if TYPE_CHECKING:
    import argparse

    from gateway.infodeck.api_client import InfodeckApi
    from gateway.infodeck.webhooks import Webhook
    from gateway.settings import Settings

Action = Literal["remove", "enable"]

_WEB_PAGE = "see the call in infodeck.webhook, and Infodeck's web page"
_EXAMPLES: dict[Action, str] = {"remove": "DELETE /webhooks/{id}", "enable": "POST /webhooks/{id}/enable"}


def remove(arguments: argparse.Namespace) -> int:
    """Have Infodeck remove a webhook; return 0 once it lists it no more."""
    settings = load_settings(arguments.config).require()
    _require_call(settings, "remove")
    webhook, left = manage(settings, lambda api: _changed(api, settings, "remove", webhook_id=arguments.id))
    if any(one.id == webhook.id for one in left):
        raise CommandError(f"Infodeck has answered, but still lists the webhook {webhook.id}: {_WEB_PAGE}")
    print(f"Infodeck has the webhook {webhook.id} ({webhook.url or '?'}) no more.")
    if leads_here(webhook, settings) and not any(leads_here(one, settings) for one in left):
        print(f"None leads here any more: gateway webhooks register -c {arguments.config}")
    return 0


def enable(arguments: argparse.Namespace) -> int:
    """Have Infodeck switch a webhook on again; return 0 once it says that it is."""
    settings = load_settings(arguments.config).require()
    _require_call(settings, "enable")
    webhook, listed = manage(settings, lambda api: _changed(api, settings, "enable", webhook_id=arguments.id))
    now = next((one for one in listed if one.id == webhook.id), webhook)
    if not now.is_healthy:
        raise CommandError(f"Infodeck has answered, but says that it is {now.status}: {_WEB_PAGE}")
    print(f"Infodeck says that {now.id} ({now.url or '?'}) is {now.status or 'there, and no more of it'}.")
    return 0


def _require_call(settings: Settings, action: Action) -> str:
    """Return how the settings have it asked for; raise CommandError where they do not say."""
    webhook = settings.infodeck.webhook
    call = {"remove": webhook.remove, "enable": webhook.enable}[action] if webhook is not None else None
    if call is None:
        raise CommandError(
            f"infodeck.webhook.{action} is not set: Infodeck's documents, as we know them, do not say how the"
            f" API is asked for it. If yours say it, set it, such as `{_EXAMPLES[action]}`; without it,"
            " Infodeck's web page does it"
        )
    return call


async def _changed(
    api: InfodeckApi, settings: Settings, action: Action, *, webhook_id: str | None
) -> tuple[Webhook, list[Webhook]]:
    """Return the webhook as it was, and all that Infodeck lists once it was asked."""
    webhook, webhook_id = await find_webhook(api, settings, webhook_id=webhook_id)
    method, path, document = parse_api_call(_require_call(settings, action))
    path = path.replace("{id}", quote(webhook_id, safe=""))
    try:
        await api.change_webhook(method, path, document)
    except ApiRefusalError as error:
        raise CommandError(
            f"Infodeck has not done it: {error}. It was asked: {method} {path} (infodeck.webhook.{action})"
        ) from error
    except GatewayError as error:
        raise CommandError(
            f"whether Infodeck has done it is not known: {error}. Look with `gateway webhooks list`"
        ) from error
    return webhook, await webhooks_of(api)
