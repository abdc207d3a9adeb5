"""The settings of a BACnet sink."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT
from gateway.config.value_types import Address, HostPort, Network, Period
from gateway.mapping.object_types import HIGHEST_INSTANCE


def _check_ipv4(address: HostPort) -> HostPort:
    try:
        IPv4Address(address.host)
    except ValueError:
        raise ValueError("BACnet/IP needs an IPv4 address, such as 192.0.2.10:47808") from None
    return address


_IPV4 = r"[0-9]{1,3}(\.[0-9]{1,3}){3}"
Ipv4Address = Annotated[
    Address,
    AfterValidator(_check_ipv4),
    WithJsonSchema({"type": "string", "pattern": rf"^{_IPV4}:[0-9]{{1,5}}$"}),
]
_Ipv4Host = Annotated[IPv4Address, WithJsonSchema({"type": "string", "pattern": f"^{_IPV4}$"})]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ForeignDevice:
    """Registration at a BBMD, which forwards broadcasts from and to other networks."""

    bbmd: Ipv4Address
    """The address of the BBMD."""
    ttl: Annotated[Period, Field(ge=30, le=65_535)] = 300.0
    """How long a registration lasts; it is renewed at half of this time."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class BacnetConfig:
    """`type: bacnet`. Requests from outside of `allow` are ignored."""

    type: Literal["bacnet"]
    """A BACnet/IP device, in which a BMS finds every point as an object."""
    listen: Ipv4Address
    """The address and port of the device; the usual port is 47808."""
    device: Annotated[int, Field(ge=0, le=HIGHEST_INSTANCE)]
    """The device instance, which no other device in the whole BACnet network may have."""
    device_name: Annotated[str, Field(min_length=1)] | None = None
    """The device's name in the BACnet network; this gateway's name and the sink's if not written."""
    vendor_id: Annotated[int, Field(ge=0, le=65_535)] = 999
    """The vendor identifier that ASHRAE has assigned to you; 999 is assigned to nobody."""
    allow: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"),)
    """Networks whose clients are answered."""
    broadcast: _Ipv4Host | None = None
    """The broadcast address of the network; that of the interface which has `listen` if not written."""
    foreign_device: ForeignDevice | None = None
    """Register at a BBMD, where the BMS is in another network."""
    max_subscriptions: Annotated[int, Field(ge=1)] = 10_000
    """COV subscriptions at the same time, of all clients; an IP address may have a quarter of them."""

    def name_in_network(self, gateway: str, sink: str) -> str:
        """Return the Object_Name of a sink's device, which no other device in the BACnet network may have."""
        return self.device_name or f"{gateway}/{sink}"
