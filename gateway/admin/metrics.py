"""The metrics for Prometheus, made from the status when they are requested; nothing is counted here."""

from __future__ import annotations

from itertools import accumulate
from operator import attrgetter
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
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client import Metric

    from gateway.status import CommitTimes, SinkStatus, Status

    Family = type[GaugeMetricFamily | CounterMetricFamily]

_GAUGE, _COUNTER = GaugeMetricFamily, CounterMetricFamily
_BUCKETS = [*(f"{bound:g}" for bound in COMMIT_BOUNDS_S), "+Inf"]

# Each is its kind, its name without `gateway_`, its help, and its path in the status. Of a collection, it is
# the number of elements; milliseconds become seconds; None is left out.
_SINGLE: list[tuple[Family, str, str, str]] = [
    (_GAUGE, "ready", "Whether events are accepted.", "ready"),
    (_GAUGE, "intake_connections", "Connections of the intake that are open.", "intake.connections.open"),
    (
        _COUNTER,
        "intake_dropped_connections",
        "Connections that were dropped for others when the port was full.",
        "intake.connections.dropped",
    ),
    (_COUNTER, "intake_test_events", "Test events, which reach no sink.", "intake.test_events"),
    (_COUNTER, "intake_other_organization", "Events of another organization.", "intake.other_organization"),
    (_COUNTER, "journal_events", "Events accepted, each counted once.", "journal.accepted"),
    (_COUNTER, "journal_duplicates", "Duplicate events.", "journal.duplicates"),
    (
        _GAUGE,
        "journal_last_event_seconds",
        "When the newest event came, Unix time.",
        "journal.last_event_ms",
    ),
    (_GAUGE, "journal_used_bytes", "Size of the journal on disk.", "journal.bytes_used"),
    (_GAUGE, "journal_limit_bytes", "Size at which it refuses events.", "journal.bytes_limit"),
    (_GAUGE, "journal_dead_letters", "Dead letters that are kept.", "journal.dead_letters"),
    (_COUNTER, "journal_damaged_events", "Events that could not be read.", "journal.damaged_events"),
    (_GAUGE, "journal_corrupt_files", "Corrupt journals that were moved aside.", "journal.corrupt_files"),
    (_COUNTER, "mapping_late_readings", "Readings older than their point's newest.", "mapping.late"),
    (_COUNTER, "mapping_clock_ahead", "Readings from the future, dated as received.", "mapping.clock_ahead"),
    (_GAUGE, "tables_loaded_seconds", "When they were loaded (Unix time).", "tables.loaded_ms"),
    (_GAUGE, "points_forced", "Points with an override.", "mapping.forced"),
    (
        _GAUGE,
        "reconcile_last_success_seconds",
        "When reconciliation succeeded last, Unix time.",
        "reconcile.last_success_ms",
    ),
    (_GAUGE, "refill_open_gaps", "Gaps in histories, still to be filled.", "refill.open_gaps"),
]

# Likewise with a label: the keys of a mapping in the status, or what is named here.
_LABELLED: list[tuple[Family, str, str, str, str | dict[str, str]]] = [
    (_COUNTER, "intake_requests", "Requests by HTTP status of the answer.", "code", "intake.answers"),
    (_COUNTER, "intake_refused", "Deliveries answered with 401, by reason.", "reason", "intake.refused"),
    (_COUNTER, "intake_ignored_events", "Events of types without readings.", "type", "intake.ignored_types"),
    (_GAUGE, "points", "Points by quality.", "quality", "qualities"),
    (
        _COUNTER,
        "no_http",
        "Requests that were not HTTP, at the admin port and the control socket.",
        "listener",
        "no_http",
    ),
    (
        _COUNTER,
        "mapping_events",
        "Events by outcome of their mapping.",
        "outcome",
        {
            "mapped": "mapping.mapped",
            "unmapped": "mapping.unmapped",
            "unreadable": "mapping.unreadable",
            "connection": "mapping.connections",
            "connection_unclear": "mapping.connections_unclear",
        },
    ),
    (
        _COUNTER,
        "tables_reloads",
        "Reloads of point tables, by outcome.",
        "outcome",
        {"taken": "tables.reloads", "refused": "tables.refused"},
    ),
    (
        _COUNTER,
        "reconcile_looks",
        "Reconciliations with Infodeck's API, by outcome.",
        "outcome",
        {"ok": "reconcile.succeeded", "failed": "reconcile.failed"},
    ),
    (
        _GAUGE,
        "infodeck_assets",
        "Assets: known to Infodeck; online and in no table; in a table and unknown to Infodeck.",
        "state",
        {"known": "reconcile.assets", "unmapped": "inventory.unmapped", "gone": "inventory.gone"},
    ),
    (
        _COUNTER,
        "refill_readings",
        "Readings that no webhook brought, by their place in the API.",
        "source",
        {"shadow": "refill.readings", "history": "refill.history_readings"},
    ),
]

# Likewise by sink.
_SINKS: list[tuple[Family, str, str, str]] = [
    (_GAUGE, "up", "Whether its receiver accepts writes.", "connected"),
    (_GAUGE, "lag_events", "Events that are not delivered yet.", "lag"),
    (_GAUGE, "lag_seconds", "Age of the oldest of them.", "lag_s"),
    (_COUNTER, "written_updates", "Updates written.", "written"),
    (_COUNTER, "retries", "Batches that had to be written again.", "retries"),
    (_COUNTER, "reconnects", "Reconnections.", "reconnects"),
    (_COUNTER, "dead_letters", "Updates that its receiver refused.", "dead_letters"),
    (_GAUGE, "last_success_seconds", "When something was written last, Unix time.", "last_success_ms"),
]
_CLIENTS: list[tuple[Family, str, str, str]] = [
    (_GAUGE, "clients", "Clients that are connected.", "clients.connected"),
    (_COUNTER, "requests", "Requests answered.", "clients.requests"),
    (_COUNTER, "refused_clients", "Clients that were refused.", "clients.refused"),
]


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
    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        status = self._status
        yield InfoMetricFamily("gateway_build", "Which gateway this is.", value={"version": __version__})
        is_up, in_force = status.journal.state == "ok", not status.tables.problems
        yield _GAUGE("gateway_journal_up", "Whether events can be written.", float(is_up))
        yield _GAUGE("gateway_tables_up", "Whether the point tables on disk are in force.", float(in_force))
        for kind, name, text, path in _SINGLE:
            if (value := _number(status, path)) is not None:
                yield kind(f"gateway_{name}", text, value)
        for kind, name, text, label, place in _LABELLED:
            found: Mapping[object, float | None] = (
                attrgetter(place)(status)
                if isinstance(place, str)
                else {key: _number(status, path) for key, path in place.items()}
            )
            yield _labelled(kind, name, text, label, found.items())
        yield from _secrets(status)
        yield from _sinks(_SINKS, status.sinks)
        yield from _sinks(
            _CLIENTS, {name: sink for name, sink in status.sinks.items() if sink.clients is not None}
        )
        yield _commits(status.journal.commits)
        raised = {alarm.name for alarm in status.alarms}
        alarms = [(name, float(name in raised)) for name in sorted({*NAMES, *raised})]
        yield _labelled(_GAUGE, "alarm", "1 while an alarm holds.", "alarm", alarms)


def _number(section: object, path: str) -> float | None:
    value = attrgetter(path)(section)
    if isinstance(value, list | dict):
        return float(len(value))
    if value is None:
        return None
    return value / 1000 if path.endswith("_ms") else float(value)


def _labelled(
    kind: Family, name: str, text: str, label: str, values: Iterable[tuple[object, float | None]]
) -> Metric:
    family = kind(f"gateway_{name}", text, labels=[label])
    for key, value in values:
        if value is not None:
            family.add_metric([str(key)], float(value))
    return family


def _secrets(status: Status) -> Iterator[Metric]:
    for name, text, path in (
        ("last_used", "When it was used last, Unix time.", "last_used_ms"),
        ("changed", "When it was written or first seen, Unix time.", "changed_ms"),
    ):
        values = [(each.source, _number(each, path)) for each in status.intake.secrets]
        yield _labelled(_GAUGE, f"signing_secret_{name}_seconds", text, "source", values)


def _sinks(table: list[tuple[Family, str, str, str]], sinks: Mapping[str, SinkStatus]) -> Iterator[Metric]:
    for kind, name, text, path in table:
        values = [(sink, _number(status, path)) for sink, status in sinks.items()]
        yield _labelled(kind, f"sink_{name}", text, "sink", values)


def _commits(times: CommitTimes) -> Metric:
    counts = [float(count) for count in accumulate(times.counts)]
    return HistogramMetricFamily(
        "gateway_journal_commit_seconds",
        "How long a commit of a group of events takes.",
        buckets=list(zip(_BUCKETS, counts, strict=True)),
        sum_value=times.seconds,
    )
