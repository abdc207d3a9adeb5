"""Durations, sizes, addresses and networks as users write them."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.value_types import (
    HostPort,
    parse_duration,
    parse_host_port,
    parse_network,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("90s", 90.0), ("1.5m", 90.0), ("2h", 7200.0), ("7d", 604800.0), ("0s", 0.0)],
)
def test_durations(text: str, seconds: float) -> None:
    """A duration is a number and its unit."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("0B", 0), ("512KiB", 524288), ("1MiB", 1048576), ("2GiB", 2147483648)]
)
def test_sizes(text: str, size_bytes: int) -> None:
    """A size is a whole number and its unit."""
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "wrong", ["", "90", "s", "-1s", "1 s", "1w", "1e3s", "90s ", "٣s", "9" * 400 + "s", 90, None, []]
)
def test_wrong_durations(wrong: object) -> None:
    """Everything else is refused with an example."""
    with pytest.raises(ValueError, match="such as 90s, 15m or 2h"):
        parse_duration(wrong)


@pytest.mark.parametrize("wrong", ["", "1", "MiB", "1MB", "1.5MiB", "-1B", "1 MiB", "٣B", 1, None, []])
def test_wrong_sizes(wrong: object) -> None:
    """Everything else is refused with an example."""
    with pytest.raises(ValueError, match="such as 512KiB, 1MiB or 2GiB"):
        parse_size(wrong)


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("127.8.8.8:0", "127.8.8.8", 0, True),
        ("[::1]:65535", "::1", 65535, True),
        ("localhost:80", "localhost", 80, True),
        ("192.0.2.1:80", "192.0.2.1", 80, False),
        ("[::]:80", "::", 80, False),
        ("gateway.example:80", "gateway.example", 80, False),
    ],
)
def test_addresses(text: str, host: str, port: int, loopback: bool) -> None:  # noqa: FBT001  pytest's own call
    """An address is a host and a port; it is written as it was read."""
    address = parse_host_port(text)
    assert (address.host, address.port, address.is_loopback) == (host, port, loopback)
    assert str(address) == text


@pytest.mark.parametrize(
    "wrong", ["", ":80", "host", "host:", "host:65536", "::1:80", "a b:1", "a..b:1", "h:-1", "h:٣", 80]
)
def test_wrong_addresses(wrong: object) -> None:
    """Everything else is refused with an example."""
    with pytest.raises(ValueError, match=r"such as 127\.0\.0\.1:8080 or \[::1\]:8080"):
        parse_host_port(wrong)


@given(
    st.from_regex(r"[a-z0-9-]{1,9}([.][a-z0-9-]{1,9}){0,2}", fullmatch=True) | st.ip_addresses().map(str),
    st.integers(0, 65535),
)
def test_addresses_read_back(host: str, port: int) -> None:
    """An address in its printed form reads back."""
    assert parse_host_port(str(HostPort(host, port))) == HostPort(host, port)


@pytest.mark.parametrize("text", ["10.1.0.0/16", "0.0.0.0/0", "fd00:20::/64"])
def test_networks(text: str) -> None:
    """A network is an address and a prefix length; a lone address is a network of one."""
    assert parse_network(text) == ip_network(text)
    assert parse_network("10.2.0.7") == ip_network("10.2.0.7/32")
    assert parse_network("::1") == ip_network("::1/128")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("10.0.0.1/8", "the network is 10.0.0.0/8"),
        ("proxy", "such as 10.1.0.0/16"),
        ("10.0.0.0/33", "such as 10.1.0.0/16"),
        ("", "such as 10.1.0.0/16"),
        (10, "such as 10.1.0.0/16"),
        (None, "such as 10.1.0.0/16"),
    ],
)
def test_wrong_networks(wrong: object, reason: str) -> None:
    """A host within a network is refused, and the message has its network."""
    with pytest.raises(ValueError, match=reason):
        parse_network(wrong)
