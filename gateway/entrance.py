"""Where events come in: the intake of webhooks with its secrets and certificate, or a source in its place."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Protocol

from gateway.admin.control_requests import signing_secret_requests
from gateway.clock import now_ms, steady_ms
from gateway.errors import GatewayError
from gateway.http_server import answers
from gateway.intake.event_filter import EventFilter
from gateway.intake.forwarding import Forwarding
from gateway.intake.server import IntakeServer
from gateway.intake.signing_secrets import SigningSecrets
from gateway.settings import read_signing_secrets
from gateway.status import SourceStatus
from gateway.tls import ServerCertificate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager

    from gateway.admin.control_socket import ControlRequest
    from gateway.alarms import Alarms
    from gateway.intake.nats_source import NatsSource
    from gateway.intake.source_config import NatsSourceConfig
    from gateway.ports import EventLog
    from gateway.settings import IntakeSettings, Secrets, Settings
    from gateway.status import Status

    Work = Iterator[tuple[str, Coroutine[None, None, None]]]

_ANSWER_WITHIN_S = 5.0
_SOURCES = {"nats": "gateway.intake.nats_source:NatsSource"}  # modules are loaded with a source of their type


class Entrance(Protocol):
    """The one place where events come in."""

    @property
    def address(self) -> str:
        """What the log shows of it."""

    def start(self) -> None:
        """Begin, with the journal open."""

    def work(self) -> Work:
        """Yield what runs as long as the gateway does, each with the name of its task."""

    def opened(self) -> AbstractAsyncContextManager[None]:
        """Serve what events come to, within the context."""

    async def stop(self) -> None:
        """Accept no more events."""

    def reread(self, done: Callable[[], None]) -> None:
        """Read secrets again, as SIGHUP requests; `done` is called after a reading that began after this."""

    @property
    def is_reread_pending(self) -> bool:
        """Whether secrets are to be read again, and were not yet."""

    def control_requests(self) -> dict[str, ControlRequest]:
        """Return the requests of the control socket that concern it, by route."""

    def stuck(self, since_s: float) -> list[str]:
        """Return what has made no progress since then, by the monotonic clock."""

    async def is_alive(self) -> bool:
        """Return whether it answers, where somebody may ask."""


class WebhookEntrance:
    """The intake."""

    def __init__(
        self,
        settings: Settings,
        intake: IntakeSettings,
        secrets: Secrets,
        *,
        event_log: EventLog,
        status: Status,
        alarms: Alarms,
        on_assets_changed: Callable[[], None],
    ) -> None:
        self._settings = intake
        tls, forwarded = intake.tls, intake.forwarded_by
        self._certificate = None if tls is None else ServerCertificate("intake.tls", tls.certificate, tls.key)
        self._signing = SigningSecrets(
            configured=secrets.signing_secrets,
            read=partial(read_signing_secrets, settings),
            file=settings.previous_secrets,
            tolerance_s=intake.tolerance,
            status=status.intake,
            clock_ms=now_ms,
            steady_ms=steady_ms,
            alarms=alarms,
        )
        self._server = IntakeServer(
            path=intake.path,
            max_body_bytes=intake.max_body,
            organization=settings.infodeck.organization,
            verifier=self._signing,
            event_log=event_log,
            status=status.intake,
            clock_ms=now_ms,
            trusted_proxies=intake.trusted_proxies if tls is None else None,
            on_assets_changed=on_assets_changed,
            published=settings.journaled_types,
            forwarding=None if forwarded is None else Forwarding(event_log=event_log, sink=forwarded),
        )

    @property
    def address(self) -> str:
        """Return where webhooks arrive."""
        return f"{self._settings.listen}{self._settings.path}"

    def start(self) -> None:
        """Accept the secrets that were accepted before."""
        self._signing.start()

    def work(self) -> Work:
        """Keep secrets and certificate up to date."""
        yield "signing secrets", self._signing.run()
        if self._certificate is not None:
            yield "intake.tls", self._certificate.keep_current()

    def opened(self) -> AbstractAsyncContextManager[None]:
        """Serve webhooks within the context."""
        tls = None if self._certificate is None else self._certificate.lasting
        return self._server.listening(self._settings.listen, tls=tls)

    async def stop(self) -> None:
        """Answer 503 from now on."""
        self._server.stop()

    def reread(self, done: Callable[[], None]) -> None:
        """Read the signing secrets again."""
        self._signing.request_reread(done)

    @property
    def is_reread_pending(self) -> bool:
        """Whether the signing secrets were not read yet."""
        return self._signing.is_reread_pending

    def control_requests(self) -> dict[str, ControlRequest]:
        """Return the requests about signing secrets."""
        return signing_secret_requests(self._signing)

    def stuck(self, since_s: float) -> list[str]:
        """Return nothing: requests end by themselves."""
        del since_s
        return []

    async def is_alive(self) -> bool:
        """Return whether the intake answers."""
        listen, tls = self._settings.listen.reachable, self._settings.tls is not None
        return await answers(listen, tls=tls, within_s=_ANSWER_WITHIN_S)


class SourceEntrance:
    """A source: it connects by itself, so there is no port to open and nobody asks."""

    is_reread_pending = False

    def __init__(self, source: NatsSource, config: NatsSourceConfig) -> None:
        self._source = source
        self.address = f"{config.type}: {config.stream}, {config.consumer}"

    def start(self) -> None:
        """Do nothing: the source starts with its work."""

    def work(self) -> Work:
        """Fetch events."""
        yield "source", self._source.run()

    def opened(self) -> AbstractAsyncContextManager[None]:
        """Return a context without a port."""
        return nullcontext()

    async def stop(self) -> None:
        """Finish what was fetched."""
        await self._source.stop()

    def reread(self, done: Callable[[], None]) -> None:
        """Read nothing: each connection reads its secrets anew."""
        done()

    def control_requests(self) -> dict[str, ControlRequest]:
        """Return none."""
        return {}

    def stuck(self, since_s: float) -> list[str]:
        """Return that the source hangs if it has neither received anything nor given up."""
        return ["the source makes no progress"] if self._source.turned_s < since_s else []

    async def is_alive(self) -> bool:
        """Return True: `stuck` says whether it is."""
        return True


def make_entrance(
    settings: Settings,
    secrets: Secrets,
    *,
    event_log: EventLog,
    status: Status,
    alarms: Alarms,
    on_assets_changed: Callable[[], None],
) -> Entrance:
    """Return the entrance that the settings have."""
    if settings.intake is not None:
        return WebhookEntrance(
            settings,
            settings.intake,
            secrets,
            event_log=event_log,
            status=status,
            alarms=alarms,
            on_assets_changed=on_assets_changed,
        )
    config = settings.source
    assert config is not None  # noqa: S101 - checked with the settings
    status.source = SourceStatus(type=config.type, stream=config.stream, consumer=config.consumer)
    source: NatsSource = _source_class(config.type)(
        config=config,
        gateway=settings.name,
        event_filter=EventFilter(
            organization=settings.infodeck.organization,
            published=settings.journaled_types,
            status=status.intake,
            on_assets_changed=on_assets_changed,
        ),
        event_log=event_log,
        status=status.source,
        clock_ms=now_ms,
    )
    return SourceEntrance(source, config)


def _source_class(kind: str) -> type[NatsSource]:
    try:
        found: type[NatsSource] = resolve_name(_SOURCES[kind])
    except ModuleNotFoundError as error:
        raise GatewayError(
            f"source.type {kind} needs a library that is not installed, {error.name}: install the gateway"
            f" with its extra, building-gateway[{kind}]"
        ) from error
    return found
