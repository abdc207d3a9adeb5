"""The composition root: builds the house, runs it, and takes it down in order."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from gateway.assets.reconcile import Reconciler
from gateway.delivery.head import Head
from gateway.delivery.loop import SinkLoop
from gateway.errors import GatewayError, JournalError
from gateway.journal.sqlite import SqliteJournal
from gateway.mapping.live.image import PointImage
from gateway.notify import notify, watchdog_period_s
from gateway.settings import SINK_TYPES
from gateway.signature import Verifier
from gateway.status import SinkStatus, Status
from gateway.web.admin import admin_application
from gateway.web.control import Control, control_socket
from gateway.web.intake import Intake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.config.scalars import HostPort
    from gateway.config.secrets import Secret
    from gateway.mapping.plan import PointMap
    from gateway.model import AssetSnapshot
    from gateway.settings import Secrets, Settings

log = structlog.get_logger()

_TICK_S = 1.0
_DRAIN_WITHIN_S = 5.0
_CLOSE_WITHIN_S = 5.0
_STUCK_AFTER_S = 50.0  # a loop turns at least once a second, or pauses for half a minute at most
_ANSWER_WITHIN_S = 5.0
_BACKLOG = 1024


def now_ms() -> int:
    """Return Unix milliseconds."""
    return time.time_ns() // 1_000_000


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return uvloop's event loop where it is installed, asyncio's own otherwise."""
    try:
        import uvloop  # noqa: PLC0415 - an optional part
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class App:
    """One gateway. `run` returns after `stop`; `image` shows every point's newest value."""

    def __init__(self, *, settings: Settings, secrets: Secrets, points: PointMap) -> None:
        """Build every part; nothing is opened or started yet."""
        self._settings = settings
        self._points = points
        self._stopping = asyncio.Event()
        self.status = Status(name=settings.name, started_ms=now_ms())
        self.image = PointImage(points)
        self._journal = SqliteJournal(
            settings.journal.path,
            sinks=settings.sinks,
            retention_s=settings.journal.retention,
            max_bytes=settings.journal.max_size,
            clock_ms=now_ms,
            status=self.status.journal,
        )
        self._head = Head(
            journal=self._journal,
            points=points,
            image=self.image,
            status=self.status.mapping,
            clock_ms=now_ms,
        )
        self._intake = Intake(
            path=settings.intake.path,
            max_body_bytes=settings.intake.max_body,
            organization=settings.infodeck.organization,
            verifier=Verifier(
                [secret.reveal() for secret in secrets.signing_secrets], tolerance_s=settings.intake.tolerance
            ),
            journal=self._journal,
            status=self.status.intake,
            clock_ms=now_ms,
            trusted_proxies=settings.intake.trusted_proxies if settings.intake.tls is None else None,
        )
        self._loops: list[SinkLoop] = []
        self.snapshot: AssetSnapshot | None = None
        self._reconciler = self._make_reconciler(secrets.api_key)

    def stop(self) -> None:
        """Begin to stop in order; may be called more than once."""
        self._stopping.set()

    async def run(self) -> None:
        """Run until stopped: journal, sinks, intake come up in this order and go down in the other."""
        async with self._journal:
            self.snapshot = self._journal.snapshot()
            await self._start_delivery()
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(loop.run(), name=f"sink {loop.name}") for loop in self._loops]
                running.append(tasks.create_task(self._tick(), name="clock"))
                if self._reconciler is not None:
                    running.append(tasks.create_task(self._reconciler.run(), name="reconcile"))
                async with self._listening():
                    running.append(tasks.create_task(self._feed_watchdog(), name="watchdog"))
                    self._announce_ready()
                    await self._stopping.wait()
                    await self._drain()
                for task in running:
                    task.cancel()
            self._head.keep()
        log.info("gateway.stopped")

    def _make_reconciler(self, api_key: Secret | None) -> Reconciler | None:
        infodeck = self._settings.infodeck
        if api_key is None:
            return None
        return Reconciler(
            api=infodeck.api,
            organization=infodeck.organization,
            api_key=api_key,
            every_s=infodeck.reconcile.every,
            journal=self._journal,
            status=self.status.reconcile,
            clock_ms=now_ms,
            on_snapshot=self._take_snapshot,
        )

    def _take_snapshot(self, snapshot: AssetSnapshot) -> None:
        self.snapshot = snapshot

    async def _start_delivery(self) -> None:
        feeds = await self._head.start(list(self._settings.sinks))
        for name, config in self._settings.sinks.items():
            status = SinkStatus(type=config.type, cursor=self._journal.cursor(name))
            self.status.sinks[name] = status
            make_sink = partial(
                SINK_TYPES[config.type].factory,
                name=name,
                config=config,
                gateway=self._settings.name,
                points=self._points,
                latest=self.image,
                status=status,
            )
            self._loops.append(
                SinkLoop(
                    name=name,
                    make_sink=make_sink,
                    feed=feeds[name],
                    journal=self._journal,
                    status=status,
                    clock_ms=now_ms,
                )
            )

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        """Serve webhooks and the admin pages; connections under way are finished on leaving."""
        settings = self._settings
        admin = web.AppRunner(
            admin_application(status=self.status, problems=self._stuck_loops), access_log=None
        )
        async with AsyncExitStack() as stack:
            await admin.setup()
            stack.push_async_callback(admin.cleanup)
            assert admin.server is not None  # noqa: S101 - set up in the line above
            await stack.enter_async_context(_listen("admin.listen", settings.admin.listen, admin.server))
            control = Control(
                overrides=self._head,
                image=lambda: self.image,
                prefixes=settings.mqtt_prefixes,
                flush=self._journal.flush,
                clock_ms=now_ms,
            )
            await stack.enter_async_context(control_socket(settings.control_socket, control.application()))
            server = self._intake.server()
            stack.push_async_callback(server.shutdown, _CLOSE_WITHIN_S)
            await stack.enter_async_context(
                _listen("intake.listen", settings.intake.listen, server, tls=self._tls())
            )
            yield

    def _tls(self) -> ssl.SSLContext | None:
        tls = self._settings.intake.tls
        if tls is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(tls.certificate, tls.key)
        except (OSError, ssl.SSLError) as error:
            raise GatewayError(
                f"intake.tls: {tls.certificate} and {tls.key} can't be used: {error}"
            ) from error
        return context

    def _announce_ready(self) -> None:
        settings = self._settings
        self.status.ready = True
        log.info(
            "gateway.ready",
            name=settings.name,
            intake=f"{settings.intake.listen}{settings.intake.path}",
            points=len(self._points.points),
            assets=len(self._points.by_asset),
            sinks=list(settings.sinks),
            reconciliation="off: no infodeck.api_key, so only the point tables' assets are known"
            if self._reconciler is None
            else f"every {settings.infodeck.reconcile.every:.0f} s with {settings.infodeck.api}",
        )
        notify(READY="1", STATUS=f"{len(self._points.points)} points, {len(settings.sinks)} sinks")

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._head.tick()

    async def _feed_watchdog(self) -> None:
        """Tell systemd that the gateway is alive, but only while it makes progress."""
        period_s = watchdog_period_s()
        while period_s is not None:
            if not self._stuck_loops() and await self._intake_answers():
                notify(WATCHDOG="1")
            await asyncio.sleep(period_s)

    def _stuck_loops(self) -> list[str]:
        latest_ms = now_ms() - _STUCK_AFTER_S * 1000
        return [f"sink {loop.name} makes no progress" for loop in self._loops if loop.turned_ms < latest_ms]

    async def _intake_answers(self) -> bool:
        """Ask the intake something over its own socket, as a sender would."""
        listen = self._settings.intake.listen.reachable
        tls = ssl._create_unverified_context() if self._settings.intake.tls else None  # noqa: S323, SLF001 - own socket
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                reader, writer = await asyncio.open_connection(listen.host, listen.port, ssl=tls)
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                answer = await reader.read(64)
                writer.close()
                return answer.startswith(b"HTTP/1.")
        return False

    async def _drain(self) -> None:
        """Take no more events, and give the sinks some time to write what is there."""
        log.info("gateway.stopping")
        notify(STOPPING="1")
        self.status.ready = False
        self._intake.stop()
        with suppress(JournalError):
            await self._journal.flush()
        deadline = time.monotonic() + _DRAIN_WITHIN_S
        while time.monotonic() < deadline and not all(loop.idle for loop in self._loops):  # noqa: ASYNC110 - several states
            await asyncio.sleep(0.02)


@asynccontextmanager
async def _listen(
    what: str,
    address: HostPort,
    protocol: Callable[[], asyncio.Protocol],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[None]:
    """Listen within the context; a port that can't be had is told with its setting's name."""
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(protocol, address.host, address.port, ssl=tls, backlog=_BACKLOG)
    except OSError as error:
        raise GatewayError(f"{what}: can't listen on {address}: {error.strerror or error}") from error
    try:
        yield
    finally:
        server.close()
