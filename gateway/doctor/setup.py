"""The installation that is examined: its settings and secrets, and the answers that several checks need."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gateway.config.secrets import Secret
from gateway.doctor.daemon_status import DaemonStatus, HttpAnswer, ask_daemon, get
from gateway.doctor.secret_checks import api_key_flaw, bearer_token_flaw
from gateway.errors import ConfigError, GatewayError, TransientError
from gateway.infodeck.api_client import ApiAccess, connect
from gateway.infodeck.delivery_log import newest_deliveries
from gateway.infodeck.request_errors import Failure, Stage
from gateway.infodeck.webhooks import leading_here, webhook_of
from gateway.settings.settings_file import secret_sources

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence

    from gateway.config.decode import Problem
    from gateway.config.secrets import SecretSource
    from gateway.doctor.secret_checks import Flaw
    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.infodeck.webhooks import Webhook
    from gateway.mapping.plan import PointMap
    from gateway.settings import Settings

T = TypeVar("T")

MOST_ATTEMPTS = 20
"""Deliveries of the webhook's log that are looked at."""
_ASK_WITHIN_S = 6.0
_SHORTEST_HIDDEN = 4  # characters; anything shorter is in every text by chance
_MOST_PAGES = 20  # of 100 assets; larger organizations are known from the daemon's own reconciliation


@dataclass(slots=True)
class Listed:
    """Items of a list, as far as they came. `error` is why it ended early; `is_whole`: all are there."""

    items: list[Item] = field(default_factory=list)
    is_whole: bool = False
    error: GatewayError | None = None


class Setup:
    """One gateway's files as far as they can be used, and answers that are requested once for all checks.

    `point_map` is None if the tables have problems. `table_problems` and `warnings` are those of the tables.
    `is_offline`: Infodeck is not to be asked.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        point_map: PointMap | None,
        table_problems: Sequence[Problem],
        warnings: Sequence[Problem],
        is_offline: bool,
        broken: Collection[str] = (),
        clock_ms: Callable[[], int],
    ) -> None:
        """Read the secrets; nothing is requested yet. `broken`: unusable sections of the settings."""
        self.settings = settings
        self.point_map = point_map
        self.table_problems = table_problems
        self.warnings = warnings
        self.is_offline = is_offline
        self.clock_ms = clock_ms
        sources: list[tuple[tuple[Any, ...], SecretSource]] = list(secret_sources(settings))
        self.secret_paths = [(path, source) for path, source in sources if path[0] not in broken]
        self._secrets = {source: _read(source) for _, source in sources}
        infodeck = settings.infodeck
        self.access = ApiAccess(
            api=infodeck.api,
            organization=infodeck.organization,
            proxy=infodeck.proxy,
            api_key=self.secret(infodeck.api_key),
            bearer_token=self.secret(infodeck.bearer_token),
        )
        self.daemon: Once[DaemonStatus] = Once(partial(ask_daemon, settings.admin))
        self.api_host: Once[HttpAnswer | Failure] = Once(self._ask_api_host)
        self.assets: Once[Listed] = Once(self._list_assets)
        self.webhooks: Once[Listed] = Once(self._list_webhooks)

    def secret(self, source: SecretSource | None) -> Secret | None:
        """Return a secret, None if there is none or it cannot be read."""
        found = None if source is None else self._secrets[source]
        return found if isinstance(found, Secret) else None

    def secret_error(self, source: SecretSource) -> ConfigError | None:
        """Return why a secret cannot be read, None if it can."""
        found = self._secrets[source]
        return found if isinstance(found, ConfigError) else None

    @property
    def api_key_flaw(self) -> Flaw | None:
        """What makes the API key visibly useless; None also if there is no key."""
        key = self.access.api_key
        secrets = [self.secret(source) for source in self.settings.intake.signing_secrets]
        signing_secrets = tuple(secret.reveal() for secret in secrets if secret is not None)
        return None if key is None else api_key_flaw(key.reveal(), signing_secrets=signing_secrets)

    @property
    def bearer_token_flaw(self) -> Flaw | None:
        """What makes the token visibly useless; None also if there is no token."""
        token = self.access.bearer_token
        return None if token is None else bearer_token_flaw(token.reveal(), now_s=self.clock_ms() / 1000)

    def without_secrets(self, shown: str) -> str:
        """Return a text with every secret in it replaced by `***`."""
        for secret in self._secrets.values():
            if isinstance(secret, Secret):
                value = secret.reveal().decode("latin-1").strip()
                if len(value) >= _SHORTEST_HIDDEN:
                    shown = shown.replace(value, "***")
        return shown

    async def our_webhook(self) -> Webhook | None:
        """Return the webhook that leads here, None if there is none or it cannot be determined."""
        settings = self.settings.infodeck.webhook
        if settings is None or self.access.bearer_token is None:
            return None
        listed = await self.webhooks()
        webhooks = [webhook_of(item) for item in listed.items]
        return leading_here(webhooks, url=settings.url, webhook_id=settings.id)

    async def list_deliveries(self, webhook: str) -> Listed:
        """Return the latest attempts to deliver to a webhook."""
        listed = Listed()
        async with self._api(listed) as api:
            listed.items = await newest_deliveries(api, webhook, enough=MOST_ATTEMPTS)
        return listed

    async def _ask_api_host(self) -> HttpAnswer | Failure:
        """Send a request without a secret to the API."""
        try:
            proxy = self.access.proxy_url()
        except GatewayError as error:
            return Failure(Stage.PROXY, f"is not asked: {error}")
        return await get(self.settings.infodeck.api, within_s=_ASK_WITHIN_S, proxy=proxy)

    async def _list_assets(self) -> Listed:
        """Return the assets of the organization, 2,000 at most."""
        listed = Listed()
        async with self._api(listed) as api:
            pages = 0
            async for page in api.assets():
                listed.items += page
                pages += 1
                if pages == _MOST_PAGES:
                    return listed
            listed.is_whole = True
        return listed

    async def _list_webhooks(self) -> Listed:
        listed = Listed()
        async with self._api(listed) as api:
            listed.items = await api.webhooks()
            listed.is_whole = True
        return listed

    @asynccontextmanager
    async def _api(self, listed: Listed) -> AsyncIterator[InfodeckApi]:
        """Open the API, without retries and for a limited time; `listed` gets the error that ends it."""
        share = self.settings.infodeck.request_share
        try:
            async with (
                connect(self.access, share=share, attempts=1) as api,
                asyncio.timeout(_ASK_WITHIN_S),
            ):
                yield api
        except TimeoutError:
            listed.error = TransientError(f"no answer within {_ASK_WITHIN_S:g} s")
        except GatewayError as error:
            listed.error = error


class Once(Generic[T]):
    """An answer that several checks need: the first who awaits it asks, all get the same answer."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        """`ask` must have its own time limit, or every check would wait for it in vain."""
        self._ask = ask
        self._asking = asyncio.Lock()
        self._answers: list[T] = []

    async def __call__(self) -> T:
        """Return the answer."""
        async with self._asking:
            if not self._answers:
                self._answers.append(await self._ask())
        return self._answers[0]


def _read(source: SecretSource) -> Secret | ConfigError:
    try:
        return source.resolve()
    except ConfigError as error:
        return error
