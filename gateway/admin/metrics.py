"""The metrics for Prometheus, made from the status when they are requested; nothing is counted here."""

from __future__ import annotations

from itertools import accumulate
from operator import attrgetter
from typing import TYPE_CHECKING, Any

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
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from gateway.status import CommitTimes, SecretStatus, SinkStatus, Status

    Family = type[GaugeMetricFamily | CounterMetricFamily]

_GAUGE, _COUNTER = GaugeMetricFamily, CounterMetricFamily
_USED, _CHANGED = "When it was used last, Unix time.", "When it was written or first seen, Unix time."
_BUCKETS = [*(f"{bound:g}" for bound in COMMIT_BOUNDS_S), "+Inf"]

# Each row is a name without `gateway_`, its help, and its path in the status. Of a collection, the value is
# the number of elements; milliseconds become seconds; None is left out.
_SINGLE: dict[Family, list[tuple[str, str, str]]] = {
    _GAUGE: [
        ("ready", "Whether events are accepted.", "ready"),
        ("intake_connections", "Connections of the intake that are open.", "intake.connections.open"),
        ("source_up", "Whether the source is connected.", "source.connected"),
        ("source_pending_messages", "Messages that wait in the stream.", "source.pending"),
        ("source_last_message_seconds", "When the last one came, Unix time.", "source.last_message_ms"),
        ("source_last_origin_seconds", "When its intake received it, Unix time.", "source.last_origin_ms"),
        ("journal_last_event_seconds", "When the newest event came, Unix time.", "journal.last_event_ms"),
        ("journal_used_bytes", "Size of the journal on disk.", "journal.bytes_used"),
        ("journal_limit_bytes", "Size at which it refuses events.", "journal.bytes_limit"),
        ("journal_dead_letters", "Dead letters that are kept.", "journal.dead_letters"),
        ("journal_corrupt_files", "Corrupt journals that were moved aside.", "journal.corrupt_files"),
        ("tables_loaded_seconds", "When they were loaded (Unix time).", "tables.loaded_ms"),
        ("points_forced", "Points with an override.", "mapping.forced"),
        (
            "reconcile_last_success_seconds",
            "When reconciliation succeeded last, Unix time.",
            "reconcile.last_success_ms",
        ),
        ("refill_open_gaps", "Gaps in histories, still to be filled.", "refill.open_gaps"),
    ],
    _COUNTER: [
        (
            "intake_dropped_connections",
            "Connections that were dropped for others when the port was full.",
            "intake.connections.dropped",
        ),
        ("source_messages", "Messages that the source has acknowledged.", "source.messages"),
        ("source_connections", "Connections that the source has made.", "source.connections"),
        ("intake_test_events", "Test events, which reach no sink.", "intake.test_events"),
        ("intake_other_organization", "Events of another organization.", "intake.other_organization"),
        ("journal_events", "Events accepted, each counted once.", "journal.accepted"),
        ("journal_duplicates", "Duplicate events.", "journal.duplicates"),
        ("journal_damaged_events", "Events that could not be read.", "journal.damaged_events"),
        ("mapping_late_readings", "Readings older than their point's newest.", "mapping.late"),
        ("mapping_clock_ahead", "Readings from the future, dated as received.", "mapping.clock_ahead"),
    ],
}

# Likewise by sink.
_OF_SINKS: dict[Family, list[tuple[str, str, str]]] = {
    _GAUGE: [
        ("up", "Whether its receiver accepts writes.", "connected"),
        ("lag_events", "Events that are not delivered yet.", "lag"),
        ("lag_seconds", "Age of the oldest of them.", "lag_s"),
        ("last_success_seconds", "When something was written last, Unix time.", "last_success_ms"),
        ("clients", "Clients that are connected; to BACnet, with subscriptions.", "clients.connected"),
        ("bacnet_objects", "BACnet objects.", "bacnet.objects"),
        ("bacnet_subscriptions", "COV subscriptions in force.", "bacnet.subscriptions"),
        ("bacnet_registered", "Whether a BBMD has the foreign device registered.", "bacnet.is_registered"),
    ],
    _COUNTER: [
        ("written_updates", "Updates written.", "written"),
        ("retries", "Batches that had to be written again.", "retries"),
        ("reconnects", "Reconnections.", "reconnects"),
        ("dead_letters", "Updates that its receiver refused.", "dead_letters"),
        ("requests", "Requests answered.", "clients.requests"),
        ("refused_clients", "Clients, and BACnet datagrams, that were refused.", "clients.refused"),
        ("bacnet_notifications", "COV notifications sent.", "bacnet.notifications"),
        (
            "bacnet_dropped_subscriptions",
            "COV subscriptions of clients that did not answer.",
            "bacnet.dropped_subscriptions",
        ),
        (
            "bacnet_refused_subscriptions",
            "COV subscriptions beyond the limits.",
            "bacnet.refused_subscriptions",
        ),
    ],
}

# Likewise by a label, whose values are the keys of a mapping in the status, or named here.
_LABELLED: dict[Family, list[tuple[str, str, str, str | dict[str, str]]]] = {
    _GAUGE: [
        ("points", "Points by quality.", "quality", "qualities"),
        (
            "infodeck_assets",
            "Assets: known to Infodeck; online and in no table; in a table and unknown to Infodeck.",
            "state",
            {"known": "reconcile.assets", "unmapped": "inventory.unmapped", "gone": "inventory.gone"},
        ),
    ],
    _COUNTER: [
        ("intake_requests", "Requests by HTTP status of the answer.", "code", "intake.answers"),
        ("intake_refused", "Deliveries answered with 401, by reason.", "reason", "intake.refused"),
        ("intake_ignored_events", "Events of types without readings.", "type", "intake.ignored_types"),
        (
            "source_verified_events",
            "Events by the gateway that verified them.",
            "gateway",
            "source.verified_by",
        ),
        ("source_unusable", "Messages of the stream that were dropped.", "reason", "source.unusable"),
        ("no_http", "Requests that were not HTTP, at admin port and control socket.", "listener", "no_http"),
        (
            "mapping_events",
            "Events by outcome of their mapping.",
            "outcome",
            {
                "mapped": "mapping.mapped",
                "unmapped": "mapping.unmapped",
                "unreadable": "mapping.unreadable",
                "connection": "mapping.connections",
                "connection_unclear": "mapping.connections_unclear",
                "published": "mapping.published",
            },
        ),
        (
            "tables_reloads",
            "Reloads of point tables, by outcome.",
            "outcome",
            {"taken": "tables.reloads", "refused": "tables.refused"},
        ),
        (
            "reconcile_looks",
            "Reconciliations with Infodeck's API, by outcome.",
            "outcome",
            {"ok": "reconcile.succeeded", "failed": "reconcile.failed"},
        ),
        (
            "refill_readings",
            "Readings that no webhook brought, by their place in the API.",
            "source",
            {"shadow": "refill.readings", "history": "refill.history_readings"},
        ),
    ],
}


def encode_metrics(status: Status, *, accept: str) -> tuple[bytes, str]:
    """Return all that `/metrics` has of one gateway, and its content type: the best that `accept` names."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_StatusCollector(status))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    try:
        encode, content_type = choose_encoder(accept)
    except (ValueError, TypeError):  # a version that is not one
        encode, content_type = choose_encoder("")
    return encode(registry), content_type


class _StatusCollector(Collector):
    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        status = self._status
        is_up, in_force = status.journal.state == "ok", not status.tables.problems
        raised = {alarm.name for alarm in status.alarms}
        alarms = {name: float(name in raised) for name in sorted({*NAMES, *raised})}
        yield InfoMetricFamily("gateway_build", "Which gateway this is.", value={"version": __version__})
        yield _GAUGE("gateway_journal_up", "Whether events can be written.", float(is_up))
        yield _GAUGE("gateway_tables_up", "Whether the point tables on disk are in force.", float(in_force))
        for kind, rows in _SINGLE.items():
            for name, text, path in rows:
                if (value := _number(status, path)) is not None:
                    yield kind(f"gateway_{name}", text, value)
        for kind, labelled_rows in _LABELLED.items():
            for name, text, label, place in labelled_rows:
                yield _labelled(kind, name, text, label, _mapping(status, place))
        yield from _sinks(status.sinks)
        yield from _secrets(status.intake.secrets)
        yield _labelled(_GAUGE, "alarm", "1 while an alarm holds.", "alarm", alarms)
        yield _commits(status.journal.commits)


def _sinks(sinks: Mapping[str, SinkStatus]) -> Iterator[Metric]:
    for kind, rows in _OF_SINKS.items():
        for name, text, path in rows:
            values = {sink: _number(status, path) for sink, status in sinks.items()}
            yield _labelled(kind, f"sink_{name}", text, "sink", values)


def _secrets(secrets: Sequence[SecretStatus]) -> Iterator[Metric]:
    used = {each.source: _number(each, "last_used_ms") for each in secrets}
    changed = {each.source: _number(each, "changed_ms") for each in secrets}
    yield _labelled(_GAUGE, "signing_secret_last_used_seconds", _USED, "source", used)
    yield _labelled(_GAUGE, "signing_secret_changed_seconds", _CHANGED, "source", changed)


def _mapping(status: Status, place: str | dict[str, str]) -> Mapping[Any, float | None]:
    if isinstance(place, dict):
        return {key: _number(status, path) for key, path in place.items()}
    section, _, name = place.rpartition(".")
    holder = attrgetter(section)(status) if section else status
    found: Mapping[Any, float | None] = {} if holder is None else getattr(holder, name)
    return found


def _number(section: object, path: str) -> float | None:
    for name in path.split("."):
        section = None if section is None else getattr(section, name)
    match section:
        case list() | dict():
            return float(len(section))
        case int() | float():
            return section / 1000 if path.endswith("_ms") else float(section)
    return None


def _labelled(kind: Family, name: str, text: str, label: str, values: Mapping[Any, float | None]) -> Metric:
    family = kind(f"gateway_{name}", text, labels=[label])
    for key, value in values.items():
        if value is not None:
            family.add_metric([str(key)], float(value))
    return family


def _commits(times: CommitTimes) -> Metric:
    counts = [float(count) for count in accumulate(times.counts)]
    return HistogramMetricFamily(
        "gateway_journal_commit_seconds",
        "How long a commit of a group of events takes.",
        buckets=list(zip(_BUCKETS, counts, strict=True)),
        sum_value=times.seconds,
    )
