"""The keys `modbus` and `mqtt` of a point table: where a value is shown, and what need not be repeated."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT
from gateway.mapping.table_types import Address, BitPosition, Factor, Modicon, Text, Topic, Type, UnitId
from gateway.model import ByteOrder, RegisterTable

Sinks = Annotated[tuple[Text, ...], Field(min_length=1)]


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
    modicon: Modicon | None = None
    """Address as a BMS shows it, such as 31001, which also says the table. Or write `register`."""
    type: Type | None = None
    """How the value stands in the register; bit for coils, discrete inputs and single bits."""
    order: ByteOrder | None = None
    """Order of the bytes on the wire of values wider than one register; CDAB is word swap."""
    scale: Factor | None = None
    """The register holds the value times this: 10 shows 21.5 as 215."""
    bit: BitPosition | None = None
    """Position of the bit in the register, 0 is the lowest."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class MqttDefaults:
    """`defaults.mqtt`: which MQTT sinks points go to."""

    to: Sinks
    """The MQTT sinks that the points go to, by their names in gateway.yaml."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class MqttKeys:
    """`mqtt` of a point: the sinks, and a topic of its own in place of `<prefix>/<site>/<tag>/<point>`."""

    to: Sinks | None = None
    """The MQTT sinks that the point goes to, by their names in gateway.yaml; all if not written."""
    topic: Topic | None = None
    """A topic of its own, made of {prefix}, {site}, {tag}, {point}, {asset} and {gateway} or without them."""
