"""`gateway points --format md`: each kind of sink as its reader needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.processes import run_gateway

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """\
name: edge-1
infodeck: {organization: o-1}
intake: {signing_secrets: [{env: S}]}
journal: {url: "sqlite:///nowhere/journal.db"}
mappings: mappings
sinks:
  bms: {type: mqtt, url: "mqtts://me.example"}
  mute: {type: mqtt, url: "mqtt://me.example", history: false}
  bare: {type: mqtt, url: "mqtt://me.example:1884", payload: value}
  scada: {type: mqtt_sparkplug, url: "mqtt://me.example", group: hq, primary_host: host-1}
  regs: {type: modbus_server, listen: 0.0.0.0:802, allow: [10.0.0.0/8, 192.0.2.7],
         tls: {certificate: c.pem, key: k.pem, client_ca: a.pem, roles: [operator, viewer]}}
  here: {type: modbus_server, listen: 192.0.2.1:5020}
  ahu: {type: modbus_client, host: 192.0.2.10}
"""
TABLE = """\
schema: gateway.points/1
site: hq
points:
  - tag: X
    point: T
    asset: a
    from: t
    modbus:
      - {to: regs, unit: 1, table: holding, register: 0, type: int16}
      - {to: here, unit: 1, table: holding, register: 0, type: int16}
      - {to: ahu, unit: 1, table: holding, register: 0, type: int16}
"""


@pytest.fixture(scope="module")
def sections(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the document's sections by their headings."""
    folder = tmp_path_factory.mktemp("points")
    return printed(folder, SETTINGS)


def printed(folder: Path, settings: str) -> dict[str, str]:
    """Print the document of these settings, and return its sections."""
    (folder / "mappings").mkdir(exist_ok=True)
    (folder / "mappings" / "a.yaml").write_text(TABLE)
    (folder / "gateway.yaml").write_text(settings)
    done = run_gateway("points", "-c", folder / "gateway.yaml", "--format", "md")
    assert (done.returncode, done.stderr) == (0, "")
    return dict(part.split("\n", 1) for part in done.stdout.split("\n## "))


def test_a_server_has_its_access(sections: dict[str, str]) -> None:
    """The section of a server has port, networks, TLS and roles."""
    assert (
        "The gateway is a Modbus TCP server at port 802 of each of its addresses, for clients from 10.0.0.0/8"
        " and 192.0.2.7/32, with TLS (Modbus/TCP Security): a client needs a certificate with the role"
        " operator or viewer."
    ) in sections["Modbus: regs"]
    assert ("at 192.0.2.1:5020, for clients from 127.0.0.0/8 and ::1/128. It can be read only") in sections[
        "Modbus: here"
    ]


def test_a_server_whose_clients_need_no_role(tmp_path: Path) -> None:
    """Without roles, a client needs any valid certificate."""
    found = printed(tmp_path, SETTINGS.replace(", roles: [operator, viewer]", ""))
    assert "a client needs a certificate. It can be read only" in found["Modbus: regs"]


def test_registers_before_the_first_reading(sections: dict[str, str]) -> None:
    """A polled register shows its sentinel; a written one keeps the controller's value."""
    assert "Before the first reading, where registers are polled, and where" in sections["How to read it"]
    assert "left alone until the first reading" in sections["Modbus: ahu"]


def test_every_topic_is_named(sections: dict[str, str]) -> None:
    """The section of a broker has the form of a message, `$meta`, and `$history` unless it is off."""
    message = '`{"value": 21.5, "unit": "degC", "quality": "good", "ts": "…", "event": "…"}`'
    assert message in sections["MQTT: bms"]
    assert "`$meta` under each topic describes it." in sections["MQTT: bms"]
    late = "Readings that come late are on `$history` under each topic, not retained."
    assert [late in sections[f"MQTT: {name}"] for name in ("bms", "mute", "bare")] == [True, False, True]


def test_a_sparkplug_section(sections: dict[str, str]) -> None:
    """The section of a Sparkplug sink has the primary host and the property of the quality."""
    scada = sections["Sparkplug B: scada"]
    assert "Published only while the host host-1 is online." in scada
    assert "the property GatewayQuality of a metric has its quality as a word" in scada
