"""`type: modbus_server` in gateway.yaml."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.config.decode import read_document
from gateway.config.value_types import HostPort
from gateway.sinks.modbus_server.sink import ModbusServerConfig

if TYPE_CHECKING:
    from gateway.config.decode import Document

LEAST = "type: modbus_server\nlisten: 127.0.0.1:5020\n"


def read(folder: Path, text: str) -> Document[ModbusServerConfig]:
    """Read a file with the settings of this sink."""
    file = folder / "sink.yaml"
    file.write_text(text, encoding="utf-8")
    return read_document(file, ModbusServerConfig)


def test_defaults(tmp_path: Path) -> None:
    """Loopback only, 64 clients, ten minutes, no TLS."""
    config = read(tmp_path, LEAST).require()
    assert config.listen == HostPort("127.0.0.1", 5020)
    assert config.allow == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert (config.max_connections, config.idle_timeout) == (64, 600.0)
    assert config.tls is None


def test_all_settings(tmp_path: Path) -> None:
    """Networks and durations are parsed; a single address is a network of one."""
    text = "allow: [10.1.0.0/16, 10.2.0.7, 'fd00::/8']\nmax_connections: 2\nidle_timeout: 90s\n"
    config = read(tmp_path, LEAST + text).require()
    assert config.allow == tuple(ip_network(text) for text in ("10.1.0.0/16", "10.2.0.7/32", "fd00::/8"))
    assert (config.max_connections, config.idle_timeout) == (2, 90.0)


def test_tls_and_identity(tmp_path: Path) -> None:
    """Certificate paths are relative to the settings file; omitted identity fields have defaults."""
    text = "tls: {certificate: c.pem, key: /k.pem, client_ca: a.pem, roles: [Operator]}\n"
    config = read(tmp_path, LEAST + text + "identity: {vendor: ACME}\n").require()
    assert config.tls is not None
    assert (config.tls.certificate, config.tls.key) == (tmp_path / "c.pem", Path("/k.pem"))
    assert (config.tls.client_ca, config.tls.roles) == (tmp_path / "a.pem", ("Operator",))
    assert (config.identity.vendor, config.identity.product_code) == ("ACME", "building-gateway")


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("allow: [127.0.0.0/8, 10.1.0.5/16]", "3:22: allow[1]: the address has bits outside of its prefix"),
        ("allow: [plant]", "3:9: allow[0]: a network is an address and the length of its prefix"),
        ("allow: 10.0.0.0/8", "3:8: allow: "),
        ("max_connections: 0", "3:18: max_connections: "),
        ("max_connections: '64'", "3:18: max_connections: "),
        ("idle_timeout: 600", "3:15: idle_timeout: a duration is a number and its unit"),
        ("idle_timeout: 0s", "3:15: idle_timeout: must be more than 0s"),
        ("allowed: []", "3:1: allowed: "),
        ("tls: {certificate: c.pem, key: k.pem}", "3:6: tls.client_ca: "),
        ("tls: {certificate: c.pem, key: k.pem, client_ca: a.pem, roles: ['']}", "3:65: tls.roles[0]: "),
        (
            "identity: {vendor: ''}",
            "3:20: identity.vendor: printable ASCII characters, 1 to 64, are expected",
        ),
        (
            "identity: {vendor: Süd}",
            "3:20: identity.vendor: printable ASCII characters, 1 to 64, are expected",
        ),
        ("identity: {version: '1'}", "3:12: identity.version: "),
    ],
)
def test_wrong_settings(tmp_path: Path, setting: str, problem: str) -> None:
    """Each wrong setting is one problem with its place and the remedy."""
    (found,) = read(tmp_path, LEAST + setting).problems
    assert str(found).startswith(f"{tmp_path}/sink.yaml:{problem}")
