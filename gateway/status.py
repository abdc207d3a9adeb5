"""Counters and states of the running gateway, for /api/status, metrics, dashboard and log.

The fields change on the event loop only; `Status.snapshot` makes a copy. Their names are those of the JSON.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from gateway.records import Alarm, Override


@dataclass(slots=True)
class PreviousSecrets:
    """Signing secrets that were replaced and are still accepted."""

    number: int = 0
    last_used_ms: int | None = None  # when a delivery was last signed with one of them


@dataclass(slots=True)
class SecretStatus:
    """One signing secret in force."""

    source: str
    changed_ms: int | None = None  # written to the source or, if that has no time, first read from it
    last_used_ms: int | None = None  # since the start


@dataclass(slots=True)
class ConnectionsStatus:
    """The connections of a port."""

    open: int = 0
    dropped: int = 0  # for newer ones when the port was full


@dataclass(slots=True)
class IntakeStatus:
    """The webhook server."""

    answers: Counter[int] = field(default_factory=Counter)  # by HTTP status
    refused: Counter[str] = field(default_factory=Counter)  # by reason of a 401
    last_refusal: str | None = None
    signature_age_s: float | None = (
        None  # of the last right one outside the tolerance; negative: in the future
    )
    test_events: int = 0
    other_organization: int = 0
    ignored_types: Counter[str] = field(default_factory=Counter)
    secrets: list[SecretStatus] = field(default_factory=list)  # of the settings, in their order
    previous_secrets: PreviousSecrets = field(default_factory=PreviousSecrets)
    connections: ConnectionsStatus = field(default_factory=ConnectionsStatus)

    def count_refusal(self, reason: str, *, age_s: float | None) -> None:
        """Count a 401, and store the age of its signature."""
        self.refused[reason] += 1
        self.last_refusal = reason
        if age_s is not None:
            self.signature_age_s = age_s


@dataclass(slots=True)
class SourceStatus:
    """Where events come from instead of an intake."""

    type: str
    stream: str
    consumer: str
    state: str = "starting"  # then up, away or failed
    waits_for_journal: str | None = None  # why what was fetched cannot be journalled now
    pending: int | None = None  # messages of the stream that were not fetched, as of the last one that was
    messages: int = 0  # acknowledged, each time that they came
    verified_by: Counter[str] = field(default_factory=Counter)  # events by the gateway that verified them
    unusable: Counter[str] = field(default_factory=Counter)  # messages that were no events for us, by reason
    connections: int = 0
    last_message_ms: int | None = None
    last_origin_ms: int | None = None  # when an intake received the newest event that has come
    last_error: str | None = None
    last_error_ms: int | None = None

    @property
    def connected(self) -> bool:
        """Whether events can come."""
        return self.state == "up"

    def record_error(self, reason: str, *, at_ms: int) -> None:
        """Store the last error and its time."""
        self.last_error, self.last_error_ms = reason, at_ms


COMMIT_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Bounds of the histogram of commit times: from a disk with a cache of its own to a worn SD card."""


@dataclass(slots=True)
class CommitTimes:
    """A histogram of commit times: a number for each of `COMMIT_BOUNDS_S`, then the rest."""

    seconds: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0] * (len(COMMIT_BOUNDS_S) + 1))

    def count_commit(self, seconds: float) -> None:
        """Count one commit."""
        self.seconds += seconds
        self.counts[bisect_left(COMMIT_BOUNDS_S, seconds)] += 1


@dataclass(slots=True)
class JournalStatus:
    """The journal."""

    state: str = "ok"  # or why events cannot be stored
    accepted: int = 0  # events, each counted once
    duplicates: int = 0
    last_event_ms: int | None = None  # when the newest one was received, since the start
    bytes_used: int = 0
    bytes_limit: int = 0  # events are refused from here on
    bytes_room: int = 0  # for more events, within the limit and on the disk, before delivered ones are freed
    dead_letters: int = 0  # stored now
    damaged_events: int = 0  # since the start; they became dead letters
    corrupt_files: list[str] = field(default_factory=list)  # moved aside, as of the start
    commits: CommitTimes = field(default_factory=CommitTimes)


@dataclass(slots=True)
class MappingStatus:
    """What the mapping did with accepted events."""

    mapped: int = 0
    from_webhooks: int = 0  # of these, delivered by a webhook
    unmapped: int = 0
    unreadable: int = 0  # without an asset or a reading
    connections: int = 0  # events that report whether a device is connected
    connections_unclear: int = 0  # likewise, but with none of the known words for it
    published: int = 0  # events that concern no point, for the sinks' `events`
    late: int = 0  # readings older than their point's newest
    clock_ahead: int = 0  # readings with a time in the future; replaced by the time of receipt
    forced: dict[str, Override] = field(default_factory=dict)  # current overrides, by point
    unshown: dict[str, str] = field(default_factory=dict)  # why newest readings cannot be shown, by point


@dataclass(slots=True)
class TablesStatus:
    """The point tables, with at most 50 problems and warnings."""

    loaded_ms: int = 0
    points: int = 0
    assets: int = 0
    reloads: int = 0  # that put other tables in force
    refused: int = 0
    problems: list[str] = field(default_factory=list)  # of the last reload, if it was refused
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ClientsStatus:
    """The clients of a sink that is a server."""

    connected: int = 0  # of a BACnet device: those with subscriptions
    requests: int = 0
    refused: int = 0  # those that may not connect or read; of a BACnet device: ignored datagrams
    last: str | None = None  # the address of the one that asked last; of a BACnet device only


@dataclass(slots=True)
class BacnetStatus:
    """A BACnet device, beside its `ClientsStatus`."""

    objects: int = 0
    subscriptions: int = 0  # COV subscriptions in force
    notifications: int = 0  # sent
    dropped_subscriptions: int = 0  # of subscribers that did not answer
    refused_subscriptions: int = 0  # beyond the limits
    failed_requests: int = 0  # by a fault of the gateway; the log has it
    registration: str | None = None  # at a BBMD: "registered" or why not; None without `foreign_device`

    @property
    def is_registered(self) -> bool | None:
        """Whether a BBMD has this foreign device registered; None if it is none."""
        return None if self.registration is None else self.registration == "registered"


@dataclass(slots=True)
class SinkStatus:
    """One sink. `lag` and `lag_s` are as of the last `SinkLoop.refresh`."""

    type: str
    state: str = "starting"  # then up, away or failed
    cursor: int = 0  # the last event that it completed
    lag: int = 0  # events that it has yet to get
    lag_s: float = 0.0  # age of the oldest of them
    written: int = 0
    retries: int = 0
    reconnects: int = 0
    dead_letters: int = 0
    last_error: str | None = None
    last_error_ms: int | None = None
    last_success_ms: int | None = None
    clients: ClientsStatus | None = None  # None: the sink is no server
    bacnet: BacnetStatus | None = None  # None: the sink is no BACnet device

    @property
    def connected(self) -> bool:
        """Whether the receiver accepts values."""
        return self.state == "up"

    def record_error(self, reason: str, *, at_ms: int) -> None:
        """Store the last error and its time."""
        self.last_error, self.last_error_ms = reason, at_ms


@dataclass(slots=True)
class ReconcileStatus:
    """The assets by Infodeck's API."""

    state: str = "off"  # or starting, ok, failing
    assets: int = 0  # all known ones
    last_success_ms: int | None = None
    last_error: str | None = None
    trouble: str | None = None  # of a request that is repeated: it has not failed yet
    types: int = 0  # known asset types
    locations: int = 0
    missing: dict[str, str] = field(default_factory=dict)  # parts that could not be read, with the reason
    succeeded: int = 0  # reconciliations that succeeded
    failed: int = 0


@dataclass(slots=True)
class InventoryStatus:
    """The point tables compared with Infodeck's assets, at the last reconciliation. Lists are samples."""

    unmapped: int = 0  # assets that are online and in no table
    unmapped_sample: list[str] = field(default_factory=list)
    gone: int = 0  # assets in tables that Infodeck does not have
    gone_sample: list[str] = field(default_factory=list)


@dataclass(slots=True)
class RefillStatus:
    """Readings that the API supplied because no webhook did."""

    events: int = 0
    readings: int = 0
    history_readings: int = 0
    open_gaps: int = 0  # in histories, not filled yet
    without_time: int = 0  # unusable ones of the last reconciliation
    clock_ahead: int = 0  # likewise
    last_ms: int | None = None
    last_error: str | None = None
    history_error: str | None = None  # why gaps stay open for now


@dataclass(slots=True)
class Status:
    """The whole status."""

    name: str
    started_ms: int
    ready: bool = False
    intake: IntakeStatus = field(default_factory=IntakeStatus)
    source: SourceStatus | None = None  # None: events come in through the intake
    mapping: MappingStatus = field(default_factory=MappingStatus)
    tables: TablesStatus = field(default_factory=TablesStatus)
    qualities: dict[str, int] = field(default_factory=dict)  # points by quality; as of the last refresh
    sinks: dict[str, SinkStatus] = field(default_factory=dict)
    journal: JournalStatus = field(default_factory=JournalStatus)
    reconcile: ReconcileStatus = field(default_factory=ReconcileStatus)
    inventory: InventoryStatus = field(default_factory=InventoryStatus)
    refill: RefillStatus = field(default_factory=RefillStatus)
    alarms: tuple[Alarm, ...] = ()  # the current ones
    no_http: Counter[str] = field(default_factory=Counter)  # requests that are not HTTP, by listener

    def snapshot(self) -> dict[str, Any]:
        """Return a JSON-ready copy."""
        copy: dict[str, Any] = orjson.loads(orjson.dumps(self, option=orjson.OPT_NON_STR_KEYS))
        for name, sink in self.sinks.items():
            copy["sinks"][name]["connected"] = sink.connected
        if self.source is not None:
            copy["source"]["connected"] = self.source.connected
        return copy
