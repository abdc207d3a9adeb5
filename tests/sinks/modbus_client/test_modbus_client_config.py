"""`type: modbus_client` in gateway.yaml."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from gateway.config.decode import read_document
from gateway.model import WriteLimits
from gateway.sinks.modbus_client.config import ModbusClientConfig

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.decode import Document

LEAST = "type: modbus_client\nhost: 192.0.2.10\n"
SERIAL = "type: modbus_client\nserial: {port: /dev/ttyUSB0}\n"


def read(folder: Path, text: str) -> Document[ModbusClientConfig]:
    """Read a file with the settings of this sink."""
    file = folder / "sink.yaml"
    file.write_text(text, encoding="utf-8")
    return read_document(file, ModbusClientConfig)


def test_a_host_is_enough(tmp_path: Path) -> None:
    """Defaults: Modbus TCP on port 502, functions 15 and 16, any unit, no pause, no read-back."""
    config = read(tmp_path, LEAST).require()
    assert (config.line, config.wire, config.timeout) == ("192.0.2.10:502", "Modbus TCP", 2.0)
    assert (config.min_interval, config.verify) == (0, False)
    assert config.limits == WriteLimits(functions=frozenset({15, 16}))
    assert config.allows(ip_address("198.51.100.1"))


def test_all_settings_of_a_host(tmp_path: Path) -> None:
    """A converter for RTU over TCP, with all limits on units, functions and addresses."""
    text = (
        "port: 4001\ntransport: rtu_over_tcp\ntimeout: 500ms\nmin_interval: 20ms\nfunctions: [6, 16]\n"
        "verify: true\nunits: [3, 4]\nallow: [192.0.2.0/24]\n"
    )
    config = read(tmp_path, LEAST + text).require()
    assert (config.line, config.wire) == ("192.0.2.10:4001", "Modbus RTU over TCP")
    assert (config.timeout, config.min_interval, config.verify) == (0.5, 0.02, True)
    assert config.limits == WriteLimits(functions=frozenset({6, 16}), units=frozenset({3, 4}), is_serial=True)
    assert config.allow == (ip_network("192.0.2.0/24"),)
    assert not config.allows(ip_address("198.51.100.1"))


def test_a_serial_line(tmp_path: Path) -> None:
    """The defaults are the standard's, 19,200 baud and even parity."""
    config = read(tmp_path, SERIAL).require()
    assert config.line == "/dev/ttyUSB0"
    assert config.wire == "Modbus RTU, 19200 baud, parity even, 1 stop bit"
    assert config.limits.is_serial
    written = SERIAL.replace("USB0", "S1, baudrate: 9600, parity: none, stopbits: 2") + "transport: serial\n"
    config = read(tmp_path, written).require()
    assert config.wire == "Modbus RTU, 9600 baud, parity none, 2 stop bits"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "type: modbus_client\nserial: /dev/ttyUSB0\n",
            "2:9: serial: a mapping is expected (",
        ),
        ("type: modbus_client\n", "1:1: write either `host` or `serial`: where the controller is"),
        (f"{LEAST}serial: {{port: /dev/ttyS0}}\n", "1:1: write either `host` or `serial`"),
        (f"{LEAST}transport: serial\n", '3:12: transport: goes with `serial` ("serial")'),
        (f"{SERIAL}transport: tcp\n", '3:12: transport: goes with `host` ("tcp")'),
        (f"{SERIAL}allow: [10.0.0.0/8]\n", "3:8: allow: goes with `host`, a serial line has no addresses"),
        (f"{LEAST}allow: [10.0.0.0/8]\n", '2:7: host: is not in `allow` ("192.0.2.10")'),
        (f"{LEAST}allow: []\n", "3:8: allow: "),
        (
            "type: modbus_client\nhost: tcp://192.0.2.10\n",
            "2:7: host: an address or a name alone is expected",
        ),
        ("type: modbus_client\nhost: 192.0.2.10:502\n", "2:7: host: an address or a name alone is expected"),
        ("type: modbus_client\nhost: 192.0.2.300\n", "2:7: host: an address or a name alone is expected"),
        ("type: modbus_client\nhost: '192.0.2.10 '\n", "2:7: host: an address or a name alone is expected"),
        ("type: modbus_client\nhost: ahu..local\n", "2:7: host: an address or a name alone is expected"),
        ("type: modbus_client\nhost: ''\n", "2:7: host: an address or a name alone is expected"),
        (f"{SERIAL}port: 502\n", "3:7: port: goes with `host`; the name of the serial port is in `serial`"),
        (
            SERIAL.replace("/dev/", ""),
            "2:16: serial.port: a serial port is a whole path, such as /dev/ttyUSB0",
        ),
        (f"{LEAST}transport: udp\n", "3:12: transport: "),
        (f"{LEAST}port: 0\n", "3:7: port: "),
        (f"{LEAST}timeout: 0s\n", "3:10: timeout: must be more than 0s"),
        (f"{LEAST}timeout: 2\n", "3:10: timeout: a duration is a number and its unit"),
        (f"{LEAST}functions: []\n", "3:12: functions: "),
        (f"{LEAST}functions: [3]\n", "3:13: functions[0]: "),
        (f"{LEAST}units: [256]\n", "3:9: units[0]: "),
        (f"{LEAST}unit: 1\n", "3:1: unit: "),
        (f"{SERIAL.replace('}', ', parity: odd2}')}", "2:38: serial.parity: "),
    ],
)
def test_wrong_settings(tmp_path: Path, text: str, problem: str) -> None:
    """Each wrong setting is one problem with its place and the remedy."""
    (found,) = read(tmp_path, text).problems
    assert str(found).startswith(f"{tmp_path}/sink.yaml:{problem}")
    assert "(a mapping)" not in str(found)


@pytest.mark.parametrize("host", ["::1", "fe80::1%eth0", "ahu-1.plant.example", "plc_7", "1st-floor.local"])
def test_hosts(tmp_path: Path, host: str) -> None:
    """Addresses of both kinds and names are accepted."""
    config = read(tmp_path, f"type: modbus_client\nhost: '{host}'\n").require()
    assert config.host == host
