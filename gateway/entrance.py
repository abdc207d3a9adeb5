"""Where events come in: the intake of webhooks with its secrets and certificate, or a source in its place."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from gateway.admin.control_requests import signing_secret_requests
from gateway.clock import now_ms, steady_ms
from gateway.http_server import answers
from gateway.intake.event_filter import EventFilter
from gateway.intake.forwarding import Forwarding
from gateway.intake.server import IntakeServer
from gateway.intake.signing_secrets import SigningSecrets
from gateway.settings import import_class, read_signing_secrets
from gateway.status import SourceStatus
from gateway.tls import ServerCertificate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager

    from gateway.admin.control_socket import ControlRequest
    from gateway.alarms import Alarms
    from gateway.intake.nats_source import NatsSource
    from gateway.ports import EventLog
    from gateway.settings import IntakeSettings, Secrets, Settings
    from gateway.status import Status

    Work = Iterator[tuple[str, Coroutine[None, None, None]]]

_ANSWER_WITHIN_S = 5.0


class WebhookEntrance:
    """The intake."""

    def __init__(
        self,
        settings: Settings,
        intake: IntakeSettings,
        secrets: Secrets,
        *,
        event_filter: EventFilter,
        event_log: EventLog,
        alarms: Alarms,
    ) -> None:
        self._settings = intake
        self.address = f"{intake.listen}{intake.path}"
        tls, forwarded = intake.tls, intake.forwarded_by
        self._certificate = None if tls is None else ServerCertificate("intake.tls", tls.certificate, tls.key)
        self._signing = SigningSecrets(
            configured=secrets.signing_secrets,
            read=partial(read_signing_secrets, settings),
            file=settings.previous_secrets,
            tolerance_s=intake.tolerance,
            status=event_filter.status,
            clock_ms=now_ms,
            steady_ms=steady_ms,
            alarms=alarms,
        )
        self._server = IntakeServer(
            path=intake.path,
            max_body_bytes=intake.max_body,
            verifier=self._signing,
            event_filter=event_filter,
            event_log=event_log,
            status=event_filter.status,
            clock_ms=now_ms,
            trusted_proxies=intake.trusted_proxies if tls is None else None,
            forwarding=None if forwarded is None else Forwarding(event_log=event_log, sink=forwarded),
        )

    def start(self) -> None:
        """Accept the secrets that were accepted before, with the journal open."""
        self._signing.start()

    def work(self) -> Work:
        """Yield what runs as long as the gateway does, each with the name of its task."""
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
        """Read secrets again, as SIGHUP requests; `done` is called after a reading that began after this."""
        self._signing.request_reread(done)

    @property
    def is_reread_pending(self) -> bool:
        """Whether secrets are to be read again, and were not yet."""
        return self._signing.is_reread_pending

    def control_requests(self) -> dict[str, ControlRequest]:
        """Return the requests of the control socket that concern it, by route."""
        return signing_secret_requests(self._signing)

    def is_stuck(self, *, since_s: float) -> bool:
        """Return False: requests end by themselves."""
        del since_s
        return False

    async def is_alive(self) -> bool:
        """Return whether the port answers."""
        listen, tls = self._settings.listen.reachable, self._settings.tls is not None
        return await answers(listen, tls=tls, within_s=_ANSWER_WITHIN_S)


class SourceEntrance:
    """A source, which connects by itself and reads its secrets anew each time: as `WebhookEntrance`."""

    is_reread_pending = False

    def __init__(self, source: NatsSource, *, address: str) -> None:
        self._source = source
        self.address = address

    def start(self) -> None:
        """Do nothing."""

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
        """Read nothing."""
        done()

    def control_requests(self) -> dict[str, ControlRequest]:
        """Return none."""
        return {}

    def is_stuck(self, *, since_s: float) -> bool:
        """Return whether it has neither received anything nor given up since then, by the monotonic clock."""
        return self._source.turned_s < since_s

    async def is_alive(self) -> bool:
        """Return True: there is no port that could answer."""
        return True


Entrance = WebhookEntrance | SourceEntrance
"""The one place where events come in."""


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
    event_filter = EventFilter(
        organization=settings.infodeck.organization,
        published=settings.journaled_types,
        status=status.intake,
        on_assets_changed=on_assets_changed,
    )
    intake, config = settings.intake, settings.source
    if intake is not None:
        return WebhookEntrance(
            settings, intake, secrets, event_filter=event_filter, event_log=event_log, alarms=alarms
        )
    assert config is not None  # noqa: S101 - checked with the settings
    status.source = SourceStatus(type=config.type, stream=config.stream, consumer=config.consumer)
    source: NatsSource = import_class("gateway.intake.nats_source:NatsSource")(
        config=config,
        gateway=settings.name,
        event_filter=event_filter,
        event_log=event_log,
        status=status.source,
        clock_ms=now_ms,
    )
    return SourceEntrance(source, address=f"{config.type}: {config.stream}, {config.consumer}")
