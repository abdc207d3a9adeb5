"""The set-up that is examined: what its files say, and what several checks ask about it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.config.secrets import Secret
from gateway.doctor.cloud_answers import Listed, list_assets, list_webhooks
from gateway.doctor.daemon_answers import Running, ask_daemon
from gateway.doctor.once import Once
from gateway.doctor.probe import Failure, Response, Stage, get
from gateway.doctor.secret_shapes import api_key_flaw, bearer_token_flaw
from gateway.errors import ConfigError, GatewayError
from gateway.infodeck.transport import ApiAccess
from gateway.infodeck.webhooks.subscriptions import leading_here, webhook_of
from gateway.settings.secret_values import secret_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from gateway.config.decode import Problem
    from gateway.config.secrets import SecretSource
    from gateway.doctor.secret_shapes import Flaw
    from gateway.infodeck.webhooks.subscriptions import Webhook
    from gateway.mapping.plan import PointMap
    from gateway.settings import Settings

_ASK_WITHIN_S = 6.0
_SHORTEST_HIDDEN = 4  # characters; anything shorter is in every text by chance


class Setup:
    """One gateway's files as far as they can be used, and answers that several checks look at.

    `point_map` None: the tables have problems. `table_problems` and `warnings` are those of the tables.
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
        """Read the secrets; nobody is asked yet. `broken`: sections that stand for nothing."""
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
        share = infodeck.request_share
        self.daemon: Once[Running] = Once(partial(ask_daemon, settings.admin))
        self.api_host: Once[Response | Failure] = Once(self._ask_api_host)
        self.assets: Once[Listed] = Once(partial(list_assets, self.access, share=share))
        self.webhooks: Once[Listed] = Once(partial(list_webhooks, self.access, share=share))

    def secret(self, source: SecretSource | None) -> Secret | None:
        """Return a secret, None where there is none or it cannot be read."""
        found = None if source is None else self._secrets[source]
        return found if isinstance(found, Secret) else None

    def secret_error(self, source: SecretSource) -> ConfigError | None:
        """Return why a secret cannot be read, None where it can."""
        found = self._secrets[source]
        return found if isinstance(found, ConfigError) else None

    @property
    def signing_secrets(self) -> tuple[bytes, ...]:
        """Those that can be read."""
        secrets = [self.secret(source) for source in self.settings.intake.signing_secrets]
        return tuple(secret.reveal() for secret in secrets if secret is not None)

    @property
    def api_key_flaw(self) -> Flaw | None:
        """What is to be seen of the API key that makes it useless; None where there is no key, too."""
        key = self.access.api_key
        return None if key is None else api_key_flaw(key.reveal(), signing_secrets=self.signing_secrets)

    @property
    def bearer_token_flaw(self) -> Flaw | None:
        """What is to be seen of the token that makes it useless; None where there is none, too."""
        token = self.access.bearer_token
        return None if token is None else bearer_token_flaw(token.reveal(), now_s=self.clock_ms() / 1000)

    async def _ask_api_host(self) -> Response | Failure:
        """Ask for anything of the API, without a secret."""
        try:
            proxy = self.access.proxy_url()
        except GatewayError as error:
            return Failure(Stage.PROXY, f"is not asked: {error}")
        return await get(self.settings.infodeck.api, within_s=_ASK_WITHIN_S, proxy=proxy)

    async def our_webhook(self) -> Webhook | None:
        """Return the webhook that leads here, None where there is none or it cannot be known."""
        settings = self.settings.infodeck.webhook
        if settings is None or self.access.bearer_token is None:
            return None
        listed = await self.webhooks()
        webhooks = [webhook_of(item) for item in listed.items]
        return leading_here(webhooks, url=settings.url, webhook_id=settings.id)

    def without_secrets(self, shown: str) -> str:
        """Return a text with `***` in the place of every secret that is in it."""
        for secret in self._secrets.values():
            if isinstance(secret, Secret):
                value = secret.reveal().decode("latin-1").strip()
                if len(value) >= _SHORTEST_HIDDEN:
                    shown = shown.replace(value, "***")
        return shown


def _read(source: SecretSource) -> Secret | ConfigError:
    try:
        return source.resolve()
    except ConfigError as error:
        return error
