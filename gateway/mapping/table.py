"""The shape of a point table, `mappings/*.yaml`: which keys there are and what each may hold.

What only shows when keys come together (overlaps, values that a register cannot hold) is found by the
compiler. A key that is not written is None here, so that overrides and defaults can be laid over each other.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT, FieldError
from gateway.config.rules import Period
from gateway.config.salvage import ANY, Parts
from gateway.mapping.paths import compile_path
from gateway.mapping.registers import HIGHEST_ADDRESS, HIGHEST_BIT, PLAIN_TYPES, parse_type
from gateway.mapping.tags import NOT_IN_LEVELS, check_pattern
from gateway.model import PSEUDO_SOURCES, ByteOrder, RegisterTable


def _check_level(text: str) -> str:
    """Refuse what could not stand as one level of an MQTT topic, or would not be seen on a screen."""
    if not text or text != text.strip() or not text.isprintable():
        raise ValueError("needs printable characters, without spaces around them")
    if text[0] == "$" or any(character in text for character in NOT_IN_LEVELS):
        raise ValueError("becomes part of a topic, so it cannot start with $ or contain /, + or #")
    return text


def _check_topic(text: str) -> str:
    for level in text.split("/"):
        if not level:
            raise ValueError("has an empty level: no slash at either end, and no two in a row")
        _check_level(level)
    return text


def _check_source(text: str) -> str:
    if text.startswith(("$.", "$[")):
        compile_path(text)
    elif text.startswith("$") and text not in PSEUDO_SOURCES:
        raise ValueError(f"unknown; known are a telemetry key, $.data.object…, {', '.join(PSEUDO_SOURCES)}")
    return text


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


def _pattern(pattern: str, *words: str) -> WithJsonSchema:
    """Let editors know the rule as far as a pattern can say it, and the words to complete."""
    by_pattern = {"type": "string", "pattern": pattern}
    return WithJsonSchema({"anyOf": [{"enum": words}, by_pattern]} if words else by_pattern)


_LEVEL = r"(?![$\s])[^/+#]*[^/+#\s]"
_MODICON = WithJsonSchema(
    {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 465536},
            {"type": "string", "pattern": "^[0134][0-9]{4,5}$"},
        ]
    }
)
_STRING_TYPE = r"^string\(([1-9][0-9]?|1[0-9]{2}|2[0-3][0-9]|24[0-6])\)$"


def _check_reserve(registers: tuple[int, int]) -> tuple[int, int]:
    if registers[0] > registers[1]:
        raise ValueError(f"is [first, last], but {registers[0]} is more than {registers[1]}")
    return registers


Text = Annotated[str, Field(min_length=1)]
Level = Annotated[str, AfterValidator(_check_level), _pattern(f"^{_LEVEL}$")]
Topic = Annotated[str, AfterValidator(_check_topic), _pattern(f"^{_LEVEL}(/{_LEVEL})*$")]
Source = Annotated[Text, AfterValidator(_check_source), _pattern(r"^([^$]|\$[.\[])", *PSEUDO_SOURCES)]
Type = Annotated[str, AfterValidator(_check_type), _pattern(_STRING_TYPE, *PLAIN_TYPES)]
Number = int | float
Factor = Annotated[
    Number, AfterValidator(_check_factor), WithJsonSchema({"type": "number", "not": {"const": 0}})
]
Range = Annotated[tuple[Number, Number], AfterValidator(_check_range)]
Plain = bool | int | float | str | None
Tag = bool | int | float | Text | Annotated[tuple[Text, ...], Field(min_length=1)]
Address = Annotated[int, Field(ge=0, le=HIGHEST_ADDRESS)]
UnitId = Annotated[int, Field(ge=0, le=255)]
Stride = Annotated[int, Field(ge=1, le=HIGHEST_ADDRESS + 1)]
Reserve = Annotated[tuple[Address, Address], AfterValidator(_check_reserve)]
_TAG_PART = r"([^/+#{}]|\{\{|\}\}|\{(name|id|location|model)\})*"
TagPattern = Annotated[
    Text, AfterValidator(check_pattern), _pattern(rf"^(?!\$){_TAG_PART}\{{(name|id)\}}{_TAG_PART}$")
]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ModbusDefaults:
    """`defaults.modbus`: what register blocks need not repeat."""

    to: Text | None = None
    """The Modbus sink that the registers are on, by its name in gateway.yaml."""
    unit: UnitId | None = None
    """Modbus unit id; 1 if it is not written anywhere."""
    table: RegisterTable | None = None
    """input (3xxxx), holding (4xxxx), coil (0xxxx) or discrete (1xxxx)."""
    order: ByteOrder | None = None
    """Order of the bytes on the wire of values wider than one register; CDAB is word swap."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ModbusKeys:
    """One register block: `register` is a 0-based PDU address, `modicon` a number such as 30001."""

    to: Text | None = None
    """The Modbus sink that the register is on, by its name in gateway.yaml."""
    unit: UnitId | None = None
    """Modbus unit id."""
    table: RegisterTable | None = None
    """input (3xxxx), holding (4xxxx), coil (0xxxx) or discrete (1xxxx)."""
    register: Address | None = None
    """0-based PDU address; in a template relative to the asset's `base`. Or write `modicon`."""
    modicon: Annotated[int | str, _MODICON] | None = None
    """Address as a BMS shows it, such as 31001, which also says the table. Or write `register`."""
    type: Type | None = None
    """How the value stands in the register; bit for coils, discrete inputs and single bits."""
    order: ByteOrder | None = None
    """Order of the bytes on the wire of values wider than one register; CDAB is word swap."""
    scale: Factor | None = None
    """The register holds the value times this: 10 shows 21.5 as 215."""
    bit: Annotated[int, Field(ge=0, le=HIGHEST_BIT)] | None = None
    """Position of the bit in the register, 0 is the lowest."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class MqttDefaults:
    """`defaults.mqtt`: which MQTT sinks points go to."""

    to: tuple[Text, ...]
    """The MQTT sinks that the points go to, by their names in gateway.yaml."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class MqttKeys:
    """`mqtt` of a point: the sinks, and a whole topic in place of `<prefix>/<site>/<tag>/<point>`."""

    to: tuple[Text, ...] | None = None
    """The MQTT sinks that the point goes to, by their names in gateway.yaml; all if not written."""
    topic: Topic | None = None
    """A whole topic in place of <prefix>/<site>/<tag>/<point>."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class CovKeys:
    """`cov` with its own longest silence."""

    delta: Annotated[Number, Field(ge=0)]
    """Smaller changes are not sent."""
    every: Period | None = None
    """A value is sent at least this often; half of `stale_after` if not written."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class OnStaleValue:
    """`on_stale: {value: X}`."""

    value: Plain
    """What is shown in place of a value that is no longer fresh."""


StaleAfter = Literal["never"] | Period
OnStaleKeys = Literal["hold", "sentinel"] | OnStaleValue


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Defaults:
    """`defaults` of a file hold for its templates and single points, those of a template for its points."""

    stale_after: StaleAfter | None = None
    """A value is no longer fresh after this time without a reading; 90m if not written anywhere."""
    on_stale: OnStaleKeys | None = None
    """What is shown then: the last value, no value (NaN, 0x8000…, 0xFFFF…), or one that you choose."""
    modbus: ModbusDefaults = Field(default_factory=ModbusDefaults)
    """What the register blocks need not repeat."""
    mqtt: bool | MqttDefaults | None = None
    """false: on no MQTT sink, unless a point says so; or which MQTT sinks."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class PointKeys:
    """A point of a template, or what one asset overrides of it."""

    source: Source | None = Field(default=None, alias="from")
    """A telemetry key of the asset, a path such as $.data.object.x, or $age, $quality and the like."""
    unit: Text | None = None
    """Unit of measure that is published. Any text, unless `source_unit` is converted to it."""
    source_unit: Text | None = None
    """The sensor's unit of measure where it is another one, such as degF; it is converted to `unit`."""
    gain: Factor | None = None
    """The value is multiplied by this."""
    offset: Number | None = None
    """This is added, after `gain`."""
    map: dict[str, Plain] | None = Field(default=None, min_length=1)
    """What readings stand for: words, numbers or true/false on the left, values on the right."""
    range: Range | None = None
    """[lowest, highest]; a value outside of it is of bad quality."""
    clamp: bool | None = None
    """Outside of `range`, take its nearer end as a good value."""
    decimals: Annotated[int, Field(ge=0, le=9)] | None = None
    """Round to so many decimals."""
    cov: Annotated[Number, Field(ge=0)] | CovKeys | None = None
    """Deadband: smaller changes are not sent to event sinks such as MQTT."""
    stale_after: StaleAfter | None = None
    """The value is no longer fresh after this time without a reading; never: it always is."""
    on_stale: OnStaleKeys | None = None
    """What is shown then: the last value, no value (NaN, 0x8000…, 0xFFFF…), or one that you choose."""
    description: Text | None = None
    """What the point is, for people."""
    tags: dict[Text, Tag] | None = Field(default=None, min_length=1)
    """What the point is, for programs, such as a Brick class or Haystack markers."""
    mqtt: bool | MqttKeys | None = None
    """false: on no MQTT sink; or which sinks, and a topic of its own."""
    modbus: ModbusKeys | tuple[ModbusKeys, ...] | None = None
    """The register that shows the point, or a list of several."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class SinglePoint(PointKeys):
    """A free-standing point of one asset."""

    tag: Level
    """The asset's name in the building; part of the topic."""
    point: Level
    """The point's name; part of the topic."""
    asset: Text
    """The asset's id in Infodeck."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Match:
    """What a template is made for. All that is written must hold; `name` is a pattern such as "IAQ *"."""

    asset_type: Text | None = None
    """Id of the asset type in Infodeck."""
    model: Text | None = None
    """The device's model."""
    manufacturer: Text | None = None
    """Who makes the device."""
    name: Text | None = None
    """The asset's name."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Template:
    """The points of one type of device; `stride` is how many registers each asset of it is given.

    `reserve` is the first and last register kept for assets without base. With `auto`, every asset that
    Infodeck knows and `match` fits gets the points under a tag made by the pattern `tag`.
    """

    match: Match | None = None
    """Which devices the template is made for."""
    defaults: Defaults = Field(default_factory=Defaults)
    """What the points of this template need not repeat; it wins over the file's `defaults`."""
    auto: bool = False
    """Take every asset that Infodeck knows, that `match` fits and that no table names."""
    tag: TagPattern | None = None
    """The tag of such an asset, made of {name}, {id}, {location} and {model}; "{name}" if not written."""
    stride: Stride | None = None
    """Registers kept for each asset."""
    reserve: Reserve | None = None
    """[first, last]: registers kept for assets of this template without `base`."""
    points: dict[Level, PointKeys] = Field(min_length=1)
    """The points of each asset, by their names."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class AssetEntry:
    """One asset that uses a template; `base` is added to the template's registers.

    Without `base` it has the base of its slot in registers.lock.
    """

    id: Text
    """The asset's id in Infodeck."""
    tag: Level
    """The asset's name in the building; part of the topics."""
    use: Text
    """The name of the template."""
    base: Address | None = None
    """Added to the template's register addresses."""
    points: dict[str, PointKeys] = Field(default_factory=dict)
    """What this asset has other than the template, by the names of points."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Heartbeat:
    """A register that the gateway counts up, so that a controller sees a dead gateway."""

    every: Period
    """How often it counts."""
    modbus: ModbusKeys | tuple[ModbusKeys, ...]
    """The register that counts, or a list of several."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class System:
    """The gateway's own points."""

    heartbeat: Heartbeat | None = None
    """A register that counts up while the gateway runs, so that a controller sees when it does not."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Given:
    """What a case starts from: readings of one asset, by telemetry key or `$.data.object…` path."""

    asset: Text
    """The asset's id."""
    telemetry: dict[Text, Plain] = Field(min_length=1)
    """Readings by telemetry key or path."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Expected:
    """A point's value together with its quality."""

    value: Plain
    """The value; null is no value."""
    quality: Literal["good", "bad"]
    """Its quality."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class CaseEntry:
    """One check of the table by its author, run by `gateway test`."""

    given: Given
    """What the case starts from."""
    expect: dict[str, Expected | Plain] = Field(min_length=1)
    """Points as <tag>/<point>, each with its value, or with value and quality."""


_SCHEMA = "gateway.points/1"


def _check_schema(text: str) -> str:
    if text != _SCHEMA:
        raise FieldError(f"this version reads {_SCHEMA}", value=text)
    return text


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Table:
    """One file."""

    schema: Annotated[str, AfterValidator(_check_schema), WithJsonSchema({"const": _SCHEMA})]
    """The version of this language."""
    site: Level
    """The building; part of every topic of this file."""
    defaults: Defaults = Field(default_factory=Defaults)
    """What the points of this file need not repeat."""
    templates: dict[Text, Template] = Field(default_factory=dict)
    """The points of device types, by a name of your own."""
    assets: tuple[AssetEntry, ...] = ()
    """The assets that use a template."""
    points: tuple[SinglePoint, ...] = ()
    """Points of single assets, each with its own keys and absolute registers."""
    system: System = Field(default_factory=System)
    """The gateway's own points."""
    cases: tuple[CaseEntry, ...] = ()
    """Checks of this table that `gateway test` runs."""


PARTS = Parts(
    droppable=(
        *((section, ANY) for section in ("templates", "assets", "points", "cases")),
        *((section,) for section in ("templates", "assets", "points", "cases", "system", ANY)),
        ("templates", ANY, "points", ANY),
        ("defaults", "stale_after"),
        ("defaults", "on_stale"),
    ),
    stand_ins={"site": "-"},
    essential=("schema", "defaults"),
)
"""What can be left out of a table that has problems, so that the rest of it is checked all the same."""


def may_be_null(path: tuple[str | int, ...]) -> bool:
    """Say whether null is a value at a path of a table: what a map gives, what a case sends and expects."""
    return path[0] == "cases" or path[-2:] == ("on_stale", "value") or path[-2:-1] == ("map",)
