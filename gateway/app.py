"""The composition root: builds every part, runs them, and stops them in order."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

import structlog

from gateway.admin.admin_server import Admission, admin_application
from gateway.admin.control_requests import (
    BuildingRequests,
    retained_topic_requests,
)
from gateway.admin.control_socket import control_application, control_socket
from gateway.admin.dashboard import Dashboard
from gateway.admin.gateway_alarms import GatewayAlarms
from gateway.admin.inspection import Inspection
from gateway.alarms import JOURNAL_DAMAGED, Alarms
from gateway.clock import now_ms, steady_ms
from gateway.delivery.event_copies import EventCopies, subject_of
from gateway.delivery.pipeline import Pipeline
from gateway.delivery.reload import Reloader, report_tables
from gateway.delivery.sink_loop import RetainedTopics, SinkLoop
from gateway.entrance import make_entrance
from gateway.errors import GatewayError, JournalError
from gateway.http_server import ConnectionLimit, serve_application
from gateway.infodeck.service import InfodeckService
from gateway.journal.lookup import read_dead_letters
from gateway.journal.sqlite import SqliteJournal
from gateway.memory import freeze_objects
from gateway.notify import in_one_line, notify, notify_reloading, watchdog_period_s
from gateway.records import Alarm, StateChanges
from gateway.settings import SINK_TYPES, import_class
from gateway.state.building_state import BuildingState
from gateway.status import ConnectionsStatus, SinkStatus, Status
from gateway.tls import ServerCertificate

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from gateway.delivery.reload import TableFiles
    from gateway.mapping.compiler import CompiledTables
    from gateway.mapping.plan import PointMap
    from gateway.model import Event, Record
    from gateway.ports import Sink
    from gateway.settings import Secrets, Settings, SinkConfig

log = structlog.get_logger()

_TICK_S = 1.0
_DRAIN_WITHIN_S = 5.0
_CLOSE_ADMIN_WITHIN_S = 2.0
_STUCK_AFTER_S = 50.0  # a loop turns at least once a second, or pauses for half a minute at most
_ADMIN_CONNECTIONS = 128


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return uvloop's event loop if it is installed, else asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - an optional part
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class App:
    """One gateway. `run` returns after `stop`; `state` shows every point's newest value.

    With `files`, point tables are read again when they change, and when `reload` asks for it.
    """

    def __init__(
        self, *, settings: Settings, secrets: Secrets, points: PointMap, files: TableFiles | None = None
    ) -> None:
        """Build every part; nothing is opened or started yet."""
        self._settings = settings
        self._files = files
        self._stopping = asyncio.Event()
        self._loops: list[SinkLoop] = []
        self._status_line = ""  # as systemd shows it
        self.status = Status(name=settings.name, started_ms=now_ms())
        self.alarms = Alarms(clock_ms=now_ms)
        self.alarms.subscribe(self._show_alarms)
        warnings = files.warnings if files else ()
        report_tables(self.status.tables, points, warnings, loaded_ms=self.status.started_ms)
        self._journal = SqliteJournal(
            settings.journal.path,
            sinks=settings.sinks,
            retention_s=settings.journal.retention,
            max_bytes=settings.journal.max_size,
            clock_ms=now_ms,
            status=self.status.journal,
            on_damage=partial(self.alarms.latch, JOURNAL_DAMAGED),
            on_corrupt=self.stop,
        )
        self._pipeline = Pipeline(
            event_log=self._journal,
            state_store=self._journal,
            state=BuildingState(points),
            status=self.status.mapping,
            clock_ms=now_ms,
            steady_ms=steady_ms,
            copies=EventCopies(
                settings.published_events, subject_of=self._subject_of if settings.nats_sinks else None
            ),
        )
        self._infodeck = InfodeckService(
            settings=settings.infodeck,
            secrets=secrets,
            event_log=self._journal,
            state_store=self._journal,
            pipeline=self._pipeline,
            status=self.status,
            alarms=self.alarms,
            clock_skew_s=settings.clock_skew_s,
            clock_ms=now_ms,
            on_assets_changed=self._compile_again,
        )
        self._reloader = Reloader(
            read=self._read_tables,
            pipeline=self._pipeline,
            loops=self._loops,
            status=self.status.tables,
            clock_ms=now_ms,
            on_done=self._infodeck.follow_tables,
        )
        self._build_servers(settings, secrets)

    def _build_servers(self, settings: Settings, secrets: Secrets) -> None:
        admin = settings.admin
        self._admin_certificate = (
            None
            if admin.tls is None
            else ServerCertificate("admin.tls", admin.tls.certificate, admin.tls.key)
        )
        self._entrance = make_entrance(
            settings,
            secrets,
            event_log=self._journal,
            status=self.status,
            alarms=self.alarms,
            on_assets_changed=self._infodeck.reconcile_soon,
        )
        self._requests = BuildingRequests(
            pipeline=self._pipeline,
            state_store=self._journal,
            alarms=self.alarms,
            sinks=self.status.sinks,
            topics=settings.mqtt_topics,
            clock_ms=now_ms,
        )
        trusted_proxies = admin.trusted_proxies if admin.tls is None else None
        self._admission = Admission(secrets.admin_token, trusted_proxies=trusted_proxies)
        inspection = Inspection(
            state=lambda: self.state,
            journal=settings.journal.path,
            retention_ms=round(settings.journal.retention * 1000),
            report=self._report_event,
            clock_ms=now_ms,
        )
        self._dashboard = Dashboard(
            requests=self._requests,
            inspection=inspection,
            admission=self._admission,
            status=self.status,
            refresh=self._refresh_status,
            read_dead_letters=partial(read_dead_letters, settings.journal.path),
        )
        self._own_alarms = GatewayAlarms(
            status=self.status,
            alarms=self.alarms,
            certificates={pair.setting: pair.certificate for pair in settings.certificates()},
            clock_ms=now_ms,
            steady_ms=steady_ms,
        )

    @property
    def state(self) -> BuildingState:
        """Every point's newest value. It knows the point table in force; after a reload it is another one."""
        return self._pipeline.state

    async def run(self) -> None:
        """Run until stopped: journal, sinks and ports start in this order and stop in the other."""
        notify(STATUS="checking the journal")
        async with self._journal:
            self.alarms.start(self._journal.at_start.alarms, save=self._save_alarm)
            self._infodeck.start()
            self._entrance.start()
            self._journal.subscribe(self._dashboard.last_events.add)
            await self._start_delivery()
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(work, name=name) for name, work in self._work()]
                async with AsyncExitStack() as ports:
                    await self._open_ports(ports)
                    running += [tasks.create_task(work, name=name) for name, work in self._late_work()]
                    self._announce_ready()
                    await self._stopping.wait()
                    await self._drain()
                for task in running:
                    task.cancel()
            self._pipeline.save()
        log.info("gateway.stopped")
        notify(STATUS="stopped")  # systemd goes on showing the last one
        if self._journal.corrupt is not None:
            raise GatewayError(
                f"{self._settings.journal.path}: the journal is corrupt ({self._journal.corrupt}); start the"
                " gateway again, which takes over what can be read"
            )

    def stop(self) -> None:
        """Begin to stop in order; may be called more than once."""
        self._stopping.set()

    def reload(self) -> None:
        """Have signing secrets and point tables read again, as SIGHUP requests."""
        notify_reloading()
        self._entrance.reread(self._reload_tables)

    # Starting and stopping.

    async def _start_delivery(self) -> None:
        feeds = await self._pipeline.start(
            list(self._settings.sinks), without_points=self._settings.nats_sinks
        )
        for name, config in self._settings.sinks.items():
            status = SinkStatus(type=config.type, cursor=self._journal.cursor(name))
            self.status.sinks[name] = status
            retained = RetainedTopics(self._journal, sink=name)
            self._loops.append(
                SinkLoop(
                    name=name,
                    make_sink=partial(self._make_sink, name, config, status, retained),
                    feed=feeds[name],
                    event_log=self._journal,
                    state_store=self._journal,
                    status=status,
                    clock_ms=now_ms,
                    steady_ms=steady_ms,
                )
            )

    def _make_sink(self, name: str, config: SinkConfig, status: SinkStatus, retained: RetainedTopics) -> Sink:
        """Make a sink for the point table in force, which may be another one at each restart of the sink."""
        sink: Sink = import_class(SINK_TYPES[config.type].constructor)(
            name=name,
            config=config,
            gateway=self._settings.name,
            points=self.state.points,
            latest=self.state,
            status=status,
            retained=retained,
            alarms=self.alarms,
        )
        return sink

    def _work(self) -> Iterator[tuple[str, Coroutine[None, None, None]]]:
        """Yield what runs as long as the gateway does, each with the name of its task."""
        for loop in self._loops:
            yield f"sink {loop.name}", loop.run()
        yield "clock", self._tick()
        yield "infodeck", self._infodeck.run()
        yield from self._entrance.work()
        yield "certificates", self._own_alarms.watch_certificates()
        if self._admin_certificate is not None:
            yield "admin.tls", self._admin_certificate.keep_current()

    def _late_work(self) -> Iterator[tuple[str, Coroutine[None, None, None]]]:
        """Yield what runs only once the ports are open."""
        if self._files is not None:
            yield "reload", self._reloader.run()
            yield "watch point tables", self._files.watch(self._reloader.request)
        yield "watchdog", self._feed_watchdog()

    async def _open_ports(self, ports: AsyncExitStack) -> None:
        """Serve the admin pages, the control socket and the webhooks until `ports` is closed."""
        settings, no_http = self._settings, self.status.no_http
        admin = admin_application(
            status=self.status,
            admission=self._admission,
            dashboard=self._dashboard,
            refresh=self._refresh_status,
            problems=self._stuck_loops,
        )
        control = control_application(
            {
                **self._requests.by_route(),
                **self._entrance.control_requests(),
                **retained_topic_requests(self._journal, sinks=self.status.sinks),
            }
        )
        for port in (
            serve_application(
                admin,
                "admin.listen",
                settings.admin.listen,
                listener="admin",
                limit=ConnectionLimit("admin.listen", _ADMIN_CONNECTIONS, status=ConnectionsStatus()),
                no_http=no_http,
                tls=None if self._admin_certificate is None else self._admin_certificate.lasting,
                close_within_s=_CLOSE_ADMIN_WITHIN_S,
            ),
            control_socket(settings.control_socket, control, no_http=no_http),
            self._entrance.opened(),
        ):
            await ports.enter_async_context(port)

    def _announce_ready(self) -> None:
        settings = self._settings
        reconciliation = f"every {settings.infodeck.reconcile.every:.0f} s with {settings.infodeck.api}"
        if not self._infodeck.has_api_key:
            reconciliation = "off: no infodeck.api_key, so only the point tables' assets are known"
        self.status.ready = True
        log.info(
            "gateway.ready",
            name=settings.name,
            **{"source" if settings.intake is None else "intake": self._entrance.address},
            points=self.status.tables.points,
            assets=self.status.tables.assets,
            sinks=list(settings.sinks),
            reconciliation=reconciliation,
        )
        freeze_objects()
        self._notify_ready()

    async def _drain(self) -> None:
        """Accept no more events, and give the sinks some time to write what is there."""
        log.info("gateway.stopping")
        notify(STOPPING="1")
        self.status.ready = False
        await self._entrance.stop()
        with suppress(JournalError):
            await self._journal.flush()
        deadline = time.monotonic() + _DRAIN_WITHIN_S
        while time.monotonic() < deadline and not all(loop.idle for loop in self._loops):  # noqa: ASYNC110 - several states
            await asyncio.sleep(0.02)

    # Reloads.

    def _read_tables(self) -> CompiledTables:
        assert self._files is not None  # noqa: S101 - without files, the reloader does not run
        return self._files.read(self._infodeck.snapshot)

    def _reload_tables(self) -> None:
        if self._files is None:
            self._notify_ready()
        else:
            self._files.warn_of_changed_settings()
            self._reloader.request(done=self._notify_ready)

    def _compile_again(self) -> None:
        if self._files is None:
            self._infodeck.compare_tables()
        else:
            self._reloader.request()

    # Status and alarms.

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            for tick in (self._pipeline.tick, self._infodeck.tick, self._dashboard.tick):
                tick()
                await asyncio.sleep(0)  # in a large building each takes a while
            while self._pipeline.save_some():  # noqa: ASYNC110 - the others have their turn in between
                await asyncio.sleep(0)
            self._refresh_lags()
            self._own_alarms.tick()
            if (line := in_one_line(self.status)) != self._status_line:
                self._status_line = line
                notify(STATUS=line)

    def _notify_ready(self) -> None:
        if self._entrance.is_reread_pending:
            return  # another reload was requested meanwhile, and reports
        self._refresh_lags()
        self._status_line = in_one_line(self.status)
        notify(READY="1", STATUS=self._status_line)

    def _subject_of(self, event: Event) -> str:
        organization = self._settings.infodeck.organization
        return subject_of(
            event, organization=organization, points=self.state.points, inventory=self._infodeck.snapshot
        )

    def _report_event(self, event_id: str, points: PointMap) -> tuple[Record, str]:
        from gateway.event_report import journaled_event_report  # noqa: PLC0415 - loaded with the first report

        return journaled_event_report(event_id, points, settings=self._settings)

    def _refresh_status(self) -> None:
        self._refresh_lags()
        self.status.qualities = self.state.qualities()

    def _refresh_lags(self) -> None:
        for loop in self._loops:
            loop.refresh()

    def _show_alarms(self) -> None:
        self.status.alarms = self.alarms.current()

    def _save_alarm(self, alarm: Alarm) -> None:
        self._journal.save(StateChanges(alarms={(alarm.name, alarm.since_ms): alarm}))

    # Progress.

    async def _feed_watchdog(self) -> None:
        """Tell systemd that the gateway is alive, but only while it makes progress."""
        period_s = watchdog_period_s()
        while period_s is not None:
            if not self._stuck_loops() and await self._entrance.is_alive():
                notify(WATCHDOG="1")
            await asyncio.sleep(period_s)

    def _stuck_loops(self) -> list[str]:
        latest_s = time.monotonic() - _STUCK_AFTER_S
        sinks = [f"sink {loop.name} makes no progress" for loop in self._loops if loop.turned_s < latest_s]
        stuck = ["the source makes no progress"] if self._entrance.is_stuck(since_s=latest_s) else []
        return stuck + sinks
