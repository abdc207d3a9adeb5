"""The settings of a Modbus client."""

from __future__ import annotations

from ipaddress import ip_address
from os.path import normpath
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT, FieldError
from gateway.config.value_types import Duration, Host, HostPort, Network, Period, machine_of
from gateway.model import WriteLimits

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_USUAL_PORT = 502


def _check_serial_port(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("a serial port is a whole path, such as /dev/ttyUSB0")
    return Path(normpath(path))


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Serial:
    """A serial line with Modbus RTU, eight data bits."""

    port: Annotated[
        Path, AfterValidator(_check_serial_port), WithJsonSchema({"type": "string", "pattern": "^/"})
    ]
    """The serial port, such as /dev/ttyUSB0 or, which stays the same, /dev/serial/by-id/…."""
    baudrate: Annotated[int, Field(ge=300, le=4_000_000)] = 19_200
    """Bits per second, as at the controllers."""
    parity: Literal["even", "odd", "none"] = "even"
    """As at the controllers; even is what the standard asks for."""
    stopbits: Literal[1, 2] = 1
    """Stop bits; with parity none the standard asks for 2."""

    def __str__(self) -> str:
        return str(self.port)


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ModbusClientConfig:
    """`type: modbus_client`. One connection: to one controller, or to all units of a serial line.

    `timeout`, `min_interval` and `refresh` are in seconds.
    """

    type: Literal["modbus_client"]
    """Writes points into a controller."""
    host: Host | None = None
    """The controller's address or name in the network."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The controller's TCP port; 502 if not written."""
    transport: Literal["tcp", "rtu_over_tcp", "serial"] | None = None
    """tcp, or serial where `serial` is written; rtu_over_tcp is for converters that pass RTU frames on."""
    serial: Serial | None = None
    """The serial line that the controllers are on, in the place of `host`."""
    timeout: Period = 2.0
    """How long to wait for a connection, and for each answer."""
    min_interval: Duration = 0.0
    """The least pause between an answer and the next request, for controllers that need one."""
    functions: Annotated[tuple[Literal[5, 6, 15, 16], ...], Field(min_length=1)] = (15, 16)
    """Function codes that the controller understands; with 5 or 6, single coils or registers go by these."""
    verify: bool = False
    """Read back what was written, and compare."""
    refresh: Literal["never"] | Period = 900.0
    """How often everything is written again, changed or not: a controller may have lost it unnoticed."""
    units: Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(min_length=1)] | None = None
    """The only unit ids that point tables may write to; any if not written."""
    allow: Annotated[tuple[Network, ...], Field(min_length=1)] | None = None
    """The only networks that may be written to, whatever `host` leads to; any if not written."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.host is None) == (self.serial is None):
            raise ValueError("write either `host` or `serial`: where the controller is")
        if self.transport is not None and (self.transport == "serial") != (self.serial is not None):
            goes_with = "serial" if self.transport == "serial" else "host"
            raise FieldError(f"goes with `{goes_with}`", at=["transport"], value=self.transport)
        if self.serial is not None and self.port is not None:
            message = "goes with `host`; the name of the serial port is in `serial`"
            raise FieldError(message, at=["port"], value=self.port)
        if self.serial is not None and self.allow is not None:
            raise FieldError("goes with `host`, a serial line has no addresses", at=["allow"])
        if self.host is not None and not self._may_be_allowed(self.host):
            raise FieldError("is not in `allow`", at=["host"], value=self.host)
        return self

    @property
    def tcp_port(self) -> int:
        """Where the controller listens at `host`."""
        return _USUAL_PORT if self.port is None else self.port

    @property
    def line(self) -> str:
        """Where the controller is: host and port, or the serial port."""
        return str(self.serial) if self.serial is not None else str(HostPort(self.host or "", self.tcp_port))

    @property
    def receiver(self) -> str:
        """The same text for two spellings of `line` that certainly mean one controller."""
        return self.line if self.host is None else f"{machine_of(self.host)}:{self.tcp_port}"

    @property
    def wire(self) -> str:
        """The protocol, in words."""
        if (serial := self.serial) is not None:
            stop_bits = f"{serial.stopbits} stop bit{'s' if serial.stopbits > 1 else ''}"
            return f"Modbus RTU, {serial.baudrate} baud, parity {serial.parity}, {stop_bits}"
        return "Modbus RTU over TCP" if self.transport == "rtu_over_tcp" else "Modbus TCP"

    @property
    def limits(self) -> WriteLimits:
        """What point tables may write there."""
        return WriteLimits(
            functions=frozenset(self.functions),
            units=None if self.units is None else frozenset(self.units),
            is_serial=self.transport == "rtu_over_tcp" or self.serial is not None,
        )

    def allows(self, address: IPv4Address | IPv6Address) -> bool:
        """Return whether this address may be written to."""
        return self.allow is None or any(address in network for network in self.allow)

    def _may_be_allowed(self, host: str) -> bool:
        """Return whether an address is allowed; a name is checked when it is looked up."""
        try:
            return self.allows(ip_address(host))
        except ValueError:
            return True
