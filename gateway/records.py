"""Records that outlive a restart: assets, last values, overrides, dead letters, gaps, alarms.

`StateChanges` is one batch of changes to them, `StoredState` what a gateway finds of them when it starts.
Times are Unix milliseconds (`…_ms`) unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.model import Origin, Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAsset:
    """An asset as Infodeck's API describes it. None: the API states nothing.

    `location` is the location's name, or its id if no name is known. `location_path` is the names from the
    outermost location down to it. `online` is the state of the device's connection.
    """

    id: str
    name: str | None = None
    asset_type: str | None = None
    model: str | None = None
    manufacturer: str | None = None
    location: str | None = None
    location_id: str | None = None
    location_path: tuple[str, ...] = ()
    online: bool | None = None

    @property
    def place(self) -> str | None:
        """The location as people read it: `HQ / Tower A / Level 3`."""
        return " / ".join(self.location_path) or self.location


@dataclass(frozen=True, slots=True)
class AssetProperty:
    """One telemetry key of an asset type. None: Infodeck states nothing.

    `type` is Infodeck's word, such as `integer`. `unit_of_measure` is as written there, such as `°C`.
    """

    key: str
    name: str | None = None
    type: str | None = None
    unit_of_measure: str | None = None


@dataclass(frozen=True, slots=True)
class AssetType:
    """A type of devices, and the telemetry keys that they report."""

    id: str
    name: str | None = None
    properties: tuple[AssetProperty, ...] = ()


@dataclass(frozen=True, slots=True)
class AssetLocation:
    """A location. `parent` is the id of the location around it, None for an outermost one."""

    id: str
    name: str | None = None
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class AutoTag:
    """The tag of an automatic asset, and the pattern that it was made from."""

    pattern: str
    tag: str


@dataclass(frozen=True, slots=True)
class AssetSnapshot:
    """Every asset of the organization as of `at_ms`, the types in use and all locations, each by its id.

    `tags` are those that automatic assets were published with, also of assets that are gone.
    """

    at_ms: int
    assets: Mapping[str, KnownAsset]
    types: Mapping[str, AssetType] = field(default_factory=dict)
    locations: Mapping[str, AssetLocation] = field(default_factory=dict)
    tags: Mapping[str, AutoTag] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LastValue:
    """The newest reading of a point, stored so that a restart can show it.

    `raw` is the newest reading as received, `last_good` the last one of good quality (None: there was none),
    each with the unit of measure of its event. The point's present conversion applies to both. `asset` and
    `source` are the point's own: a point of the same name may have others by now.
    """

    point: str
    asset: str
    source: str
    raw: Scalar
    last_good: Scalar
    time_ms: int
    seq: int
    event_id: str | None
    raw_unit: str | None = None
    last_good_unit: str | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """A commissioning override: the point shows `value` until `until_ms`, whatever is measured.

    `ends_ms` is the same moment by the steady clock, None if the override is of an earlier run.
    """

    point: str
    value: Scalar
    since_ms: int
    until_ms: int
    ends_ms: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class OnlineState:
    """The state of a device's connection, as Infodeck reported it at `at_ms`."""

    asset: str
    online: bool
    at_ms: int


@dataclass(slots=True)
class UnmappedAsset:
    """An asset that reports although no point table names it, stored for `gateway discover`."""

    asset: str
    events: int
    first_ms: int
    last_ms: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A value or an event that could not be delivered.

    `point` is "" if no point was reached, `sink` "" if no sink was. `body` is the event as received, given
    if the journal may no longer have it.
    """

    sink: str
    seq: int
    event_id: str
    point: str
    reason: str
    at_ms: int
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A dead letter in the state store, under a number that is never used again.

    `body` is the event as received, None if no event caused the dead letter or the body is gone. Without the
    event in the log, `received_ms` and `origin` are not known any more.
    """

    number: int
    letter: DeadLetter
    body: bytes | None
    received_ms: int | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that needs a person, and since when.

    A `latched` alarm lasts until somebody acknowledges it, even if its cause ends. `cleared_ms` None: it
    lasts.
    """

    name: str
    reason: str
    since_ms: int
    latched: bool = False
    cleared_ms: int | None = None
    acknowledged_ms: int | None = None
    acknowledged_by: str | None = None


GapId = tuple[str, str, int]
"""Identifies a gap: asset, key, and the time of the last reading before it."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A period without readings of one key of an asset by webhook.

    `since_ms` is the time of the last reading before it, `until_ms` of the first one after it, None while the
    gap is open. `known_s` are Unix seconds of single readings inside the gap that are known nevertheless.
    """

    asset: str
    key: str
    since_ms: int
    until_ms: int | None = None
    known_s: tuple[int, ...] = ()

    @property
    def id(self) -> GapId:
        """What identifies the gap."""
        return self.asset, self.key, self.since_ms


@dataclass(slots=True)
class StateChanges:
    """One batch of changes to the state store. A field that stays empty changes nothing.

    `retained` has True if a value is retained on a topic, False for a description or a cleared topic, None if
    nothing of this gateway can be retained there any more.
    """

    last_values: dict[str, LastValue] = field(default_factory=dict)  # by point
    values_through: int = 0  # the event up to which all last values are saved, with this batch
    overrides: dict[str, Override | None] = field(default_factory=dict)  # by point; None removes one
    online: dict[str, OnlineState] = field(default_factory=dict)  # by asset
    retained: dict[tuple[str, str], bool | None] = field(default_factory=dict)  # by sink and topic
    assets: AssetSnapshot | None = None  # replaces the snapshot
    unmapped_assets: dict[str, UnmappedAsset] = field(default_factory=dict)  # by asset; events add up
    dead_letters: list[DeadLetter] = field(default_factory=list)  # to add
    removed_dead_letters: list[int] = field(default_factory=list)  # by number
    gaps: dict[GapId, Gap | None] = field(default_factory=dict)  # by id; `known_s` adds up; None removes one
    alarms: dict[tuple[str, int], Alarm] = field(default_factory=dict)  # by name and `since_ms`

    def __bool__(self) -> bool:
        return any(_all_changes(self))

    def add(self, later: StateChanges) -> None:
        """Add later changes, which replace earlier ones of the same thing."""
        self.last_values.update(later.last_values)
        self.values_through = max(self.values_through, later.values_through)
        self.overrides.update(later.overrides)
        self.online.update(later.online)
        self.retained.update(later.retained)
        self.assets = later.assets or self.assets
        self.dead_letters.extend(later.dead_letters)
        self.removed_dead_letters.extend(later.removed_dead_letters)
        self.alarms.update(later.alarms)
        for gap_id, gap in later.gaps.items():
            before = self.gaps.get(gap_id)
            if before and gap:
                until_ms = before.until_ms if gap.until_ms is None else gap.until_ms
                gap = replace(gap, until_ms=until_ms, known_s=before.known_s + gap.known_s)  # noqa: PLW2901
            self.gaps[gap_id] = gap
        for asset, unmapped in later.unmapped_assets.items():
            earlier = self.unmapped_assets.setdefault(asset, unmapped)
            if earlier is not unmapped:
                events = earlier.events + unmapped.events
                self.unmapped_assets[asset] = replace(unmapped, events=events, first_ms=earlier.first_ms)


_all_changes = attrgetter(*StateChanges.__slots__)  # one call: it is asked at every commit


@dataclass(frozen=True, slots=True)
class StoredState:
    """What a state store holds when it is opened; a new one is empty.

    `values_through` is the number of the last event that `last_values` include. `overrides` may have ended
    meanwhile. `retained` is by sink and topic, see `StateChanges`. `alarms` are those that last and the
    newest 500 of those that ended. `gaps` come without `known_s`.
    """

    last_values: Sequence[LastValue] = ()
    values_through: int = 0
    overrides: Sequence[Override] = ()
    online: Sequence[OnlineState] = ()
    retained: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    assets: AssetSnapshot | None = None
    gaps: Sequence[Gap] = ()
    alarms: Sequence[Alarm] = ()
