"""The shape of a point table, `mappings/*.yaml`: which keys there are and what each may hold.

What only shows when keys come together (overlaps, values that a register cannot hold) is found by the
compiler. A key that is not written is None here, so that overrides and defaults can be laid over each other.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT
from gateway.config.salvage import ANY, Parts
from gateway.config.value_types import Period
from gateway.mapping.table_outputs import ModbusDefaults, ModbusKeys, MqttDefaults, MqttKeys
from gateway.mapping.table_types import (
    Address,
    Factor,
    Level,
    Number,
    Plain,
    Range,
    Reserve,
    SchemaName,
    Source,
    Stride,
    Tag,
    TagPattern,
    Text,
)


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class CovKeys:
    """`cov` with its own longest silence."""

    delta: Annotated[Number, Field(ge=0)]
    """Smaller changes are not sent."""
    every: Period | None = None
    """A value is sent at least this often; half of `stale_after` if not written, and at most."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class OnStaleValue:
    """`on_stale: {value: X}`."""

    value: Plain
    """What is shown in place of a value that is no longer fresh."""


StaleAfter = Literal["never"] | Period
OnStaleKeys = Literal["hold", "sentinel"] | OnStaleValue
RefillKeys = Literal["newest", "history"]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Defaults:
    """`defaults` of a file hold for its templates and single points, those of a template for its points."""

    stale_after: StaleAfter | None = None
    """A value is no longer fresh after this time without a reading; 90m if not written anywhere."""
    on_stale: OnStaleKeys | None = None
    """What is shown then: the last value, no value (NaN, 0x8000…, 0xFFFF…), or one that you choose."""
    refill: RefillKeys | None = None
    """What is taken from Infodeck's API where no webhook brought it: the newest value, or history as well."""
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
    """Unit of measure that is published: any text. Readings that state another known unit are converted."""
    source_unit: Text | None = None
    """The sensor's unit of measure, such as degF, whatever its readings state; it is converted to `unit`."""
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
    refill: RefillKeys | None = None
    """What is taken from Infodeck's API where no webhook brought it: the newest value, or history as well."""
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


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Table:
    """One file."""

    schema: SchemaName
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
"""What can be left out of a table that has problems, so that the rest of it is checked all the same."""


def may_be_null(path: tuple[str | int, ...]) -> bool:
    """Say whether null is a value at a path of a table: what a map gives, what a case sends and expects."""
    return path[0] == "cases" or path[-2:] == ("on_stale", "value") or path[-2:-1] == ("map",)
