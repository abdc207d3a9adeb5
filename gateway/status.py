"""What the running gateway knows about itself: counters and states, read by admin, log and terminal.

Plain fields, changed on the event loop only; whoever shows them makes a copy with `snapshot`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.records import Alarm, Override


@dataclass(slots=True)
class PreviousSecrets:
    """Signing secrets that a newer one has replaced, and that are accepted until not used for a day."""

    number: int = 0
    last_used_ms: int | None = None  # when a delivery was last signed with one of them


@dataclass(slots=True)
class SecretStatus:
    """One signing secret in force: where it is, how old it is, and when it was last needed.

    `changed_ms` is when it was written there, or, where its source does not tell, first seen by the gateway.
    """

    source: str
    changed_ms: int | None = None
    last_used_ms: int | None = None  # since the start


@dataclass(slots=True)
class ConnectionsStatus:
    """The connections of a port. `dropped` counts those that gave way when all places were taken."""

    open: int = 0
    dropped: int = 0


@dataclass(slots=True)
class IntakeStatus:
    """What came in. `answers` counts by HTTP status, `refused` by reason of a 401.

    `signature_age_s` is of the last right signature outside the tolerance; negative: from the future.
    """

    answers: Counter[int] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    last_refusal: str | None = None
    signature_age_s: float | None = None
    test_events: int = 0
    other_organization: int = 0
    ignored_types: Counter[str] = field(default_factory=Counter)
    secrets: list[SecretStatus] = field(default_factory=list)  # those of the settings, the first one first
    previous_secrets: PreviousSecrets = field(default_factory=PreviousSecrets)
    connections: ConnectionsStatus = field(default_factory=ConnectionsStatus)

    def note_refusal(self, reason: str, *, age_s: float | None) -> None:
        """Count a 401, and remember what the last one says of our clock."""
        self.refused[reason] += 1
        self.last_refusal = reason
        if age_s is not None:
            self.signature_age_s = age_s


COMMIT_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""How long commits take, in steps: from a disk with a cache of its own to a worn SD card."""


@dataclass(slots=True)
class CommitTimes:
    """How long commits took. `counts` has those of up to each of `COMMIT_BOUNDS_S`; last, the rest."""

    seconds: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0] * (len(COMMIT_BOUNDS_S) + 1))

    def note(self, seconds: float) -> None:
        """Count one commit."""
        self.seconds += seconds
        self.counts[bisect_left(COMMIT_BOUNDS_S, seconds)] += 1


@dataclass(slots=True)
class JournalStatus:
    """What is kept. `state` is `ok` or why events can't be taken; `bytes_used` as last measured.

    `dead_letters` are those that are kept now; a sink's own number counts its letters since the start.
    """

    state: str = "ok"
    accepted: int = 0  # events, each counted once
    duplicates: int = 0
    last_event_ms: int | None = None  # when the newest one came, since the start
    bytes_used: int = 0
    bytes_limit: int = 0  # from which on events are refused
    bytes_room: int = 0  # for more events, within the limit and on the disk; what every sink has makes more
    dead_letters: int = 0
    damaged_events: int = 0  # since the start; dead letters now
    corrupt_files: list[str] = field(default_factory=list)  # that were moved aside, as of the start
    commits: CommitTimes = field(default_factory=CommitTimes)


@dataclass(slots=True)
class MappingStatus:
    """What became of accepted events."""

    mapped: int = 0
    from_webhooks: int = 0  # of these, the ones that a webhook brought
    unmapped: int = 0
    unreadable: int = 0  # no asset or no reading was found in them
    connections: int = 0  # events that said whether a device is connected
    connections_unclear: int = 0  # likewise, but none of the words known for it were in them
    late: int = 0  # readings older than their point's newest
    clock_ahead: int = 0  # readings whose time lay in the future; taken as received
    forced: dict[str, Override] = field(default_factory=dict)  # what is forced now, by point
    unshown: dict[str, str] = field(default_factory=dict)  # why newest readings can't be shown, by point


@dataclass(slots=True)
class TablesStatus:
    """The point tables. `refused` counts reloads that failed; `problems` says why the last one did.

    `problems` is empty while the tables on disk are the ones in force; at most 50 lines of each are kept.
    """

    loaded_ms: int = 0
    points: int = 0
    assets: int = 0
    reloads: int = 0  # that brought other tables into force
    refused: int = 0
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ClientsStatus:
    """Who polls a sink that is a server. `refused` counts clients that were not let in, or may not read."""

    connected: int = 0
    requests: int = 0
    refused: int = 0


@dataclass(slots=True)
class SinkStatus:
    """One sink. `state` is starting, up, away or failed; `cursor` the last event it is done with.

    `lag` counts the events that it still has to get, `lag_s` is the age of the oldest of them in seconds;
    both are as of the last `SinkLoop.refresh`. An error stays to be seen when it is over.
    """

    type: str
    state: str = "starting"
    cursor: int = 0
    lag: int = 0
    lag_s: float = 0.0
    written: int = 0
    retries: int = 0
    reconnects: int = 0
    dead_letters: int = 0
    last_error: str | None = None
    last_error_ms: int | None = None
    last_success_ms: int | None = None
    clients: ClientsStatus | None = None  # None: nobody connects to a sink of this type

    @property
    def connected(self) -> bool:
        """Whether its receiver takes what is written."""
        return self.state == "up"

    def note_error(self, reason: str, *, at_ms: int) -> None:
        """Remember what went wrong last, and when."""
        self.last_error, self.last_error_ms = reason, at_ms


@dataclass(slots=True)
class ReconcileStatus:
    """What Infodeck's API tells. `state` is off, starting, ok or failing; `assets` counts all known ones.

    `missing` are parts that it would not tell last time, with the reason; they are as they were before.
    """

    state: str = "off"
    assets: int = 0
    last_success_ms: int | None = None
    last_error: str | None = None
    trouble: str | None = None  # of a request that waits: it has not failed for good
    types: int = 0  # of assets, those that are known
    locations: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    succeeded: int = 0  # how often it was asked and told what there is
    failed: int = 0


@dataclass(slots=True)
class InventoryStatus:
    """The point tables against what Infodeck knows, as of the last reconciliation. Lists are samples."""

    unmapped: int = 0  # assets that are online and that no table names
    unmapped_sample: list[str] = field(default_factory=list)
    gone: int = 0  # assets that tables name and Infodeck does not know
    gone_sample: list[str] = field(default_factory=list)


@dataclass(slots=True)
class RefillStatus:
    """What the API had to bring because no webhook did.

    `without_time` and `clock_ahead` are of the last reconciliation: readings that could not be used.
    """

    events: int = 0
    readings: int = 0
    history_readings: int = 0
    open_gaps: int = 0  # in histories, still to be filled
    without_time: int = 0
    clock_ahead: int = 0
    last_ms: int | None = None
    last_error: str | None = None
    history_error: str | None = None  # why gaps stay open for now


@dataclass(slots=True)
class Status:
    """The whole of it."""

    name: str
    started_ms: int
    ready: bool = False
    intake: IntakeStatus = field(default_factory=IntakeStatus)
    mapping: MappingStatus = field(default_factory=MappingStatus)
    tables: TablesStatus = field(default_factory=TablesStatus)
    qualities: dict[str, int] = field(default_factory=dict)  # points by what they show; as of a refresh
    sinks: dict[str, SinkStatus] = field(default_factory=dict)
    journal: JournalStatus = field(default_factory=JournalStatus)
    reconcile: ReconcileStatus = field(default_factory=ReconcileStatus)
    inventory: InventoryStatus = field(default_factory=InventoryStatus)
    refill: RefillStatus = field(default_factory=RefillStatus)
    alarms: tuple[Alarm, ...] = ()  # those that hold now
    no_http: Counter[str] = field(default_factory=Counter)  # what came that is none, by listener

    def snapshot(self) -> dict[str, Any]:
        """Return a JSON-ready copy."""
        copy = asdict(self)
        for name in ("answers", "refused", "ignored_types"):  # `asdict` would count a counter's items
            counter: Counter[Any] = getattr(self.intake, name)
            copy["intake"][name] = {str(key): count for key, count in counter.items()}
        copy["no_http"] = dict(self.no_http)
        for name, sink in self.sinks.items():
            copy["sinks"][name]["connected"] = sink.connected
        return copy


def kept_for(sinks: Iterable[tuple[str, str, int]]) -> str | None:
    """Say for which sink most events are kept, by each one's name, state and lag; None: nothing waits."""
    name, state, lag = max(sinks, key=lambda sink: sink[2], default=("", "", 0))
    if not lag:
        return None
    return f"{name} is {state} and {lag} event{'' if lag == 1 else 's'} behind, which are kept for it"
