"""The shape of a point table, `mappings/*.yaml`: which keys there are and what each may hold.

What only shows when keys come together (overlaps, values that a register cannot hold) is found by the
compiler. A key that is not written is None here, so that overrides and defaults can be laid over each other.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT, FieldError
from gateway.config.rules import Period
from gateway.mapping.paths import compile_path
from gateway.mapping.registers import HIGHEST_ADDRESS, HIGHEST_BIT, parse_type
from gateway.model import PSEUDO_SOURCES, ByteOrder, RegisterTable

_NOT_IN_LEVELS = "/+#"


def _check_level(text: str) -> str:
    """Refuse what could not stand as one level of an MQTT topic, or would not be seen on a screen."""
    if not text or text != text.strip() or not text.isprintable():
        raise ValueError("needs printable characters, without spaces around them")
    if text[0] == "$" or any(character in text for character in _NOT_IN_LEVELS):
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


Text = Annotated[str, Field(min_length=1)]
Level = Annotated[str, AfterValidator(_check_level)]
Topic = Annotated[str, AfterValidator(_check_topic)]
Source = Annotated[Text, AfterValidator(_check_source)]
Type = Annotated[str, AfterValidator(_check_type)]
Number = int | float
Factor = Annotated[Number, AfterValidator(_check_factor)]
Range = Annotated[tuple[Number, Number], AfterValidator(_check_range)]
Plain = bool | int | float | str | None
Tag = bool | int | float | Text | Annotated[tuple[Text, ...], Field(min_length=1)]
Address = Annotated[int, Field(ge=0, le=HIGHEST_ADDRESS)]
UnitId = Annotated[int, Field(ge=0, le=255)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ModbusDefaults:
    """`defaults.modbus`: what a file's register blocks need not repeat."""

    to: Text | None = None
    unit: UnitId | None = None
    table: RegisterTable | None = None
    order: ByteOrder | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ModbusKeys:
    """One register block: `register` is a 0-based PDU address, `modicon` a number such as 30001."""

    to: Text | None = None
    unit: UnitId | None = None
    table: RegisterTable | None = None
    register: Address | None = None
    modicon: int | str | None = None
    type: Type | None = None
    order: ByteOrder | None = None
    scale: Factor | None = None
    bit: Annotated[int, Field(ge=0, le=HIGHEST_BIT)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class MqttDefaults:
    """`defaults.mqtt`: which MQTT sinks a file's points go to."""

    to: tuple[Text, ...]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class MqttKeys:
    """`mqtt` of a point: the sinks, and a whole topic in place of `<prefix>/<site>/<tag>/<point>`."""

    to: tuple[Text, ...] | None = None
    topic: Topic | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class CovKeys:
    """`cov` with its own longest silence."""

    delta: Annotated[Number, Field(ge=0)]
    every: Period | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class OnStaleValue:
    """`on_stale: {value: X}`."""

    value: Plain


StaleAfter = Literal["never"] | Period
OnStaleKeys = Literal["hold", "sentinel"] | OnStaleValue


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Defaults:
    """`defaults` of a file; they hold for that file's templates and single points."""

    stale_after: StaleAfter | None = None
    on_stale: OnStaleKeys | None = None
    modbus: ModbusDefaults = Field(default_factory=ModbusDefaults)
    mqtt: bool | MqttDefaults | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class PointKeys:
    """A point of a template, or what one asset overrides of it."""

    source: Source | None = Field(default=None, alias="from")
    unit: Text | None = None
    source_unit: Text | None = None
    gain: Factor | None = None
    offset: Number | None = None
    map: dict[str, Plain] | None = Field(default=None, min_length=1)
    range: Range | None = None
    clamp: bool | None = None
    decimals: Annotated[int, Field(ge=0, le=9)] | None = None
    cov: Annotated[Number, Field(ge=0)] | CovKeys | None = None
    stale_after: StaleAfter | None = None
    on_stale: OnStaleKeys | None = None
    description: Text | None = None
    tags: dict[Text, Tag] | None = Field(default=None, min_length=1)
    mqtt: bool | MqttKeys | None = None
    modbus: ModbusKeys | tuple[ModbusKeys, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class SinglePoint(PointKeys):
    """A free-standing point of one asset."""

    tag: Level
    point: Level
    asset: Text


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Match:
    """What a template is made for: for the reader of the table."""

    asset_type: Text | None = None
    model: Text | None = None
    manufacturer: Text | None = None
    name: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Template:
    """The points of one type of device; `stride` is how many registers each asset of it is given."""

    match: Match | None = None
    stride: Annotated[int, Field(ge=1, le=HIGHEST_ADDRESS + 1)] | None = None
    points: dict[Level, PointKeys] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class AssetEntry:
    """One asset that uses a template; `base` is added to the template's registers."""

    id: Text
    tag: Level
    use: Text
    base: Address | None = None
    points: dict[str, PointKeys] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Heartbeat:
    """A register that the gateway counts up, so that a controller sees a dead gateway."""

    every: Period
    modbus: ModbusKeys | tuple[ModbusKeys, ...]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class System:
    """The gateway's own points."""

    heartbeat: Heartbeat | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Given:
    """What a case starts from: readings of one asset, by telemetry key or `$.data.object…` path."""

    asset: Text
    telemetry: dict[Text, Plain] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Expected:
    """A point's value together with its quality."""

    value: Plain
    quality: Literal["good", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class CaseEntry:
    """One check of the table by its author, run by `gateway test`."""

    given: Given
    expect: dict[str, Expected | Plain] = Field(min_length=1)


def _check_schema(text: str) -> str:
    if text != "gateway.points/1":
        raise FieldError("this version reads gateway.points/1", value=text)
    return text


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Table:
    """One file."""

    schema: Annotated[str, AfterValidator(_check_schema)]
    site: Level
    defaults: Defaults = Field(default_factory=Defaults)
    templates: dict[Text, Template] = Field(default_factory=dict)
    assets: tuple[AssetEntry, ...] = ()
    points: tuple[SinglePoint, ...] = ()
    system: System = Field(default_factory=System)
    cases: tuple[CaseEntry, ...] = ()
