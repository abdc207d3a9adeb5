"""The shape of a point table, `mappings/*.yaml`: its keys, and the values that each accepts.

The docstrings below the keys are what editors show to users (`gateway schema`). The compiler finds what is
wrong only with several keys together, such as overlaps. A key that is not written is None, so that overrides
and defaults can be merged.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT
from gateway.config.salvage import ANY, Parts
from gateway.config.value_types import Period
from gateway.mapping.computed_keys import AggregateKeys, RateKeys, RuntimeKeys
from gateway.mapping.object_keys import BacnetDefaults, BacnetKeys, Sinks
from gateway.mapping.paths import compile_path
from gateway.mapping.registers import HIGHEST_ADDRESS, HIGHEST_BIT, TYPE_NAMES, parse_type
from gateway.mapping.topics import TOPIC_PATTERN, check_level, check_tag_pattern, check_topic
from gateway.model import KEY_SEPARATOR, PSEUDO_SOURCES, ByteOrder, RegisterTable

_LEVEL = r"(?![$\s])[^/+#]*[^/+#\s]"
_STRING_TYPE = r"^string\(([1-9][0-9]?|1[0-9]{2}|2[0-3][0-9]|24[0-6])\)$"
_TAG_PART = r"([^/+#{}]|\{\{|\}\}|\{(name|id|location|model)\})*"


def _check_source(source: str | tuple[str, ...]) -> str | tuple[str, ...]:
    text = source if isinstance(source, str) else ""
    if text.startswith(("$.", "$[")):
        compile_path(text)
    elif text.startswith("$") and text not in PSEUDO_SOURCES:
        raise ValueError(f"unknown; known are a telemetry key, $.data.object…, {', '.join(PSEUDO_SOURCES)}")
    return source


def _check_key(text: str) -> str:
    if text.startswith("$") or KEY_SEPARATOR in text:
        raise ValueError("only telemetry keys can be in a list")
    return text


def _check_bits(bits: tuple[int, int]) -> tuple[int, int]:
    if bits[0] >= bits[1]:
        raise ValueError(
            f"is [lowest, highest], but {bits[0]} is not less than {bits[1]}; one bit is `bits: 3`"
        )
    return bits


def _check_type(text: str) -> str:
    parse_type(text)
    return text


def _check_factor(number: float) -> float:
    if number == 0:
        raise ValueError("must not be 0, it would make every value 0")
    return number


def _check_range(limits: tuple[int | float, int | float]) -> tuple[int | float, int | float]:
    if limits[0] >= limits[1]:
        raise ValueError(f"is [lowest, highest], but {limits[0]} is not less than {limits[1]}")
    return limits


def _check_reserve(registers: tuple[int, int]) -> tuple[int, int]:
    if registers[0] > registers[1]:
        raise ValueError(f"is [first, last], but {registers[0]} is more than {registers[1]}")
    return registers


def _pattern(pattern: str, *words: str) -> WithJsonSchema:
    """Return a JSON Schema for editors: a pattern, and words to complete."""
    by_pattern = {"type": "string", "pattern": pattern}
    return WithJsonSchema({"anyOf": [{"enum": words}, by_pattern]} if words else by_pattern)


Text = Annotated[str, Field(min_length=1)]
Level = Annotated[str, AfterValidator(check_level), _pattern(f"^{_LEVEL}$")]
Topic = Annotated[str, AfterValidator(check_topic), _pattern(TOPIC_PATTERN)]
Key = Annotated[Text, AfterValidator(_check_key), _pattern(r"^[^$]")]
Source = Annotated[
    Annotated[Text, _pattern(r"^([^$]|\$[.\[])", *PSEUDO_SOURCES)]
    | Annotated[tuple[Key, ...], Field(min_length=1)],
    AfterValidator(_check_source),
]
Type = Annotated[str, AfterValidator(_check_type), _pattern(_STRING_TYPE, *TYPE_NAMES)]
Number = int | float
Factor = Annotated[
    Number, AfterValidator(_check_factor), WithJsonSchema({"type": "number", "not": {"const": 0}})
]
Range = Annotated[tuple[Number, Number], AfterValidator(_check_range)]
Value = bool | int | float | str | None
Tag = bool | int | float | Text | Annotated[tuple[Text, ...], Field(min_length=1)]
Address = Annotated[int, Field(ge=0, le=HIGHEST_ADDRESS)]
Modicon = Annotated[
    int | str,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 465536},
                {"type": "string", "pattern": "^[0134][0-9]{4,5}$"},
            ]
        }
    ),
]
BitPosition = Annotated[int, Field(ge=0, le=HIGHEST_BIT)]
ReadingBit = Annotated[int, Field(ge=0, le=63)]
ReadingBits = Annotated[tuple[ReadingBit, ReadingBit], AfterValidator(_check_bits)]
UnitId = Annotated[int, Field(ge=0, le=255)]
Stride = Annotated[int, Field(ge=1, le=HIGHEST_ADDRESS + 1)]
Reserve = Annotated[tuple[Address, Address], AfterValidator(_check_reserve)]
TagPattern = Annotated[
    Text, AfterValidator(check_tag_pattern), _pattern(rf"^(?!\$){_TAG_PART}\{{(name|id)\}}{_TAG_PART}$")
]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class _Area:
    """What all registers have in common."""

    to: Text | None = None
    """The Modbus sink of the register, by its name in gateway.yaml."""
    unit: UnitId | None = None
    """Modbus unit id; 1 if it is written nowhere."""
    table: RegisterTable | None = None
    """input (3xxxx), holding (4xxxx), coil (0xxxx) or discrete (1xxxx)."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ModbusDefaults(_Area):
    """`defaults.modbus`: keys that register blocks have, or share by defaults."""

    order: ByteOrder | None = None
    """Order of the bytes on the wire of values wider than one register; CDAB is word swap."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ModbusKeys(ModbusDefaults):
    """One register block: `register` is a 0-based PDU address, `modicon` a number such as 30001."""

    register: Address | None = None
    """0-based PDU address; in a template relative to the asset's `base`. Or write `modicon`."""
    modicon: Modicon | None = None
    """Address as a BMS shows it, such as 31001, which also says the table. Or write `register`."""
    type: Type | None = None
    """Type of the value in the register; bit for coils, discrete inputs and single bits."""
    scale: Factor | None = None
    """The register holds the value times this: 10 shows 21.5 as 215."""
    bit: BitPosition | None = None
    """Position of the bit in the register, 0 is the lowest."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class QualityKeys(_Area):
    """A uint16 register with the quality of one point. `to`, `unit` and `table` are as in its `modbus`."""

    register: Address | None = None
    """0-based PDU address; in a template relative to the asset's `base`. Or write `modicon`."""
    modicon: Modicon | None = None
    """Address as a BMS shows it, such as 31001, which also says the table. Or write `register`."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class MqttDefaults:
    """`defaults.mqtt`: the MQTT sinks that points go to."""

    to: Sinks
    """The MQTT sinks that the points go to, by their names in gateway.yaml."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class MqttKeys:
    """`mqtt` of a point: its sinks, and a topic that replaces `<prefix>/<site>/<tag>/<point>`."""

    to: Sinks | None = None
    """The MQTT sinks that the point goes to, by their names in gateway.yaml; all if not written."""
    topic: Topic | None = None
    """The point's own topic; it may contain {prefix}, {site}, {tag}, {point}, {asset} and {gateway}."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class CovKeys:
    """`cov` with its own longest interval."""

    delta: Annotated[Number, Field(ge=0)]
    """Smaller changes are not sent."""
    every: Period | None = None
    """A value is sent at least this often; default and maximum: half of `stale_after`."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class OnStaleValue:
    """`on_stale: {value: X}`."""

    value: Value
    """Shown instead of a stale value."""


StaleAfter = Literal["never"] | Period
OnStaleKeys = Literal["hold", "sentinel"] | OnStaleValue
RefillKeys = Literal["newest", "history"]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class _Freshness:
    """What defaults and points have in common."""

    stale_after: StaleAfter | None = None
    """A value is stale after this time without a reading; 90m if written nowhere; never: it never is."""
    on_stale: OnStaleKeys | None = None
    """Shown then: the last value, no value (NaN, 0x8000…, 0xFFFF…), or one that you choose."""
    refill: RefillKeys | None = None
    """What is fetched from Infodeck's API if webhooks were missed: the newest value, or history as well."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Defaults(_Freshness):
    """`defaults` of a file apply to its templates and single points, those of a template to its points."""

    modbus: ModbusDefaults = Field(default_factory=ModbusDefaults)
    """Defaults of the register blocks."""
    mqtt: bool | MqttDefaults | None = None
    """false: on no MQTT sink, unless a point has its own `mqtt`; or the names of MQTT sinks."""
    bacnet: bool | BacnetDefaults | None = None
    """false: on no BACnet sink, unless a point has its own `bacnet`; or the names of BACnet sinks."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class PointKeys(_Freshness):
    """A point of a template, or the keys of it that one asset overrides."""

    source: Source | None = Field(default=None, alias="from")
    """A telemetry key, a list of keys (the first that is there), a path $.data.object.x, $quality or $age."""
    bits: ReadingBit | ReadingBits | None = None
    """One bit of an integer reading, 0 is the lowest; or [lowest, highest] of several, read as a number."""
    mean: AggregateKeys | None = None
    """The mean of other points."""
    min: AggregateKeys | None = None
    """The smallest of other points."""
    max: AggregateKeys | None = None
    """The largest of other points."""
    sum: AggregateKeys | None = None
    """The sum of other points; true counts as 1."""
    count: AggregateKeys | None = None
    """How many of other points are good or forced."""
    any: AggregateKeys | None = None
    """Whether any of other points is true, or not 0."""
    all: AggregateKeys | None = None
    """Whether all of other points are true, or not 0."""
    rate: RateKeys | None = None
    """How fast a counter counts: the difference of its two newest readings, over the time between them."""
    runtime: RuntimeKeys | None = None
    """How long a point has been true, or not 0, and fresh; in hours unless `unit` is another unit of time."""
    expr: Text | None = None
    """An expression with points of the same tag: "dewpoint(ZN-T, ZN-RH)"."""
    unit: Text | None = None
    """Unit of measure that is published: any text. Readings that state another known unit are converted."""
    source_unit: Text | None = None
    """The sensor's unit of measure, such as degF, whatever its readings state; converted to `unit`."""
    gain: Factor | None = None
    """The value is multiplied by this."""
    offset: Number | None = None
    """This is added, after `gain`."""
    map: dict[str, Value] | None = Field(default=None, min_length=1)
    """Values of readings: words, numbers or true/false on the left, the point's values on the right."""
    range: Range | None = None
    """[lowest, highest]; a value outside is of bad quality."""
    clamp: bool | None = None
    """Outside `range`, its nearer end becomes the value, of good quality."""
    decimals: Annotated[int, Field(ge=0, le=9)] | None = None
    """Round to this many decimals."""
    cov: Annotated[Number, Field(ge=0)] | CovKeys | None = None
    """Deadband: smaller changes are not sent to event sinks such as MQTT."""
    description: Text | None = None
    """What the point is, for people."""
    tags: dict[Text, Tag] | None = Field(default=None, min_length=1)
    """What the point is, for programs, such as a Brick class or Haystack markers."""
    mqtt: bool | MqttKeys | None = None
    """false: on no MQTT sink; or the names of sinks, and its own topic."""
    bacnet: bool | BacnetKeys | None = None
    """false: on no BACnet sink; or the names of sinks, and its own object type and instance."""
    modbus: ModbusKeys | tuple[ModbusKeys, ...] | None = None
    """The register that shows the point, or a list of several."""
    quality: QualityKeys | tuple[QualityKeys, ...] | None = None
    """The register that shows the point's quality as a number, or a list of several."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class SinglePoint(PointKeys):
    """A free-standing point of one asset, or one that is computed from others."""

    tag: Level
    """The asset's name in the building; part of the topic."""
    point: Level
    """The point's name; part of the topic."""
    asset: Text | None = None
    """The asset's id in Infodeck; a computed point needs none."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Match:
    """The devices that a template is made for: all criteria must match. `name` is a pattern, "IAQ *"."""

    asset_type: Text | None = None
    """Id of the asset type in Infodeck."""
    model: Text | None = None
    """The device's model."""
    manufacturer: Text | None = None
    """The device's manufacturer."""
    name: Text | None = None
    """The asset's name."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Template:
    """The points of one type of device."""

    match: Match | None = None
    """Which devices the template is made for."""
    defaults: Defaults = Field(default_factory=Defaults)
    """Defaults for the points of this template; they override the file's `defaults`."""
    auto: bool = False
    """Apply to every asset in Infodeck that matches and that no table names."""
    tag: TagPattern | None = None
    """The tag of such an asset, made of {name}, {id}, {location} and {model}; "{name}" if not written."""
    stride: Stride | None = None
    """Registers reserved for each asset."""
    reserve: Reserve | None = None
    """[first, last]: registers reserved for assets of this template without `base`."""
    points: dict[Level, PointKeys] = Field(min_length=1)
    """The points of each asset, by their names."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class AssetEntry:
    """One asset that uses a template. Without `base`, it has a slot in registers.lock."""

    id: Text
    """The asset's id in Infodeck."""
    tag: Level
    """The asset's name in the building; part of the topics."""
    use: Text
    """The name of the template."""
    base: Address | None = None
    """Added to the template's register addresses."""
    points: dict[str, PointKeys] = Field(default_factory=dict)
    """Keys that differ from the template's, by the names of points."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Heartbeat:
    """A register that the gateway counts up, so that a controller detects a dead gateway."""

    every: Period
    """How often it counts."""
    modbus: ModbusKeys | tuple[ModbusKeys, ...]
    """The register that counts, or a list of several."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class System:
    """The gateway's own points."""

    heartbeat: Heartbeat | None = None
    """A register that counts up while the gateway runs, so that a controller detects when it stops."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Given:
    """Readings of a case, of one asset."""

    asset: Text
    """The asset's id."""
    telemetry: dict[Text, Value] = Field(min_length=1)
    """Readings by telemetry key or path."""
    after: Period | None = None
    """The time since the readings before it in the list; none if not written."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Expected:
    """A point's value together with its quality."""

    value: Value
    """The value; null is no value."""
    quality: Literal["good", "bad", "stale", "held"]
    """Its quality."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class CaseEntry:
    """One test of the table by its author, run by `gateway test`."""

    given: Given | Annotated[tuple[Given, ...], Field(min_length=1)]
    """The readings that the case starts from, or a list of them, of several assets and times."""
    expect: dict[str, Expected | Value] = Field(min_length=1)
    """Points as <tag>/<point>, each with its value, or with value and quality."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Table:
    """One file of the mappings folder."""

    schema: Literal["gateway.points/1"]
    """The version of this language."""
    site: Level
    """The building; part of every topic of this file."""
    defaults: Defaults = Field(default_factory=Defaults)
    """Defaults for the points of this file."""
    templates: dict[Text, Template] = Field(default_factory=dict)
    """The points of device types, by names that you choose."""
    assets: tuple[AssetEntry, ...] = ()
    """The assets that use a template."""
    points: tuple[SinglePoint, ...] = ()
    """Points of single assets, each with its own keys and absolute registers."""
    system: System = Field(default_factory=System)
    """The gateway's own points."""
    cases: tuple[CaseEntry, ...] = ()
    """Tests of this table, run by `gateway test`."""


PARTS = Parts(
    droppable=(
        *((section, ANY) for section in ("templates", "assets", "points", "cases")),
        *((section,) for section in ("templates", "assets", "points", "cases", "system", ANY)),
        ("templates", ANY, "points", ANY),
        ("templates", ANY, "points", ANY, ANY),
        ("assets", ANY, ANY),
        ("assets", ANY, "points", ANY),
        ("points", ANY, ANY),
        ("defaults", "stale_after"),
        ("defaults", "on_stale"),
    ),
    stand_ins={"site": "-"},
    essential=("schema", "defaults"),
)
"""What is left out of a table with problems, so that the rest is checked in the same run."""


def may_be_null(path: tuple[str | int, ...]) -> bool:
    """Return whether null is a value at a path: in a map, in `on_stale`, or in a case."""
    return path[0] == "cases" or path[-2:] == ("on_stale", "value") or path[-2:-1] == ("map",)
