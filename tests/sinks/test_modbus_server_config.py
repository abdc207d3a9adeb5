"""`type: modbus_server` in gateway.yaml."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.config.scalars import HostPort
from gateway.sinks.modbus_server import ModbusServerConfig

CHECK = TypeAdapter(ModbusServerConfig).validate_python
LEAST = {"type": "modbus_server", "listen": "127.0.0.1:5020"}


def test_defaults() -> None:
    """Loopback only, 64 clients, ten minutes."""
    config = CHECK(LEAST)
    assert config.listen == HostPort("127.0.0.1", 5020)
    assert config.allow == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert (config.max_connections, config.idle_timeout) == (64, 600.0)


def test_all_settings() -> None:
    """Networks and durations are read as users write them; a lone address is a network of one."""
    config = CHECK(
        {
            **LEAST,
            "allow": ["10.1.0.0/16", "10.2.0.7", "fd00::/8"],
            "max_connections": 2,
            "idle_timeout": "90s",
        }
    )
    assert config.allow == tuple(ip_network(text) for text in ("10.1.0.0/16", "10.2.0.7/32", "fd00::/8"))
    assert (config.max_connections, config.idle_timeout) == (2, 90.0)


@pytest.mark.parametrize(
    ("setting", "place", "words"),
    [
        ({"allow": ["127.0.0.0/8", "10.1.0.5/16"]}, ("allow", 1), "10.1.0.5/16 has host bits set; a network"),
        ({"allow": ["plant"]}, ("allow", 0), "'plant' does not appear to be an IPv4 or IPv6 network"),
        ({"allow": [10]}, ("allow", 0), "a network is written as"),
        ({"allow": "10.0.0.0/8"}, ("allow",), "valid tuple"),
        ({"max_connections": 0}, ("max_connections",), "greater than or equal to 1"),
        ({"max_connections": "64"}, ("max_connections",), "valid integer"),
        ({"idle_timeout": 600}, ("idle_timeout",), "a duration is a number and its unit"),
        ({"listen": "5020"}, ("listen",), "an address is host:port"),
        ({"allowed": []}, ("allowed",), "Unexpected"),
    ],
)
def test_wrong_settings(setting: dict[str, Any], place: tuple[str | int, ...], words: str) -> None:
    """Each wrong setting is one problem, at its place and in words that help."""
    with pytest.raises(ValidationError) as failed:
        CHECK(LEAST | setting)
    (problem,) = failed.value.errors()
    assert problem["loc"] == place
    assert words in problem["msg"]
