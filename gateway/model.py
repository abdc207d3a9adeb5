"""The words of this product as data: events, readings, points, registers, updates.

Times are Unix milliseconds (`…_ms`) unless a name says otherwise. Register addresses are 0-based
PDU addresses. `unit` alone is the Modbus unit id; units of measure are always `unit_of_measure`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Scalar = float | int | bool | str | None
"""What a reading or a point can hold. None: there is a reading, but no usable value."""


PSEUDO_SOURCES = ("$quality", "$age", "$online")
"""What a point table may ask for that no sensor measures: the gateway makes it itself."""
HEARTBEAT = "$heartbeat"
"""The source of the system's own heartbeat point."""


class Quality(IntEnum):
    """How far a value can be trusted; the numbers are what a `$quality` register shows."""

    GOOD = 0
    HELD = 1  # no longer fresh, the last value is kept (`on_stale: hold`)
    STALE = 2  # no longer fresh, replaced by the sentinel or the configured value
    BAD = 3  # out of range, more than its registers can show, not convertible, or null
    FORCED = 4  # a commissioning override
    OFFLINE = 5  # Infodeck says that the device is not connected


STAND_INS = frozenset({Quality.HELD, Quality.STALE, Quality.FORCED, Quality.OFFLINE})
"""The qualities of what is shown in the place of a reading."""


REFILLED = "reconcile_"
"""How the ids begin of events that the gateway makes itself of what only Infodeck's API has told."""


@dataclass(slots=True)
class Event:
    """One accepted webhook delivery, verified and parsed once. Not frozen: made per request.

    `document` is the parsed body, `body` the bytes as received (what the journal keeps).
    """

    event_id: str
    type: str
    body: bytes
    document: dict[str, Any]
    received_ms: int

    @property
    def is_refilled(self) -> bool:
        """Say whether the gateway has made it of what Infodeck's API told: no webhook brought it."""
        return self.event_id.startswith(REFILLED)


@dataclass(slots=True)
class Record:
    """An event as the journal holds it. `seq` grows with every event and is never reused.

    Not frozen: made per event.
    """

    seq: int
    event: Event


@dataclass(slots=True)
class Reading:
    """One telemetry key of one asset at one time. Not frozen: made by the thousand per second.

    `unit_of_measure` is as the event states it, None where it states none.
    """

    key: str
    value: Scalar
    time_ms: int
    unit_of_measure: str | None = None


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The readings found in one event. `container` says where they stood in `data.object`.

    `clock_ahead` counts readings whose own time lay in the future and was replaced.
    """

    asset: str
    container: str
    readings: tuple[Reading, ...]
    clock_ahead: int


class RegisterTable(StrEnum):
    """The four Modbus tables; `holding` and `input` hold 16-bit words, the others bits."""

    HOLDING = "holding"
    INPUT = "input"
    COIL = "coil"
    DISCRETE = "discrete"


class ByteOrder(StrEnum):
    """Order on the wire of the bytes of a 32-bit value whose big-endian bytes are A B C D.

    Wider values follow the same rule: words reversed or not, bytes within words swapped or not.
    """

    ABCD = "ABCD"
    CDAB = "CDAB"
    BADC = "BADC"
    DCBA = "DCBA"


@dataclass(frozen=True, slots=True)
class Register:
    """Where and how one point stands on one Modbus sink.

    `type` is one of int16 uint16 int32 uint32 int64 uint64 float32 float64 bit string;
    `words` is how many 16-bit registers it covers (1 for a coil or discrete input);
    `bit` is the position in the word (0 = least significant) where `type` is `bit` in a
    word table, and None elsewhere; the register holds `value * scale`, rounded for integers.
    """

    sink: str
    unit: int
    table: RegisterTable
    address: int
    type: str
    words: int
    order: ByteOrder = ByteOrder.ABCD
    scale: float = 1.0
    bit: int | None = None


@dataclass(frozen=True, slots=True)
class WriteLimits:
    """What may be written into one controller: with which function codes, and to which unit ids (None: all).

    On a serial line, unit 0 means everybody there, of whom nobody answers.
    """

    functions: frozenset[int]
    units: frozenset[int] | None = None
    is_serial: bool = False

    def allow_unit(self, unit: int) -> bool:
        """Say whether a unit may be written to."""
        if self.is_serial and unit == 0:
            return False
        return self.units is None or unit in self.units


class StalePolicy(StrEnum):
    """What a receiver is shown once a value is no longer fresh."""

    HOLD = "hold"
    SENTINEL = "sentinel"
    VALUE = "value"


@dataclass(frozen=True, slots=True)
class OnStale:
    """`on_stale` of a point: the policy, and the value where the policy is `value`."""

    policy: StalePolicy
    value: Scalar = None


@dataclass(frozen=True, slots=True)
class Cov:
    """Change of value: smaller changes are not sent to event sinks, but at least one every `every_ms`."""

    delta: float
    every_ms: int


class ValueKind(Enum):
    """What kind of readings a point expects."""

    ANY = "any"  # numbers, text and booleans as they come
    NUMBER = "number"  # numeric text becomes a number, booleans become 0 and 1
    SWITCH = "switch"  # like NUMBER, but booleans stay, as do "true" and "false"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """How a reading becomes the point's value, in order: kind or map, unit, gain, offset, range, decimals.

    `map` has text keys as written in the table. `source_unit` is the sensor's unit of measure if it differs
    from the point's; `unit_gain` and `unit_offset` convert it. `range` is lowest and highest, both included:
    a value outside is of bad quality, or becomes the nearer bound with `clamp`.
    """

    kind: ValueKind = ValueKind.ANY
    map: Mapping[str, Scalar] | None = None
    source_unit: str | None = None
    unit_gain: float = 1
    unit_offset: float = 0
    gain: float = 1.0
    offset: float = 0.0
    range: tuple[float, float] | None = None
    clamp: bool = False
    decimals: int | None = None

    @property
    def calculates(self) -> bool:
        """Return whether any step needs a number."""
        return bool(self.linear != (1, 0) or self.range or self.decimals is not None)

    @property
    def linear(self) -> tuple[float, float]:
        """Return gain and offset of the unit and of the point, combined."""
        return self.unit_gain * self.gain, self.unit_offset * self.gain + self.offset


@dataclass(frozen=True, slots=True)
class Mqtt:
    """Where one point stands in MQTT. `sinks` None: on every MQTT sink; `topic` None: the usual one.

    `topic` is a template, see `gateway.mapping.topics`.
    """

    sinks: frozenset[str] | None = None
    topic: str | None = None

    def goes_to(self, sink: str) -> bool:
        """Say whether the point is on an MQTT sink."""
        return self.sinks is None or sink in self.sinks


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAsset:
    """An asset as Infodeck's API describes it; None where it says nothing.

    `location` is the location's name, or its id where no name is known; `location_path` leads to it, names
    from the outermost location to its own. `keep_alive` is how often the device reports at least, in the
    unit of Infodeck's own, which its documentation does not say. `online` is what Infodeck says of the
    device's connection.
    """

    id: str
    name: str | None = None
    asset_type: str | None = None
    model: str | None = None
    manufacturer: str | None = None
    location: str | None = None
    location_id: str | None = None
    location_path: tuple[str, ...] = ()
    keep_alive: float | None = None
    online: bool | None = None

    @property
    def place(self) -> str | None:
        """Return where it is, as people read it: `HQ / Tower A / Level 3`."""
        return " / ".join(self.location_path) or self.location


@dataclass(frozen=True, slots=True)
class AssetProperty:
    """One telemetry key of an asset type, as Infodeck describes it; None where it says nothing.

    `type` is Infodeck's word, such as `integer`; `unit_of_measure` as it is written there, such as `°C`.
    """

    key: str
    name: str | None = None
    type: str | None = None
    unit_of_measure: str | None = None


@dataclass(frozen=True, slots=True)
class AssetType:
    """A type of devices, and what they measure."""

    id: str
    name: str | None = None
    properties: tuple[AssetProperty, ...] = ()


@dataclass(frozen=True, slots=True)
class Location:
    """A place, and the place that it is in (None: in none)."""

    id: str
    name: str | None = None
    parent: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """One value for the building: where it comes from and where it goes.

    `asset` is "" for the system's own points. `source` is a telemetry key, a `$.data.object…` path, or
    a pseudo-reading: `$quality`, `$age`, `$online`, `$heartbeat`. `stale_after_ms` None: never stale.
    `known` is what Infodeck's API says of the asset, but for its connection; None: nothing.
    `refill_history`: long gaps in its readings are filled from Infodeck's API once they are over.
    Compared by identity; `name` ("L03-RM312/ZN-T") is unique within a PointMap and survives reloads.
    """

    site: str
    tag: str
    point: str
    asset: str
    source: str
    unit_of_measure: str | None
    stale_after_ms: int | None
    on_stale: OnStale
    cov: Cov | None = None
    description: str | None = None
    mqtt: Mqtt | None = field(default_factory=Mqtt)  # None: not on MQTT
    registers: tuple[Register, ...] = ()
    conversion: Conversion = field(default_factory=Conversion)
    tags: Mapping[str, Any] | None = None  # for `$meta`: a Brick class, Haystack markers
    known: KnownAsset | None = None
    refill_history: bool = False
    name: str = field(init=False)
    is_pseudo: bool = field(init=False)  # made by the gateway itself, not measured

    def __post_init__(self) -> None:
        """Make once what is used per update."""
        object.__setattr__(self, "name", f"{self.tag}/{self.point}")
        object.__setattr__(self, "is_pseudo", self.source in (*PSEUDO_SOURCES, HEARTBEAT))


@dataclass(slots=True)
class Update:
    """A point's value at one time, on its way to the sinks. Not frozen: made per reading.

    `value` is what was measured (or what the stale policy puts in its place) and goes together
    with `quality`. `safe_value` is for receivers that see no quality, such as registers: the value
    while good, otherwise what `on_stale` says, None for the sentinel.
    `seq` is the journal's number of the event, 0 where no event caused it. `raw` is the reading as it came,
    `raw_unit` the unit of measure that the event states for it.
    """

    point: Point
    value: Scalar
    safe_value: Scalar
    quality: Quality
    time_ms: int
    seq: int
    event_id: str | None
    raw: Scalar = None
    raw_unit: str | None = None

    @property
    def is_measured(self) -> bool:
        """Say whether it is a reading: neither made by the gateway nor in the place of one."""
        return not self.point.is_pseudo and self.quality not in STAND_INS

    def is_repeated_by(self, later: Update | None) -> bool:
        """Say whether `later`, which the point shows, is of a later event that has told the same reading."""
        return (
            later is not None
            and later.seq > self.seq
            and (later.time_ms, later.raw, later.raw_unit) == (self.time_ms, self.raw, self.raw_unit)
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """An update that its receiver refused for good, and the reason in the receiver's words."""

    update: Update
    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What could not be delivered. `point` and `sink` are "" where no point or sink was reached.

    `body` is the event as it was received, where the journal may not have it any more.
    """

    sink: str
    seq: int
    event_id: str
    point: str
    reason: str
    at_ms: int
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A dead letter as the journal holds it, under a number that is never used again.

    `body` is the event as it was received, None where no event caused the letter or its body is gone.
    """

    number: int
    letter: DeadLetter
    body: bytes | None


@dataclass(frozen=True, slots=True)
class KeptValue:
    """What is kept on disk of a point's newest reading, so that a restart knows it.

    `raw` is the newest reading as it came, `last_good` the last one whose value was good, None where there
    was none, each with the unit of measure that its event states: what they mean is for the point's present
    conversion to say. `asset` and `source` are the
    point's own, for a point of the same name may be another one by now.
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
class Forced:
    """A commissioning override: the point shows `value` until `until_ms`, whatever is measured.

    `ends_ms` is the same by the steady clock, which counts; None: of an earlier run.
    """

    point: str
    value: Scalar
    since_ms: int
    until_ms: int
    ends_ms: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class OnlineState:
    """What Infodeck said of a device's connection, as of `at_ms`."""

    asset: str
    online: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class MadeTag:
    """The tag of an automatic asset, and the pattern by which it was made."""

    pattern: str
    tag: str


@dataclass(frozen=True, slots=True)
class AssetSnapshot:
    """Every asset of the organization, as of `at_ms`, the types in use and all locations, each by its id.

    `tags` are those that automatic assets were published with, also of assets that are gone.
    """

    at_ms: int
    assets: Mapping[str, KnownAsset]
    types: Mapping[str, AssetType] = field(default_factory=dict)
    locations: Mapping[str, Location] = field(default_factory=dict)
    tags: Mapping[str, MadeTag] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that needs a person, and since when.

    One that is `latched` holds until somebody acknowledges it, whatever becomes of its cause. `cleared_ms`
    None: it holds.
    """

    name: str
    reason: str
    since_ms: int
    latched: bool = False
    cleared_ms: int | None = None
    acknowledged_ms: int | None = None
    acknowledged_by: str | None = None


@dataclass(slots=True)
class UnmappedAsset:
    """An asset that reports but that no point table names, remembered for `gateway discover`."""

    asset: str
    events: int
    first_ms: int
    last_ms: int
    keys: tuple[str, ...]


GapPlace = tuple[str, str, int]
"""Which gap: asset, key, and the time of the last reading before it."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which no webhook brought readings of one key of an asset.

    `since_ms` is the time of the last reading before it, `until_ms` of the first one after it, None while
    there is none. `known_s` are Unix seconds in which readings inside it are known all the same.
    """

    asset: str
    key: str
    since_ms: int
    until_ms: int | None = None
    known_s: tuple[int, ...] = ()

    @property
    def place(self) -> GapPlace:
        """Return which gap it is."""
        return self.asset, self.key, self.since_ms


@dataclass(slots=True)
class Notes:
    """What the gateway wants kept beside the events; later notes replace earlier ones, letters add up.

    `kept_through` is the journal number up to which `kept` is the whole truth, with what was noted before.
    `forced` is by point name, None to forget it; `online` by asset. `retained` is by sink and topic: whether
    a value stands there or not (what describes one does, or it was cleared), None: nothing of ours can any
    more. `settled` are the numbers of dead letters that are to be forgotten. `gaps` are those in histories,
    None: filled or of no interest; what is known of one adds up. `alarms` are by name and `since_ms`.
    `damaged` are numbers of events that can't be read: their bodies are freed, as the letters have them.
    """

    cursors: dict[str, int] = field(default_factory=dict)
    kept: dict[str, KeptValue] = field(default_factory=dict)
    kept_through: int = 0
    dead_letters: list[DeadLetter] = field(default_factory=list)
    unmapped: dict[str, UnmappedAsset] = field(default_factory=dict)
    forced: dict[str, Forced | None] = field(default_factory=dict)
    online: dict[str, OnlineState] = field(default_factory=dict)
    retained: dict[tuple[str, str], bool | None] = field(default_factory=dict)
    snapshot: AssetSnapshot | None = None
    settled: list[int] = field(default_factory=list)
    gaps: dict[GapPlace, Gap | None] = field(default_factory=dict)
    alarms: dict[tuple[str, int], Alarm] = field(default_factory=dict)
    damaged: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.cursors
            or self.kept
            or self.kept_through
            or self.dead_letters
            or self.unmapped
            or self.forced
            or self.online
            or self.retained
            or self.snapshot is not None
            or self.settled
            or self.gaps
            or self.alarms
        )

    def add(self, later: Notes) -> None:
        """Take over what `later` says."""
        self.cursors.update(later.cursors)
        self.kept.update(later.kept)
        self.kept_through = max(self.kept_through, later.kept_through)
        self.dead_letters.extend(later.dead_letters)
        self.forced.update(later.forced)
        self.online.update(later.online)
        self.retained.update(later.retained)
        self.snapshot = later.snapshot or self.snapshot
        self.settled.extend(later.settled)
        self.alarms.update(later.alarms)
        self.damaged.extend(later.damaged)
        for place, gap in later.gaps.items():
            before = self.gaps.get(place)
            if gap is not None and before is not None:
                until_ms = before.until_ms if gap.until_ms is None else gap.until_ms
                gap = replace(gap, until_ms=until_ms, known_s=before.known_s + gap.known_s)  # noqa: PLW2901 - the sum
            self.gaps[place] = gap
        for asset, seen in later.unmapped.items():
            earlier = self.unmapped.setdefault(asset, seen)
            if earlier is not seen:
                earlier.events += seen.events
                earlier.last_ms, earlier.keys = seen.last_ms, seen.keys
