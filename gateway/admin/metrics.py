"""The metrics for Prometheus, made from the status when they are requested; nothing is counted here."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from gateway import __version__
from gateway.alarms import NAMES
from gateway.status import COMMIT_BOUNDS_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from gateway.status import (
        IntakeStatus,
        JournalStatus,
        MappingStatus,
        SecretStatus,
        SinkStatus,
        Status,
        TablesStatus,
    )

_BUCKETS = [*(f"{bound:g}" for bound in COMMIT_BOUNDS_S), "+Inf"]


class Metrics:
    """All that `/metrics` has of one gateway."""

    def __init__(self, status: Status) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_StatusCollector(status))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return the text and its content type, in the newest format of Prometheus that `accept` names.

        If `accept` can't be read, it is the oldest format.
        """
        try:
            encode, content_type = choose_encoder(accept)
        except (ValueError, TypeError):  # a version that is not one
            encode, content_type = choose_encoder("")
        return encode(self._registry), content_type


class _StatusCollector(Collector):
    """Makes metrics from the status on each request, so that events cost nothing."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        status = self._status
        yield InfoMetricFamily("gateway_build", "Which gateway this is.", value={"version": __version__})
        yield _gauge("gateway_ready", "Whether events are accepted.", status.ready)
        yield from _intake(status.intake)
        yield from _secrets(status.intake.secrets)
        yield from _journal(status.journal)
        yield from _mapping(status.mapping)
        yield from _tables(status.tables)
        yield _gauges("gateway_points", "Points by quality.", "quality", status.qualities.items())
        yield _gauge("gateway_points_forced", "Points with an override.", len(status.mapping.forced))
        yield from _sinks(status.sinks)
        yield from _infodeck(status)
        yield _counters(
            "gateway_no_http",
            "Requests that were not HTTP, at the admin port and the control socket.",
            "listener",
            status.no_http.items(),
        )
        yield _alarms({alarm.name for alarm in status.alarms})


def _intake(intake: IntakeStatus) -> Iterator[Metric]:
    yield _counters(
        "gateway_intake_requests", "Requests by HTTP status of the answer.", "code", intake.answers.items()
    )
    yield _counters(
        "gateway_intake_refused",
        "Deliveries answered with 401, by reason.",
        "reason",
        intake.refused.items(),
    )
    connections = intake.connections
    yield _gauge("gateway_intake_connections", "Connections of the intake that are open.", connections.open)
    yield _counter(
        "gateway_intake_dropped_connections",
        "Connections that were dropped for others when the port was full.",
        connections.dropped,
    )
    yield _counter("gateway_intake_test_events", "Test events, which reach no sink.", intake.test_events)
    yield _counter(
        "gateway_intake_other_organization", "Events of another organization.", intake.other_organization
    )
    yield _counters(
        "gateway_intake_ignored_events",
        "Events of types without readings.",
        "type",
        intake.ignored_types.items(),
    )


def _secrets(secrets: Sequence[SecretStatus]) -> Iterator[Metric]:
    used = [(each.source, each.last_used_ms / 1000) for each in secrets if each.last_used_ms is not None]
    changed = [(each.source, each.changed_ms / 1000) for each in secrets if each.changed_ms is not None]
    yield _gauges(
        "gateway_signing_secret_last_used_seconds", "When it was used last, Unix time.", "source", used
    )
    yield _gauges(
        "gateway_signing_secret_changed_seconds",
        "When it was written or first seen, Unix time.",
        "source",
        changed,
    )


def _journal(journal: JournalStatus) -> Iterator[Metric]:
    yield _gauge("gateway_journal_up", "Whether events can be written.", journal.state == "ok")
    yield _counter("gateway_journal_events", "Events accepted, each counted once.", journal.accepted)
    yield _counter("gateway_journal_duplicates", "Duplicate events.", journal.duplicates)
    if journal.last_event_ms is not None:
        last_s = journal.last_event_ms / 1000
        yield _gauge("gateway_journal_last_event_seconds", "When the newest event came, Unix time.", last_s)
    yield _gauge("gateway_journal_used_bytes", "Size of the journal on disk.", journal.bytes_used)
    yield _gauge("gateway_journal_limit_bytes", "Size at which it refuses events.", journal.bytes_limit)
    yield _gauge("gateway_journal_dead_letters", "Dead letters that are kept.", journal.dead_letters)
    yield _counter("gateway_journal_damaged_events", "Events that could not be read.", journal.damaged_events)
    yield _gauge(
        "gateway_journal_corrupt_files", "Corrupt journals that were moved aside.", len(journal.corrupt_files)
    )
    counts = list(accumulate(journal.commits.counts))
    yield HistogramMetricFamily(
        "gateway_journal_commit_seconds",
        "How long a commit of a group of events takes.",
        buckets=[(bound, float(count)) for bound, count in zip(_BUCKETS, counts, strict=True)],
        sum_value=journal.commits.seconds,
    )


def _mapping(mapping: MappingStatus) -> Iterator[Metric]:
    yield _counters(
        "gateway_mapping_events",
        "Events by outcome of their mapping.",
        "outcome",
        [
            ("mapped", mapping.mapped),
            ("unmapped", mapping.unmapped),
            ("unreadable", mapping.unreadable),
            ("connection", mapping.connections),
            ("connection_unclear", mapping.connections_unclear),
        ],
    )
    yield _counter("gateway_mapping_late_readings", "Readings older than their point's newest.", mapping.late)
    yield _counter(
        "gateway_mapping_clock_ahead",
        "Readings from the future, dated as received.",
        mapping.clock_ahead,
    )


def _tables(tables: TablesStatus) -> Iterator[Metric]:
    yield _gauge("gateway_tables_up", "Whether the point tables on disk are in force.", not tables.problems)
    yield _gauge(
        "gateway_tables_loaded_seconds", "When they were loaded (Unix time).", tables.loaded_ms / 1000
    )
    yield _counters(
        "gateway_tables_reloads",
        "Reloads of point tables, by outcome.",
        "outcome",
        [("taken", tables.reloads), ("refused", tables.refused)],
    )


def _sinks(sinks: Mapping[str, SinkStatus]) -> Iterator[Metric]:
    def of_each(value: Callable[[SinkStatus], float]) -> list[tuple[str, float]]:
        return [(name, value(sink)) for name, sink in sinks.items()]

    def gauge(name: str, text: str, value: Callable[[SinkStatus], float]) -> Metric:
        return _gauges(f"gateway_sink_{name}", text, "sink", of_each(value))

    def counter(name: str, text: str, value: Callable[[SinkStatus], float]) -> Metric:
        return _counters(f"gateway_sink_{name}", text, "sink", of_each(value))

    yield gauge("up", "Whether its receiver accepts writes.", lambda sink: sink.connected)
    yield gauge("lag_events", "Events that are not delivered yet.", lambda sink: sink.lag)
    yield gauge("lag_seconds", "Age of the oldest of them.", lambda sink: sink.lag_s)
    yield counter("written_updates", "Updates written.", lambda sink: sink.written)
    yield counter("retries", "Batches that had to be written again.", lambda sink: sink.retries)
    yield counter("reconnects", "Reconnections.", lambda sink: sink.reconnects)
    yield counter("dead_letters", "Updates that its receiver refused.", lambda sink: sink.dead_letters)
    succeeded = [(name, sink.last_success_ms) for name, sink in sinks.items()]
    yield _gauges(
        "gateway_sink_last_success_seconds",
        "When something was written last, Unix time.",
        "sink",
        [(name, at_ms / 1000) for name, at_ms in succeeded if at_ms is not None],
    )
    clients = [(name, sink.clients) for name, sink in sinks.items() if sink.clients is not None]
    yield _gauges(
        "gateway_sink_clients",
        "Clients that are connected.",
        "sink",
        [(name, each.connected) for name, each in clients],
    )
    yield _counters(
        "gateway_sink_requests",
        "Requests answered.",
        "sink",
        [(name, each.requests) for name, each in clients],
    )
    yield _counters(
        "gateway_sink_refused_clients",
        "Clients that were refused.",
        "sink",
        [(name, each.refused) for name, each in clients],
    )


def _infodeck(status: Status) -> Iterator[Metric]:
    reconcile, inventory, refill = status.reconcile, status.inventory, status.refill
    yield _counters(
        "gateway_reconcile_looks",
        "Reconciliations with Infodeck's API, by outcome.",
        "outcome",
        [("ok", reconcile.succeeded), ("failed", reconcile.failed)],
    )
    if reconcile.last_success_ms is not None:
        yield _gauge(
            "gateway_reconcile_last_success_seconds",
            "When reconciliation succeeded last, Unix time.",
            reconcile.last_success_ms / 1000,
        )
    yield _gauges(
        "gateway_infodeck_assets",
        "Assets: known to Infodeck; online and in no table; in a table and unknown to Infodeck.",
        "state",
        [("known", reconcile.assets), ("unmapped", inventory.unmapped), ("gone", inventory.gone)],
    )
    yield _counters(
        "gateway_refill_readings",
        "Readings that no webhook brought, by their place in the API.",
        "source",
        [("shadow", refill.readings), ("history", refill.history_readings)],
    )
    yield _gauge("gateway_refill_open_gaps", "Gaps in histories, still to be filled.", refill.open_gaps)


def _alarms(raised: set[str]) -> Metric:
    names = sorted({*NAMES, *raised})
    return _gauges(
        "gateway_alarm", "1 while an alarm holds.", "alarm", [(name, name in raised) for name in names]
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=float(value))


def _gauges(name: str, text: str, label: str, values: Iterable[tuple[object, float]]) -> Metric:
    return _labelled(GaugeMetricFamily(name, text, labels=[label]), values)


def _counters(name: str, text: str, label: str, values: Iterable[tuple[object, float]]) -> Metric:
    return _labelled(CounterMetricFamily(name, text, labels=[label]), values)


def _labelled(
    family: GaugeMetricFamily | CounterMetricFamily, values: Iterable[tuple[object, float]]
) -> Metric:
    for label, value in values:
        family.add_metric([str(label)], float(value))
    return family
