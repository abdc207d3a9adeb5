"""Events, readings, points, registers and updates as data.

Times are Unix milliseconds (`…_ms`) unless a name says otherwise. Register addresses are 0-based
PDU addresses. `unit` alone is the Modbus unit id; units of measure are always `unit_of_measure`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.records import KnownAsset

Scalar = float | int | bool | str | None
"""The value of a reading or a point. None: there is a reading, but no usable value."""

PSEUDO_SOURCES = ("$quality", "$age", "$online")
"""Sources in point tables that the gateway computes and no sensor measures."""
HEARTBEAT = "$heartbeat"
"""The source of the gateway's heartbeat point."""
EVENTS = "$events"
"""Tag and source of points that no table has: one per event type, whose updates are each an `EventCopy`."""
KEY_SEPARATOR = " | "
"""Between the telemetry keys of one source, of which the first counts that an event has."""


def source_keys(source: str) -> tuple[str, ...]:
    """Return the telemetry keys of a source, the preferred one first; a path is returned as it is."""
    return tuple(source.split(KEY_SEPARATOR))


_COMPUTED = re.compile(r"\$[a-z]+ ")


def is_computed(source: str) -> bool:
    """Return whether a source is that of a computed point, such as `$mean of L03-*/ZN-T`."""
    return _COMPUTED.match(source) is not None


class Quality(IntEnum):
    """How far a value can be trusted; `$quality` registers show the number."""

    GOOD = 0
    HELD = 1  # no longer fresh, shown as it was (`on_stale: hold`)
    STALE = 2  # no longer fresh, replaced by the sentinel or the configured value
    BAD = 3  # out of range, more than its registers can show, not convertible, or null
    FORCED = 4  # a commissioning override
    OFFLINE = 5  # Infodeck reports that the device is not connected


STAND_INS = frozenset({Quality.HELD, Quality.STALE, Quality.FORCED, Quality.OFFLINE})
"""The qualities of values that are shown instead of a reading."""


BACKFILL_ID_PREFIX = "reconcile_"
"""The ids of events that the gateway makes from values of Infodeck's API begin with it."""


def is_backfilled(event_id: str | None) -> bool:
    """Return whether an event of this id was made by a gateway from values of Infodeck's API."""
    return event_id is not None and event_id.startswith(BACKFILL_ID_PREFIX)


class Origin(NamedTuple):
    """The gateway whose intake verified an event, and when it received the event, by its own clock."""

    gateway: str
    received_ms: int


@dataclass(slots=True)
class Event:
    """One accepted webhook delivery, verified and parsed once. Not frozen: made per request.

    `document` is the parsed body, `body` the bytes as received, which the event log stores. `received_ms` is
    when this gateway received it. `origin` is set if another gateway's intake did before, perhaps days ago.
    `telemetry` is set by `gateway.events.read_telemetry`, so that the readings are searched for only once.
    """

    event_id: str
    type: str
    body: bytes
    document: dict[str, Any]
    received_ms: int
    origin: Origin | None = None
    telemetry: Telemetry | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def dated_ms(self) -> int:
        """When a gateway first received the event: the time of readings without their own.

        It is never later than our own receipt, however far the other clock is ahead.
        """
        return self.received_ms if self.origin is None else min(self.origin.received_ms, self.received_ms)

    @property
    def is_backfilled(self) -> bool:
        """Whether the gateway made the event from values of Infodeck's API; no webhook delivered it."""
        return is_backfilled(self.event_id)


@dataclass(slots=True)
class Record:
    """An event in the event log. `seq` grows with every event and is never reused.

    Not frozen: made per event.
    """

    seq: int
    event: Event


@dataclass(slots=True)
class Reading:
    """One telemetry key of one asset at one time. Not frozen: made by the thousand per second.

    `unit_of_measure` is as the event states it, None if it states none.
    """

    key: str
    value: Scalar
    time_ms: int
    unit_of_measure: str | None = None


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The readings of one asset in one event, as many as were found.

    `time_ms` is the time of readings without their own. `container` is their place in `data.object`, "" if
    there are none. `clock_ahead` counts readings whose own time was in the future and was replaced.
    """

    asset: str
    time_ms: int
    readings: tuple[Reading, ...] = ()
    container: str = ""
    clock_ahead: int = 0


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
    """Address and encoding of one point on one Modbus sink."""

    sink: str
    unit: int
    table: RegisterTable
    address: int
    type: str  # int16 uint16 int32 uint32 int64 uint64 float32 float64 bit string
    words: int  # 16-bit registers; 1 for a coil or discrete input
    order: ByteOrder = ByteOrder.ABCD
    scale: float = 1.0  # the register holds `value * scale`, rounded for integers
    bit: int | None = None  # the position (0 = least significant) of a `bit` in a word table
    shows_quality: bool = False  # the number of the point's quality instead of its value


class ObjectType(StrEnum):
    """The BACnet object types that a point can be, as point tables write them."""

    ANALOG_INPUT = "analog-input"
    BINARY_INPUT = "binary-input"
    MULTI_STATE_INPUT = "multi-state-input"
    CHARACTERSTRING_VALUE = "characterstring-value"
    LARGE_ANALOG_VALUE = "large-analog-value"

    @property
    def number(self) -> int:
        """The number of the object type in the standard (ANSI/ASHRAE 135, clause 21)."""
        return _OBJECT_TYPE_NUMBERS[self]


_OBJECT_TYPE_NUMBERS = {
    ObjectType.ANALOG_INPUT: 0,
    ObjectType.BINARY_INPUT: 3,
    ObjectType.MULTI_STATE_INPUT: 13,
    ObjectType.CHARACTERSTRING_VALUE: 40,
    ObjectType.LARGE_ANALOG_VALUE: 46,
}


@dataclass(frozen=True, slots=True)
class BacnetObject:
    """The object of one point on one BACnet sink. Type and instance are unique on the sink.

    `values` and `texts` describe states in parallel: of a multi-state object state 1 and up, of a binary
    object inactive and active. A binary object may have neither.
    """

    sink: str
    type: ObjectType
    instance: int
    values: tuple[Scalar, ...] = ()
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WriteLimits:
    """The function codes and unit ids (None: all) that may be used to write into one controller.

    On a serial line, unit 0 is a broadcast, which nobody answers.
    """

    functions: frozenset[int]
    units: frozenset[int] | None = None
    is_serial: bool = False

    def allow_unit(self, unit: int) -> bool:
        """Return whether a unit may be written to."""
        if self.is_serial and unit == 0:
            return False
        return self.units is None or unit in self.units


class StalePolicy(StrEnum):
    """What is shown once a value is no longer fresh."""

    HOLD = "hold"
    SENTINEL = "sentinel"
    VALUE = "value"


@dataclass(frozen=True, slots=True)
class OnStale:
    """`on_stale` of a point: the policy, and the value if the policy is `value`."""

    policy: StalePolicy
    value: Scalar = None


@dataclass(frozen=True, slots=True)
class Cov:
    """The deadband (change of value): smaller changes are not sent, but one at least every `every_ms`."""

    delta: float
    every_ms: int


def is_within_deadband(number: float, sent: float, delta: float) -> bool:
    """Return whether a number differs by less than `delta` from the one sent last; NaN is never within."""
    # A millionth less than `delta`: in binary, 21.7 - 21.6 does not reach a deadband of 0.1.
    return abs(number - sent) < delta * 0.999999


class ValueKind(Enum):
    """What kind of readings a point expects."""

    ANY = "any"  # numbers, text and booleans as they come
    NUMBER = "number"  # numeric text becomes a number, booleans become 0 and 1
    SWITCH = "switch"  # like NUMBER, but booleans stay, as do "true" and "false"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """How a reading becomes the point's value, in order.

    Bits, kind or map, unit, gain, offset, range, decimals.
    """

    bits: int | tuple[int, int] | None = None  # one bit of an integer; or first and last of several
    kind: ValueKind = ValueKind.ANY
    map: Mapping[str, Scalar] | None = None  # by text as written in the table
    source_unit: str | None = None  # the sensor's unit of measure if it differs from the point's
    unit_gain: float = 1  # converts it, with `unit_offset`
    unit_offset: float = 0
    gain: float = 1.0
    offset: float = 0.0
    range: tuple[float, float] | None = None  # both included; a value outside is of bad quality
    clamp: bool = False  # instead, it becomes the nearer bound
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
    """The MQTT sinks (None: all) and the topic (None: the usual one) of one point.

    `topic` is a template, see `gateway.mapping.topics`.
    """

    sinks: frozenset[str] | None = None
    topic: str | None = None

    def goes_to(self, sink: str) -> bool:
        """Return whether the point is on an MQTT sink."""
        return self.sinks is None or sink in self.sinks


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """One value for the building: where it comes from and where it goes. Compared by identity."""

    site: str
    tag: str
    point: str
    asset: str  # "" for the gateway's own points
    source: str  # telemetry keys, a path `$.data.object…`, of `PSEUDO_SOURCES`, `HEARTBEAT`, `$mean of …`
    unit_of_measure: str | None
    stale_after_ms: int | None  # None: never stale
    on_stale: OnStale
    cov: Cov | None = None
    description: str | None = None
    mqtt: Mqtt | None = field(default_factory=Mqtt)  # None: not on MQTT
    registers: tuple[Register, ...] = ()
    objects: tuple[BacnetObject, ...] = ()
    conversion: Conversion = field(default_factory=Conversion)
    tags: Mapping[str, Any] | None = None  # for `$meta`: a Brick class, Haystack markers
    known: KnownAsset | None = None  # the asset in Infodeck's API, without its connection; None: not there
    backfill: bool = False  # long gaps in readings are filled from Infodeck's API once they are over
    name: str = field(init=False)  # `L03-RM312/ZN-T`: unique within a PointMap, and survives reloads
    is_pseudo: bool = field(init=False)  # made by the gateway itself, neither measured nor computed
    is_computed: bool = field(init=False)  # computed from other points

    @property
    def value_registers(self) -> tuple[Register, ...]:
        """The registers that show the value, not its quality."""
        return tuple(register for register in self.registers if not register.shows_quality)

    def __post_init__(self) -> None:
        """Compute once what every update uses."""
        object.__setattr__(self, "name", f"{self.tag}/{self.point}")
        object.__setattr__(self, "is_pseudo", self.source in (*PSEUDO_SOURCES, HEARTBEAT))
        object.__setattr__(self, "is_computed", is_computed(self.source))


@dataclass(slots=True)
class Update:
    """A point's value at one time, on its way to the sinks. Not frozen: made per reading.

    `safe_value` is for receivers that see no quality, such as registers: the value while it is good,
    otherwise as `on_stale` requires, None for the sentinel.
    """

    point: Point
    value: Scalar  # measured, or what `on_stale` shows instead, which `quality` says
    safe_value: Scalar
    quality: Quality
    time_ms: int
    seq: int  # the number of the event, 0 if no event caused the update
    event_id: str | None
    raw: Scalar = None  # the reading as received
    raw_unit: str | None = None  # the unit of measure that the event states

    def shown_in(self, register: Register) -> Scalar:
        """Return what one of the point's registers shows: the quality as a number, or the safe value."""
        return self.quality if register.shows_quality else self.safe_value

    @property
    def is_measured(self) -> bool:
        """Whether the value is a reading: neither computed by the gateway nor shown instead of one."""
        point = self.point
        return not (point.is_pseudo or point.is_computed) and self.quality not in STAND_INS

    def is_repeated_by(self, later: Update | None) -> bool:
        """Return whether `later`, which the point shows, is the same reading, delivered by a later event."""
        return (
            later is not None
            and later.seq > self.seq
            and (later.time_ms, later.raw, later.raw_unit) == (self.time_ms, self.raw, self.raw_unit)
        )


@dataclass(slots=True)
class EventCopy(Update):
    """A whole event on its way to sinks that publish events as received. Its point is that of the type.

    `subject` is the event's subject on NATS, "" if no sink needs it. `origin`: as in `Event`.
    """

    body: bytes = b""
    subject: str = ""
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An update that its receiver refused permanently, and the reason in the receiver's words."""

    update: Update
    reason: str
