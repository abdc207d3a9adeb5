"""The facts of an installation: its settings and secrets, and what Infodeck and the running gateway answer.

Everything is read and asked once, before the checks run.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.clock import now_ms
from gateway.config.secrets import Secret
from gateway.doctor.daemon_status import DaemonStatus, HttpAnswer, ask_daemon, get
from gateway.doctor.secret_checks import api_key_flaw, bearer_token_flaw
from gateway.errors import ConfigError, GatewayError, TransientError
from gateway.infodeck.api_client import ApiAccess, connect
from gateway.infodeck.request_errors import Failure, Stage
from gateway.infodeck.webhooks import leading_here, newest_deliveries, webhook_of
from gateway.settings.settings_file import secret_sources

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from gateway.config.decode import Problem
    from gateway.config.secrets import SecretSource
    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.infodeck.webhooks import Webhook
    from gateway.mapping.plan import PointMap
    from gateway.settings import Settings

MOST_ASSETS = 2000
"""Assets of the organization that are listed; of a larger one, those that the gateway has stored are used."""
MOST_ATTEMPTS = 20
"""Deliveries of the webhook's log that are read."""
_API_WITHIN_S = 6.0
_SHORTEST_HIDDEN = 4  # characters; anything shorter is in every text by chance


@dataclass(slots=True, kw_only=True)
class Facts:
    """One gateway's files as far as they can be used, and answers; None: not asked.

    `point_map` is None if the tables have problems. `broken` are unusable sections of the settings.
    """

    settings: Settings
    point_map: PointMap | None
    table_problems: Sequence[Problem] = ()
    table_warnings: Sequence[Problem] = ()
    broken: Collection[str] = ()
    now_ms: int = field(default_factory=now_ms)
    secrets: Mapping[SecretSource, Secret | ConfigError] = field(init=False)
    daemon: DaemonStatus = field(init=False)
    api_host: HttpAnswer | Failure | None = None
    assets: Listed | None = None
    webhooks: Listed | None = None
    deliveries: Listed | None = None

    def __post_init__(self) -> None:
        """Read the secrets."""
        self.secrets = {source: _read(source) for _, source in secret_sources(self.settings)}
        self.daemon = DaemonStatus(None)

    async def gather(self, *, is_offline: bool) -> None:
        """Ask the gateway and, unless offline, Infodeck: with secrets that have no visible flaw."""
        asked: list[Awaitable[None]] = [self._ask_daemon()]
        if not is_offline and "infodeck" not in self.broken:
            asked += [self._ask_api_host(), self._list_assets(), self._list_webhooks()]
        await asyncio.gather(*asked)

    def secret(self, source: SecretSource | None) -> Secret | None:
        """Return a secret, None if there is none or it cannot be read."""
        found = None if source is None else self.secrets[source]
        return found if isinstance(found, Secret) else None

    def without_secrets(self, shown: str) -> str:
        """Return a text with every secret in it replaced by `***`."""
        for secret in self.secrets.values():
            if isinstance(secret, Secret):
                value = secret.reveal().decode("latin-1").strip()
                if len(value) >= _SHORTEST_HIDDEN:
                    shown = shown.replace(value, "***")
        return shown

    @property
    def access(self) -> ApiAccess:
        """What the API is asked with."""
        infodeck = self.settings.infodeck
        return ApiAccess(
            api=infodeck.api,
            organization=infodeck.organization,
            proxy=infodeck.proxy,
            api_key=self.secret(infodeck.api_key),
            bearer_token=self.secret(infodeck.bearer_token),
        )

    @property
    def our_webhook(self) -> Webhook | None:
        """The webhook that leads here, None if there is none or it cannot be determined."""
        settings = self.settings.infodeck.webhook
        if settings is None or self.webhooks is None:
            return None
        webhooks = [webhook_of(item) for item in self.webhooks.items]
        return leading_here(webhooks, url=settings.url, webhook_id=settings.id)

    async def _ask_daemon(self) -> None:
        self.daemon = await ask_daemon(self.settings.admin)

    async def _ask_api_host(self) -> None:
        """Send a request without a secret to the API."""
        try:
            proxy = self.access.proxy_url()
        except GatewayError as error:
            self.api_host = Failure(Stage.PROXY, f"is not asked: {error}")
        else:
            self.api_host = await get(self.settings.infodeck.api, within_s=_API_WITHIN_S, proxy=proxy)

    async def _list_assets(self) -> None:
        async def read(api: InfodeckApi) -> list[Item]:
            items: list[Item] = []
            async for page in api.assets():
                items += page
                if len(items) >= MOST_ASSETS:
                    break
            return items

        key = self.access.api_key
        if key is not None and api_key_flaw(key.reveal()) is None:
            self.assets = await self._listed(read)

    async def _list_webhooks(self) -> None:
        token = self.access.bearer_token
        if token is None or bearer_token_flaw(token.reveal(), now_s=self.now_ms / 1000) is not None:
            return
        self.webhooks = await self._listed(lambda api: api.webhooks())
        ours = self.our_webhook
        if ours is not None and (webhook := ours.id) is not None:
            self.deliveries = await self._listed(
                lambda api: newest_deliveries(api, webhook, enough=MOST_ATTEMPTS)
            )

    async def _listed(self, read: Callable[[InfodeckApi], Awaitable[list[Item]]]) -> Listed:
        """Read a list from the API, without retries and for a limited time."""
        share = self.settings.infodeck.request_share
        try:
            async with (
                connect(self.access, share=share, attempts=1) as api,
                asyncio.timeout(_API_WITHIN_S),
            ):
                return Listed(await read(api))
        except TimeoutError:
            return Listed(error=TransientError(f"no answer within {_API_WITHIN_S:g} s"))
        except GatewayError as error:
            return Listed(error=error)


@dataclass(frozen=True, slots=True)
class Listed:
    """A list from the API, or why it cannot be read."""

    items: list[Item] = field(default_factory=list)
    error: GatewayError | None = None


def _read(source: SecretSource) -> Secret | ConfigError:
    try:
        return source.resolve()
    except ConfigError as error:
        return error
